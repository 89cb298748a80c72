"""``PerGate`` and ``GateBias``: gate g of unit u is row 4u + g, in the order a, i, f, o."""

import pickle

import chainer
import chainer.links as L
import numpy
import pytest
from chainer import initializers
from chainer.backends import cuda

from chainer_lstm import links
from chainer_lstm.initializers import GateBias, PerGate
from tests.support.arrays import LAYOUTS, uniform

UNITS = 6


def is_orthogonal(W):
    W = cuda.to_cpu(W).astype('d')
    return numpy.allclose(W @ W.T, numpy.eye(len(W)), atol=1e-5)


def advance(link, in_size):
    """Draws what waits for the first input."""
    x = numpy.zeros((1, in_size), 'f')
    return link(None, None, x) if isinstance(link, links.StatelessLSTM) else link(x)


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('in_size', [5, None], ids=['in_size', 'in_size None'])
def test_per_gate_makes_every_gate_orthogonal(name, in_size):
    init = PerGate(initializers.Orthogonal(scale=1))
    link = getattr(links, name)(in_size, UNITS, lateral_init=init)
    advance(link, 5)
    for each in (link, link.copy('init')):
        gates = [each.lateral.W.array[gate::4] for gate in range(4)]
        assert all(is_orthogonal(W) for W in gates)
        assert not any(numpy.allclose(gates[0], W) for W in gates[1:])
        assert not is_orthogonal(each.lateral.W.array[:UNITS])


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('in_size', [UNITS, None], ids=['in_size', 'in_size None'])
def test_per_gate_for_upward(name, in_size):
    link = getattr(links, name)(
        in_size, UNITS, upward_init=PerGate(initializers.Orthogonal(scale=1))
    )
    advance(link, UNITS)
    assert all(is_orthogonal(link.upward.W.array[gate::4]) for gate in range(4))


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM'])
def test_orthogonal_alone_is_as_in_chainer(name):
    """Each block of H consecutive rows is orthogonal, and no gate."""
    weights = []
    for module in (L, links):
        numpy.random.seed(1)
        weights.append(
            getattr(module, name)(
                5, UNITS, lateral_init=initializers.Orthogonal(scale=1)
            ).lateral.W.array
        )
    numpy.testing.assert_array_equal(*weights)
    assert all(is_orthogonal(weights[1][g * UNITS : (g + 1) * UNITS]) for g in range(4))
    assert not any(is_orthogonal(weights[1][g::4]) for g in range(4))


@pytest.mark.parametrize(
    'call',
    [
        lambda init: init(numpy.zeros((4 * UNITS, 3), 'f')),
        lambda init: L.Linear(3, 4 * UNITS, initialW=init),
        lambda init: links.LSTM(3, UNITS, upward_init=init),
        lambda init: links.StatefulPeepholeLSTM(3, UNITS, upward_init=init),
    ],
    ids=['array', 'Linear', 'LSTM', 'StatefulPeepholeLSTM'],
)
def test_per_gate_calls_once_a_gate(call):
    shapes = []
    call(PerGate(lambda array: shapes.append(array.shape)))
    assert shapes == [(UNITS, 3)] * 4


def test_per_gate_calls_in_the_order_a_i_f_o():
    numbers = iter(range(1, 5))

    def number(array):
        array[...] = next(numbers)

    W = numpy.zeros((4 * UNITS, 3))
    PerGate(number)(W)
    numpy.testing.assert_array_equal(W, numpy.tile([[1.0], [2.0], [3.0], [4.0]], (UNITS, 3)))


@pytest.mark.parametrize('layout', LAYOUTS.values(), ids=LAYOUTS.keys())
def test_per_gate_sets_arrays_of_any_layout(xp, layout):
    W = layout(xp, xp.zeros((4 * UNITS, UNITS), 'f'))
    PerGate(initializers.Orthogonal(scale=1))(W)
    assert all(is_orthogonal(W[gate::4]) for gate in range(4))


