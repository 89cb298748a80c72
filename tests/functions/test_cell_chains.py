"""Chains of steps with every cell: their weight gradients are made together."""

import collections

import chainer
import pytest

from chainer_lstm import cells, functions
from chainer_lstm.functions.chained import Chain
from tests.cells import coupled, gru, layer_norm
from tests.functions import chains
from tests.functions.cell_cases import INPUT, STEPPED, UNITS, Dropped, state_of, weights_of
from tests.support import composed
from tests.support.arrays import assert_close, gradients, uniform

pytestmark = pytest.mark.pairwise

EACH_CELL = pytest.mark.parametrize(
    'cell',
    [
        cells.lstm,
        cells.peephole,
        coupled,
        gru,
        cells.LSTM(outputs=3),
        cells.Peephole(outputs=3),
        layer_norm,
    ],
    ids=['lstm', 'peephole', 'coupled', 'gru', 'projected', 'projected peephole', 'layer norm'],
)


class Chains(chains.Run):
    """Steps of any cell; a cell whose only state is h has it for c, too."""

    def __init__(self, cell, plain):
        super().__init__(self._plain if plain else self._step, 3)
        self.cell = cell
        self.weights = [chainer.Parameter(w.array) for w in weights_of(cell)]
        self.h0 = chainer.Variable(self.h0.array[:, : cell.width('h', UNITS)])

    def _step(self, c, h, x, *weights):
        if 'c' in self.cell.states:
            return functions.step(self.cell, (c, h), x, weights)
        new = functions.step(self.cell, (self._rows(c, x),), x, weights).h
        return new, new

    def _plain(self, c, h, x, *weights):
        if 'c' in self.cell.states:
            return composed.step_of(self.cell)(c, h, x, *weights)
        (new,) = composed.gru_step(self._rows(c, x), x, *weights)
        return new, new

    def _rows(self, h, x):
        return h if len(h) == len(x) else h[: len(x)]


@STEPPED
@pytest.mark.parametrize('limits', [{}, {'LONGEST': 2}, {'LARGEST': 200}], ids=str)
@pytest.mark.parametrize('scenario', chains.SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_chains_equal_plain_functions(monkeypatch, scenario, limits, cell):
    for name, value in limits.items():
        monkeypatch.setattr(Chain, name, value)
    found, expected = (scenario(Chains(cell, plain)) for plain in (False, True))
    assert_close(found, expected)


def count_products(monkeypatch):
    """The names of the weights whose gradients are made, in a list that grows."""
    calls, gradient = [], Chain.gradient

    def counted(chain, engine, name, of_rows):
        def count(*args):
            calls.append(name)
            return of_rows(*args)

        return gradient(chain, engine, name, count)

    monkeypatch.setattr(Chain, 'gradient', counted)
    return calls


@EACH_CELL
@pytest.mark.parametrize('scenario', [chains.from_given_state, chains.branches_from_one_state])
def test_each_weight_costs_one_product_a_chain(monkeypatch, cell, scenario):
    calls = count_products(monkeypatch)
    scenario(Chains(cell, False))
    assert sorted(calls) == sorted(cell.weights)


@EACH_CELL
def test_shrinking_batches_are_one_chain_through_c(monkeypatch, cell):
    """h is cut where a batch is smaller, which ends a chain through it."""
    calls = count_products(monkeypatch)
    chains.shrinking_batches(Chains(cell, False))
    through_h = {'peephole': ('P_o', 'V'), 'gru': gru.weights}.get(cell.name, ())
    expected = {name: 4 if name in through_h else 1 for name in cell.weights}
    assert collections.Counter(calls) == expected


@EACH_CELL
def test_a_chain_longer_than_the_limit_is_folded(monkeypatch, cell):
    """The product of a part for each weight, and one of what is left."""
    monkeypatch.setattr(Chain, 'LONGEST', 4)
    calls = count_products(monkeypatch)
    run = Chains(cell, False)
    chains.loss(run.steps(run.c0, run.h0, run.xs[:1] * 10)[1][-1]).backward()
    assert sorted(calls) == sorted(3 * cell.weights)


def test_steps_of_cells_with_other_sizes_are_two_chains(monkeypatch):
    """Cells are the same if their class and sizes are."""
    calls = count_products(monkeypatch)
    weights, x = weights_of(coupled), uniform((3, INPUT))
    with chainer.using_config('train', False):
        state = state_of(coupled, 3)
        for ratio in (0.1, 0.1, 0.2):
            state = functions.step(Dropped(ratio), state, x, weights)
        gradients(state, weights)
    assert sorted(calls) == sorted(2 * coupled.weights)
