"""``step`` and ``sequence`` with every cell, those that only the tests know included, against loops
in float64 and finite differences, on every engine.
"""

import collections
import dataclasses

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check
from chainer.utils.type_check import InvalidType

from chainer_lstm import cells, functions, kernels
from chainer_lstm.cells import sigmoid
from chainer_lstm.functions.chain import Chain
from chainer_lstm.kernels import native
from tests.cells import coupled, gru, zoneout
from tests.cells.coupled import Coupled
from tests.conftest import assert_close, gradients, uniform, uniforms, variables
from tests.functions import test_chained_steps as chained
from tests.fuzz import chainers, loops
from tests.kernels import cuda_on_cpu

INPUT, UNITS = 3, 4


class Undifferentiated(Coupled):
    """Chainer differentiates it."""

    backward = None


@dataclasses.dataclass(frozen=True)
class Dropped(Coupled):
    """With recurrent dropout (Semeniuta et al. 2016): noise, and a ``backward`` that reads it."""

    ratio: float = 0.4

    name = 'dropped'
    noise = ('keep',)

    def draw(self, xp, shape, dtype):
        return [(xp.random.rand(*shape) >= self.ratio).astype(dtype)]

    def forward(self, xp, gates, before, keep=1):
        a, f, o = xp.tanh(gates.a), sigmoid(xp, gates.f), sigmoid(xp, gates.o)
        c = f * before.c + (1 - f) * a * keep
        return (a, f, o), self.State(c, o * xp.tanh(c))

    def backward(self, xp, gates, before, new, gradients, keep=1):
        a, f, o = gates
        (_, _, go), state = super().backward(xp, gates, before, new, gradients)
        t = xp.tanh(new.c)
        gc = gradients.c + gradients.h * o * (1 - t * t)
        gf = gc * (before.c - a * keep) * f * (1 - f)
        return (gc * (1 - f) * (1 - a * a) * keep, gf, go), state


CELLS = {
    'lstm': (cells.lstm, 'lstm'),
    'peephole': (cells.peephole, 'peephole'),
    'coupled': (coupled, 'coupled'),
    'coupled without backward': (Undifferentiated(), 'coupled'),
    'gru': (gru, 'gru'),
    'zoneout in evaluation': (zoneout, 'lstm'),
    'dropped in evaluation': (Dropped(), 'coupled'),
}
NOISY = pytest.mark.parametrize('cell', [zoneout, Dropped()], ids=lambda cell: cell.name)
BATCHES = {'equal': (3, 3, 3), 'shrinking': (4, 2, 2, 1), 'one step': (2,), 'empty steps': (2, 0)}


@pytest.fixture(params=['numpy', 'native', 'cuda'])
def engine(request, monkeypatch):
    """The name of an engine that everything is computed by."""
    if request.param == 'cuda':
        if cuda_on_cpu.missing() is not None:
            pytest.skip(cuda_on_cpu.missing())
        engine = cuda_on_cpu.engine(monkeypatch)
        # aligned as CuPy's
        engine.xp.empty_like = lambda x, order='C': engine.xp.empty(x.shape, x.dtype)
        monkeypatch.setattr(kernels, 'engine_of', lambda *args: engine)
        yield request.param
        engine.xp.check_guards()
        return
    if request.param == 'native' and native.library() is None:
        pytest.skip('the native engine was not built')
    with chainer.using_config('lstm_engine', request.param):
        yield request.param


@pytest.fixture(params=CELLS)
def case(request):
    """A cell, and its step as a loop."""
    cell, loop = CELLS[request.param]
    with chainer.using_config('train', 'evaluation' not in request.param):
        yield cell, loops.STEPS[loop]


def state_of(cell, batch, more=0, dtype='d', groups=None):
    """Random states; all but the last one have further rows."""
    outer = () if groups is None else (groups,)
    rows = [batch + more] * (len(cell.states) - 1) + [batch]
    return variables(uniform((*outer, n, UNITS), dtype, seed=50 + k) for k, n in enumerate(rows))


