"""Weights moved between the links of the family, and what cannot be moved."""

import chainer
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import cells, interop
from tests.interop import cases
from tests.support.arrays import assert_close, assert_same
from tests.support.links import contents

pytestmark = pytest.mark.pairwise

# from one layer in one direction to every link that has one, and between those of more
PAIRS = [
    (source, target, layers)
    for source, (numbers, directions) in cases.FAMILY.items()
    for layers in numbers
    for target, (others, same) in cases.FAMILY.items()
    if layers in others and directions == same
]


@pytest.mark.parametrize('source, target, layers', PAIRS)
@pytest.mark.parametrize('dtype', 'fd')
def test_convert(source, target, layers, dtype):
    """Into a new link of the class, except for the class that does not tell its directions,
    into a link, and back.
    """
    link = cases.make(source, layers, dtype)
    args = cases.arguments_of(source, layers, dtype)
    expected = cases.run(link, *args)
    new = interop.convert(link, getattr(ours, target.split()[-1]))
    assert type(new).__name__ == target.split()[-1]
    assert_close(cases.run(new, *args), expected)
    there = interop.convert(link, cases.make(target, layers, dtype))
    assert_close(cases.run(there, *args), expected)
    assert_close(
        cases.run(interop.convert(there, cases.make(source, layers, dtype)), *args), expected
    )


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'NStepLSTM', 'NStepBiLSTM'])
@pytest.mark.parametrize('to_ours', [True, False], ids=["from Chainer's", "to Chainer's"])
def test_convert_chainers_own(name, to_ours):
    modules = [chainer.links, ours] if to_ours else [ours, chainer.links]
    link, args = cases.make(name, module=modules[0]), cases.arguments_of(name, 1)
    new = interop.convert(link, getattr(modules[1], name))
    assert type(new) is getattr(modules[1], name)
    assert_close(cases.run(new, *args), cases.run(link, *args))


def test_peephole_to_itself_and_from_a_link_without():
    args = cases.arguments(1, 1)
    link = cases.make('StatefulPeepholeLSTM')
    assert_close(
        cases.run(interop.convert(link, ours.StatefulPeepholeLSTM), *args), cases.run(link, *args)
    )
    plain = cases.make('LSTM')
    peephole = interop.convert(plain, link)
    assert_close(cases.run(peephole, *args), cases.run(plain, *args))
    assert_close(cases.run(interop.convert(peephole, ours.LSTM), *args), cases.run(plain, *args))


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'SequenceLSTM'])
def test_into_a_deferred_link(name):
    link, args = cases.make('NStepLSTM'), cases.arguments(1, 1)
    deferred = cases.make(name, in_size=None)
    assert interop.convert(link, deferred) is deferred
    assert_close(cases.run(deferred, *args), cases.run(link, *args))


def test_links_on_a_device(xp):
    """Weights are read from any device and go to the one that the link is on."""
    device = '@numpy' if xp is numpy else '@cupy:0'
    link, new = cases.make('LSTM'), cases.make('NStepLSTM')
    expected, args = interop.to_keras(link), cases.arguments(1, 1)
    link.to_device(device)
    new.to_device(device)
    interop.convert(link, new)
    assert all(isinstance(param.array, xp.ndarray) for param in new.params())
    assert_same(dict(enumerate(interop.to_keras(new))), dict(enumerate(expected)))
    assert_close(
        cases.run(interop.convert(new, ours.LSTM), *args), cases.run(cases.make('LSTM'), *args)
    )


def test_dropout_goes_along():
    link = ours.NStepLSTM(2, cases.INPUT, cases.UNITS, 0.3)
    assert interop.convert(link, ours.SequenceLSTM).dropout == 0.3


@pytest.mark.parametrize('dropout', [1.0, None])
def test_dropout_that_one_layer_does_not_use(dropout):
    link = ours.NStepLSTM(1, cases.INPUT, cases.UNITS, dropout)
    assert interop.convert(link, ours.SequenceLSTM).dropout == 0
    assert interop.convert(link, ours.NStepLSTM).dropout == dropout


def test_state_of_the_target_stays():
    link = cases.make('LSTM')
    link.persistent_state = True
    link.set_state(*numpy.ones((2, 2, cases.UNITS), 'f'))
    interop.convert(cases.make('StatelessLSTM'), link)
    assert link.c.array.all() and link.h.array.all()


@pytest.mark.parametrize('directions', [1, 2])
def test_sequence_of_another_cell(directions):
    def make():
        return ours.SequenceLSTM(
            cases.INPUT, cases.UNITS, cell=cells.peephole, bidirectional=directions == 2
        )

    link, copy = cases.randomize(make()), make()
    assert interop.convert(link, copy) is copy
    assert_same(contents(copy), contents(link))
    assert_same(contents(interop.convert(link, ours.SequenceLSTM)), contents(link))
    plain = ours.SequenceLSTM(cases.INPUT, cases.UNITS, bidirectional=directions == 2)
    with pytest.raises(ValueError, match='peepholes: expected none for SequenceLSTM, got P_i'):
        interop.convert(link, plain)


