"""Weights of links with the options of an LSTM, and options that no other link or format has."""

import chainer
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import cells, interop
from tests.interop import cases
from tests.support.arrays import assert_close, assert_same
from tests.support.links import contents

SIZES = (cases.INPUT, cases.UNITS)
OPTIONS = [
    {'zoneout': (0.4, 0.3)},
    {'recurrent_dropout': 0.5},
    {'coupled': True},
    {'coupled': True, 'n_layers': 2, 'bidirectional': True},
    {'coupled': True, 'proj_size': 3},
    {'peephole': 'diagonal'},
    {'peephole': 'full'},
    {'peephole': 'diagonal', 'coupled': True, 'zoneout': (0.1, 0.0)},
    {'recurrent_activation': 'hard_sigmoid', 'peephole': 'diagonal'},
    {'recurrent_activation': 'hard_sigmoid', 'hard_sigmoid_slope': 1 / 6, 'coupled': True},
]


def make(**options):
    return cases.randomize(ours.SequenceLSTM(*SIZES, **options))


def outputs(link):
    """Return what a link computes in evaluation."""
    directions = 2 if isinstance(link, ours.NStepBiLSTM) else getattr(link, 'directions', 1)
    x, h0, c0 = cases.arguments(getattr(link, 'n_layers', 1), directions)
    projected = getattr(getattr(link, 'cell', None), 'outputs', None)
    with chainer.using_config('train', False):
        return cases.run(link, x, h0[:, :, :projected].copy(), c0)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_to_a_new_link_and_back(options):
    """The new one has four gates, and no option that acts in training alone."""
    link = make(**options)
    new = interop.convert(link, ours.SequenceLSTM)
    assert not any(getattr(new.cell, name, False) for name in ('coupled', 'recurrent_dropout'))
    assert_close(outputs(new), outputs(link))
    copy = ours.SequenceLSTM(*SIZES, **options)
    assert interop.convert(new, copy) is copy
    assert_same(contents(copy), contents(link))


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'NStepLSTM', 'StatefulZoneoutLSTM'])
@pytest.mark.parametrize('module', [ours, chainer.links], ids=['ours', "Chainer's"])
def test_coupled_gates_in_every_link(name, module):
    link = make(coupled=True)
    new = interop.convert(link, getattr(module, name))
    assert type(new) is getattr(module, name)
    assert_close(outputs(new), outputs(link))


def test_weights_of_coupled_gates():
    """i = 1 - f has the negative weights of f: rows of a, f, o become those of a, i, f, o."""
    link = make(coupled=True, peephole='diagonal')
    new = interop.convert(link, ours.SequenceLSTM).l0
    for name in ('W', 'b', 'U'):
        a, f, o = (getattr(link.l0, name).array[gate::3] for gate in range(3))
        for gate, expected in enumerate((a, -f, f, o)):
            numpy.testing.assert_array_equal(getattr(new, name).array[gate::4], expected)
    numpy.testing.assert_array_equal(new.P_i.array, -link.l0.P_f.array)


@pytest.mark.parametrize('link', [
    ours.NStepLSTM(2, *SIZES, 0.3, zoneout=(0.4, 0.3)),
    ours.NStepBiLSTM(1, *SIZES, 0.3, recurrent_dropout=0.5),
    ours.StatefulZoneoutLSTM(*SIZES),
], ids=['zoneout', 'recurrent dropout', 'zoneout of one cell'])  # fmt: skip
def test_links_with_noise(link):
    cases.randomize(link)
    new = interop.convert(link, ours.SequenceLSTM)
    assert new.cell == cells.lstm
    assert_close(outputs(new), outputs(link))
    assert_same(contents(interop.convert(new, link)), contents(link))


def test_diagonal_peepholes_in_matrices():
    link, (x, h0, c0) = make(peephole='diagonal'), cases.arguments(1, 1)
    full = interop.convert(link, ours.StatefulPeepholeLSTM)
    assert_close(cases.run(full, x, h0, c0), outputs(link))
    assert_same(contents(interop.convert(full, make(peephole='diagonal'))), contents(link))
    full.peep_o.W.array[0, 1] = 1e-3
    message = "P_o, peep_o/W: expected a diagonal matrix, as the link's cell has a vector"
    with pytest.raises(ValueError, match=message):
        interop.convert(full, link)


