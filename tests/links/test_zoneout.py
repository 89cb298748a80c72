"""``links.StatefulZoneoutLSTM`` beside Chainer's."""

import pickle

import chainer
import chainer.links as L
import numpy
import pytest
from chainer import gradient_check, link_hooks

from chainer_lstm import functions, links
from tests.support.arrays import DTYPES, assert_close, assert_same, uniform
from tests.support.engines import CPU_ENGINES
from tests.support.links import INPUT, UNITS, contents, inputs, outputs_states_and_gradients, pair

NAME = 'StatefulZoneoutLSTM'
RATIOS = [(0.5, 0.5), (0.1, 0.7), (1.0, 0.4)]
CALLS = pytest.mark.parametrize(
    'call',
    [lambda link, xs: [link(x) for x in xs], lambda link, xs: link.forward_sequence(xs)],
    ids=['steps', 'sequence'],
)


@pytest.fixture(params=CPU_ENGINES)
def engine(request):
    """The name of an engine that everything is computed by."""
    with chainer.using_config('lstm_engine', request.param):
        yield request.param


@pytest.mark.parametrize('in_size', [INPUT, None], ids=['in_size', 'in_size None'])
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_initial_weights_equal_chainer_bit_for_bit(dtype, in_size):
    with chainer.using_config('dtype', dtype):
        both = pair(NAME, in_size, UNITS)
        assert_same(*(contents(link) for link in both))
        results = []
        for link in both:
            numpy.random.seed(2)
            link(numpy.zeros((2, INPUT), chainer.get_dtype()))
            link.reset_state()
            results.append({**contents(link), 'next number': numpy.random.random(1)})
    assert_same(*results)


def test_attributes_equal_chainer():
    theirs, ours = pair(NAME, INPUT, UNITS, h_ratio=0.25)
    assert isinstance(ours, L.StatefulZoneoutLSTM)
    assert vars(ours).keys() == vars(theirs).keys()
    assert [path for path, _ in ours.namedparams()] == [path for path, _ in theirs.namedparams()]
    assert (ours.c_ratio, ours.h_ratio, ours.state_size) == (0.5, 0.25, UNITS)


@pytest.mark.parametrize('train', [True, False], ids=['training', 'evaluation'])
@pytest.mark.parametrize('ratios', RATIOS, ids=str)
@pytest.mark.parametrize('dtype', 'efd')
def test_steps_equal_chainer_under_one_seed(engine, ratios, dtype, train):
    results = []
    with chainer.using_config('dtype', numpy.dtype(dtype)), chainer.using_config('train', train):
        for link in pair(NAME, INPUT, UNITS, *ratios):
            numpy.random.seed(3)
            results.append(outputs_states_and_gradients(link, inputs((3, 3, 3, 3), dtype)))
    assert_close(*results)


@CALLS
def test_batches_that_shrink(engine, call):
    """Rows that a step does not have keep their state; a sequence is as its steps in evaluation."""
    with chainer.using_config('train', False):
        link, lstm = links.StatefulZoneoutLSTM(INPUT, UNITS), links.LSTM(INPUT, UNITS)
        for mine, its in zip(link.params(), (lstm.lateral.W, lstm.upward.W, lstm.upward.b)):
            its.array[...] = next(p for p in (mine,) if p.shape == its.shape).array
        xs = inputs((4, 3, 1))
        assert_close([*call(link, xs), link.c, link.h], [*call(lstm, xs), lstm.c, lstm.h])


@CALLS
def test_units_keep_their_state(engine, call):
    link = links.StatefulZoneoutLSTM(INPUT, UNITS, 1.0, 1.0)
    c, h = uniform((3, UNITS), 'f', seed=1), uniform((3, UNITS), 'f', seed=2)
    link.set_state(chainer.Variable(c), chainer.Variable(h))
    for y in call(link, inputs((3, 3))):
        assert_same({'h': y.array, 'c': link.c.array}, {'h': h, 'c': c})


def test_ratios_may_change():
    link = links.StatefulZoneoutLSTM(INPUT, UNITS)
    (x,) = inputs((3,))
    link(x)
    h = link.h.array
    link.c_ratio = link.h_ratio = 1.0
    assert_same({'h': link(x).array}, {'h': h})


def test_gradients_with_the_same_noise(engine):
    link = links.StatefulZoneoutLSTM(INPUT, UNITS)

    def function(*arrays):
        numpy.random.seed(5)
        return tuple(functions.step(link.cell, arrays[:2], arrays[2], arrays[3:]))

    shapes = [(2, UNITS)] * 2 + [(2, INPUT), *link.cell.shapes(INPUT, UNITS).values()]
    arrays = tuple(uniform(shape, seed=k) for k, shape in enumerate(shapes))
    gys = tuple(uniform((2, UNITS), seed=20 + k) for k in range(2))
    gradient_check.check_backward(function, arrays, gys, dtype='d', atol=1e-5)


def test_hooked_links_are_called():
    """As Chainer's, with the same noise."""
    results = []
    for link in pair(NAME, INPUT, UNITS):
        numpy.random.seed(3)
        link.upward.add_hook(link_hooks.WeightStandardization())
        results.append(outputs_states_and_gradients(link, inputs((3, 3))))
    assert_close(*results)


def test_pickled(tmp_path):
    link = links.StatefulZoneoutLSTM(INPUT, UNITS, 0.2, 0.3)
    (x,) = inputs((3,))
    again = pickle.loads(pickle.dumps(link))
    with chainer.using_config('train', False):
        assert_close([link(x)], [again(x)])
    assert again.cell == link.cell


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ((3, 4, 1.5), ValueError, 'c_ratio'),
        ((3, 4, 0.5, -1), ValueError, 'h_ratio'),
        ((3, 4, 'x'), TypeError, 'c_ratio'),
        ((3, 0), ValueError, 'out_size'),
    ],
)
def test_refused(arguments, error, message):
    with pytest.raises(error, match=f'expected {message}'):
        links.StatefulZoneoutLSTM(*arguments)


def test_chainers_error_of_train():
    with pytest.raises(ValueError, match='train argument is not supported anymore'):
        links.StatefulZoneoutLSTM(3, 4, train=True)


def test_a_single_step_gives_lateral_a_gradient_of_zeros():
    theirs, ours = pair(NAME, INPUT, UNITS)
    for link in (theirs, ours):
        link.cleargrads()
        h = link(inputs((3,))[0])
        h.grad = numpy.ones_like(h.array)
        h.backward()
    assert theirs.lateral.W.grad is None
    numpy.testing.assert_array_equal(ours.lateral.W.grad, numpy.zeros((4 * UNITS, UNITS)))
