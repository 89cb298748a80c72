"""The state of ``links.LSTM`` and its likes, and what copies of a link share."""

import copy
import pickle

import chainer
import numpy
import pytest

from chainer_lstm import links
from tests.links.lstm_cases import INITIALIZERS, LSTMS, WRAPS, parameters, step
from tests.support.arrays import (
    assert_close,
    assert_same,
    gradients,
    uniform,
    uniforms,
    variables,
)
from tests.support.links import (
    INPUT,
    STATEFUL,
    UNITS,
    contents,
    inputs,
    outputs_and_states,
    pair,
)

pytestmark = pytest.mark.pairwise


@STATEFUL
@pytest.mark.parametrize('batches', [(2, 3), (0, 1), (4, 2, 5), (1, 0, 2)], ids=str)
def test_larger_batch_raises_and_changes_nothing(name, batches):
    """With Chainer's message; Chainer's peephole link broadcasts one row to two."""
    link = getattr(links, name)(INPUT, UNITS)
    *xs, last = inputs(batches)
    outputs_and_states(link, xs)
    before = contents(link)
    with pytest.raises(
        TypeError,
        match=r'^The batch size of x must be equal to or less than the size of the previous '
        rf'state h\. Expected at most {max(batches[:-1])}, got {batches[-1]}\.$',
    ):
        link(last)
    assert_same(contents(link), before)


@STATEFUL
def test_state_is_none_until_the_first_step_and_after_reset(name):
    link = getattr(links, name)(INPUT, UNITS)
    (x,) = inputs((2,))
    assert link.c is None and link.h is None
    y = link(x)
    assert link.c.shape == (2, UNITS) and link.h is y
    link(x)
    link.reset_state()
    assert link.c is None and link.h is None
    assert_close([link(x)], [y])


@STATEFUL
@WRAPS
def test_set_state(xp, name, wrap):
    theirs, ours = pair(name, INPUT, UNITS, xp=xp)
    c, h, x = uniforms([(3, UNITS), (3, UNITS), (3, INPUT)], 'f')
    theirs.c, theirs.h = chainer.Variable(xp.asarray(c)), chainer.Variable(xp.asarray(h))
    ours.set_state(wrap(c), wrap(h))  # from the CPU to the device of the link
    x = xp.asarray(x)
    assert_close([ours(x), ours.c, ours.h], [theirs(x), theirs.c, theirs.h])


@STATEFUL
def test_set_state_none(name):
    link = getattr(links, name)(INPUT, UNITS)
    (x,) = inputs((2,))
    c = uniform((2, UNITS), 'f')
    link.set_state(c, numpy.zeros_like(c))
    expected = link(x)
    link.set_state(c, None)
    assert_close([link(x)], [expected])
    link.set_state(None, None)
    assert link.c is None and link.h is None


def test_set_state_lets_gradients_through():
    both = pair('LSTM', INPUT, UNITS)
    results = []
    for link in both:
        c, h, x = variables(uniforms([(3, UNITS), (3, UNITS), (2, INPUT)], 'f'))
        link.set_state(c, h)
        results.append(gradients([link(x), link.c, link.h], [c, h, x]))
    assert_close(results[1], results[0])


@STATEFUL
@WRAPS
@pytest.mark.parametrize(
    'c, h',
    [
        ((2, UNITS + 1), (2, UNITS + 1)),
        ((2, UNITS), (3, UNITS)),
        ((UNITS,), (UNITS,)),
        ((2, UNITS, 1), (2, UNITS, 1)),
        ((2, 1), (2, 1)),
        ((2, UNITS), (1, UNITS)),
        ((2, UNITS), (2, 1)),
    ],
    ids=str,
)
def test_set_state_of_wrong_shape_changes_nothing(name, c, h, wrap):
    link = getattr(links, name)(INPUT, UNITS)
    link(*inputs((2,)))
    before = contents(link)
    with pytest.raises(ValueError, match=r'expected .* of .*shape.*, got'):
        link.set_state(*(wrap(numpy.zeros(shape, 'f')) for shape in (c, h)))
    assert_same(contents(link), before)


