"""States and dropouts that Chainer's ``NStepLSTM`` and ``NStepBiLSTM`` accept."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import initializers

import chainer_lstm.functions
import chainer_lstm.links
from tests.links.n_step_cases import (
    LINKS,
    UNITS,
    flat,
    new,
    outputs_and_gradients,
    sequences,
    states,
)
from tests.support.arrays import assert_close
from tests.support.links import INPUT, pair

# More rows than sequences


@LINKS
@pytest.mark.parametrize(
    'rows', [(3, 3), (4, 4), (7, 7), (4, 3), (3, 5), (4, None), (None, 4)], ids=str
)
@pytest.mark.parametrize('lengths', [(1, 4, 2), (2, 2, 2)], ids=str)
def test_more_rows_than_sequences_equal_chainer(name, rows, lengths):
    """The first rows are taken; hy, cy have a row for each sequence."""
    theirs, ours = pair(name, 2, INPUT, UNITS, 0.0, initial_bias=initializers.Normal(1))
    hx, cx = (None if n is None else states(ours, range(n))[k] for k, n in enumerate(rows))
    xs = sequences(lengths)
    assert_close(flat(ours(hx, cx, xs)), flat(theirs(hx, cx, xs)))


@LINKS
@pytest.mark.parametrize('lengths', [(1, 4, 2), (2, 0), (0, 0)], ids=str)
def test_gradients_of_rows_that_are_left_out_are_zero(xp, name, lengths):
    """Chainer's backward fails there."""
    link = new(name, 2)
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    rows = len(lengths)
    hx, cx = states(link, range(rows + 2), xp=xp)
    xs = sequences(lengths, xp=xp)
    found = outputs_and_gradients(link, hx, cx, xs)
    wanted = outputs_and_gradients(link, hx[:, :rows], cx[:, :rows], xs)
    outputs = 2 + rows
    states_of_both = slice(outputs, outputs + 2)
    parts = zip(found[states_of_both], wanted[states_of_both])
    del found[states_of_both], wanted[states_of_both]
    assert_close(found, wanted)
    for gradient, part in parts:
        assert gradient.shape == hx.shape
        assert_close([gradient[:, :rows]], [part])
        assert not gradient.array[:, rows:].any()


@LINKS
def test_state_of_a_larger_batch_goes_on(name):
    """The last batch of an epoch is smaller."""
    theirs, ours = pair(name, 2, INPUT, UNITS, 0.0)
    results = []
    for link in (theirs, ours):
        hy, cy, _ = link(None, None, sequences((2, 3, 1)))
        results.append(flat(link(hy, cy, sequences((1, 2)))))
    assert_close(results[1], results[0])


# Dropout


@LINKS
@pytest.mark.parametrize(
    'dropout', [1, 1.0, 2, -1, numpy.nan, None, 'a', True, numpy.array([0.5, 0.5])], ids=str
)
@pytest.mark.parametrize('function', [True, False], ids=['function', 'link'])
def test_one_layer_does_not_use_dropout(name, dropout, function):
    theirs, ours = pair(name, 1, INPUT, UNITS, dropout)
    assert ours.dropout is theirs.dropout is dropout
    xs = sequences((3, 2, 1))
    results = []
    for link, module in ((theirs, chainer.functions), (ours, chainer_lstm.functions)):
        random = numpy.random.get_state()[2]
        if function:
            hx, cx = states(link, xs)
            steps = F.transpose_sequence(xs)
            call = getattr(module, 'n_step_bilstm' if link.direction == 2 else 'n_step_lstm')
            hy, cy, ys = call(1, dropout, hx, cx, link.ws, link.bs, steps)
            results.append([hy, cy, *ys])
        else:
            results.append(flat(link(None, None, xs)))
    assert numpy.random.get_state()[2] == random
    assert_close(results[1], results[0])


@LINKS
@pytest.mark.parametrize('layers', [1, 2])
@pytest.mark.parametrize(
    'dropout',
    [False, numpy.False_, numpy.array(0.5), numpy.float32(0.5), numpy.array(0), 0],
    ids=repr,
)
def test_numbers_for_dropout_equal_chainer(name, layers, dropout):
    theirs, ours = pair(name, layers, INPUT, UNITS, dropout)
    xs = sequences((3, 2, 1))
    results = []
    for link in (theirs, ours):
        numpy.random.seed(3)
        results.append(flat(link(None, None, xs)))
    assert_close(results[1], results[0])


class Halved(chainer_lstm.links.NStepLSTM):
    def rnn(self, *args):
        hy, cy, ys = super().rnn(*args)
        return hy * 0.5, cy * 0.5, [y * 0.5 for y in ys]


def test_gradients_that_do_not_fit_the_outputs_of_an_own_rnn():
    link = Halved(1, 3, 4, 0)
    outputs = link(None, None, [numpy.ones((2, 3), 'f')])
    for y in (*outputs[:2], *outputs[2]):
        with pytest.raises(ValueError, match='grad_outputs: expected a gradient that broadcasts'):
            chainer.grad([y], [link.bs[0][0]], [numpy.ones((7, *y.shape), 'f')])
