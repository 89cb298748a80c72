"""Cells with noise, which is drawn once for each call in training."""

import dataclasses

import chainer
import numpy
import pytest

from chainer_lstm import functions
from chainer_lstm.cells import LSTMVariant
from tests.cells import zoneout
from tests.functions.cell_cases import (
    INPUT,
    NOISY_VARIANTS,
    UNITS,
    Dropped,
    Stack,
    arrays,
    assert_ways_agree,
    check,
    state_of,
    step_function,
    step_inputs,
    weights_of,
)
from tests.support.arrays import assert_close, gradients, uniform

pytestmark = pytest.mark.pairwise

NOISY = pytest.mark.parametrize(
    'cell', [zoneout, Dropped(), *NOISY_VARIANTS], ids=lambda cell: repr(cell)
)


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

        def draw_sequence(self, xp, shape, dtype):
            shapes.append((shape, dtype))
            return super().draw_sequence(xp, shape, dtype)

    counted = Counted(**dataclasses.asdict(cell))
    Stack(counted, (3, 2), 2, 2, dtype='e').outputs()
    rows = [5] * bool(cell.noise) + [3] * bool(cell.sequence_noise)
    assert shapes == [((n, UNITS), numpy.float32) for n in rows] * 4


def test_noise_of_a_sequence_is_the_same_at_all_its_steps():
    """And a single step with it computes as the sequence does."""
    cell = LSTMVariant(recurrent_dropout=0.5)
    x, weights = uniform((4, 3, INPUT)), weights_of(cell)
    state = [v.array for v in state_of(cell, 3)]
    numpy.random.seed(1)
    new, _ = functions.sequence(cell, state, x, [weights])
    for row in x:
        numpy.random.seed(1)
        state = functions.step(cell, state, row, weights)
    assert_close(new, state)


@pytest.mark.parametrize('change', [lambda x: x[:1], lambda x: x[:, :1]], ids=['rows', 'columns'])
def test_noise_of_another_shape(change):
    class Wrong(Dropped):
        def draw(self, xp, shape, dtype):
            return [change(x) for x in super().draw(xp, shape, dtype)]

    with pytest.raises(ValueError, match=r'dropped: expected noise keep of shape \(5, 4\), got'):
        Stack(Wrong(), (3, 2)).outputs()


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
def test_backward_keeps_to_the_mode_of_forward(cell, engine, train):
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