def test_cell_of_a_sequence_and_of_a_link():
    link = cases.make('StatefulPeepholeLSTM')
    sequence = ours.SequenceLSTM(cases.INPUT, cases.UNITS, cell=link.cell)
    interop.convert(link, sequence)
    for weight, expected in zip(sequence.l0.cell_weights(), link.cell_weights()):
        numpy.testing.assert_array_equal(weight.array, expected.array)
    assert_same(contents(interop.convert(sequence, ours.StatefulPeepholeLSTM)), contents(link))


class Other(cells.LSTM):
    """A cell of the same weights, which another equation may take."""

    name = 'other'


@pytest.mark.parametrize('swap', [False, True])
def test_cell_without_a_link(swap):
    pair = [cases.make('LSTM'), ours.SequenceLSTM(cases.INPUT, cases.UNITS, cell=Other())]
    link, into = reversed(pair) if swap else pair
    with pytest.raises(TypeError, match='expected a SequenceLSTM of LSTM cells, got one of other'):
        interop.convert(link, into)


class Normalized(ours.LSTM):
    """Has a parameter that no LSTM has."""

    def __init__(self):
        super().__init__(cases.INPUT, cases.UNITS)
        with self.init_scope():
            self.scale = chainer.Parameter(1, (1,))


def without_bias():
    link = cases.make('LSTM')
    link.upward = chainer.links.Linear(cases.INPUT, 4 * cases.UNITS, nobias=True)
    return link


def learned():
    link = ours.SequenceLSTM(cases.INPUT, cases.UNITS, learn_initial_state=True)
    link.c0.array[...] = 1
    return link


@pytest.mark.parametrize('link, error, message', [
    (lambda: chainer.links.StatefulMGU(3, 4), TypeError,
     'expected a link of the LSTM family, got StatefulMGU'),
    (lambda: chainer.links.NStepGRU(1, 3, 4, 0.0), TypeError,
     'expected a link of the LSTM family, got NStepGRU'),
    (lambda: ours.LSTM(4), ValueError, 'upward/W: expected weights, got none'),
    (learned, ValueError, 'c0, h0: expected zeros'),
    (without_bias, KeyError, 'upward/b: expected in a LSTM'),
])  # fmt: skip
def test_unreadable_link(link, error, message):
    with pytest.raises(error, match=message):
        interop.convert(link(), ours.LSTM)


@pytest.mark.parametrize('converter', [interop.to_keras, interop.to_gates, interop.to_torch])
def test_learned_initial_state_has_no_place_in_weights(converter):
    if converter is interop.to_torch:
        pytest.importorskip('torch', reason='torch is not installed')
    message = 'c0, h0: expected zeros, got a learned initial state.*: set c0 and h0 to zeros'
    with pytest.raises(ValueError, match=message):
        converter(learned())


@pytest.mark.parametrize('source, layers, target, error, message', [
    ('NStepBiLSTM', 1, ours.NStepLSTM, ValueError, 'directions: expected 1 for NStepLSTM, got 2'),
    ('NStepBiLSTM', 1, ours.LSTM, ValueError, 'directions: expected 1 for LSTM, got 2'),
    ('NStepLSTM', 1, ours.NStepBiLSTM, ValueError, 'directions: expected 2 for NStepBiLSTM, got 1'),
    ('NStepLSTM', 2, ours.LSTM, ValueError, 'layers: expected 1 for LSTM, got 2'),
    ('NStepLSTM', 2, ours.NStepLSTM(3, cases.INPUT, cases.UNITS, 0.0), ValueError,
     'layers: expected 3 for NStep'),
    ('NStepBiLSTM', 1, ours.SequenceLSTM(cases.INPUT, cases.UNITS), ValueError,
     'directions: expected 1 for Sequence'),
    ('StatefulPeepholeLSTM', 1, ours.LSTM, ValueError,
     'peepholes: expected none for LSTM, got P_i'),
    ('LSTM', 1, ours.LSTM(cases.INPUT + 1, cases.UNITS), ValueError,
     r'upward/W: expected shape \(20, 8\), got \(20, 7\)'),
    ('LSTM', 1, chainer.links.LSTM(cases.INPUT, 4), ValueError,
     r'lateral/W: expected shape \(16, 4\), got \(20, 5\)'),
    ('LSTM', 1, ours.NStepLSTM(1, cases.INPUT, 4, 0.0), ValueError,
     r'0/b0: expected shape \(4,\), got \(5,\)'),
    ('LSTM', 1, ours.LSTM(None, 4), ValueError,
     r'lateral/W: expected shape \(16, 4\), got \(20, 5\)'),
    ('LSTM', 1, Normalized(), KeyError, 'scale: expected a Normalized as it was made'),
    ('LSTM', 1, without_bias(), KeyError, 'upward/b: expected a LSTM as it was made'),
    ('LSTM', 1, chainer.links.Linear, TypeError,
     'expected a link of the LSTM family or its class, got Linear'),
    ('LSTM', 1, 'LSTM', TypeError, 'expected a link of the LSTM family or its class, got str'),
])  # fmt: skip
def test_what_does_not_fit_changes_nothing(source, layers, target, error, message):
    link = cases.make(source, layers)
    before = contents(target) if isinstance(target, chainer.Link) else {}
    with pytest.raises(error, match=message):
        interop.convert(link, target)
    assert_same(contents(target) if isinstance(target, chainer.Link) else {}, before)
