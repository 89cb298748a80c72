"""Uses of steps that hand weight gradients down a chain: each gives gradients of all its inputs."""

import chainer
import chainer.functions as F
import numpy

from tests.support.arrays import uniform, uniforms

INPUT, UNITS, BATCH = 3, 4, 5
SHAPES = {
    'W': (4 * UNITS, INPUT),
    'b': (4 * UNITS,),
    'U': (4 * UNITS, UNITS),
    'P_i': (UNITS, UNITS),
    'P_f': (UNITS, UNITS),
    'P_o': (UNITS, UNITS),
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
