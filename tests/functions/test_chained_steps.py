"""Steps hand their part of the weight gradients down the chain;
the sums are those of Chainer's plain functions.
"""

import gc

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm import cells, functions
from chainer_lstm.functions import passes
from chainer_lstm.functions.chained import Chain
from chainer_lstm.functions.signature import signature
from chainer_lstm.functions.step import StepNode
from tests.support.arrays import assert_close, uniform, uniforms

pytestmark = pytest.mark.pairwise

INPUT, UNITS, BATCH = 3, 4, 5
SHAPES = {
    'W': (4 * UNITS, INPUT),
    'b': (4 * UNITS,),
    'U': (4 * UNITS, UNITS),
    'P_i': (UNITS, UNITS),
    'P_f': (UNITS, UNITS),
    'P_o': (UNITS, UNITS),
}


def plain_lstm(c, h, x, W, b, U):
    pre = F.linear(x, W, b)
    return F.lstm(c, pre if h is None else pre + F.linear(h, U))


def plain_peephole(c, h, x, W, b, U, P_i, P_f, P_o):
    pre = F.linear(x, W, b)
    pre = pre if h is None else pre + F.linear(h, U)
    a, i, f, o = F.separate(F.reshape(pre, (len(x), UNITS, 4)), axis=2)
    rest, c = c[len(x) :], c[: len(x)]
    i, f = F.sigmoid(i + F.linear(c, P_i)), F.sigmoid(f + F.linear(c, P_f))
    now = c = F.tanh(a) * i + f * c
    if len(rest):
        c = F.concat((c, rest), axis=0)
        now = c[: len(x)]
    return c, F.sigmoid(o + F.linear(now, P_o)) * F.tanh(now)


CELLS = {
    'lstm': (functions.lstm_step, plain_lstm, 3),
    'peephole': (functions.peephole_lstm_step, plain_peephole, 6),
}


class Run:
    """A cell with its weights as parameters, and the states and outputs of the steps made
    with it.
    """

    def __init__(self, step, n_weights, xp=numpy):
        self.step = step
        names = list(SHAPES)[:n_weights]
        self.weights = [
            chainer.Parameter(x) for x in uniforms([SHAPES[name] for name in names], 'd', xp)
        ]
        self.xs = [chainer.Variable(uniform((BATCH, INPUT), 'd', xp, seed)) for seed in range(6)]
        self.c0 = chainer.Variable(uniform((BATCH, UNITS), 'd', xp, 7))
        self.h0 = chainer.Variable(uniform((BATCH, UNITS), 'd', xp, 8))

    def steps(self, c, h, xs, weights=None):
        """-> cs, hs after every step."""
        cs, hs = [], []
        for x in xs:
            h = h if h is None or len(h) == len(x) else h[: len(x)]
            c, h = self.step(c, h, x, *(weights or self.weights))
            cs.append(c)
            hs.append(h)
        return cs, hs

    def grads(self):
        return [v.grad for v in (*self.weights, *self.xs, self.c0, self.h0)]

    def cleargrads(self):
        for v in (*self.weights, *self.xs, self.c0, self.h0):
            v.cleargrad()


def loss(*variables):
    return sum(F.sum(v * uniform(v.shape, 'd', v.xp, seed)) for seed, v in enumerate(variables))


def from_given_state(run):
    loss(*run.steps(run.c0, run.h0, run.xs)[1]).backward()
    return run.grads()


def from_no_h(run):
    loss(*run.steps(run.c0, None, run.xs)[1]).backward()
    return run.grads()


def one_step_without_h(run):
    loss(*run.steps(run.c0, None, run.xs[:1])[1]).backward()
    return run.grads()


def from_a_constant_state(run):
    c = chainer.Variable(run.c0.array, requires_grad=False)
    loss(*run.steps(c, run.h0, run.xs)[1]).backward()
    return run.grads()


def loss_on_a_middle_step(run):
    loss(run.steps(run.c0, run.h0, run.xs)[1][2]).backward()
    return run.grads()


def loss_on_c_only(run):
    loss(run.steps(run.c0, run.h0, run.xs)[0][-1]).backward()
    return run.grads()


def shrinking_batches(run):
    xs = [x[:n] for x, n in zip(run.xs, (5, 4, 4, 2, 1))]
    cs, hs = run.steps(run.c0, run.h0, xs)
    loss(cs[-1], *hs).backward()
    return run.grads()


def batch_0_at_the_end(run):
    cs, hs = run.steps(run.c0, run.h0, [*run.xs[:2], run.xs[2][:0]])
    loss(cs[-1], *hs).backward()
    return run.grads()


def branches_from_one_state(run):
    cs, hs = run.steps(run.c0, run.h0, run.xs[:2])
    left = run.steps(cs[-1], hs[-1], run.xs[2:4])[1]
    right = run.steps(cs[-1], hs[-1], run.xs[4:])[1]
    loss(left[-1], *right).backward()
    return run.grads()