@pytest.mark.parametrize('dtype', 'efd')
def test_per_gate_keeps_the_dtype(dtype):
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        link = links.LSTM(3, UNITS, lateral_init=PerGate(initializers.Orthogonal(scale=1)))
    assert link.lateral.W.dtype == dtype
    assert dtype == 'e' or all(is_orthogonal(link.lateral.W.array[gate::4]) for gate in range(4))


@pytest.mark.parametrize('wrong', [None, 0.5, 'Orthogonal', [1.0], numpy.zeros(3)], ids=str)
def test_per_gate_of_no_callable(wrong):
    with pytest.raises(TypeError, match='expected a callable initializer, got '):
        PerGate(wrong)


def test_per_gate_of_rows_that_are_no_gates():
    W = numpy.zeros((4 * UNITS + 1, 3))
    with pytest.raises(ValueError):
        PerGate(initializers.One())(W)
    assert not W.any()


H = uniform(UNITS, 'f')


@pytest.mark.parametrize('arguments, expected', [
    ((), (0, 0, 0, 0)),
    ((0.5,), (0.5, 0.5, 0.5, 0.5)),
    ((None, 1), (0, 0, 1, 0)),
    ((-1, 2), (-1, -1, 2, -1)),
    ((1, 0), (1, 1, 0, 1)),
    ((H,), (H, H, H, H)),
    ((None, H), (0, 0, H, 0)),
    ((H, numpy.float32(2)), (H, H, 2, H)),
    ((initializers.One(), initializers.Constant(3)), (1, 1, 3, 1)),
], ids=['defaults', 'number', 'forget number', 'both', 'forget 0', 'array', 'forget array', 'mixed',
        'callables'])  # fmt: skip
def test_gate_bias(xp, arguments, expected):
    for layout in (xp.empty(4 * UNITS, 'f'), xp.empty(8 * UNITS, 'f')[::2]):
        GateBias(*(xp.asarray(x) if isinstance(x, numpy.ndarray) else x for x in arguments))(layout)
        for gate, value in enumerate(expected):
            numpy.testing.assert_array_equal(cuda.to_cpu(layout)[gate::4], value)


def test_gate_bias_draws_every_gate():
    b = numpy.zeros(4 * UNITS)
    GateBias(initializers.Normal(1), initializers.Uniform(0.1))(b)
    assert len(set(b)) == 4 * UNITS
    assert abs(b[2::4]).max() <= 0.1 < abs(b).max()


@pytest.mark.parametrize('dtype', 'efd')
def test_gate_bias_of_a_linear(dtype):
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        linear = L.Linear(3, 4 * UNITS, initial_bias=GateBias(0.25, 1))
    assert linear.b.dtype == dtype
    numpy.testing.assert_array_equal(linear.b.array, [0.25, 0.25, 1, 0.25] * UNITS)


@pytest.mark.parametrize('arguments', [([0.0],), (None, {})], ids=['bias', 'forget bias'])
def test_gate_bias_of_no_initializer(arguments):
    with pytest.raises(TypeError, match='bias_init to be None, a number, an array or a callable'):
        GateBias(*arguments)


def test_gate_bias_of_another_length():
    with pytest.raises(ValueError, match='broadcast'):
        GateBias(numpy.zeros(UNITS + 1))(numpy.zeros(4 * UNITS))


@pytest.mark.parametrize(
    'init, shape',
    [
        (PerGate(initializers.One()), (4 * UNITS, 2)),
        (GateBias(1, 2), (4 * UNITS,)),
    ],
    ids=['PerGate', 'GateBias'],
)
def test_initializers_can_be_pickled(init, shape):
    arrays = numpy.zeros(shape), numpy.zeros(shape)
    init(arrays[0])
    pickle.loads(pickle.dumps(init))(arrays[1])
    numpy.testing.assert_array_equal(*arrays)
    assert arrays[0].any()
