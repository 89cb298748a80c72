"""lstm_sequence against steps of Chainer's plain functions, as test_chained_steps makes them."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check
from chainer.function_hooks import TimerHook
from chainer.utils.type_check import InvalidType
from hypothesis import given, settings
from hypothesis import strategies as st

from chainer_lstm import cells, functions
from chainer_lstm.functions.node import arrays
from chainer_lstm.functions.sequence import apply
from chainer_lstm.functions.sequence_plan import Plan
from chainer_lstm.functions.weights import weights_of
from chainer_lstm.kernels.packing import packing_of_steps
from tests.support import composed
from tests.support.arrays import assert_close, gradients, uniform

pytestmark = pytest.mark.pairwise

BATCHES = {'equal': (3, 3, 3), 'shrinking': (4, 2, 2, 1), 'one step': (2,), 'empty steps': (2, 0)}


class Case:
    """Inputs of a stack, and the stack out of plain functions."""

    def __init__(
        self,
        batches,
        peephole=False,
        layers=2,
        directions=1,
        width=3,
        units=2,
        extra=0,
        dtype='d',
        xp=numpy,
    ):
        self.batches, self.directions, self.units = batches, directions, units
        self.step = composed.peephole_lstm_step if peephole else composed.lstm_step
        batch = max(batches, default=0) + extra
        shapes = [(layers * directions, batch, units)] * 2 + [(n, width) for n in batches]
        self.n_weights = 6 if peephole else 3
        for k in range(layers * directions):
            inputs = width if k < directions else directions * units
            shapes += [
                (4 * units, inputs),
                (4 * units,),
                (4 * units, units),
                *[(units, units)] * (self.n_weights - 3),
            ]
        self.variables = [
            chainer.Variable(uniform(shape, dtype, xp, seed)) for seed, shape in enumerate(shapes)
        ]
        self.hx, self.cx = self.variables[:2]
        self.xs = self.variables[2 : 2 + len(batches)]
        flat = self.variables[2 + len(batches) :]
        self.weights = [flat[k : k + self.n_weights] for k in range(0, len(flat), self.n_weights)]

    def ours(self, **options):
        hy, cy, ys = functions.lstm_sequence(
            self.hx, self.cx, self.xs, self.weights, bidirectional=self.directions == 2, **options
        )
        return [hy, cy, *ys]

    def expected(self):
        hy, cy, ys, outputs = [], [], self.xs, []
        for k, weights in enumerate(self.weights):
            reverse = k % self.directions == 1
            h, c, hs = self.hx[k], self.cx[k], []
            for x in ys[::-1] if reverse else ys:
                n = len(x)
                c, y = self.step(c, h[:n], x, *weights)
                h = F.concat((y, h[n:]), axis=0)
                hs.append(y)
            hy.append(h)
            cy.append(c)
            outputs.append(hs[::-1] if reverse else hs)
            if len(outputs) == self.directions:
                ys = [F.concat(pair, axis=1) for pair in zip(*outputs)]
                outputs = []
        return [F.stack(hy), F.stack(cy), *ys]


@pytest.mark.parametrize('directions', [1, 2])
@pytest.mark.parametrize('peephole', [False, True], ids=['lstm', 'peephole'])
@pytest.mark.parametrize('batches', BATCHES)
@pytest.mark.parametrize('order', [1, 2], ids=['gradients', 'second gradients'])
def test_values_and_gradients(batches, peephole, directions, order, xp):
    case = Case(BATCHES[batches], peephole, directions=directions, extra=1, xp=xp)
    found, expected = case.ours(), case.expected()
    assert_close(found, expected)
    assert_close(
        gradients(found, case.variables, order), gradients(expected, case.variables, order)
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 2),
)
def test_any_shapes(batches, peephole, layers, directions, width, units, extra):
    case = Case(sorted(batches, reverse=True), peephole, layers, directions, width, units, extra)
    found, expected = case.ours(), case.expected()
    assert_close(found, expected)
    assert_close(gradients(found, case.variables), gradients(expected, case.variables))


@pytest.mark.parametrize('dtype', 'efd')
def test_dtypes(dtype):
    case = Case((3, 2), dtype=dtype)
    wide = Case((3, 2), dtype='d')
    for variable, exact in zip(case.variables, wide.variables):
        exact.array[...] = variable.array
    found, expected = case.ours(), wide.expected()
    assert_close(
        [*found, *gradients(found, case.variables)],
        [F.cast(y, dtype) for y in (*expected, *gradients(expected, wide.variables))],
    )


def test_float16_input_with_float32_matrices_stays_float16():
    case = Case((2, 2), layers=1, dtype='e')
    for weights in case.weights:
        weights[0], weights[2] = F.cast(weights[0], 'f'), F.cast(weights[2], 'f')
    assert all(y.dtype == numpy.float16 for y in case.ours())


def test_dense_input_is_the_list_of_its_steps():
    case = Case((3, 3, 3))
    xs = F.stack(case.xs)
    hy, cy, ys = functions.lstm_sequence(case.hx, case.cx, xs, case.weights)
    found, expected = [hy, cy, *F.separate(ys)], case.ours()
    assert_close(found, expected)
    assert_close(gradients(found, case.variables), gradients(expected, case.variables))


@pytest.mark.parametrize('order', [1, 2], ids=['gradients', 'second gradients'])
@pytest.mark.parametrize('dense', [False, True], ids=['list', 'dense'])
def test_states_of_a_single_layer_may_lack_its_axis(dense, order, xp):
    case = Case((3, 3, 3), layers=1, extra=0 if dense else 1, xp=xp)
    xs = F.stack(case.xs) if dense else case.xs
    hy, cy, ys = functions.lstm_sequence(case.hx[0], case.cx[0], xs, case.weights)
    assert hy.shape == cy.shape == case.hx.shape[1:]
    found, expected = [hy[None], cy[None], *ys], case.expected()
    assert_close(found, expected)
    assert_close(
        gradients(found, case.variables, order), gradients(expected, case.variables, order)
    )


USES = {
    'one output': lambda hy, cy, *ys: [ys[1]],
    'first output': lambda hy, cy, *ys: [ys[0]],
    'hy': lambda hy, cy, *ys: [hy],
    'cy': lambda hy, cy, *ys: [cy],
}


@pytest.mark.parametrize('use', USES)
@pytest.mark.parametrize('order', [1, 2])
def test_some_outputs_used(use, order):
    case = Case((3, 2, 1), directions=2)
    found, expected = (
        gradients(USES[use](*outputs), case.variables, order)
        for outputs in (case.ours(), case.expected())
    )
    assert_close(found, expected)


@pytest.mark.parametrize('order', [1, 2])
def test_gradients_where_the_state_is_made_of_the_weights(order):
    found = []
    for peephole in (False, True):
        case = Case((3, 3), peephole, layers=1)
        for call in (case.ours, case.expected):
            hy, cy, *_ = call()
            hx, cx, case.hx, case.cx = case.hx, case.cx, hy, cy
            outputs = call()
            case.hx, case.cx = hx, cx
            found.append(gradients(outputs, case.variables, order))
    assert_close(found[0], found[1])
    assert_close(found[2], found[3])


@pytest.mark.parametrize('order', [1, 2])
def test_one_variable_as_both_states_and_in_both_steps(order):
    case = Case((2, 2), layers=2, width=2, directions=2)
    case.cx, case.xs = case.hx, [case.xs[0]] * 2
    case.weights[1] = case.weights[0]
    wanted = [case.hx, case.xs[0], *case.weights[0]]
    assert_close(gradients(case.ours(), wanted, order), gradients(case.expected(), wanted, order))


def test_second_gradients_of_no_steps():
    case = Case((2,), layers=2, directions=2)
    hy, cy, ys = functions.lstm_sequence(
        case.hx, case.cx, numpy.zeros((0, 2, 3)), case.weights, bidirectional=True
    )
    assert ys.shape == (0, 2, 4)
    wanted = [case.hx, case.cx]
    assert_close(
        gradients([hy * hy, cy, ys], wanted, 2), gradients([case.hx * case.hx, case.cx], wanted, 2)
    )


@pytest.mark.parametrize('wanted', [[0], [2], [-2], [1, 4, -1], [5, 6]])
def test_gradients_by_some_inputs(wanted):
    case = Case((3, 2, 1))
    variables = [case.variables[k] for k in wanted]
    assert_close(gradients(case.ours(), variables), gradients(case.expected(), variables))


def test_backward_twice_gives_the_same():
    case = Case((3, 2, 1), peephole=True, directions=2)
    with chainer.using_config('train', True):
        outputs = case.ours(dropout=0.5)
    first = gradients(outputs, case.variables)
    assert_close(gradients(outputs, case.variables), first)
    # and the second gradients are those with the same dropout
    assert_close(gradients(outputs, case.variables, 2)[: len(first)], first)


def test_dropout_is_drawn_as_chainers():
    case = Case((3, 3), layers=3)
    numpy.random.seed(3)
    hy, _, ys = functions.lstm_sequence(case.hx, case.cx, case.xs, case.weights, dropout=0.5)
    numpy.random.seed(3)
    x, expected = case.xs, []
    for k, weights in enumerate(case.weights):
        x = [F.dropout(step, 0.5) for step in x] if k else x
        h, _, x = functions.lstm_sequence(case.hx[k : k + 1], case.cx[k : k + 1], x, [weights])
        expected.append(h[0])
    assert_close([*F.separate(hy), *ys], [*expected, *x])


def test_no_dropout_in_evaluation():
    case = Case((3, 3))
    with chainer.using_config('train', False):
        assert_close(case.ours(dropout=0.5), case.ours())


def test_no_graph_and_nothing_kept_without_backprop():
    with chainer.no_backprop_mode():
        assert all(y.creator is None for y in Case((3, 3)).ours())


@pytest.mark.parametrize('dense', [False, True], ids=['steps', 'one array'])
@pytest.mark.parametrize('dtype', 'efd')
def test_without_backprop_the_same_comes_out(dtype, dense):
    case = Case((3, 3), dtype=dtype)
    if dense:
        case.xs = F.stack(case.xs)
    expected = case.ours()
    with chainer.no_backprop_mode():
        outputs = case.ours()
        hy, *_ = functions.lstm_sequence(
            case.hx.array,
            case.cx.array,
            arrays(case.xs) if not dense else case.xs.array,
            [arrays(group) for group in case.weights],
        )
    for y, z in zip(outputs, expected):
        assert y.dtype == dtype and y.requires_grad and y.creator is None
        numpy.testing.assert_array_equal(y.array, z.array)
    assert not hy.requires_grad


def test_hooks_and_the_search_for_nan_see_it_without_backprop_too():
    case = Case((3, 3))
    with chainer.no_backprop_mode(), TimerHook() as hook:
        case.ours()
    assert 'LSTMSequence' in [function for function, _ in hook.call_history]
    case.hx.array[0, 0, 0] = numpy.nan
    with (
        chainer.no_backprop_mode(),
        chainer.using_config('debug', True),
        pytest.raises(RuntimeError, match='NaN'),
    ):
        case.ours()


def test_finite_differences_with_an_initial_state():
    case = Case((3, 2), peephole=True, layers=1)
    batches = (3, 2)

    def call(hx, cx, x, *weights):
        packing = packing_of_steps(batches, 3)
        plan = Plan(cells.peephole, packing, weights_of(cells.peephole))
        new, (y,) = apply(plan, (cx, hx), (x,), weights)
        return new.h, new.c, y

    inputs = tuple(v.array for v in (case.hx, case.cx, F.concat(case.xs, axis=0), *case.weights[0]))
    grads = tuple(
        uniform(shape, 'd', numpy, k) for k, shape in enumerate(((1, 3, 2), (1, 3, 2), (5, 2)))
    )
    gradient_check.check_backward(call, inputs, grads, dtype='d', atol=1e-6, rtol=1e-6)


WRONG = {
    'no steps': (lambda c: {'xs': []}, 'at least one time step'),
    'growing batches': (lambda c: {'xs': c.xs[::-1]}, r'do not grow in time .* got \[2, 3\]'),
    'widths differ': (
        lambda c: {'xs': [c.xs[0], c.xs[1][:, :1]]},
        r'expected xs\[1\] of shape \(batch, 3\), got',
    ),
    'xs with two axes': (
        lambda c: {'xs': c.xs[0]},
        r'expected xs of shape \(time, batch, inputs\), got \(3, 3\)',
    ),
    'hx with two axes': (
        lambda c: {'hx': c.hx[0]},
        r'expected hx of shape \(2, at least 3, 2\), got \(3, 2\)',
    ),
    'states of one layer for two': (
        lambda c: {'hx': c.hx[0], 'cx': c.cx[0]},
        r'expected hx of shape \(2, at least 3, 2\), got \(3, 2\)',
    ),
    'cx of fewer rows': (
        lambda c: {'cx': c.cx[:, :2]},
        r'expected cx of shape \(2, at least 3, 2\), got \(2, 2, 2\)',
    ),
    'hx and cx differ': (
        lambda c: {'hx': F.concat((c.hx, c.hx), axis=1)},
        'expected hx and cx of one shape',
    ),
    'no weights': (lambda c: {'weights': []}, 'expected weights of each layer'),
    'odd number for two directions': (
        lambda c: {'weights': c.weights[:1], 'bidirectional': True},
        '2 a layer, got 1',
    ),
    'W of other width': (
        lambda c: {'weights': [[w[0][:, :2], *w[1:]] for w in c.weights]},
        r'expected weights\[0\]\[0\] of shape \(8, 3\), got \(8, 2\)',
    ),
    'two peepholes': (
        lambda c: {'weights': [[*w, w[2], w[2]] for w in c.weights]},
        r'expected weights\[0\]',
    ),
    'dropout 1': (lambda c: {'dropout': 1.0}, 'expected dropout .* got 1.0'),
    'negative dropout': (lambda c: {'dropout': -0.1}, 'expected dropout .* got -0.1'),
}


@pytest.mark.parametrize('wrong', WRONG)
def test_bad_input(wrong):
    case = Case((3, 2))
    change, message = WRONG[wrong]
    arguments = {'hx': case.hx, 'cx': case.cx, 'xs': case.xs, 'weights': case.weights}
    with pytest.raises(ValueError, match=message):
        functions.lstm_sequence(**{**arguments, **change(case)})


@pytest.mark.parametrize('name', ['hx', 'cx', 'xs'])
def test_other_dtype(name):
    case = Case((3, 2))
    arguments = {'hx': case.hx, 'cx': case.cx, 'xs': F.stack([case.xs[0]] * 2)}
    arguments[name] = F.cast(arguments[name], 'f')
    for backprop in (True, False):
        with (
            chainer.using_config('enable_backprop', backprop),
            pytest.raises(InvalidType, match='dtype'),
        ):
            functions.lstm_sequence(**arguments, weights=case.weights)


@pytest.mark.parametrize(('dense', 'times'), [(True, 0), (True, 3), (False, 3)])
def test_no_reset_leaves_the_state_to_begin_anew_with(dense, times):
    """It is a row more of the states that are given, and never one of those returned."""
    rows, weights = 2, [[uniform((8, 3)), uniform((8,)), uniform((8, 2))]]
    xs, states = uniform((times, rows, 3)), [uniform((rows + 1, 2), seed=k) for k in range(2)]
    steps = xs if dense else [*xs]
    new, ys = functions.sequence(
        cells.lstm, states, steps, weights, resets=numpy.zeros((times, rows))
    )
    expected, of_steps = functions.sequence(cells.lstm, [s[:rows] for s in states], steps, weights)
    assert_close([*new, *ys], [y.array for y in (*expected, *of_steps)])
