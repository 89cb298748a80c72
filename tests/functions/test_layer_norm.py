"""Layer normalization with other options of an LSTM, beside torch, and its errors."""

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm import functions, links
from chainer_lstm.cells import LSTMVariant, Norm, Product
from tests.functions.cell_cases import (
    Stack,
    arrays,
    assert_ways_agree,
    check,
    state_of,
    step_function,
    step_inputs,
    weights_of,
)
from tests.support.arrays import assert_close, gradients, uniform, uniforms, variables
from tests.support.links import INPUT, UNITS
from tests.support.reference import sigmoid

pytestmark = pytest.mark.pairwise

COMBINED = {
    'coupled': {'coupled': True},
    'clip': {'cell_clip': 0.4},
    'zoneout': {'zoneout': (0.3, 0.2)},
    'peephole': {'peephole': 'diagonal'},
    'recurrent dropout': {'recurrent_dropout': 0.4},
    'hard sigmoid': {'recurrent_activation': 'hard_sigmoid'},
    'projected': {'outputs': 3, 'recurrent_dropout': 0.4},
    'all': {
        'coupled': True,
        'cell_clip': 0.4,
        'zoneout': (0.3, 0.2),
        'peephole': 'diagonal',
        'recurrent_dropout': 0.4,
    },
}

TORCH_H = [
    [0.0989671, -0.4538130, 0.0606697, 0.3451471],
    [-0.1431637, -0.3363872, 0.1662071, 0.2403540],
]
TORCH_NORMS = [  # of W, b, U, γ_x, γ_h, γ_c, β_c
    *(0.3188778, 0.4672454, 0.3498334, 0.2713787, 0.1762228, 0.6393490, 0.5487839),
    *(0.6419393, 1.2274760, 0.2183450, 0.4194216, 0.5716905, 1.1726442, 0.9897453),
]


@pytest.fixture(params=COMBINED.values(), ids=COMBINED)
def cell(request):
    return LSTMVariant(layer_norm=True, **request.param)


@pytest.mark.parametrize('double', [False, True], ids=['gradients', 'second gradients'])
def test_finite_differences(cell, engine, double):
    stack = Stack(cell, (3, 3, 1), 2, 2)

    def with_same_noise(function):
        def run(*inputs):
            numpy.random.seed(7)
            return function(*inputs)

        return run

    sequence, step = with_same_noise(stack.function), with_same_noise(step_function(cell))
    check(sequence, tuple(arrays(stack.inputs)), stack.outputs(), double)
    inputs = step_inputs(cell, 2)
    check(step, inputs, step(*inputs), double)


@pytest.mark.parametrize('dtype', 'fd')
def test_gradients_do_not_depend_on_how_they_are_made(cell, engine, dtype):
    stack = Stack(cell, (3, 3, 1), 2, 2, 1, dtype)
    assert_ways_agree(stack.outputs(), stack.inputs)


def test_a_first_step_without_h(engine):
    cell = LSTMVariant(layer_norm=True)
    (c, _), weights = state_of(cell, 3), weights_of(cell)
    x, zeros = (chainer.Variable(uniform((3, n))) for n in (INPUT, UNITS))
    zeros.array[...] = 0
    inputs = [c, x, *weights]
    found, expected = (functions.step(cell, (c, h), x, weights) for h in (None, zeros))
    assert_close(found, expected)
    assert_close(gradients(expected, inputs, 2), gradients(expected, inputs, 2))
    wanted = [v for v, name in zip(weights, cell.weights) if name not in ('U', 'gamma_h')]
    assert_close(gradients(found, wanted, 2), gradients(expected, wanted, 2))


@pytest.mark.parametrize('steps', [1, 5])  # steps, and the kernel of sequences
def test_one_unit_has_no_gradient_through_its_normalization(engine, steps):
    """It becomes 0 whatever it was, so no h depends on any c."""
    cell = LSTMVariant(layer_norm=True)
    shapes = [(9, 1), (9, 1), *cell.shapes(INPUT, 1).values(), *((9, INPUT),) * steps]
    inputs = variables(uniforms(shapes, 'f'))
    c, h, weights, xs = *inputs[:2], inputs[2:-steps], inputs[-steps:]
    _, ys = functions.sequence(cell, [s[None] for s in (c, h)], xs, [weights])
    outputs = [*ys, functions.step(cell, (c, h), xs[0], weights).h]
    for y in outputs:
        (gc,) = chainer.grad([y], [c], [chainer.Variable(uniform(y.shape, 'f', seed=9))])
        numpy.testing.assert_array_equal(gc.array, 0)


