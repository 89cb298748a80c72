"""From and to the lists of Keras's ``get_weights()``, against Keras's equations in NumPy."""

import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases
from tests.support.arrays import assert_close, assert_same, uniform
from tests.support.links import contents
from tests.support.reference import sigmoid


def keras_layer(weights, x, h, c):
    """x (T, B, I) -> all h, last h, last c.  keras.layers.LSTMCell: gates i, f, c, o."""
    kernel, recurrent_kernel, *bias = (w.astype('d') for w in weights)
    hs = []
    for step in x:
        z = step @ kernel + h @ recurrent_kernel + (bias[0] if bias else 0)
        i, f, new, o = numpy.split(z, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(new)
        h = sigmoid(o) * numpy.tanh(c)
        hs.append(h)
    return numpy.stack(hs), h, c


def keras_model(weights, directions, x, h0, c0):
    """Stacked layers; Bidirectional concatenates the outputs.  -> y, hn, cn."""
    count = len(weights) // len(h0)
    parts = [weights[k : k + count] for k in range(0, len(weights), count)]
    ends = []
    for first in range(0, len(parts), directions):
        outputs = []
        for k in range(first, first + directions):
            order = slice(None, None, -1 if k > first else 1)
            y, *end = keras_layer(parts[k], x[order], h0[k], c0[k])
            outputs.append(y[order])
            ends.append(end)
        x = numpy.concatenate(outputs, axis=2)
    return [x, *(numpy.stack(s) for s in zip(*ends))]


def weights_of(layers, directions, bias=True, units=cases.UNITS):
    """What ``get_weights()`` could give."""
    shapes = [
        shape
        for k in range(layers)
        for _ in range(directions)
        for shape in (
            (directions * units if k else cases.INPUT, 4 * units),
            (units, 4 * units),
            (4 * units,),
        )
        if bias or len(shape) == 2
    ]
    return [uniform(shape, 'f', seed=seed) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize('name, layers', cases.LINKS, ids=cases.IDS)
@pytest.mark.parametrize('dtype', 'fd')
def test_to_keras_and_back(name, layers, dtype):
    link, args = cases.make(name, layers, dtype), cases.arguments_of(name, layers, dtype)
    directions = cases.FAMILY[name][1]
    expected = cases.run(link, *args)
    weights = interop.to_keras(link)
    assert len(weights) == 3 * layers * directions and {w.dtype.char for w in weights} == {dtype}
    assert_close([s.astype(dtype) for s in keras_model(weights, directions, *args)], expected)
    back = interop.from_keras(weights, cases.make(name, layers, dtype))
    assert_close(cases.run(back, *args), expected)


@pytest.mark.parametrize('name, layers', cases.LINKS, ids=cases.IDS)
@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
def test_from_keras(name, layers, bias):
    directions = cases.FAMILY[name][1]
    weights, args = weights_of(layers, directions, bias), cases.arguments_of(name, layers)
    expected = [s.astype('f') for s in keras_model(weights, directions, *args)]
    into = cases.make(name, layers)
    if not name.startswith('bidirectional'):
        assert_close(cases.run(interop.from_keras(weights, type(into)), *args), expected)
    assert interop.from_keras(weights, into) is into
    assert_close(cases.run(into, *args), expected)
    assert_same(dict(enumerate(interop.to_keras(into)[:2])), dict(enumerate(weights[:2])))


def replaced(k, array, layers=2, directions=1):
    weights = weights_of(layers, directions)
    weights[k] = array
    return weights


@pytest.mark.parametrize('weights, into, error, message', [
    (weights_of(2, 1), ours.LSTM, ValueError, 'layers: expected 1 for LSTM, got 2'),
    (weights_of(3, 1), ours.NStepBiLSTM, ValueError,
     r'arrays\[3\] \(kernel\): .*\(7, 20\), got \(5, 20\)'),
    (weights_of(1, 1), ours.NStepBiLSTM, ValueError, 'arrays: expected 6 for every layer, got 3'),
    (weights_of(1, 2), ours.NStepLSTM, ValueError,
     r'arrays\[3\] \(kernel\): .*\(5, 20\), got \(7, 20\)'),
    (weights_of(1, 1)[:2] + weights_of(1, 1), ours.NStepLSTM, ValueError,
     'bias of every layer, got 5 arrays'),
    ([], ours.LSTM, ValueError, 'bias of every layer, got 0 arrays'),
    (replaced(3, numpy.zeros((4, 20), 'f')), ours.NStepLSTM, ValueError,
     r'arrays\[3\] .*\(5, 20\), got \(4, 20\)'),
    (replaced(4, numpy.zeros((6, 24), 'f')), ours.NStepLSTM, ValueError,
     r'arrays\[4\] .*\(5, 20\), got \(6, 24\)'),
    (replaced(5, numpy.zeros(40, 'f')), ours.NStepLSTM, ValueError,
     r'arrays\[5\] \(bias\): .*\(20,\), got \(40,\)'),
    (replaced(0, numpy.zeros((20, 7), 'f')), ours.NStepLSTM, ValueError,
     r'arrays\[0\] \(kernel\): .*\(20, 20\), got'),
    (replaced(0, numpy.zeros((7, 20), 'i')), ours.NStepLSTM, TypeError,
     r'arrays\[0\] \(kernel\): expected floats'),
    (weights_of(1, 1), ours.LSTM(3, 5), ValueError,
     r'upward/W: expected shape \(20, 3\), got \(20, 7\)'),
])  # fmt: skip
def test_what_does_not_fit(weights, into, error, message):
    before = contents(into) if isinstance(into, ours.LSTM) else {}
    with pytest.raises(error, match=message):
        interop.from_keras(weights, into)
    assert_same(contents(into) if isinstance(into, ours.LSTM) else {}, before)


def test_peepholes():
    with pytest.raises(ValueError, match="peepholes: expected none for Keras's LSTM"):
        interop.to_keras(cases.make('StatefulPeepholeLSTM'))
