"""``links.LSTM`` beside ``chainer.links.LSTM``.

The constructor and copies are tested of ``StatelessLSTM`` too, the state also
of ``StatefulPeepholeLSTM``; what is their own is in ``test_stateless_lstm`` and
``test_peephole``.
"""

import chainer
import numpy
import pytest
from chainer import gradient_check, initializers

from chainer_lstm import links
from tests.links.lstm_cases import INITIALIZERS, LSTMS, SIZES, draw, parameters, step
from tests.support import reference
from tests.support.arrays import (
    DTYPES,
    assert_close,
    assert_same,
    uniform,
    uniforms,
    variables,
)
from tests.support.links import (
    BATCHES,
    INPUT,
    STATEFUL,
    UNITS,
    contents,
    inputs,
    outputs_and_states,
    outputs_states_and_gradients,
    pair,
)

pytestmark = pytest.mark.pairwise


@LSTMS
@pytest.mark.parametrize('sizes', SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize('initial', INITIALIZERS.values(), ids=INITIALIZERS.keys())
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_initial_weights_equal_chainer_bit_for_bit(name, sizes, initial, dtype):
    with chainer.using_config('dtype', dtype):
        both = pair(name, *sizes, **initial)
        assert_same(*(contents(link) for link in both))
        results = []
        for link in both:
            numpy.random.seed(2)  # of the draws of a deferred link
            step(link, numpy.zeros((2, INPUT), chainer.get_dtype()))
            results.append({**parameters(link), 'next number': numpy.random.random(1)})
    assert_same(*results)


@LSTMS
def test_positional_initializers(name):
    theirs, ours = pair(name, INPUT, UNITS, draw, initializers.Uniform(0.2), 0.5, 2)
    assert_same(contents(ours), contents(theirs))


@LSTMS
@pytest.mark.parametrize('sizes', SIZES.values(), ids=SIZES.keys())
def test_attributes_equal_chainer(name, sizes):
    theirs, ours = pair(name, *sizes, lateral_init=draw, bias_init=2)
    assert isinstance(ours, type(theirs))
    assert vars(ours).keys() == vars(theirs).keys()
    for attribute in ('state_size', 'lateral_init', 'upward_init', 'bias_init', 'forget_bias_init'):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert [path for path, _ in ours.namedparams()] == [path for path, _ in theirs.namedparams()]
    assert [path for path, _ in ours.namedlinks()] == [path for path, _ in theirs.namedlinks()]


@LSTMS
def test_numpy_integers_as_sizes(name):
    theirs, ours = pair(name, numpy.int64(INPUT), numpy.int32(UNITS))
    assert_same(contents(ours), contents(theirs))


@pytest.mark.parametrize('batches', BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_steps_equal_chainer(xp, dtype, batches):
    with chainer.using_config('dtype', dtype):
        theirs, ours = pair('LSTM', INPUT, UNITS, xp=xp)
        xs = inputs(batches, chainer.get_dtype(), xp)
        expected = outputs_states_and_gradients(theirs, xs)
        assert_close(outputs_states_and_gradients(ours, xs), expected)


@pytest.mark.parametrize('batches', BATCHES.values(), ids=BATCHES.keys())
def test_second_gradients_equal_chainer(xp, batches):
    with chainer.using_config('dtype', numpy.float64):
        theirs, ours = pair('LSTM', INPUT, UNITS, xp=xp)
        xs = inputs(batches, 'd', xp)
        expected = outputs_states_and_gradients(theirs, xs, order=2)
        assert_close(outputs_states_and_gradients(ours, xs, order=2), expected)


@pytest.mark.parametrize('batches', BATCHES.values(), ids=BATCHES.keys())
def test_steps_equal_reference(xp, batches):
    with chainer.using_config('dtype', numpy.float64):
        link = pair('LSTM', INPUT, UNITS, bias_init=draw, xp=xp)[1]
    W, b, U = (
        chainer.backends.cuda.to_cpu(p.array)
        for p in (link.upward.W, link.upward.b, link.lateral.W)
    )
    c, h = numpy.zeros((2, batches[0], UNITS))
    for x in uniforms([(batch, INPUT) for batch in batches]):
        c, y = reference.lstm_step(c, h[: len(x)], x, W, b, U)
        h = numpy.concatenate((y, h[len(x) :]))
        assert_close([link(xp.asarray(x)), link.c, link.h], [y, c, h])


@STATEFUL
@pytest.mark.parametrize('batches', [(3, 3), (3, 1, 2)], ids=['one batch size', 'growing again'])
def test_backward_finite_differences(xp, name, batches):
    with chainer.using_config('dtype', numpy.float64):
        link = pair(name, INPUT, UNITS, xp=xp)[1]

    def function(*xs):
        link.reset_state()
        return tuple(outputs_and_states(link, xs))

    xs = tuple(uniforms([(batch, INPUT) for batch in batches], xp=xp))
    gys = tuple(uniforms([y.shape for y in function(*xs)], xp=xp))
    gradient_check.check_backward(
        function, xs, gys, params=tuple(link.params()), dtype='d', atol=1e-5, rtol=1e-5
    )


@STATEFUL
@pytest.mark.parametrize('shape', [(5, 2), (5, 2, 3), (5, 1, 2, 1)], ids=str)
@pytest.mark.parametrize('deferred', [False, True], ids=['initialized', 'deferred'])
def test_input_of_more_axes_is_flattened(name, shape, deferred):
    width = int(numpy.prod(shape[1:]))
    both = pair(name, None if deferred else width, UNITS)
    results = []
    for link in both:
        numpy.random.seed(2)
        results.append(outputs_states_and_gradients(link, variables(uniforms([shape, shape], 'f'))))
    assert_close(results[1], results[0])
    assert both[1].upward.W.shape == (4 * UNITS, width)


@STATEFUL
def test_arrays_as_input(name):
    link = getattr(links, name)(INPUT, UNITS)
    x = uniform((2, INPUT), 'f')
    y = link(x)
    link.reset_state()
    assert_close([link(chainer.Variable(x))], [y])


@STATEFUL
def test_a_step_is_one_node_and_with_peepholes_two(name):
    link = getattr(links, name)(INPUT, UNITS)
    for x in inputs((2, 2)):
        h = link(x)
        if name == 'LSTM':
            assert h.creator.label == 'LSTMStep'
            assert h.creator is link.c.creator
        else:
            assert h.creator.label == 'PeepholeOutput'
            assert h.creator.inputs[0] is link.c.node
            assert link.c.creator.label == 'PeepholeStep'