def test_gates_of_diagonal_peepholes():
    link = make(peephole='diagonal')
    gates = interop.to_gates(link)
    numpy.testing.assert_array_equal(gates['W_cf'], link.l0.P_f.array)
    assert_same(contents(interop.from_gates(gates, ours.SequenceLSTM)), contents(link))


def test_keras_of_hard_sigmoid():
    """Its lists of weights do not show the activation, which layer and link both name."""
    link = make(recurrent_activation='hard_sigmoid')
    copy = ours.SequenceLSTM(*SIZES, recurrent_activation='hard_sigmoid')
    interop.from_keras(interop.to_keras(link), copy)
    assert_same(contents(copy), contents(link))


HARD = {'recurrent_activation': 'hard_sigmoid'}


@pytest.mark.parametrize('options, into, message', [
    ({'cell_clip': 2}, ours.LSTM, 'cell_clip: expected None .* got a SequenceLSTM with 2'),
    ({'zoneout': (0.1, 0), 'zoneout_expectation': True}, ours.LSTM,
     'zoneout_expectation: expected False .* got a SequenceLSTM with True'),
    ({'layer_norm': True}, ours.LSTM, 'layer_norm: expected False .* got a SequenceLSTM with True'),
    ({}, ours.SequenceLSTM(*SIZES, cell_clip=2), 'cell_clip: expected None'),
    ({}, ours.NStepLSTM(1, *SIZES, 0.0, cell_clip=2), 'cell_clip: .* got a NStepLSTM with 2'),
    ({}, ours.SequenceLSTM(*SIZES, coupled=True), 'coupled: expected weights of i that are the ne'),
    (HARD, ours.LSTM, "recurrent_activation: expected 'sigmoid' for LSTM, got 'hard_sigmoid' of"),
    (HARD, ours.SequenceLSTM(*SIZES, **HARD, hard_sigmoid_slope=0.25),
     "expected 'hard_sigmoid' of slope 0.25 for SequenceLSTM, got 'hard_sigmoid' of slope 0.2"),
    ({}, ours.SequenceLSTM(*SIZES, **HARD), "expected 'hard_sigmoid' of .*, got 'sigmoid'"),
    ({'peephole': 'diagonal'}, ours.NStepLSTM, 'peepholes: expected none for NStepLSTM, got P_i'),
    ({'peephole': 'diagonal'}, ours.SequenceLSTM(*SIZES, zoneout=(0.5, 0)), 'peepholes: expected'),
])  # fmt: skip
def test_what_cannot_be_moved(options, into, message):
    link = make(**options)
    before = contents(into) if isinstance(into, chainer.Link) else {}
    with pytest.raises(ValueError, match=message):
        interop.convert(link, into)
    assert_same(contents(into) if isinstance(into, chainer.Link) else {}, before)


@pytest.mark.parametrize('converter', [interop.to_keras, interop.to_gates, interop.to_torch])
@pytest.mark.parametrize('options, message', [
    ({'cell_clip': 2}, 'cell_clip: expected None'),
    ({'peephole': 'diagonal', 'proj_size': 3}, 'proj_size: expected None|peepholes: expected none'),
    ({**HARD, 'cell_clip': 2}, 'cell_clip: expected None'),
])  # fmt: skip
def test_what_formats_have_not(converter, options, message):
    if converter is interop.to_torch:
        pytest.importorskip('torch', reason='torch is not installed')
    with pytest.raises(ValueError, match=message):
        converter(make(**options))


def test_hard_sigmoid_is_not_torchs():
    pytest.importorskip('torch', reason='torch is not installed')
    with pytest.raises(ValueError, match="recurrent_activation: expected 'sigmoid', got 'hard_sig"):
        interop.to_torch(make(**HARD))
