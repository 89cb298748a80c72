"""``links.LSTM`` beside ``chainer.links.LSTM``.

The constructor and copies are tested of ``StatelessLSTM`` too, the state also
of ``StatefulPeepholeLSTM``; what is their own is in ``test_stateless_lstm`` and
``test_peephole``.
"""

import copy
import pickle

import chainer
import numpy
import pytest
from chainer import gradient_check, initializers

from chainer_lstm import links
from tests.support import reference
from tests.support.arrays import (
    DTYPES,
    assert_close,
    assert_same,
    gradients,
    uniform,
    uniforms,
    variables,
)
from tests.support.links import (
    BATCHES,
    INPUT,
    UNITS,
    contents,
    inputs,
    outputs_and_states,
    outputs_states_and_gradients,
    pair,
)

pytestmark = pytest.mark.pairwise


def draw(array):
    """An initializer that is a plain function;
    what it draws shows how often and on what shapes it is called.
    """
    array[...] = numpy.random.normal(array.ndim, 0.1, array.shape)


INITIALIZERS = {
    'defaults': {},
    'lateral scalar': {'lateral_init': 0.25},
    'lateral array': {'lateral_init': uniform((UNITS, UNITS), 'f')},
    'lateral function': {'lateral_init': draw},
    'lateral Orthogonal': {'lateral_init': initializers.Orthogonal()},
    'upward scalar': {'upward_init': -0.5},
    'upward NumPy scalar': {'upward_init': numpy.float32(-0.5)},
    'upward array': {'upward_init': uniform((UNITS, INPUT), 'f')},
    'upward function': {'upward_init': draw},
    'upward Orthogonal': {'upward_init': initializers.Orthogonal(scale=0.7)},
    'bias scalar': {'bias_init': 0.5},
    'biases 0': {'bias_init': 0, 'forget_bias_init': 0},
    'bias array': {'bias_init': uniform((1, UNITS, 1), 'f')},
    'bias function': {'bias_init': draw},
    'bias Uniform': {'bias_init': initializers.Uniform(0.1)},
    'forget bias scalar': {'forget_bias_init': 3},
    'forget bias array': {'forget_bias_init': uniform((1, UNITS, 1), 'f')},
    'forget bias Normal': {'forget_bias_init': initializers.Normal(0.1)},
    'all': {
        'lateral_init': draw,
        'upward_init': initializers.GlorotUniform(),
        'bias_init': initializers.Normal(0.3),
        'forget_bias_init': initializers.Uniform(2),
    },
}
SIZES = {'both sizes': (INPUT, UNITS), 'out_size alone': (UNITS,), 'in_size None': (None, UNITS)}

LSTMS = pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM'])
STATEFUL = pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
WRAPS = pytest.mark.parametrize(
    'wrap', [chainer.Variable, lambda x: x], ids=['variables', 'arrays']
)


def step(link, x):
    """One step of either link."""
    return link(x) if hasattr(link, 'reset_state') else link(None, None, x)


def parameters(link):
    return {path: param.array.copy() for path, param in link.namedparams()}


# The constructor


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


# Steps


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


# The state


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


# Copies


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
