"""From and to the separate matrices of tutorials, against their equations in NumPy."""

import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases
from tests.support.arrays import assert_close, assert_same, uniform
from tests.support.links import contents
from tests.support.reference import sigmoid

SHAPES = {
    'W_x': (cases.INPUT, cases.UNITS),
    'W_h': (cases.UNITS, cases.UNITS),
    'b_': (cases.UNITS,),
}


def gates(peepholes=None, dtype='f'):
    shapes = {f'{kind}{g}': shape for kind, shape in SHAPES.items() for g in 'ifoc'}
    if peepholes:
        shapes.update({f'W_c{g}': (cases.UNITS,) * peepholes for g in 'ifo'})
    return {
        key: uniform(shape, dtype, seed=seed) for seed, (key, shape) in enumerate(shapes.items())
    }


def tutorial(p, x, h, c):
    """The equations as they are written; a peephole vector is multiplied, a matrix is a product."""

    def peep(g, c):
        W = p.get(f'W_c{g}')
        return 0 if W is None else c @ W if W.ndim == 2 else c * W

    hs = []
    for X in x:
        i = sigmoid(X @ p['W_xi'] + h @ p['W_hi'] + peep('i', c) + p['b_i'])
        f = sigmoid(X @ p['W_xf'] + h @ p['W_hf'] + peep('f', c) + p['b_f'])
        c = f * c + i * numpy.tanh(X @ p['W_xc'] + h @ p['W_hc'] + p['b_c'])
        o = sigmoid(X @ p['W_xo'] + h @ p['W_ho'] + peep('o', c) + p['b_o'])
        h = o * numpy.tanh(c)
        hs.append(h)
    return [numpy.stack(hs), h[None], c[None]]


@pytest.mark.parametrize('peepholes', [None, 1, 2], ids=['no peepholes', 'vectors', 'matrices'])
@pytest.mark.parametrize('dtype', 'fd')
def test_from_gates_and_back(peepholes, dtype):
    p, (x, h0, c0) = gates(peepholes, dtype), cases.arguments(1, 1, dtype)
    link = interop.from_gates(p)
    assert type(link) is (ours.StatefulPeepholeLSTM if peepholes else ours.LSTM)
    assert_close(cases.run(link, x, h0, c0), tutorial(p, x, h0[0], c0[0]))
    back = interop.to_gates(link)
    assert_same(
        {
            key: numpy.diag(W) if W.ndim < p[key].ndim else W
            for key, W in back.items()
            if key[:3] != 'W_c'
        },
        {key: W for key, W in p.items() if key[:3] != 'W_c'},
    )
    assert_close(tutorial(back, x, h0[0], c0[0]), tutorial(p, x, h0[0], c0[0]))


@pytest.mark.parametrize('name', ['StatelessLSTM', 'NStepLSTM', 'SequenceLSTM'])
def test_into_other_links(name):
    p, (x, h0, c0) = gates(), cases.arguments(1, 1)
    expected = tutorial(p, x, h0[0], c0[0])
    assert_close(cases.run(interop.from_gates(p, getattr(ours, name)), x, h0, c0), expected)
    link = interop.from_gates(p, cases.make(name))
    assert_close(cases.run(link, x, h0, c0), expected)
    assert_close(tutorial(interop.to_gates(link), x, h0[0], c0[0]), expected)


def test_into_a_deferred_link():
    p, (x, h0, c0) = gates(), cases.arguments(1, 1)
    assert_close(
        cases.run(interop.from_gates(p, ours.LSTM(cases.UNITS)), x, h0, c0),
        tutorial(p, x, h0[0], c0[0]),
    )


def test_torch_tensors_and_parameters():
    torch = pytest.importorskip('torch', reason='torch is not installed')
    p = gates()
    link = interop.from_gates(
        {key: torch.nn.Parameter(torch.from_numpy(W)) for key, W in p.items()}
    )
    assert_same(interop.to_gates(link), interop.to_gates(interop.from_gates(p)))


@pytest.mark.parametrize('key', [*gates(2)])
def test_missing_key(key):
    p = gates(2)
    del p[key]
    with pytest.raises(KeyError, match=f'{key}: expected the keys W_xc, W_xi.*got only'):
        interop.from_gates(p)


def test_unknown_key():
    with pytest.raises(KeyError, match='W_hq: expected the keys .* b_o, got this one too'):
        interop.from_gates({**gates(), 'W_hq': numpy.zeros((5, 2), 'f')})


@pytest.mark.parametrize(
    'key, value, error',
    [
        ('W_xo', numpy.zeros((6, 5), 'f'), ValueError),
        ('W_xo', numpy.zeros((5, 7), 'f'), ValueError),
        ('W_hc', numpy.zeros((5, 4), 'f'), ValueError),
        ('b_f', numpy.zeros((1, 5), 'f'), ValueError),
        ('b_i', numpy.zeros((), 'f'), ValueError),
        ('W_cf', numpy.zeros((4,), 'f'), ValueError),
        ('W_co', numpy.zeros((5, 1), 'f'), ValueError),
        ('W_hi', numpy.zeros((5, 5), 'i'), TypeError),
    ],
)
def test_misshapen_array_changes_nothing(key, value, error):
    link = cases.make('StatefulPeepholeLSTM')
    before = contents(link)
    with pytest.raises(error, match=f'{key}: expected '):
        interop.from_gates({**gates(2), key: value}, link)
    assert_same(contents(link), before)


def test_peepholes_into_a_link_without():
    with pytest.raises(ValueError, match='peepholes: expected none for LSTM'):
        interop.from_gates(gates(1), ours.LSTM)


@pytest.mark.parametrize('name, layers', [('NStepLSTM', 2), ('NStepBiLSTM', 1)])
def test_more_layers_or_directions(name, layers):
    with pytest.raises(ValueError, match='layers: expected 1 in 1 direction, got'):
        interop.to_gates(cases.make(name, layers))
