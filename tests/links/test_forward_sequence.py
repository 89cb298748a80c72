"""forward_sequence against calling the link step by step, which is tested against Chainer."""

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm import links
from tests.support.arrays import assert_close, assert_same, gradients, uniform
from tests.support.links import BATCHES, INPUT, UNITS, contents, inputs

NAMES = ['LSTM', 'StatefulPeepholeLSTM']
FALLING = {
    name: batches
    for name, batches in BATCHES.items()
    if list(batches) == sorted(batches, reverse=True)
}


def make(name, xp=numpy, in_size=INPUT):
    numpy.random.seed(1)
    link = getattr(links, name)(in_size, UNITS)
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    return link


def check(name, xp, xs, prepare=lambda link: None, order=1, in_size=INPUT):
    results = []
    for call in (lambda link: link.forward_sequence(xs), lambda link: [link(x) for x in xs]):
        link = make(name, xp, in_size)
        prepare(link)
        outputs = [*call(link), link.c, link.h]
        results.append([*outputs, *gradients(outputs, [*link.params(), *xs], order)])
    assert_close(*results)


@pytest.mark.parametrize('order', [1, 2], ids=['gradients', 'second gradients'])
@pytest.mark.parametrize('batches', FALLING)
@pytest.mark.parametrize('name', NAMES)
def test_list_of_steps(name, batches, order, xp):
    check(name, xp, inputs(FALLING[batches], xp=xp), order=order)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('rows', [3, 5])
def test_from_a_state(name, rows, xp):
    state = uniform((rows, UNITS), 'f', xp), uniform((rows, UNITS), 'f', xp, 1)
    check(
        name, xp, inputs((3, 3, 2), xp=xp), lambda link: link.set_state(*(s.copy() for s in state))
    )


@pytest.mark.parametrize('name', NAMES)
def test_array_is_the_list_of_its_steps(name, xp):
    xs = inputs((3, 3, 3), xp=xp)
    link = make(name, xp)
    expected = [*link.forward_sequence(xs), link.c, link.h]
    link.reset_state()
    y = link.forward_sequence(F.stack(xs))
    assert y.shape == (3, 3, UNITS)
    assert_close([*F.separate(y), link.c, link.h], expected)


@pytest.mark.parametrize('name', NAMES)
def test_steps_with_more_axes_are_flattened(name):
    xs = [F.reshape(x, (3, 1, INPUT)) for x in inputs((3, 3))]
    link = make(name)
    expected = link.forward_sequence([F.reshape(x, (3, INPUT)) for x in xs])
    link.reset_state()
    assert_close(link.forward_sequence(xs), expected)
    link.reset_state()
    assert_close(F.separate(link.forward_sequence(F.stack(xs))), expected)


def functions_behind(variable):
    functions, found = [variable.creator_node], set()
    while functions:
        function = functions.pop()
        if function is not None and function not in found:
            found.add(function)
            functions += [x.creator_node for x in function.inputs]
    return len(found)


@pytest.mark.parametrize('name', NAMES)
def test_chunks_of_truncated_backpropagation(name):
    weights = []
    for chunked in (True, False):
        link = make(name)
        optimizer = chainer.optimizers.SGD(0.1).setup(link)
        for _ in range(3):
            xs = inputs((3, 3), width=INPUT)
            ys = link.forward_sequence(xs) if chunked else [link(x) for x in xs]
            loss = sum(F.sum(y * y) for y in ys)
            link.cleargrads()
            loss.backward()
            loss.unchain_backward()
            assert (
                functions_behind(link.c) <= 1
            )  # the state of the chunk out of the node, and nothing of the chunk
            assert functions_behind(link.h) <= 1
            optimizer.update()
        weights.append([*link.params(), link.c, link.h])
    assert_close(*weights)


@pytest.mark.parametrize('name', NAMES)
def test_deferred(name):
    check(name, numpy, inputs((3, 2)), in_size=None)


class Counting(chainer.LinkHook):
    name = 'Counting'
    calls = 0

    def forward_postprocess(self, args):
        self.calls += 1


@pytest.mark.parametrize('name', NAMES)
def test_hooked_link_is_called_for_each_step(name):
    xs, hook = inputs((3, 2, 2)), Counting()
    link = make(name)
    expected = link.forward_sequence(xs)
    link.reset_state()
    link.lateral.add_hook(hook)
    assert_close(link.forward_sequence(xs), expected)
    assert hook.calls == 2  # there is no h at the first step
    link.reset_state()
    assert link.forward_sequence(F.stack([xs[0]] * 2)).shape == (2, 3, UNITS)


@pytest.mark.parametrize('name', NAMES)
def test_no_steps_in_an_array_leave_the_state(name):
    link = make(name)
    link(inputs((2,))[0])
    before = contents(link)
    assert link.forward_sequence(numpy.zeros((0, 2, INPUT), 'f')).shape == (0, 2, UNITS)
    assert_same(contents(link), before)


@pytest.mark.parametrize('name', NAMES)
def test_array_without_rows(name):
    link = make(name)
    link(inputs((2,))[0])
    before = contents(link)
    assert link.forward_sequence(numpy.zeros((3, 0, INPUT), 'f')).shape == (3, 0, UNITS)
    assert link.forward_sequence(numpy.zeros((3, 0, INPUT, 1), 'f')).shape == (3, 0, UNITS)
    assert_same(contents(link), before)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('given', ['c', 'h'])
def test_from_half_a_state_the_other_half_is_zeros(name, given):
    state, zeros = uniform((3, UNITS), 'f'), numpy.zeros((3, UNITS), 'f')
    results = []
    for other in (None, zeros):
        for call in (
            lambda link, xs: link.forward_sequence(xs),
            lambda link, xs: [link(x) for x in xs],
        ):
            link = make(name)
            link.set_state(*((state, other) if given == 'c' else (other, state)))
            results.append([*call(link, inputs((2, 1))), link.c, link.h])
    assert results[0][-1].shape == results[0][-2].shape == (3, UNITS)
    for result in results[1:]:
        assert_close(result, results[0])


@pytest.mark.parametrize('name', NAMES)
def test_batch_larger_than_half_a_state(name):
    link = make(name)
    link.set_state(numpy.zeros((1, UNITS), 'f'), None)
    for call in (link, lambda x: link.forward_sequence([x])):
        with pytest.raises(TypeError, match='Expected at most 1, got 2'):
            call(inputs((2,))[0])