def weights_of(cell, inputs=INPUT, dtype='d', seed=0):
    shapes = cell.shapes(inputs, UNITS).values()
    return variables(uniform(shape, dtype, seed=seed + k) for k, shape in enumerate(shapes))


def arrays(values):
    return [v.array for v in values]


# A step


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('more', [0, 2], ids=['same rows', 'rows more'])
def test_step_equals_the_loop(case, engine, dtype, more):
    cell, loop = case
    state, weights = state_of(cell, 3, more, dtype), weights_of(cell, dtype=dtype)
    x = chainer.Variable(uniform((3, INPUT), dtype))
    expected = loop(*arrays(state), x.array, *arrays(weights))
    found = functions.step(cell, state, x, weights)
    assert type(found) is cell.State
    assert_close(found, [y.astype(dtype) for y in expected])


@pytest.mark.parametrize('dtype', 'efd')
def test_step_equals_the_loop_with_weights_of_another_dtype(case, engine, dtype):
    cell, loop = case
    state, x = state_of(cell, 3, 0, dtype), uniform((3, INPUT), dtype)
    weights = [w if w.ndim > 1 else F.cast(w, dtype) for w in weights_of(cell, dtype='f')]
    expected = loop(*arrays(state), x, *arrays(weights))
    assert_close(functions.step(cell, state, x, weights), [y.astype(dtype) for y in expected])


def step_function(cell):
    """``step`` of arrays alone."""
    count = len(cell.states)

    def function(*inputs):
        return tuple(functions.step(cell, inputs[:count], inputs[count], inputs[count + 1 :]))

    return function


def step_inputs(cell, more):
    given = [*state_of(cell, 3, more), uniform((3, INPUT)), *weights_of(cell)]
    return tuple(v if isinstance(v, numpy.ndarray) else v.array for v in given)


def check(function, inputs, outputs, double):
    """Compare gradients, or second gradients, with finite differences."""
    gys = tuple(uniforms([y.shape for y in outputs]))
    options = {'dtype': 'd', 'atol': 1e-5, 'rtol': 1e-5}
    if double:
        ggxs = tuple(uniforms([x.shape for x in inputs]))
        gradient_check.check_double_backward(function, inputs, gys, ggxs, **options)
    else:
        gradient_check.check_backward(function, inputs, gys, **options)


@pytest.mark.parametrize('double', [False, True], ids=['gradients', 'second gradients'])
@pytest.mark.parametrize('more', [0, 2], ids=['same rows', 'rows more'])
def test_finite_differences_of_a_step(case, engine, more, double):
    cell, _ = case
    function, inputs = step_function(cell), step_inputs(cell, more)
    check(function, inputs, function(*inputs), double)


@pytest.mark.parametrize('dtype', 'efd')
def test_gradients_of_a_step_do_not_depend_on_how_they_are_made(case, engine, dtype):
    cell, _ = case
    state, weights = state_of(cell, 3, 2, dtype), weights_of(cell, dtype=dtype)
    inputs = [*state, chainer.Variable(uniform((3, INPUT), dtype)), *weights]
    outputs = step_function(cell)(*inputs)
    assert_ways_agree(outputs, inputs)


def assert_ways_agree(outputs, inputs):
    """Backward once, again, and twice differentiable."""
    once = gradients(outputs, inputs)
    assert_close(gradients(outputs, inputs), once)
    assert_close(gradients(outputs, inputs, 2)[: len(once)], once)


# Chains of steps