@STATEFUL
def test_state_moves_with_the_link(xp, name):
    link = getattr(links, name)(INPUT, UNITS)
    xs = inputs((3, 2))
    expected = outputs_and_states(link, xs)
    link.reset_state()
    link(xs[0])
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    assert isinstance(link.c.array, xp.ndarray) and isinstance(link.h.array, xp.ndarray)
    assert_close([link(xp.asarray(xs[1].array)), link.c, link.h], expected[3:])


@LSTMS
def test_copy_share_shares_parameters(name):
    link = getattr(links, name)(INPUT, UNITS)
    other = link.copy()
    other.lateral.W.array[...] = 7
    other.upward.b.array[...] = 5
    assert_same(parameters(link), parameters(other))


@STATEFUL
def test_copy_share_has_a_state_of_its_own(name):
    link = getattr(links, name)(INPUT, UNITS)
    (x,) = inputs((2,))
    link(x)
    before = contents(link)
    other = link.copy('share')
    assert_same(contents(other), before)
    other(x)
    assert_same(contents(link), before)
    other.reset_state()
    assert link.c is not None


@STATEFUL
@pytest.mark.parametrize(
    'duplicate',
    [
        lambda link: link.copy('copy'),
        copy.deepcopy,
        lambda link: pickle.loads(pickle.dumps(link)),
    ],
    ids=['copy', 'deepcopy', 'pickle'],
)
@pytest.mark.parametrize('in_size', [INPUT, None], ids=['in_size', 'in_size None'])
@pytest.mark.parametrize('started', [False, True], ids=['new', 'with state'])
def test_independent_copy(name, duplicate, in_size, started):
    link = getattr(links, name)(in_size, UNITS, bias_init=0.5)
    xs = inputs((3, 2))
    if started:
        link(xs[0])
    before = contents(link)
    other = duplicate(link)
    assert_same(contents(other), before)
    outputs = []
    for one in (link, other):
        numpy.random.seed(2)
        outputs.append(outputs_and_states(one, xs[1:]))
    assert_close(outputs[1], outputs[0])
    other.lateral.W.array[...] = 0
    assert link.lateral.W.array.any()


@LSTMS
@pytest.mark.parametrize('initial', INITIALIZERS.values(), ids=INITIALIZERS.keys())
def test_copy_init_is_a_new_draw(name, initial):
    """Not the zeros that Chainer's copy gives."""
    link = getattr(links, name)(INPUT, UNITS, **initial)
    before = contents(link)
    numpy.random.seed(5)
    other = link.copy('init')
    numpy.random.seed(5)
    assert_same(contents(other), contents(getattr(links, name)(INPUT, UNITS, **initial)))
    assert_same(contents(link), before)


@LSTMS
def test_copy_init_of_a_deferred_link_stays_deferred(name):
    link = getattr(links, name)(None, UNITS, forget_bias_init=2)
    other = link.copy('init')
    assert other.upward.W.array is None
    results = []
    for one in (link, other):
        numpy.random.seed(2)
        step(one, numpy.zeros((1, INPUT), 'f'))
        results.append(parameters(one))
    assert_same(*results)
    assert results[1]['/upward/b'][2::4].tolist() == [2] * UNITS


@pytest.mark.parametrize(
    'name, forget_bias', [('LSTM', 1), ('StatelessLSTM', 1), ('StatefulPeepholeLSTM', 0)]
)
def test_repeat_draws_every_link_anew(name, forget_bias):
    weights = [parameters(link) for link in getattr(links, name)(50, 100).repeat(3)]
    matrices = [path for path in weights[0] if path.endswith('W')]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for path in matrices:
            assert (weights[one][path] != weights[other][path]).mean() > 0.99
    for link in weights:
        for path in matrices:
            assert link[path].std() == pytest.approx(link[path].shape[1] ** -0.5, rel=0.05)
        for gate, bias in enumerate((0, 0, forget_bias, 0)):
            assert (link['/upward/b'][gate::4] == bias).all()


@STATEFUL
def test_repeated_links_run_in_sequence(name):
    stack = getattr(links, name)(UNITS, UNITS).repeat(2)
    (x,) = inputs((2,), width=UNITS)
    y = stack(x)
    for link in stack:
        link.reset_state()
        x = link(x)
    assert_close([y], [x])
