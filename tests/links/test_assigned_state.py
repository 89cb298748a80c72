"""States that a program assigns as plain arrays, which Chainer's links take too."""

import copy
import pickle

import chainer
import numpy
import pytest
from chainer import serializers

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.support.arrays import assert_close, assert_same, uniform
from tests.support.links import INPUT, STATEFUL, UNITS, pair

LINKS = {
    'LSTM': lambda: ours.LSTM(INPUT, UNITS),
    'StatefulPeepholeLSTM': lambda: ours.StatefulPeepholeLSTM(INPUT, UNITS),
    'SequenceLSTM': lambda: ours.SequenceLSTM(INPUT, UNITS, n_layers=2, stateful=True),
}


@pytest.fixture(params=LINKS)
def name(request):
    return request.param


def states(name, xp=numpy):
    shape = (2, 3, UNITS) if name == 'SequenceLSTM' else (3, UNITS)
    return uniform(shape, 'f', xp), uniform(shape, 'f', xp, seed=1)


def next_input(name, xp=numpy):
    return uniform((3, 2, INPUT) if name == 'SequenceLSTM' else (3, INPUT), 'f', xp)


def assigned(name, wrap=lambda x: x, xp=numpy):
    """A link whose state was assigned, and the state."""
    numpy.random.seed(2)
    link = LINKS[name]()
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    c, h = states(name, xp)
    link.c, link.h = wrap(c), wrap(h)
    return link


def test_call(name, xp):
    link, expected = assigned(name, xp=xp), assigned(name, chainer.Variable, xp)
    x = next_input(name, xp)
    assert_close([link(x), link.c, link.h], [expected(x), expected.c, expected.h])


@STATEFUL
@pytest.mark.parametrize('batch', [0, 1, 3])
@pytest.mark.parametrize('parts', ['ch', 'c', 'h'])
@pytest.mark.parametrize('deferred', [True, False], ids=['deferred', 'initialized'])
def test_batches_and_sequences(name, batch, parts, deferred):
    found = []
    for wrap in (lambda x: x, chainer.Variable):
        for sequence in (True, False):
            numpy.random.seed(2)
            link = getattr(ours, name)(None if deferred else INPUT, UNITS)
            for part, value in zip('ch', states(name)):
                setattr(link, part, wrap(value) if part in parts else None)
            x = uniform((2, batch, INPUT), 'f')
            y = link.forward_sequence(x)[-1] if sequence else [link(step) for step in x][-1]
            found.append([y, link.c, link.h])
    for outputs in found[1:]:
        assert_close(outputs, found[0])


def test_step_equals_chainer():
    results = []
    for link in pair('LSTM', INPUT, UNITS):
        link.c, link.h = states('LSTM')
        results.append([link(next_input('LSTM')), link.c, link.h])
    assert_close(results[1], results[0])


def test_save_state(name):
    link = assigned(name)
    state = link.save_state()
    assert_same(state, dict(zip('ch', states(name))))
    state['c'][...] = 0
    assert link.c.all()


def test_to_device(name, xp):
    """Chainer's links fail there."""
    link = assigned(name)
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    assert isinstance(chainer.as_array(link.c), xp.ndarray)
    assert_close([link.c, link.h], states(name))
    expected = assigned(name, chainer.Variable)
    assert_close([link(next_input(name, xp))], [expected(next_input(name))])


def test_persistent_state(name, tmp_path):
    link, other = assigned(name), LINKS[name]()
    link.persistent_state = other.persistent_state = True
    serializers.save_npz(tmp_path / 'link.npz', link)
    serializers.load_npz(tmp_path / 'link.npz', other)
    assert_close([other.c, other.h], states(name))
    plain = LINKS[name]()
    serializers.save_npz(tmp_path / 'weights.npz', plain)
    serializers.load_npz(tmp_path / 'weights.npz', link)
    assert_close([link.c, link.h], states(name))


@pytest.mark.parametrize(
    'duplicate',
    [
        lambda link: link.copy('copy'),
        copy.deepcopy,
        lambda link: pickle.loads(pickle.dumps(link)),
    ],
    ids=['copy', 'deepcopy', 'pickle'],
)
def test_copies(name, duplicate):
    link = duplicate(assigned(name))
    assert_same(link.save_state(), dict(zip('ch', states(name))))
    expected = assigned(name, chainer.Variable)
    assert_close([link(next_input(name))], [expected(next_input(name))])


def test_to_torch(name):
    torch = pytest.importorskip('torch', reason='torch is not installed')
    h, c = interop.state_to_torch(assigned(name))
    expected_c, expected_h = (torch.from_numpy(s) for s in states(name))
    assert torch.equal(c, expected_c.reshape(c.shape))
    assert torch.equal(h, expected_h.reshape(h.shape))