def one_branch_without_gradient(run):
    cs, hs = run.steps(run.c0, run.h0, run.xs[:2])
    left = run.steps(cs[-1], hs[-1], run.xs[2:4])[1]
    run.steps(cs[-1], hs[-1], run.xs[4:])
    loss(*left).backward()
    return run.grads()


def two_losses_backward_one_after_the_other(run):
    hs = run.steps(run.c0, run.h0, run.xs)[1]
    first, second = loss(hs[1]), loss(hs[4], hs[0])
    first.backward()
    second.backward()
    return run.grads()


def one_loss_backward_twice(run):
    hs = run.steps(run.c0, run.h0, run.xs)[1]
    value = loss(*hs)
    value.backward()
    first = run.grads()
    run.cleargrads()
    value.backward()
    return first + run.grads()


def gradients_accumulate(run):
    for _ in range(2):
        loss(*run.steps(run.c0, run.h0, run.xs)[1]).backward()
    return run.grads()


def other_weights_in_between(run):
    others = [chainer.Parameter(2 * w.array) for w in run.weights]
    cs, hs = run.steps(run.c0, run.h0, run.xs[:2])
    more = run.steps(cs[-1], hs[-1], run.xs[2:4], others)
    last = run.steps(more[0][-1], more[1][-1], run.xs[4:])
    loss(*hs, *more[1], *last[1]).backward()
    return run.grads() + [w.grad for w in others]


def one_weight_exchanged_in_between(run):
    b = chainer.Parameter(-run.weights[1].array)
    cs, hs = run.steps(run.c0, run.h0, run.xs[:3])
    more = run.steps(cs[-1], hs[-1], run.xs[3:], [run.weights[0], b, *run.weights[2:]])[1]
    loss(*hs, *more).backward()
    return [*run.grads(), b.grad]


def two_chains_with_the_same_weights(run):
    first = run.steps(run.c0, run.h0, run.xs[:3])[1]
    second = run.steps(2 * run.c0, run.h0, run.xs[3:])[1]
    loss(*first, *second).backward()
    return run.grads()


def stacked_on_itself(run):
    cs, hs = run.steps(run.c0, run.h0, run.xs)
    upper = run.steps(2 * run.c0, run.h0, [h[:, :INPUT] for h in hs])
    loss(*upper[1], cs[-1]).backward()
    return run.grads()


def state_changed_in_between(run):
    cs, hs = run.steps(run.c0, run.h0, run.xs[:3])
    more = run.steps(2 * cs[-1], hs[-1], run.xs[3:])[1]
    loss(*more).backward()
    return run.grads()


def cut_in_between(run):
    cs, hs = run.steps(run.c0, run.h0, run.xs[:3])
    loss(*hs).backward()
    for v in (cs[-1], hs[-1]):
        v.unchain_backward()
    loss(*run.steps(cs[-1], hs[-1], run.xs[3:])[1]).backward()
    return run.grads()


def h_cut_but_c_not(run):
    cs, hs = run.steps(run.c0, run.h0, run.xs[:3])
    more = run.steps(cs[-1], chainer.Variable(hs[-1].array), run.xs[3:])[1]
    loss(*more).backward()
    return run.grads()


def no_h_in_the_middle(run):
    cs, hs = run.steps(run.c0, run.h0, run.xs[:3])
    loss(*hs, *run.steps(cs[-1], None, run.xs[3:])[1]).backward()
    return run.grads()


def some_weights_without_gradient(run):
    run.weights[0] = chainer.Variable(run.weights[0].array, requires_grad=False)
    loss(*run.steps(run.c0, run.h0, run.xs)[1]).backward()
    return run.grads()


def double_backprop(run):
    value = loss(*run.steps(run.c0, run.h0, run.xs[:3])[1])
    value.backward(enable_double_backprop=True)
    first = [w.grad_var for w in run.weights]
    run.cleargrads()
    loss(*first).backward()
    return run.grads()


SCENARIOS = [
    from_given_state,
    from_no_h,
    one_step_without_h,
    from_a_constant_state,
    loss_on_a_middle_step,
    loss_on_c_only,
    shrinking_batches,
    batch_0_at_the_end,
    branches_from_one_state,
    one_branch_without_gradient,
    two_losses_backward_one_after_the_other,
    one_loss_backward_twice,
    gradients_accumulate,
    other_weights_in_between,
    one_weight_exchanged_in_between,
    two_chains_with_the_same_weights,
    stacked_on_itself,
    state_changed_in_between,
    cut_in_between,
    h_cut_but_c_not,
    no_h_in_the_middle,
    some_weights_without_gradient,
    double_backprop,
]


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