class Chains(chained.Run):
    """Steps of any cell; a cell whose only state is h has it for c, too."""

    def __init__(self, cell, plain):
        super().__init__(self._plain if plain else self._step, 3)
        self.cell = cell
        self.weights = [chainer.Parameter(w.array) for w in weights_of(cell)]

    def _step(self, c, h, x, *weights):
        if 'c' in self.cell.states:
            return functions.step(self.cell, (c, h), x, weights)
        new = functions.step(self.cell, (self._rows(c, x),), x, weights).h
        return new, new

    def _plain(self, c, h, x, *weights):
        if 'c' in self.cell.states:
            return chainers.STEPS[self.cell.name](c, h, x, *weights)
        (new,) = chainers.gru_step(self._rows(c, x), x, *weights)
        return new, new

    def _rows(self, h, x):
        return h if len(h) == len(x) else h[: len(x)]


STEPPED = pytest.mark.parametrize(
    'cell',
    [cells.lstm, cells.peephole, coupled, Undifferentiated(), gru],
    ids=['lstm', 'peephole', 'coupled', 'coupled without backward', 'gru'],
)


@STEPPED
@pytest.mark.parametrize('limits', [{}, {'LONGEST': 2}, {'LARGEST': 200}], ids=str)
@pytest.mark.parametrize('scenario', chained.SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_chains_equal_plain_functions(monkeypatch, scenario, limits, cell):
    for name, value in limits.items():
        monkeypatch.setattr(Chain, name, value)
    found, expected = (scenario(Chains(cell, plain)) for plain in (False, True))
    assert_close(found, expected)


@pytest.mark.parametrize('cell', [cells.lstm, cells.peephole, coupled, gru], ids=lambda c: c.name)
@pytest.mark.parametrize('scenario', [chained.from_given_state, chained.branches_from_one_state])
def test_each_weight_costs_one_product_a_chain(monkeypatch, cell, scenario):
    calls = chained.count_weight_products(monkeypatch)
    scenario(Chains(cell, False))
    assert sorted(calls) == sorted(cell.weights)


@pytest.mark.parametrize('cell', [cells.lstm, cells.peephole, coupled, gru], ids=lambda c: c.name)
def test_shrinking_batches_are_one_chain_through_c(monkeypatch, cell):
    """h is cut where a batch is smaller, which ends a chain through it."""
    calls = chained.count_weight_products(monkeypatch)
    chained.shrinking_batches(Chains(cell, False))
    through_h = {'peephole': ('P_o',), 'gru': gru.weights}.get(cell.name, ())
    expected = {name: 4 if name in through_h else 1 for name in cell.weights}
    assert collections.Counter(calls) == expected


@pytest.mark.parametrize('cell', [cells.lstm, cells.peephole, coupled, gru], ids=lambda c: c.name)
def test_a_chain_longer_than_the_limit_is_folded(monkeypatch, cell):
    """The product of a part for each weight, and one of what is left."""
    monkeypatch.setattr(Chain, 'LONGEST', 4)
    calls = chained.count_weight_products(monkeypatch)
    run = Chains(cell, False)
    chained.loss(run.steps(run.c0, run.h0, run.xs[:1] * 10)[1][-1]).backward()
    assert sorted(calls) == sorted(3 * cell.weights)


def test_steps_of_cells_with_other_sizes_are_two_chains(monkeypatch):
    """Cells are the same if their class and sizes are."""
    calls = chained.count_weight_products(monkeypatch)
    weights, x = weights_of(coupled), uniform((3, INPUT))
    with chainer.using_config('train', False):
        state = state_of(coupled, 3)
        for ratio in (0.1, 0.1, 0.2):
            state = functions.step(Dropped(ratio), state, x, weights)
        gradients(state, weights)
    assert sorted(calls) == sorted(2 * coupled.weights)


# Sequences


class Stack:
    """The inputs of a stack, and its outputs."""

    def __init__(self, cell, batches, layers=1, directions=1, more=0, dtype='d'):
        self.cell, self.directions, self.sizes = cell, directions, batches
        rows = batches[0] + more
        shapes = [(layers * directions, rows, UNITS)] * len(cell.states)
        shapes += [(n, INPUT) for n in batches]
        self.states, self.xs = [], []
        for k, shape in enumerate(shapes):
            (self.states if k < len(cell.states) else self.xs).append(
                chainer.Variable(uniform(shape, dtype, seed=100 + k))
            )
        self.weights = [
            weights_of(cell, INPUT if k < directions else directions * UNITS, dtype, seed=10 * k)
            for k in range(layers * directions)
        ]

    @property
    def inputs(self):
        return [*self.states, *self.xs, *(w for group in self.weights for w in group)]

    def function(self, *inputs, **options):
        """``sequence`` of its inputs, flat."""
        count, steps = len(self.states), len(self.xs)
        flat, size = inputs[count + steps :], len(self.cell.weights)
        new, ys = functions.sequence(
            self.cell,
            inputs[:count],
            inputs[count : count + steps],
            [flat[k : k + size] for k in range(0, len(flat), size)],
            bidirectional=self.directions == 2,
            **options,
        )
        assert type(new) is self.cell.State
        return (*new, *ys)

    def outputs(self, **options):
        return self.function(*self.inputs, **options)

    def expected(self, loop):
        new, ys = loops.stack(
            loop,
            arrays(self.states),
            arrays(self.xs),
            [arrays(group) for group in self.weights],
            self.directions,
        )
        return [y.astype(self.xs[0].dtype) for y in (*new, *ys)]


LAYERS = pytest.mark.parametrize(
    ('layers', 'directions'), [(1, 1), (1, 2), (2, 1), (3, 2)], ids=str
)


@LAYERS
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('batches', BATCHES.values(), ids=BATCHES)
def test_sequence_equals_the_loop(case, engine, batches, dtype, layers, directions):
    cell, loop = case
    stack = Stack(cell, batches, layers, directions, 2, dtype)
    expected = stack.expected(loop)
    assert_close(stack.outputs(dropout=0.0), expected)
    with chainer.no_backprop_mode():
        assert_close(stack.outputs(), expected)


def test_a_dense_array_is_the_list_of_its_steps(case, engine):
    cell, _ = case
    stack = Stack(cell, (3, 3, 3), 1, 2)
    new, ys = functions.sequence(
        cell, stack.states, F.stack(stack.xs), stack.weights, bidirectional=True
    )
    found, expected = [*new, *F.separate(ys)], stack.outputs()
    assert_close(found, expected)
    assert_close(gradients(found, stack.inputs), gradients(expected, stack.inputs))


def test_states_of_one_layer_may_lack_its_axis(case, engine):
    cell, _ = case
    stack = Stack(cell, (3, 2), more=1)
    new, ys = functions.sequence(cell, [s[0] for s in stack.states], stack.xs, stack.weights)
    found, expected = [*(s[None] for s in new), *ys], stack.outputs()
    assert_close(found, expected)
    assert_close(gradients(found, stack.inputs), gradients(expected, stack.inputs))


@pytest.mark.parametrize('double', [False, True], ids=['gradients', 'second gradients'])
@pytest.mark.parametrize(
    ('layers', 'directions', 'batches'), [(1, 1, (3, 2)), (2, 2, (3, 3, 1))], ids=str
)
def test_finite_differences_of_a_sequence(case, engine, layers, directions, batches, double):
    cell, _ = case
    stack = Stack(cell, batches, layers, directions, 1)
    check(stack.function, tuple(arrays(stack.inputs)), stack.outputs(), double)


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('batches', BATCHES.values(), ids=BATCHES)
def test_gradients_of_a_sequence_do_not_depend_on_how_they_are_made(case, engine, batches, dtype):
    cell, _ = case
    stack = Stack(cell, batches, 2, 2, 1, dtype)
    assert_ways_agree(stack.outputs(), stack.inputs)


def test_a_sequence_is_its_steps(case, engine):
    """Values, gradients and second gradients."""
    cell, _ = case
    stack = Stack(cell, (3, 3, 3))
    state, hs = cell.State(*(s[0] for s in stack.states)), []
    for x in stack.xs:
        state = functions.step(cell, state, x, stack.weights[0])
        hs.append(state.h)
    expected, found = [*(s[None] for s in state), *hs], stack.outputs()
    assert_close(found, expected)
    inputs = stack.inputs
    assert_close(gradients(found, inputs, 2), gradients(expected, inputs, 2))


def test_gradients_by_some_inputs(case, engine):
    cell, _ = case
    stack = Stack(cell, (3, 2), 2)
    whole = gradients(stack.outputs(), stack.inputs)
    for k, variable in enumerate(stack.inputs):
        assert_close(gradients(stack.outputs(), [variable]), [whole[k]])


def test_loss_on_one_output(case, engine):
    cell, _ = case
    stack = Stack(cell, (3, 2), 1, 2)
    for k, y in enumerate(stack.outputs()):
        found = gradients([y], stack.inputs)
        assert_close(gradients([stack.outputs()[k]], stack.inputs, 2)[: len(found)], found)


@STEPPED
def test_dropout_between_layers_is_drawn_once(cell):
    stack = Stack(cell, (3, 2), 3)
    outputs = stack.outputs(dropout=0.5)
    assert_ways_agree(outputs, stack.inputs)
    plain = stack.outputs()
    assert any((a.array != b.array).any() for a, b in zip(outputs, plain))
    with chainer.using_config('train', False):
        assert_close(stack.outputs(dropout=0.5), plain)


# Noise


@NOISY
def test_finite_differences_with_the_same_noise(cell, engine):
    stack = Stack(cell, (3, 3, 1), 2, 2)

    def sequence(*inputs):
        numpy.random.seed(7)
        return stack.function(*inputs)

    def step(*inputs):
        numpy.random.seed(7)
        return step_function(cell)(*inputs)

    inputs = step_inputs(cell, 0)
    for double in (False, True):
        check(sequence, tuple(arrays(stack.inputs)), stack.outputs(), double)
        check(step, inputs, step(*inputs), double)


@NOISY
@pytest.mark.parametrize('dtype', 'efd')
def test_noise_is_drawn_once(cell, engine, dtype):
    """The same for forward, backward, a second one, and gradients of gradients."""
    stack = Stack(cell, (3, 3, 1), 2, 2, 1, dtype)
    state, weights = state_of(cell, 3, 0, dtype), weights_of(cell, dtype=dtype)
    x = chainer.Variable(uniform((3, INPUT), dtype))
    outputs = stack.outputs()
    of_step = functions.step(cell, state, x, weights)
    drawn = numpy.random.get_state()[1:3]
    assert_ways_agree(outputs, stack.inputs)
    assert_ways_agree(of_step, [*state, x, *weights])
    assert_same_numbers(drawn)


def assert_same_numbers(before):
    (keys, position), (now, at) = before, numpy.random.get_state()[1:3]
    assert position == at and (keys == now).all(), 'something was drawn'


@NOISY
def test_each_call_draws_anew(cell, engine):
    stack, state, weights = Stack(cell, (4, 4)), state_of(cell, 4), weights_of(cell)
    for call in (
        stack.outputs,
        lambda: functions.step(cell, state, uniform((4, INPUT)), weights),
    ):
        assert any((a.array != b.array).any() for a, b in zip(call(), call()))


@NOISY
def test_noise_of_each_row_layer_and_direction_is_its_own(cell):
    shapes = []

    class Counted(type(cell)):
        def draw(self, xp, shape, dtype):
            shapes.append((shape, dtype))
            return super().draw(xp, shape, dtype)

    Stack(Counted(), (3, 2), 2, 2, dtype='e').outputs()
    assert shapes == [((5, UNITS), numpy.float32)] * 4


@NOISY
def test_nothing_is_drawn_in_evaluation(cell, engine):
    drawn = numpy.random.get_state()[1:3]
    stack, state, weights = Stack(cell, (3, 2)), state_of(cell, 3), weights_of(cell)
    with chainer.using_config('train', False):
        outputs = stack.outputs()
        gradients(outputs, stack.inputs, 2)
        gradients(functions.step(cell, state, uniform((3, INPUT)), weights), weights, 2)
    assert_same_numbers(drawn)


@NOISY
@pytest.mark.parametrize('train', [True, False], ids=['in training', 'in evaluation'])
def test_backward_keeps_to_the_mode_of_forward(cell, engine, train, request):
    if not train and cell.backward is not None:
        reason = 'a sequence that is computed again draws noise if the mode of backward is training'
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    stack, state, weights = Stack(cell, (3, 2)), state_of(cell, 3), weights_of(cell)
    with chainer.using_config('train', train):
        outputs = stack.outputs()
        of_step = functions.step(cell, state, uniform((3, INPUT)), weights)
        expected = gradients(outputs, stack.inputs), gradients(of_step, weights)
    drawn = numpy.random.get_state()[1:3]
    with chainer.using_config('train', not train):
        assert_ways_agree(outputs, stack.inputs)
        assert_ways_agree(of_step, weights)
        assert_close(gradients(outputs, stack.inputs), expected[0])
        assert_close(gradients(of_step, weights), expected[1])
    assert_same_numbers(drawn)


# Errors

MISFITS = {
    'one state': ('state', lambda s: s[:1], ValueError, 'state to be c, h, got 1 arrays'),
    'three states': ('state', lambda s: [*s, s[0]], ValueError, 'state to be c, h, got 3 arrays'),
    'no list of states': ('state', lambda s: s[0], TypeError, 'state .* got Variable'),
    'two weights': ('weights', lambda w: w[:2], ValueError, 'to be W, b, U, got 2 arrays'),
    'four weights': ('weights', lambda w: [*w, w[0]], ValueError, 'to be W, b, U, got 4 arrays'),
    'no list of weights': ('weights', lambda w: w[0], TypeError, 'weights .* got Variable'),
    'no cell': ('cell', lambda cell: None, TypeError, 'expected cell .* got None'),
    'a class': ('cell', lambda cell: type(cell), TypeError, 'expected cell .* got <class'),
    'W of another width': ('weights', lambda w: [w[0][:, :2], *w[1:]], InvalidType, '3 != 2'),
    'W of other gates': ('weights', lambda w: [w[0][:9], *w[1:]], InvalidType, '9 != 12'),
    'W of one axis': ('weights', lambda w: [w[1], *w[1:]], InvalidType, '1 != 2'),
    'b of another length': ('weights', lambda w: [w[0], w[1][:9], w[2]], InvalidType, '9 != 12'),
    'U of another width': ('weights', lambda w: [*w[:2], w[2][:, :3]], InvalidType, '3 != 4'),
    'U of other gates': ('weights', lambda w: [*w[:2], w[2][:8]], InvalidType, '8 != 12'),
    'x of one axis': ('x', lambda x: x[0], InvalidType, '1 != 2'),
    'h of more rows': ('state', lambda s: [s[0], F.repeat(s[1], 2, axis=0)], InvalidType, '6 != 3'),
    'c of fewer rows': ('state', lambda s: [s[0][:2], s[1]], InvalidType, '3 > 2'),
    'h of other units': ('state', lambda s: [s[0], s[1][:, :3]], InvalidType, '3 != 4'),
    'x of another dtype': ('x', lambda x: F.cast(x, 'f'), InvalidType, 'float64 != float32'),
    'integers': ('x', lambda x: x.array.astype('i'), InvalidType, 'i != f'),
    'h of another dtype': (
        'state',
        lambda s: [s[0], F.cast(s[1], 'f')],
        InvalidType,
        'float32 != float64',
    ),
    'a list for x': ('x', lambda x: [1.0], TypeError, 'x .* got list'),
    'no c': ('state', lambda s: [None, s[1]], TypeError, 'c .* got NoneType'),
}


@pytest.mark.parametrize('misfit', MISFITS)
def test_what_a_step_refuses(misfit):
    name, change, error, message = MISFITS[misfit]
    given = {
        'cell': coupled,
        'state': state_of(coupled, 3),
        'x': chainer.Variable(uniform((3, INPUT))),
        'weights': weights_of(coupled),
    }
    with pytest.raises(error, match=message):
        functions.step(**{**given, name: change(given[name])})


def test_what_a_step_of_a_cell_with_a_bias_refuses():
    W, b, U, d = weights_of(gru)
    x, (h,) = uniform((3, INPUT)), state_of(gru, 3)
    with pytest.raises(InvalidType, match='9 != 12'):
        functions.step(gru, (h,), x, (W, b, U, d[:9]))
    with pytest.raises(InvalidType, match='float32 != float64'):
        functions.step(gru, (h,), x, (W, b, U, F.cast(d, 'f')))
    with pytest.raises(ValueError, match='state to be h, got 2 arrays'):
        functions.step(gru, (h, h), x, (W, b, U, d))
    with pytest.raises(TypeError, match='h .* got NoneType'):
        functions.step(gru, (None,), x, (W, b, U, d))


SEQUENCE_MISFITS = {
    'one state': ('states', lambda s: s[:1], ValueError, 'states c, h, got 1 arrays'),
    'no list of states': ('states', lambda s: s[0], TypeError, 'states .* got Variable'),
    'no cell': ('cell', lambda cell: 'coupled', TypeError, "expected cell .* got 'coupled'"),
    'two weights': (
        'weights',
        lambda w: [w[0][:2], w[1]],
        ValueError,
        r'weights\[0\] to be W, b, U of coupled, got 2 arrays',
    ),
    'weights of another cell': (
        'weights',
        lambda w: [weights_of(cells.lstm), w[1]],
        ValueError,
        r'expected weights\[0\] of shapes \[\(12, 3\), \(12,\), \(12, 4\)\], got \[\(16, 3\)',
    ),
    'W of another width': (
        'weights',
        lambda w: [w[0], w[0]],
        ValueError,
        r'expected weights\[1\] of shapes \[\(12, 4\), .* got \[\(12, 3\)',
    ),
    'odd number of layers': (
        'weights',
        lambda w: [*w, *w, w[0]],
        ValueError,
        r'expected hx of shape \(5, at least 3, 4\), got \(2, 3, 4\)',
    ),
    'states of other units': (
        'states',
        lambda s: [s[0], s[1][:, :, :3]],
        ValueError,
        r'expected hx of shape \(2, at least 3, 4\), got \(2, 3, 3\)',
    ),
    'states of fewer rows': (
        'states',
        lambda s: [s[0], s[1][:, :2]],
        ValueError,
        r'expected hx of shape \(2, at least 3, 4\), got \(2, 2, 4\)',
    ),
    'growing batches': ('xs', lambda xs: xs[::-1], ValueError, r'do not grow .* got \[2, 3\]'),
    'no steps': ('xs', lambda xs: [], ValueError, 'at least one time step'),
    'a state of another dtype': (
        'states',
        lambda s: [s[0], F.cast(s[1], 'f')],
        InvalidType,
        'float32 != float64',
    ),
    'steps of another dtype': (
        'xs',
        lambda xs: [F.cast(x, 'f') for x in xs],
        InvalidType,
        'float64 != float32',
    ),
    'dropout': ('dropout', lambda dropout: 1, ValueError, 'dropout .* got 1'),
}


@pytest.mark.parametrize('misfit', SEQUENCE_MISFITS)
def test_what_a_sequence_refuses(misfit):
    name, change, error, message = SEQUENCE_MISFITS[misfit]
    stack = Stack(coupled, (3, 2), 2)
    given = {
        'cell': coupled,
        'states': stack.states,
        'xs': stack.xs,
        'weights': stack.weights,
        'dropout': 0.0,
    }
    with pytest.raises(error, match=message):
        functions.sequence(**{**given, name: change(given[name])})
