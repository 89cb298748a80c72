"""The state as a plain dictionary."""

import chainer
import numpy
import pytest

import chainer_lstm.links as ours
from tests.support.arrays import assert_close, assert_same, uniform
from tests.support.links import INPUT, UNITS, contents

LINKS = {
    'LSTM': lambda: ours.LSTM(INPUT, UNITS),
    'StatefulPeepholeLSTM': lambda: ours.StatefulPeepholeLSTM(INPUT, UNITS),
    'SequenceLSTM': lambda: ours.SequenceLSTM(
        INPUT, UNITS, n_layers=2, bidirectional=True, stateful=True
    ),
}


@pytest.fixture(params=LINKS)
def link(request):
    """A link that has a state, and its next input."""
    link = LINKS[request.param]()
    link.x = uniform((2, 3, INPUT) if request.param == 'SequenceLSTM' else (2, INPUT), 'f')
    link(link.x)
    return link


def test_goes_on_from_the_saved_state(link, tmp_path):
    state = link.save_state()
    numpy.savez(tmp_path / 'state.npz', **state)
    expected = link(link.x)
    link.reset_state()
    with numpy.load(tmp_path / 'state.npz') as file:
        link.load_state(file)
    assert_same(link.save_state(), state)
    assert_close([link(link.x)], [expected])


def test_saved_state_is_a_copy(link):
    state = link.save_state()
    assert sorted(state) == ['c', 'h'] and all(type(s) is numpy.ndarray for s in state.values())
    before = {name: s.copy() for name, s in state.items()}
    link.c.array[...] = 0
    assert_same(state, before)
    link.load_state(state)
    link.h.array[...] = 0
    assert_same(state, before)


def test_no_state(link):
    link.reset_state()
    assert link.save_state() == {}
    link(link.x)
    link.load_state({})
    assert link.c is None and link.h is None


@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
def test_one_of_the_two(name):
    link = LINKS[name]()
    link.set_state(numpy.ones((2, UNITS), 'f'), None)
    state = link.save_state()
    link.reset_state()
    link.load_state(state)
    assert link.h is None and link.c.array.all()


@pytest.mark.parametrize(
    'change, error, message',
    [
        (
            lambda state: {**state, 'x': state['c']},
            KeyError,
            r"x: expected c and h, got \['c', 'h', 'x'\]",
        ),
        (lambda state: {**state, 'c': state['c'][:, :1]}, ValueError, 'c'),
        (lambda state: {**state, 'h': state['h'][..., :1]}, ValueError, 'expected h of shape'),
        (
            lambda state: {**state, 'h': state['h'].astype('i')},
            TypeError,
            'expected h of (a float )?dtype',
        ),
    ],
)
def test_wrong_state_changes_nothing(link, change, error, message):
    before = contents(link)
    with pytest.raises(error, match=message):
        link.load_state(change(link.save_state()))
    assert_same(contents(link), before)


def test_on_a_device(xp):
    link = LINKS['LSTM']()
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    link.load_state({name: numpy.ones((2, UNITS), 'f') for name in 'ch'})
    assert isinstance(link.c.array, xp.ndarray)
    assert all(isinstance(s, numpy.ndarray) for s in link.save_state().values())
    assert isinstance(link.c, chainer.Variable)
