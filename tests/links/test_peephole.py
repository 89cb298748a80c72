"""``links.StatefulPeepholeLSTM`` beside Chainer's where Chainer's is right,
and against the reference loop.

Its state and copies are tested with ``LSTM``'s in ``test_lstm``.
"""

import chainer
import numpy
import pytest
from chainer import initializers, link_hooks
from chainer.backends import cuda

from chainer_lstm import links
from tests.support import reference
from tests.support.arrays import DTYPES, assert_close, assert_same, uniform, uniforms
from tests.support.links import (
    BATCHES,
    INPUT,
    UNITS,
    contents,
    inputs,
    outputs_states_and_gradients,
    pair,
)

CHILDREN = ('upward', 'lateral', 'peep_i', 'peep_f', 'peep_o')
IN_SIZES = pytest.mark.parametrize('in_size', [INPUT, None], ids=['in_size', 'in_size None'])


@IN_SIZES
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_initial_weights_equal_chainer_bit_for_bit(dtype, in_size):
    with chainer.using_config('dtype', dtype):
        both = pair('StatefulPeepholeLSTM', in_size, UNITS)
        assert_same(*(contents(link) for link in both))
        results = []
        for link in both:
            numpy.random.seed(2)  # of the draws of a deferred link
            link(numpy.zeros((2, INPUT), chainer.get_dtype()))
            link.reset_state()
            results.append({**contents(link), 'next number': numpy.random.random(1)})
    assert_same(*results)


def test_attributes_equal_chainer():
    theirs, ours = pair('StatefulPeepholeLSTM', INPUT, UNITS)
    assert isinstance(ours, type(theirs))
    assert vars(ours).keys() == vars(theirs).keys()
    assert [path for path, _ in ours.namedparams()] == [path for path, _ in theirs.namedparams()]
    assert ours.state_size == UNITS


@IN_SIZES
@pytest.mark.parametrize(
    'initial, biases',
    [
        ({}, (0, 0, 0, 0)),
        ({'bias_init': 0.5}, (0.5, 0.5, 0.5, 0.5)),
        ({'forget_bias_init': 1}, (0, 0, 1, 0)),
        ({'bias_init': -1, 'forget_bias_init': 2}, (-1, -1, 2, -1)),
        ({'bias_init': uniform(UNITS, 'f')}, (uniform(UNITS, 'f'),) * 4),
        ({'forget_bias_init': initializers.One()}, (0, 0, 1, 0)),
    ],
    ids=['defaults', 'bias', 'forget bias', 'both', 'array', 'callable'],
)
def test_bias_initializers(in_size, initial, biases):
    b = links.StatefulPeepholeLSTM(in_size, UNITS, **initial).upward.b.array
    for gate, expected in enumerate(biases):
        numpy.testing.assert_array_equal(b[gate::4], expected)


@IN_SIZES
@pytest.mark.parametrize('name', ['lateral_init', 'upward_init', 'peep_init'])
def test_weight_initializers(in_size, name):
    link = links.StatefulPeepholeLSTM(in_size, UNITS, **{name: 0.25})
    link(numpy.zeros((1, INPUT), 'f'))
    for child in CHILDREN:
        W = getattr(link, child).W.array
        assert (W == 0.25).all() == child.startswith(name.removesuffix('_init'))


def test_peephole_matrices_orthogonal():
    link = links.StatefulPeepholeLSTM(INPUT, UNITS, peep_init=initializers.Orthogonal(scale=1))
    for child in CHILDREN[2:]:
        W = getattr(link, child).W.array
        numpy.testing.assert_allclose(W @ W.T, numpy.eye(UNITS), atol=1e-6)
    assert (link.peep_i.W.array != link.peep_f.W.array).any()


def test_copy_init_keeps_the_initializers():
    link = links.StatefulPeepholeLSTM(INPUT, UNITS, peep_init=0.5, bias_init=2, forget_bias_init=3)
    other = link.copy('init')
    numpy.testing.assert_array_equal(other.upward.b.array, [2, 2, 3, 2] * UNITS)
    for child in CHILDREN[2:]:
        assert (getattr(other, child).W.array == 0.5).all()
    assert (other.upward.W.array != link.upward.W.array).all()


@pytest.mark.parametrize('batch', [3, 1, 0])
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_steps_equal_chainer(xp, dtype, batch):
    with chainer.using_config('dtype', dtype):
        theirs, ours = pair('StatefulPeepholeLSTM', INPUT, UNITS, xp=xp)
        xs = inputs((batch,) * 3, chainer.get_dtype(), xp)
        expected = outputs_states_and_gradients(theirs, xs)
        assert_close(outputs_states_and_gradients(ours, xs), expected)


@pytest.mark.parametrize('batch', [3, 1, 0])
def test_second_gradients_equal_chainer(xp, batch):
    with chainer.using_config('dtype', numpy.float64):
        theirs, ours = pair('StatefulPeepholeLSTM', INPUT, UNITS, xp=xp)
        xs = inputs((batch,) * 3, 'd', xp)
        expected = outputs_states_and_gradients(theirs, xs, order=2)
        assert_close(outputs_states_and_gradients(ours, xs, order=2), expected)


@pytest.mark.parametrize('batches', BATCHES.values(), ids=BATCHES.keys())
def test_steps_equal_reference(xp, batches):
    with chainer.using_config('dtype', numpy.float64):
        link = links.StatefulPeepholeLSTM(INPUT, UNITS, bias_init=initializers.Normal(1))
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    W, b = (cuda.to_cpu(param.array) for param in (link.upward.W, link.upward.b))
    U, *peepholes = (cuda.to_cpu(getattr(link, child).W.array) for child in CHILDREN[1:])
    c, h = numpy.zeros((2, batches[0], UNITS))
    for x in uniforms([(batch, INPUT) for batch in batches]):
        c, y = reference.peephole_step(c, h[: len(x)], x, W, b, U, *peepholes)
        h = numpy.concatenate((y, h[len(x) :]))
        assert_close([link(xp.asarray(x)), link.c, link.h], [y, c, h])


@pytest.mark.parametrize('batches', BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize('order', [1, 2])
def test_gradients_equal_those_of_the_composed_path(batches, order):
    """A hook makes the link call its children;
    it is Chainer's path, with a batch that may shrink.
    """
    with chainer.using_config('dtype', numpy.float64):
        link = links.StatefulPeepholeLSTM(INPUT, UNITS)
    xs = inputs(batches, 'd')
    fused = outputs_states_and_gradients(link, xs, order)
    link.reset_state()
    with link_hooks.TimerHook():
        composed = outputs_states_and_gradients(link, xs, order)
    assert_close(fused, composed)
