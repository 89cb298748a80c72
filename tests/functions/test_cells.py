"""``step`` and ``sequence`` with every cell, those that only the tests know included, against loops
in float64 and finite differences, on every engine.
"""

import chainer
import chainer.functions as F
import pytest

from chainer_lstm import functions
from tests.functions.cell_cases import (
    CELLS,
    INPUT,
    STEPPED,
    Stack,
    arrays,
    assert_ways_agree,
    check,
    check_that_a_sequence_is_its_steps,
    state_of,
    step_function,
    step_inputs,
    weights_of,
)
from tests.support.arrays import assert_close, gradients, uniform
from tests.support.reference import step_of

pytestmark = pytest.mark.pairwise

BATCHES = {'equal': (3, 3, 3), 'shrinking': (4, 2, 2, 1), 'one step': (2,), 'empty steps': (2, 0)}


@pytest.fixture(params=CELLS)
def case(request):
    """A cell, and its step as a loop."""
    cell, loop = CELLS[request.param]
    with chainer.using_config('train', 'evaluation' not in request.param):
        yield cell, step_of(cell, loop if isinstance(loop, str) else None)


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


# Sequences

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
    check_that_a_sequence_is_its_steps(case[0])


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
