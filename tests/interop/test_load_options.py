"""``interop.load`` of Keras's layers whose settings are options of ``SequenceLSTM``, against its
outputs and equations.
"""

import sys
import types

import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import frameworks
from tests.interop.frameworks import INPUT, H
from tests.interop.load_cases import arrays_of, bidirectional, keras_layer
from tests.support.arrays import assert_close, assert_same
from tests.support.links import contents

X = frameworks.x('f').swapaxes(0, 1) * 3  # some gates beyond the bounds of the hard sigmoid
HARD = {'recurrent_activation': 'hard_sigmoid'}


def hard_sigmoid(x):
    return numpy.clip(0.2 * x + 0.5, 0, 1)


def both(merge_mode, return_sequences=True):
    """A ``Bidirectional`` layer of the arrays of ``frameworks``."""
    arrays = list(arrays_of('Keras Bidirectional').values())
    layer = bidirectional(merge_mode, get_weights=lambda self: arrays[3:])
    layer.forward_layer.get_weights = lambda: arrays[:3]
    layer.forward_layer.return_sequences = return_sequences
    layer.backward_layer.return_sequences = return_sequences
    return layer


@pytest.mark.parametrize('version, expected', [
    ('2.15.0', [0.032774, 0.451529, 0.03317, -0.073066]),
    ('3.15.1', [0.056886, 0.401859, 0.051451, -0.116368]),
])  # fmt: skip
def test_hard_sigmoid_of_each_keras(monkeypatch, version, expected):
    monkeypatch.setitem(sys.modules, 'keras', types.SimpleNamespace(__version__=version))
    layer = keras_layer(recurrent_activation=hard_sigmoid, return_sequences=True)
    y = interop.load(layer)(X).array[0, :2]
    numpy.testing.assert_allclose(y.ravel(), expected, rtol=0, atol=2e-6)


# of keras 3.15.1, and the same of 2.15.0: the first two steps, or the last output
@pytest.mark.parametrize('layer, expected', [
    (keras_layer(go_backwards=True, return_sequences=True),
     [-0.096306, -0.00018, -0.184186, 0.325663]),
    (keras_layer(go_backwards=True), [-0.043359, 0.388863]),
    (both('sum'), [0.020529, 0.571436, -0.109467, 0.01388]),
    (both('mul'), [-0.000475, 0.055111, -0.006223, -0.007355]),
    (both('ave'), [0.010264, 0.285718, -0.054734, 0.00694]),
    (both('sum', return_sequences=False), [-0.090152, 0.123824]),
])  # fmt: skip
def test_order_and_merge_modes(layer, expected):
    y = interop.load(layer)(X).array[0]
    numpy.testing.assert_allclose(y.ravel()[: len(expected)], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize('slope', [None, 1 / 6])
def test_hard_sigmoid_beside_arrays(monkeypatch, slope):
    """The equations of Keras, of the slope of Keras 1 and 2 unless another is given."""
    arrays = arrays_of('Keras LSTM', 'd')
    settings = HARD if slope is None else {**HARD, 'hard_sigmoid_slope': slope}
    link = interop.load({**arrays, **settings})
    link.batch_first = False
    monkeypatch.setattr(frameworks, 'sigmoid', lambda x: numpy.clip((slope or 0.2) * x + 0.5, 0, 1))
    x = 3 * frameworks.x()
    assert_close([link(x)], [frameworks.keras(arrays, x)])
    link = interop.load({**arrays_of('Keras LSTM'), **settings})
    into = ours.SequenceLSTM(INPUT, H, **HARD, hard_sigmoid_slope=slope or 0.2)
    interop.load({**arrays_of('Keras LSTM'), **settings}, into)
    assert_same(contents(into), contents(link))


def stacked(*settings):
    """Layers of H inputs but the first, as a model has them."""
    first = keras_layer(return_sequences=True, **settings[0])
    arrays = arrays_of('Keras LSTM')
    arrays['kernel'] = arrays['kernel'][:H]
    later = [
        keras_layer(return_sequences=True, get_weights=lambda self: list(arrays.values()), **each)
        for each in settings[1:]
    ]
    return [first, *later]


def test_stacked_layers_of_which_the_first_goes_backwards():
    layers = stacked({'go_backwards': True}, {})
    y = X
    for layer in layers:
        y = interop.load(layer)(y)
    link = interop.load(layers, path=['0', '1'])
    assert link.go_backwards
    assert_close([link(X)], [y])


BACKWARDS = {**arrays_of('Keras LSTM'), 'go_backwards': True}
PAIR = [('0', '1')]


@pytest.mark.parametrize('source, into, path, message', [
    (BACKWARDS, ours.LSTM, '', 'go_backwards: expected False for LSTM, got True'),
    (BACKWARDS, ours.SequenceLSTM(INPUT, H), '', 'go_backwards: expected False for SequenceLSTM'),
    (both('sum'), ours.NStepBiLSTM, '', "merge_mode: expected 'concat' for NStepBiLSTM, got 'sum'"),
    (both('sum'), ours.SequenceLSTM(INPUT, H, bidirectional=True, merge_mode='ave'), '',
     "merge_mode: expected 'ave' for SequenceLSTM, got 'sum'"),
    ({**arrays_of('Keras LSTM'), **HARD}, ours.NStepLSTM, '',
     "recurrent_activation: expected 'sigmoid' for NStepLSTM, got 'hard_sigmoid' of slope 0.2"),
    (arrays_of('Keras LSTM'), ours.SequenceLSTM(INPUT, H, **HARD), '', "got 'sigmoid'"),
    (stacked({}, {'go_backwards': True}), None, ['0', '1'],
     'go_backwards: expected True of the first layer .* got False, True, in 1 directions'),
    ([BACKWARDS, arrays_of('Keras LSTM')], None, PAIR, 'got True, in 2 directions'),
    ([arrays_of('Keras LSTM'), {**arrays_of('Keras LSTM'), **HARD}], None, PAIR,
     'recurrent_activation: expected one for all layers'),
    ({**arrays_of('Keras LSTM'), 'merge_mode': 'sum'}, None, '',
     "merge_mode: expected two directions, got 'sum' of one"),
    ({**arrays_of('Keras LSTM'), 'return_sequences': True, 'return_sequences_reverse': False},
     None, '',
     'return_sequences_reverse: expected True, as of the other direction, got False'),
])  # fmt: skip
def test_what_does_not_go_together(source, into, path, message):
    before = contents(into) if isinstance(into, ours.SequenceLSTM) else {}
    with pytest.raises(ValueError, match=message):
        interop.load(source, into, path)
    assert_same(contents(into) if isinstance(into, ours.SequenceLSTM) else {}, before)
