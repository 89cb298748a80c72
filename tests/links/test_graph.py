"""The graph of links with a state: which variable is a function of which, and what cutting it does,
as in Chainer.
"""

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm import links
from tests.support.arrays import assert_close, weighted_sum
from tests.support.links import INPUT, STATEFUL, UNITS, inputs, pair


def both(name, scenario):
    """What a scenario returns with Chainer's link is what it returns with the package's,
    in float64.
    """
    with chainer.using_config('dtype', numpy.float64):
        chainers, package = pair(name, INPUT, UNITS)
    assert_close(scenario(package), scenario(chainers))


def steps(link, count=2, batch=3):
    return [link(x) for x in inputs((batch,) * count, 'd')]


def param_gradients(link, loss):
    link.cleargrads()
    loss.backward()
    return [param.grad for _, param in sorted(link.namedparams())]


def h_by_c(link):
    steps(link)
    return chainer.grad([weighted_sum([link.h])], [link.c])


def h_by_c_twice_differentiable(link):
    steps(link)
    (first,) = chainer.grad([weighted_sum([link.h])], [link.c], enable_double_backprop=True)
    if first is None:
        return [None]
    return [first, *chainer.grad([weighted_sum([first])], [link.c, link.upward.W])]


def h_by_the_c_before(link):
    steps(link, 1)
    before = link.c
    steps(link, 2)
    return chainer.grad([weighted_sum([link.h])], [before])


def h_by_c_of_a_first_step(link):
    steps(link, 1)
    return chainer.grad([weighted_sum([link.h])], [link.c])


def c_cut_after_the_last_step(link):
    steps(link)
    link.c.unchain()
    return param_gradients(link, weighted_sum([link.h]))


def c_cut_between_steps(link):
    steps(link)
    link.c.unchain()
    steps(link)
    return param_gradients(link, weighted_sum([link.h, link.c]))


def gradient_by_c_that_was_cut(link):
    steps(link, 1)
    c = link.c
    c.unchain()
    steps(link, 2)
    return chainer.grad([weighted_sum([link.h])], [c, link.upward.W])


def c_cut_first_and_all_that_is_left_later(link):
    steps(link, 1)
    link.c.unchain()
    steps(link, 1)
    link.h.unchain_backward()
    return param_gradients(link, weighted_sum(steps(link)))


def h_cut_between_steps(link):
    steps(link)
    link.h.unchain()
    ys = steps(link)
    return param_gradients(link, weighted_sum([*ys, link.c]))


def backward_cut_between_steps(link):
    ys = steps(link)
    link.c.unchain_backward()
    more = steps(link)
    return param_gradients(link, weighted_sum([*ys, *more]))


def gradients_that_are_retained(link):
    steps(link)
    c, h = link.c, link.h
    steps(link, 1)
    weighted_sum([link.h, link.c]).backward(retain_grad=True)
    return [c.grad, h.grad, link.c.grad, link.h.grad]


def loss_on_c_and_on_h_of_each_step(link):
    variables = []
    for x in inputs((3, 3, 3), 'd'):
        link(x)
        variables += [link.c, link.h]
    return param_gradients(link, weighted_sum(variables))


def two_steps_from_one_state(link):
    steps(link)
    c, h = link.c, link.h
    left = steps(link, 1)[0]
    link.c, link.h = c, h
    right = steps(link, 2)[1]
    found = param_gradients(link, weighted_sum([left, right, link.c]))
    return [*found, *chainer.grad([weighted_sum([left, right])], [c])]


SCENARIOS = [
    h_by_c,
    h_by_c_twice_differentiable,
    h_by_the_c_before,
    h_by_c_of_a_first_step,
    c_cut_after_the_last_step,
    c_cut_between_steps,
    gradient_by_c_that_was_cut,
    c_cut_first_and_all_that_is_left_later,
    h_cut_between_steps,
    backward_cut_between_steps,
    gradients_that_are_retained,
    loss_on_c_and_on_h_of_each_step,
    two_steps_from_one_state,
]


@STATEFUL
@pytest.mark.parametrize('scenario', SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_equals_chainer(name, scenario):
    both(name, scenario)


def test_h_of_a_peephole_step_is_a_function_of_c():
    link = links.StatefulPeepholeLSTM(INPUT, UNITS)
    assert h_by_c_of_a_first_step_in_float32(link)[0].array.any()


def h_by_c_of_a_first_step_in_float32(link):
    link(inputs((3,))[0])
    return chainer.grad([F.sum(link.h)], [link.c])


# After forward_sequence


@STATEFUL
def test_last_output_of_steps_is_h(name):
    link = getattr(links, name)(INPUT, UNITS)
    xs = inputs((3, 3))
    assert link.forward_sequence(xs)[-1] is link.h
    assert link.forward_sequence(xs[:1])[-1] is link.h
    assert link.forward_sequence([xs[0], xs[1][:2]])[-1] is not link.h  # the state has a row more
    assert link.h.shape == (3, UNITS)


@STATEFUL
@pytest.mark.parametrize('dense', [False, True], ids=['list', 'array'])
def test_steps_without_rows_leave_the_variable_h(name, dense):
    link = getattr(links, name)(INPUT, UNITS)
    h = chainer.Variable(numpy.ones((2, UNITS), 'f'))
    link.set_state(h * 2, h)
    xs = inputs((0, 0, 0))
    link.forward_sequence(F.stack(xs) if dense else xs)
    assert link.h is h
    link(xs[0])
    assert link.h is h


@STATEFUL
def test_cutting_h_after_a_sequence_cuts_what_it_cuts_after_steps(name):
    def by_steps(link):
        ys = steps(link)
        link.h.unchain()
        return param_gradients(link, weighted_sum([*ys, *steps(link)]))

    def by_sequences(link):
        xs = inputs((3, 3), 'd')
        ys = link.forward_sequence(xs)
        link.h.unchain()
        return param_gradients(link, weighted_sum([*ys, *link.forward_sequence(xs)]))

    with chainer.using_config('dtype', numpy.float64):
        chainers, package = pair(name, INPUT, UNITS)
    assert_close(by_sequences(package), by_steps(chainers))
