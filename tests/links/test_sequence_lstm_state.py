"""The state of ``links.SequenceLSTM``: given, kept between calls, returned, learned."""

import chainer
import chainer.functions as F
import numpy
import pytest

from tests.links.sequence_cases import BATCH, MASKS, TIME, full, make, samples
from tests.support.arrays import assert_close, assert_same, gradients, uniform, uniforms
from tests.support.files import assert_load_fails, stored
from tests.support.links import INPUT, UNITS, contents


@pytest.mark.parametrize(('n_layers', 'bidirectional'), [(1, False), (3, False)])
def test_stateful_halves_are_the_whole(n_layers, bidirectional, xp):
    link = full(n_layers=n_layers, stateful=True, xp=xp)
    x = chainer.Variable(uniform((BATCH, TIME, INPUT), xp=xp))
    y, c, h = link(x)
    whole = [y, c, h, *gradients([y, c, h], [x, *link.params()])]
    assert link.c.shape == link.h.shape == (n_layers, BATCH, UNITS)
    link.reset_state()
    assert link.c is None and link.h is None
    first, (second, c, h) = link(x[:, :2])[0], link(x[:, 2:])
    y = F.concat((first, second))
    assert_close([y, c, h, *gradients([y, c, h], [x, *link.params()])], whole)


def test_stateful_carries_through_masks():
    link, x = make(stateful=True), uniform((2, TIME, INPUT))
    link(x, lengths=[0, 2])
    before = link.h.array[0]
    assert_close([before[0]], [numpy.zeros(UNITS)])
    assert_close([link(x, lengths=[0, 0])], [before])


def test_state_is_kept_only_when_stateful():
    link, x = make(), uniform((2, TIME, INPUT))
    first = link(x)
    assert link.c is None and link.h is None
    assert_close([link(x)], [first])


def test_set_state_is_an_initial_state():
    link, (x, c, h) = make(stateful=True), samples(1)
    expected = link(x, (c, h))
    link.set_state(c, h)
    assert_close([link(x)], [expected])
    link.set_state(c[0], chainer.Variable(h[0]))
    assert link.c.shape == link.h.shape == c.shape
    assert_close([link(x)], [expected])


def test_initial_state_before_the_kept_one():
    link, (x, c, h) = make(stateful=True), samples(1)
    link(x)
    given = link(x, (c, h))
    assert_close([link.h[0]], [given])
    link.reset_state()
    assert_close([link(x, [c[0], h[0]])], [given])


@pytest.mark.gpu
def test_state_moves_with_the_link(cupy):
    link, x = make(stateful=True), uniform((BATCH, TIME, INPUT))
    link(x)
    link.c.unchain(), link.h.unchain()
    expected = link.copy()(x)
    link.to_device('@cupy:0')
    assert isinstance(link.c.array, cupy.ndarray) and isinstance(link.h.array, cupy.ndarray)
    assert_close([link(cupy.asarray(x))], [expected])


def test_return_state_is_y_c_h():
    link = make(return_state=True)
    y, c, h = link(uniform((BATCH, TIME, INPUT)))
    assert y.shape == c.shape == h.shape == (BATCH, UNITS)
    assert_close([y], [h])
    assert numpy.abs(c.array - h.array).max() > 0.01
    y, c, h = make(return_state=True, bidirectional=True)(uniform((BATCH, TIME, INPUT)))
    assert (y.shape, c.shape, h.shape) == ((BATCH, 2 * UNITS), (2, BATCH, UNITS), (2, BATCH, UNITS))
    assert_close([y], [F.concat((h[0], h[1]))])


@pytest.mark.parametrize('name', ['no mask', 'holes'])
def test_learned_initial_state(name, xp):
    link = full(n_layers=2, bidirectional=True, learn_initial_state=True, xp=xp)
    x = uniform((BATCH, TIME, INPUT), xp=xp)
    assert_close([link.c0, link.h0], [numpy.zeros((4, UNITS))] * 2)
    link.c0.array[...], link.h0.array[...] = uniforms([(4, UNITS)] * 2, xp=xp)
    state = [
        chainer.Variable(xp.repeat(v.array[:, None], BATCH, axis=1)) for v in (link.c0, link.h0)
    ]
    outputs, expected = link(x, **MASKS[name]), link(x, state, **MASKS[name])
    assert_close(outputs, expected)
    assert_close(
        gradients(outputs, [link.c0, link.h0]),
        [g.array.sum(axis=1) for g in gradients(expected, state)],
    )


