"""Steps hand their part of the weight gradients down the chain;
the sums are those of Chainer's plain functions.
"""

import gc

import chainer
import pytest

from chainer_lstm import cells, functions
from chainer_lstm.functions import passes
from chainer_lstm.functions.chained import Chain
from chainer_lstm.functions.signature import signature
from chainer_lstm.functions.step import StepNode
from tests.functions.chains import (
    SCENARIOS,
    Run,
    branches_from_one_state,
    from_given_state,
    from_no_h,
    loss,
    shrinking_batches,
)
from tests.support import composed
from tests.support.arrays import assert_close

pytestmark = pytest.mark.pairwise


CELLS = {
    'lstm': (functions.lstm_step, composed.lstm_step, 3),
    'peephole': (functions.peephole_lstm_step, composed.peephole_lstm_step, 6),
}


@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('scenario', SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_gradients_are_those_of_plain_functions(scenario, cell, xp):
    ours, plain, n_weights = CELLS[cell]
    assert_close(scenario(Run(ours, n_weights, xp)), scenario(Run(plain, n_weights, xp)))


@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize(
    'limits', [{'LONGEST': 1}, {'LONGEST': 3}, {'LARGEST': 0}, {'LARGEST': 400}], ids=str
)
@pytest.mark.parametrize('scenario', SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_gradients_of_chains_that_are_folded(monkeypatch, scenario, limits, cell):
    for name, value in limits.items():
        monkeypatch.setattr(Chain, name, value)
    ours, plain, n_weights = CELLS[cell]
    assert_close(scenario(Run(ours, n_weights)), scenario(Run(plain, n_weights)))


@pytest.mark.parametrize('cell', CELLS)
def test_a_long_chain_takes_each_row_once_and_forgets_it(monkeypatch, cell):
    """Time and memory of a step do not depend on how many steps there are."""
    appended, lengths = [], []
    append, gradient = Chain.append, Chain.gradient

    def counting_append(chain, rows):
        append(chain, rows)
        appended.append(rows)
        lengths.append(len(chain._rows))

    def counting_gradient(chain, engine, name, of_rows):
        joined.append((name, len(chain._rows)))
        return gradient(chain, engine, name, of_rows)

    joined = []
    monkeypatch.setattr(Chain, 'append', counting_append)
    monkeypatch.setattr(Chain, 'gradient', counting_gradient)
    step, _, n_weights = CELLS[cell]
    run, count = Run(step, n_weights), 3 * Chain.LONGEST + 5
    loss(run.steps(run.c0, run.h0, run.xs[:1] * count)[1][-1]).backward()
    nodes = 1 if cell == 'lstm' else 2
    assert len(appended) == nodes * count
    assert max(lengths) == Chain.LONGEST
    for name in {
        name for name, _ in joined
    }:  # the rows of each step are multiplied once for each weight
        assert sum(length for each, length in joined if each == name) == count


WANTED = {
    'W': lambda run, cs: [run.weights[0]],
    'U': lambda run, cs: [run.weights[2]],
    'b and x of the second step': lambda run, cs: [run.weights[1], run.xs[1]],
    'state': lambda run, cs: [run.c0, run.h0],
    'c in the middle': lambda run, cs: [cs[2]],
    'W and c in the middle': lambda run, cs: [run.weights[0], cs[2]],
    'everything': lambda run, cs: [*run.weights, *run.xs, run.c0, run.h0, *cs[:-1]],
}


@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('wanted', WANTED)
@pytest.mark.parametrize('double', [False, True], ids=['once', 'twice differentiable'])
def test_chainer_grad_by_a_subset(cell, wanted, double):
    results = []
    for step in CELLS[cell][:2]:
        run = Run(step, CELLS[cell][2])
        cs, hs = run.steps(run.c0, run.h0, run.xs)
        found = chainer.grad([loss(*hs)], WANTED[wanted](run, cs), enable_double_backprop=double)
        assert all(v.grad is None for v in run.weights)
        results.append(found)
    assert_close(*results)


def count_weight_products(monkeypatch):
    calls = []
    for optional in (True, False):
        of = signature(cells.lstm, 0, optional)
        counted = {
            name: lambda e, rows, name=name, f=f: calls.append(name) or f(e, rows)
            for name, f in of.weights.items()
        }
        monkeypatch.setattr(of, 'weights', counted)
    return calls


@pytest.mark.parametrize(
    'scenario', [from_given_state, from_no_h, shrinking_batches, branches_from_one_state]
)
def test_each_weight_costs_one_product_a_chain(monkeypatch, scenario):
    calls = count_weight_products(monkeypatch)
    scenario(Run(functions.lstm_step, 3))
    assert sorted(calls) == ['U', 'W', 'b']


class Aborts(chainer.FunctionHook):
    """Aborts the backward pass before the n-th node."""

    name = 'Aborts'

    def __init__(self, n):
        self.left = n

    def backward_preprocess(self, function, in_data, out_grad):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('nodes', range(2, 12))
def test_nothing_of_an_aborted_pass_reaches_a_pass_of_another_loss(cell, nodes):
    run, plain = (Run(step, CELLS[cell][2]) for step in CELLS[cell][:2])
    found = []
    for r in (run, plain):
        cs, hs = r.steps(r.c0, r.h0, r.xs)
        if r is run:
            with pytest.raises(KeyboardInterrupt), Aborts(nodes):
                loss(hs[-1], cs[-1]).backward()
        r.cleargrads()
        loss(hs[1]).backward()
        found.append(r.grads())
    assert_close(*found)


class Nested(chainer.FunctionHook):
    """Takes gradients of another loss after the n-th node of a backward pass."""

    name = 'Nested'

    def __init__(self, n, value, weights):
        self.left, self.value, self.weights = n, value, weights
        self.found = None

    def backward_postprocess(self, function, in_data, out_grad):
        self.left -= 1
        if not self.left:
            self.found = chainer.grad([self.value], self.weights)


@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('nodes', [2, 5, 9])
def test_a_pass_within_a_pass_takes_nothing_of_it(cell, nodes):
    run, plain = (Run(step, CELLS[cell][2]) for step in CELLS[cell][:2])
    _, hs = run.steps(run.c0, run.h0, run.xs)
    with Nested(nodes, loss(hs[1]), run.weights) as hook:
        loss(*hs).backward()
    _, hs = plain.steps(plain.c0, plain.h0, plain.xs)
    assert_close(hook.found, chainer.grad([loss(hs[1])], plain.weights))
    loss(*hs).backward()
    assert_close(run.grads(), plain.grads())


@pytest.mark.parametrize('cell', CELLS)
def test_memory_of_an_aborted_pass_is_freed(cell):
    run = Run(CELLS[cell][0], CELLS[cell][2])
    _, hs = run.steps(run.c0, run.h0, run.xs)
    with pytest.raises(KeyboardInterrupt) as error, Aborts(8):
        loss(hs[-1]).backward()
    assert len(passes._handed)
    del error
    gc.collect()
    assert not len(passes._handed)


@pytest.mark.parametrize('cell', CELLS)
def test_rows_that_an_aborted_backward_has_left_are_not_counted_twice(monkeypatch, cell):
    run, plain = (Run(step, CELLS[cell][2]) for step in CELLS[cell][:2])
    values = [loss(*r.steps(r.c0, r.h0, r.xs)[1]) for r in (run, plain)]
    with monkeypatch.context() as patch:
        calls = []
        differentiate = StepNode.differentiate

        def fail_at_the_third(*args):
            calls.append(1)
            if len(calls) == 3:
                raise MemoryError
            return differentiate(*args)

        patch.setattr(StepNode, 'differentiate', fail_at_the_third)
        with pytest.raises(MemoryError):
            values[0].backward()
    run.cleargrads()
    for value in values:
        value.backward()
    assert_close(run.grads(), plain.grads())