def test_epsilon():
    cell = LSTMVariant(layer_norm=True, layer_norm_epsilon=0.25)
    state, weights, x = state_of(cell, 3), weights_of(cell), uniform((3, INPUT))
    W, b, U, gamma_x, gamma_h, gamma_c, beta_c = arrays(weights)
    c, h = arrays(state)

    def normalized(y):
        centred = y - y.mean(1, keepdims=True)
        return centred / numpy.sqrt((centred**2).mean(1, keepdims=True) + 0.25)

    pre = normalized(x @ W.T) * gamma_x + normalized(h @ U.T) * gamma_h + b
    a, i, f, o = (pre[:, gate::4] for gate in range(4))
    c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(a)
    h = sigmoid(o) * numpy.tanh(normalized(c) * gamma_c + beta_c)
    assert_close(functions.step(cell, state, x, weights), (c, h))


def test_a_cell_that_is_differentiated_by_chainer(engine):
    class Plain(LSTMVariant):
        backward = None

    plain, cell = (Stack(kind(layer_norm=True), (3, 2), 2) for kind in (Plain, LSTMVariant))
    assert_close(plain.outputs(), cell.outputs())
    assert_close(gradients(plain.outputs(), plain.inputs), gradients(cell.outputs(), cell.inputs))


@pytest.mark.parametrize(
    'rows', [(), (numpy.ones((3, UNITS)),), (numpy.ones((3, UNITS)), numpy.ones((3, 1)))]
)
def test_backward_without_rows_of_vectors(rows):
    class Wrong(LSTMVariant):
        def backward(self, *args, **more):
            return *super().backward(*args, **more)[:2], rows

    cell = Wrong(layer_norm=True)
    state = functions.step(cell, state_of(cell, 3), uniform((3, INPUT)), weights_of(cell))
    with pytest.raises(ValueError, match='backward: expected gamma_c, beta_c of shape'):
        F.sum(state.h).backward()


def test_initial_weights():
    link = links.SequenceLSTM(INPUT, UNITS, layer_norm=True, bias_init=0.5).l0
    for name, value in (('gamma_x', 1), ('gamma_h', 1), ('gamma_c', 1), ('beta_c', 0)):
        assert (getattr(link, name).array == value).all()
    assert (link.b.array[3::4] == 0.5).all()


def test_equals_a_loop_in_torch():
    """Two layers: h of the last step and the norms of the gradients of Σ y², of torch 2.13.0 in
    float64: with LN = torch.nn.functional.layer_norm, gates LN(x Wᵀ, γ_x) + LN(h Uᵀ, γ_h) + b and
    h = o tanh(LN(c, γ_c, β_c)) in a loop.
    """
    with chainer.using_config('dtype', numpy.float64):
        link = links.SequenceLSTM(INPUT, UNITS, n_layers=2, layer_norm=True, return_sequences=True)
    weights = [w for child in link.cells() for w in child.cell_weights()]
    for k, w in enumerate(weights):
        w.array[...] = uniform(w.shape, 'f', seed=k)
    y = link(uniform((2, 3, INPUT), 'f').astype('d'))
    link.cleargrads()
    F.sum(y * y).backward()
    numpy.testing.assert_allclose(y.array[:, -1], TORCH_H, atol=1e-6)
    norms = [numpy.linalg.norm(w.grad) for w in weights]
    numpy.testing.assert_allclose(norms, TORCH_NORMS, atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'layer_norm': 'rows'}, "expected layer_norm to be one of .*, got 'rows'"),
        ({'layer_norm': True, 'layer_norm_epsilon': 0}, 'layer_norm_epsilon .* positive'),
        ({'layer_norm': True, 'layer_norm_epsilon': -1}, 'layer_norm_epsilon to be from 0'),
        ({'layer_norm': True, 'layer_norm_epsilon': float('nan')}, 'layer_norm_epsilon to be from'),
        ({'layer_norm_epsilon': 1e-3}, 'expected layer_norm with layer_norm_epsilon'),
        ({'layer_norm': True, 'peephole': 'full'}, "peephole='full' alone"),
        ({'layer_norm': True, 'zoneout': (0, 0.5), 'proj_size': 3}, 'outputs'),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        links.SequenceLSTM(INPUT, UNITS, **options)


def test_no_normalized_diagonal_product():
    with pytest.raises(TypeError, match='no norm'):
        Product('P', 'c', ('f',), diagonal=True, norm=Norm('gain'))


@pytest.mark.parametrize('name', ['gamma_x', 'gamma_h', 'gamma_c', 'beta_c'])
@pytest.mark.parametrize('shape', [(1,), (UNITS + 1,), (UNITS, 1)], ids=str)
def test_weights_of_another_shape(name, shape):
    cell = LSTMVariant(layer_norm=True)
    state, x = state_of(cell, 3), chainer.Variable(uniform((3, INPUT)))
    weights = dict(zip(cell.weights, weights_of(cell)))
    weights[name] = chainer.Variable(uniform(shape))
    given = list(weights.values())
    with pytest.raises(chainer.utils.type_check.InvalidType):
        functions.step(cell, state, x, given)
    with pytest.raises(ValueError, match=r'expected weights\[0\]\[\d\] of shape'):
        functions.sequence(cell, state, [x], [given])