def test_kept_state_before_the_learned_one():
    link, x = make(stateful=True, learn_initial_state=True), uniform((BATCH, TIME, INPUT))
    link.h0.array[...] = 0.5
    first, second = link(x).array, link(x).array
    assert numpy.abs(first - second).max() > 1e-3
    link.reset_state()
    assert_close([link(x)], [first])


# Files with the state in them


def persistent(value=True, **kwargs):
    link = full(n_layers=2, bidirectional=True, stateful=True, dtype='f', **kwargs)
    link.persistent_state = value
    return link


@pytest.mark.parametrize('deferred', [False, True], ids=['into initialized', 'into deferred'])
@pytest.mark.parametrize('learn_initial_state', [False, True])
def test_persistent_state_round_trip(file, deferred, learn_initial_state, xp):
    x = uniform((BATCH, TIME, INPUT), 'f', xp)
    first = persistent(learn_initial_state=learn_initial_state, xp=xp)
    in_size = None if deferred else INPUT
    second = persistent(learn_initial_state=learn_initial_state, in_size=in_size, xp=xp)
    first(x)
    file.save(first)
    file.load(second)
    assert isinstance(second.c.array, xp.ndarray)
    assert_same(contents(second), contents(first))
    assert_close(second(x), first(x))


def test_persistent_state_none(file):
    """A link without a state makes the link that reads its file forget its own."""
    first, second = persistent(), persistent()
    second(uniform((BATCH, TIME, INPUT), 'f'))
    file.save(first)
    file.load(second)
    assert second.c is None and second.h is None


def test_file_of_weights_alone_keeps_the_state(file):
    first, second = persistent(False), persistent()
    second(uniform((BATCH, TIME, INPUT), 'f'))
    state = second.save_state()
    file.save(first)
    for load in (file.load, file.load_loosely):
        load(second)
        assert_same(second.save_state(), state)
    assert_close([second.l1.upward.W], [first.l1.upward.W])


def test_file_with_state_is_read_without_it(file):
    first, second = persistent(), persistent(False)
    first(uniform((BATCH, TIME, INPUT), 'f'))
    assert {'c', 'h'} <= stored(first).keys()
    file.save(first)
    file.load(second)
    assert second.c is None and second.h is None


def test_persistent_state_of_a_link_that_keeps_none(file):
    """Is neither written nor read."""
    first, second = persistent(), full(n_layers=2, bidirectional=True, dtype='f')
    first(uniform((BATCH, TIME, INPUT), 'f'))
    second.persistent_state = True
    assert not {'c', 'h'} & stored(second).keys()
    file.save(first)
    file.load(second)
    assert second.c is None and second.h is None


@pytest.mark.parametrize(
    'c, h, error, message',
    [
        (
            (4, 3, UNITS + 1),
            (4, 3, UNITS),
            ValueError,
            r'expected c of shape \(4, batch, 4\), got \(4, 3, 5\)',
        ),
        (
            (4, 3, UNITS),
            (2, 3, UNITS),
            ValueError,
            r'expected h of shape \(4, batch, 4\), got \(2, 3, 4\)',
        ),
        ((4, 3, UNITS), (4, 2, UNITS), ValueError, r'one shape, got \(4, 3, 4\) and \(4, 2, 4\)'),
        ((4, 3, UNITS), (4, 0, UNITS), ValueError, r'one shape, got \(4, 3, 4\) and None'),
        ((3, UNITS), (3, UNITS), ValueError, r'expected c of shape'),
        ((), (), ValueError, r'expected c of shape'),
    ],
    ids=['width of c', 'layers of h', 'rows', 'c alone', 'axes', 'scalars'],
)
def test_misshapen_state_changes_nothing(file, c, h, error, message):
    link = persistent()
    link(uniform((BATCH, TIME, INPUT), 'f'))
    data = {**stored(link), 'c': numpy.zeros(c, 'f'), 'h': numpy.zeros(h, 'f')}
    assert_load_fails(file, link, data, error, message)


def test_persistent_state_inside_a_model(tmp_path):
    chain = chainer.Chain(rnn=persistent(), out=chainer.links.Linear(3, 1))
    x = uniform((BATCH, TIME, INPUT), 'f')
    chain.rnn(x)
    chainer.serializers.save_npz(tmp_path / 'snapshot.npz', chain)
    other = chainer.Chain(rnn=persistent(), out=chainer.links.Linear(3, 1))
    chainer.serializers.load_npz(tmp_path / 'snapshot.npz', other)
    assert_close(other.rnn(x), chain.rnn(x))
