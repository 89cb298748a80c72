"""What the options of ``LSTMVariant`` declare, and which are refused."""

import copy
import pickle

import numpy
import pytest

from chainer_lstm import cells, functions, links
from chainer_lstm.cells import Cell, LSTMVariant, Product, is_compiled
from tests.cells import VARIANTS
from tests.support.arrays import assert_close, uniform


@pytest.mark.parametrize('cell', VARIANTS.values(), ids=VARIANTS)
def test_copies_are_equal(cell):
    for copied in (copy.copy(cell), copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert copied == cell and hash(copied) == hash(cell)
        assert (copied.gates, copied.weights, copied.noise) == (
            cell.gates,
            cell.weights,
            cell.noise,
        )
    assert is_compiled(cell)


def test_declarations():
    assert LSTMVariant().weights == cells.lstm.weights
    everything = VARIANTS['all options']
    assert everything.weights == ('W', 'b', 'U', 'P_i', 'P_f', 'P_o')
    assert everything.noise == ('kept_c', 'kept_h') and everything.sequence_noise == ('mask_h',)
    assert VARIANTS['all options, coupled'].shapes(2, 3) == {
        'W': (9, 2), 'b': (9,), 'U': (9, 3), 'P_f': (3,), 'P_o': (3,)
    }  # fmt: skip
    assert LSTMVariant(zoneout=[0.5, 0]) == LSTMVariant(zoneout=(0.5, 0.0))


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'cell_clip': 0}, ValueError, 'cell_clip to be a positive number, got 0'),
        ({'cell_clip': -1.0}, ValueError, 'cell_clip to be from 0'),
        ({'cell_clip': float('nan')}, ValueError, 'cell_clip'),
        ({'cell_clip': '1'}, TypeError, "cell_clip to be a number, got '1'"),
        ({'zoneout': 0.5}, TypeError, 'zoneout to be a pair of numbers, got 0.5'),
        ({'zoneout': (0.5, 1.5)}, ValueError, 'zoneout to be from 0 to 1, got 1.5'),
        ({'recurrent_dropout': 1}, ValueError, 'recurrent_dropout to be less than 1'),
        ({'recurrent_dropout': True}, TypeError, 'recurrent_dropout to be a number'),
        ({'peephole': 'full'}, ValueError, "peephole to be one of .*, got 'full'"),
        ({'recurrent_activation': 'relu'}, ValueError, 'recurrent_activation to be one of'),
        ({'hard_sigmoid_slope': 0}, ValueError, 'hard_sigmoid_slope to be a positive number'),
        ({'coupled': 'yes'}, ValueError, 'coupled to be one of'),
    ],
    ids=str,
)
def test_refused(options, error, message):
    with pytest.raises(error, match=f'expected {message}'):
        LSTMVariant(**options)


def test_without_options_it_is_an_lstm():
    inputs = [uniform(shape, 'f', seed=k) for k, shape in enumerate([(2, 4), (2, 4), (5, 2, 3)])]
    weights = [uniform(shape, 'f', seed=k) for k, shape in enumerate([(16, 3), (16,), (16, 4)], 9)]
    found, expected = (
        functions.sequence(cell, inputs[:2], inputs[2], [weights])
        for cell in (LSTMVariant(), cells.lstm)
    )
    assert_close([*found[0], found[1]], [*expected[0], expected[1]])


def test_peepholes_begin_as_zero():
    link = links.SequenceLSTM(3, 4, cell=LSTMVariant(peephole='diagonal'), bias_init=1)
    numpy.testing.assert_array_equal(link.l0.P_o.array, numpy.zeros(4))
    assert (link.l0.b.array == 1).all()


@pytest.mark.parametrize(
    ('product', 'message'),
    [
        ({'gates': ('a', 'f'), 'diagonal': True}, 'the diagonal product P to have one gate'),
        ({'gates': ('a',), 'diagonal': True, 'bias': 'p'}, 'no bias, no mask'),
        ({'gates': ('a',), 'new': True}, 'the product P of a new state to be diagonal'),
    ],
)
def test_products_that_there_are_not(product, message):
    with pytest.raises(TypeError, match=message):
        Product('P', 'c', **product)


def test_a_mask_that_is_no_noise():
    with pytest.raises(TypeError, match='expected masks of products to be of'):
        type(
            'Wrong', (Cell,), {'gates': ('a',), 'products': (Product('U', 'h', ('a',), mask='m'),)}
        )
