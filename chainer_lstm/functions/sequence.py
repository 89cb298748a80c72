"""Stacked layers over whole sequences as one autograd node,
the same for every cell and order of weights.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Union

import chainer
import chainer.functions as F
import numpy
from chainer import function_node
from chainer.utils import type_check

from chainer_lstm.functions import checks, outputs
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.lstm import Input, is_static, lstm_step, peephole_lstm_step
from chainer_lstm.functions.node import (
    arrays,
    as_variable,
    check_unchanged,
    full,
    own,
    refuse_chainerx,
)
from chainer_lstm.kernels import layout, sequence
from chainer_lstm.kernels.packing import Rows, rows_of

Array = Any
Shape = tuple[int, ...]


class Plan(NamedTuple):
    """What a sequence is computed by, besides arrays.

    Attributes:
        batches: rows of each time step, not growing.
        directions: 1 or 2.
        dropout: ratio, on the inputs of every layer but the first.
        order: of the gates in the weights; ``layout.INTERLEAVED`` for W, b, U
            and three peepholes if there are any, ``layout.N_STEP`` for eight
            matrices and eight biases.
        n_weights: arrays of each layer and direction.
    """

    batches: tuple[int, ...]
    directions: int
    dropout: float
    order: str
    n_weights: int

    @property
    def total(self) -> int:
        """P, the rows of all time steps."""
        return sum(self.batches)

    def groups(self, weights: Sequence[Any]) -> list[Sequence[Any]]:
        """The weights of each layer and direction."""
        return [weights[k : k + self.n_weights] for k in range(0, len(weights), self.n_weights)]

    def check_weights(self, got: Sequence[Shape], inputs: int, units: int) -> None:
        """Compare the shapes of all weights with those that follow from the sizes of the input
        and the state.

        Raises:
            ValueError: one does not fit.
        """
        expected = _weight_shapes(
            self.order, self.n_weights, self.directions, len(got), inputs, units
        )
        if got == expected:
            return
        at = next(at for at in range(len(got)) if got[at] != expected[at])
        k, j = divmod(at, self.n_weights)
        if self.order != layout.N_STEP:
            group = slice(k * self.n_weights, (k + 1) * self.n_weights)
            raise ValueError(
                f'expected weights[{k}] of shapes {list(expected[group])}, got {list(got[group])}'
            )
        # Chainer's words, where the input does not fit
        of_input = (
            k < self.directions and j < 4 and got[at][:1] == expected[at][:1] and len(got[at]) == 2
        )
        raise ValueError(
            ('Inconsistent input size in input values and weight parameters: ' if of_input else '')
            + f'expected {self.name(k, j)} of shape {expected[at]}, got {got[at]}'
        )

    def name(self, group: int, index: int) -> str:
        """Return the name of a weight of a layer and direction,
        as arguments of functions have it.
        """
        if self.order != layout.N_STEP:
            return f'weights[{group}][{index}]'
        return f'ws[{group}][{index}]' if index < 8 else f'bs[{group}][{index - 8}]'

    def rows(self, batch: int, group: int) -> Rows:
        """Where the rows of a layer and direction lie."""
        return rows_of(self.batches, batch, self.is_reverse(group))

    def is_reverse(self, group: int) -> bool:
        """Return whether a layer and direction computes the last time step first."""
        return group % self.directions == 1


@functools.lru_cache(maxsize=256)
def _weight_shapes(
    order: str, n_weights: int, directions: int, count: int, inputs: int, units: int
) -> tuple[Shape, ...]:
    """Return the shapes of ``count`` weights, ``n_weights`` of each layer and direction."""
    shapes: list[Shape] = []
    for k in range(count // n_weights):
        width = inputs if k < directions else directions * units
        if order == layout.N_STEP:
            shapes += [(units, width)] * 4 + [(units, units)] * 4 + [(units,)] * 8
        else:
            shapes += [(4 * units, width), (4 * units,), (4 * units, units)] + [(units, units)] * (
                n_weights - 3
            )
    return tuple(shapes)


class LSTMSequence(function_node.FunctionNode):
    """Inputs hx, cx (S * D, B, H), x (P, I), weights -> hy, cy (S * D, B, H), y (P, D * H).

    States of a single layer may be (B, H), and x (T, B, I) where all steps
    have B rows; hy, cy and y are then like them.  To reshape them outside
    takes more time than a small sequence.

    Backward runs on arrays and consumes what forward has saved; a second one
    runs forward again.  Gradients that are to be differentiated go through the
    single steps, which are differentiable themselves.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._drops = plan.dropout > 0 and chainer.config.train
        self._masks: dict[int, Array] = {}

    def apply(self, inputs):
        """Where no graph grows and nobody looks on, without all that Chainer does around
        ``forward``.
        """
        config, given = chainer.config, arrays(inputs)
        dtype = given[0].dtype
        plain = dtype.kind == 'f' and all(
            type(x) is numpy.ndarray and x.dtype == dtype for x in given
        )
        if config.enable_backprop or config.debug or chainer.get_function_hooks() or not plain:
            return super().apply(inputs)
        _, outputs = self._run(given, False)
        requires_grad = any(v.requires_grad for v in inputs)
        return tuple([as_variable(y, requires_grad) for y in outputs])

    def check_type_forward(self, in_types):
        hx, cx, x, *weights = in_types
        type_check._argname((hx, cx, x), ('hx', 'cx', 'x'))
        type_check.expect(x.dtype.kind == 'f')
        for w in weights:
            type_check.expect(w.dtype.kind == 'f')
            if type_check.eval(w.ndim) == 1:
                checks.same_dtype('x', b=w, x=x)
        checks.same_dtype('hx', hx=hx, x=x)
        checks.same_dtype('cx', cx=cx, x=x)

    def forward_chainerx(self, inputs):
        refuse_chainerx()

    def forward(self, inputs):
        self.retain_inputs(range(len(inputs)))
        self.shapes = [x.shape for x in inputs]
        keep = chainer.config.enable_backprop
        saved, outputs = self._run(inputs, keep)
        self._saved = saved if keep else None
        return outputs

    def _run(self, inputs, keep):
        engine, plan = engine_of(inputs[2]), self._plan
        dtype = inputs[2].dtype
        hx, cx, x, *weights = engine.wide(*inputs)
        xp, saved = engine.xp, []
        groups = plan.groups(weights)
        hx, cx = (s.reshape(len(groups), *s.shape[-2:]) for s in (hx, cx))
        x = x.reshape(plan.total, x.shape[-1])
        hy, cy = xp.empty_like(hx), xp.empty_like(cx)
        for first in range(0, len(groups), plan.directions):
            layer = range(first, first + plan.directions)
            jobs = [
                (
                    self._dropped(engine, x, k),
                    _pack(engine, groups[k], plan.order),
                    hx[k],
                    cx[k],
                    plan.rows(hx.shape[1], k),
                )
                for k in layer
            ]
            outputs = []
            for k, (_, packed, _, _, rows), (h, kept) in zip(
                layer, jobs, sequence.forward_all(engine, jobs, keep)
            ):
                hy[k], cy[k] = rows.last(xp, kept.h), rows.last(xp, kept.c)
                saved.append((rows, packed, kept))
                outputs.append(h)
            x = outputs[0] if plan.directions == 1 else xp.concatenate(outputs, axis=1)
        states, rows = inputs[0].shape, inputs[2].shape[:-1]
        outputs = hy.reshape(states), cy.reshape(states), x.reshape(*rows, x.shape[1])
        return (engine, saved), tuple(engine.cast(y, dtype) for y in outputs)

    def _dropped(self, engine, x, k):
        """The input of a layer and direction;
        each has a mask of its own, drawn once, as Chainer draws it.
        """
        if k < self._plan.directions or not self._drops:
            return x
        if k not in self._masks:
            scale = x.dtype.type(1 / (1 - self._plan.dropout))
            # float64 on the CPU, for Chainer's numbers; CuPy's differ anyway, and float32 is faster
            dtype = {} if engine.xp is numpy else {'dtype': numpy.float32}
            drawn = engine.xp.random.rand(*x.shape, **dtype)
            self._masks[k] = (drawn >= self._plan.dropout) * scale
        return x * engine.cast(self._masks[k], x.dtype)

    def backward(self, indexes, grad_outputs):
        inputs = self.get_retained_inputs()
        check_unchanged(self)
        (states, _, rows), plan = self.shapes[:3], self._plan
        shapes = states, states, (*rows[:-1], plan.directions * states[-1])
        grad_outputs = tuple(
            [full(g, shape, inputs[0].dtype) for g, shape in zip(grad_outputs, shapes)]
        )
        if chainer.config.enable_backprop:
            return self._differentiable(inputs, indexes, grad_outputs)
        inputs, grad_outputs = arrays(inputs), arrays(grad_outputs)
        if self._saved is None:
            self._saved, _ = self._run(inputs, True)
        (engine, saved), self._saved = self._saved, None
        xp = engine.xp
        states, wide = (len(saved), *inputs[0].shape[-2:]), saved[0][2].gates.dtype
        ghx, gcx = (_or_zeros(xp, g, states, wide) for g in grad_outputs[:2])
        gy = grad_outputs[2]
        if gy is not None:
            gy = gy.reshape(plan.total, gy.shape[-1])
        gweights: list = [None] * (len(inputs) - 3)
        for first in reversed(range(0, len(saved), plan.directions)):
            gx = None
            layer, units = range(first, first + plan.directions), states[2]
            jobs = []
            for k in layer:
                rows, packed, kept = saved[k]
                gh = None if gy is None else gy[:, (k - first) * units : (k - first + 1) * units]
                jobs.append((kept, packed, rows, gh, ghx[k], gcx[k]))
            for k, job, (gh0, gc0, gpre) in zip(layer, jobs, engine.recur_backward_all(jobs)):
                (kept, packed, rows, *_), ghx[k], gcx[k] = job, gh0, gc0
                at = 3 + k * plan.n_weights
                if any(i in indexes for i in range(at, at + plan.n_weights)):
                    found = sequence.weight_gradients(engine, kept, gpre, packed, rows)
                    gweights[at - 3 : at - 3 + plan.n_weights] = _unpack(engine, found, plan.order)
                if first or 2 in indexes:
                    part = engine.matmul(gpre, packed.W)
                    if k in self._masks:
                        part *= self._masks[k]
                    gx = part if gx is None else gx + part
            gy = gx
        gradients = (ghx, gcx, gy, *gweights)
        return tuple(
            [
                as_variable(engine.cast(gradients[i], inputs[i].dtype).reshape(inputs[i].shape))
                for i in indexes
            ]
        )

    @property
    def names(self):
        """The names of the inputs."""
        plan, weights = self._plan, range(len(self.shapes) - 3)
        return ['hx', 'cx', 'x', *(plan.name(*divmod(k, plan.n_weights)) for k in weights)]

    def _differentiable(self, inputs, indexes, grad_outputs):
        inputs = own(inputs)
        outputs = composed(self._plan, inputs, lambda x, k: self._dropped(engine_of(x.array), x, k))
        given = [(y, gy) for y, gy in zip(outputs, grad_outputs) if gy is not None]
        return chainer.grad(
            [y for y, _ in given],
            [inputs[i] for i in indexes],
            [gy for _, gy in given],
            enable_double_backprop=True,
        )


def composed(plan: Plan, inputs: Sequence[chainer.Variable], drop: Callable) -> tuple:
    """The same, step by step on variables.
    ``drop(x, k)`` drops from the input of the k-th layer and direction.
    """
    hx, cx, x, *weights = inputs
    states, rows, groups = hx.shape, x.shape[:-1], plan.groups(weights)
    hx, cx = (F.reshape(s, (len(groups), *states[-2:])) for s in (hx, cx))
    x = F.reshape(x, (plan.total, x.shape[-1]))
    hy, cy, outputs = [], [], []
    for k, group in enumerate(groups):
        xs = split_steps(drop(x, k), plan.batches)
        reverse = plan.is_reverse(k)
        h, c, hs = _layer(
            hx[k], cx[k], _interleaved(group, plan.order), xs[::-1] if reverse else xs
        )
        hy.append(h)
        cy.append(c)
        outputs.append(F.concat(hs[::-1] if reverse else hs, axis=0) if hs else h[:0])
        if len(outputs) == plan.directions:
            x = outputs[0] if plan.directions == 1 else F.concat(outputs, axis=1)
            outputs = []
    return (
        F.reshape(F.stack(hy), states),
        F.reshape(F.stack(cy), states),
        F.reshape(x, (*rows, x.shape[1])),
    )


def _layer(h, c, weights, xs):
    """h, c (B, H), xs in the order of computation -> h, c, outputs."""
    step = lstm_step if len(weights) == 3 else peephole_lstm_step
    outputs = []
    for x in xs:
        batch = x.shape[0]
        h_now, h_rest = (h, None) if batch == h.shape[0] else F.split_axis(h, [batch], axis=0)
        c, y = step(c, h_now, x, *weights)
        h = y if h_rest is None else F.concat((y, h_rest), axis=0)
        outputs.append(y)
    return h, c, outputs


def _interleaved(group, order):
    """Variables W, b, U and peepholes for the single steps."""
    if order == layout.INTERLEAVED:
        return group
    W, U, b_x, b_h = (
        layout.convert(F, group[k : k + 4], order, layout.INTERLEAVED) for k in range(0, 16, 4)
    )
    # the product gives the two biases gradients of their own: optimizer hooks work on them in place
    return W, b_x + b_h * 1, U


def _pack(engine, group, order):
    target = engine.order(order)

    def convert(x):
        return layout.convert(engine.xp, x, order, target)

    if order == layout.INTERLEAVED:
        W, b, U, *peepholes = group
        return sequence.Weights(convert(W), convert(b), convert(U), tuple(peepholes), target)
    W, U, b_x, b_h = (convert(group[k : k + 4]) for k in range(0, 16, 4))
    return sequence.Weights(W, b_x + b_h, U, (), target)


def _unpack(engine, gradients, order):
    W, b, U = (layout.convert(engine.xp, x, gradients.order, order) for x in gradients[:3])
    if order == layout.INTERLEAVED:
        return [W, b, U, *gradients.peepholes]
    # dense, for ChainerMN sends their memory; optimizer hooks work on them in place:
    # the two biases need one each
    return [*(engine.xp.ascontiguousarray(x) for x in (*W, *U, *b)), *(x.copy('C') for x in b)]


def _or_zeros(xp, gradient, shape, dtype):
    if gradient is None:
        return xp.zeros(shape, dtype)
    return gradient.astype(dtype, 'C').reshape(shape)  # a copy: it is overwritten


def apply(plan: Plan, hx: Input, cx: Input, x: Input, weights: Sequence[Input]) -> tuple:
    """Run ``LSTMSequence``; its inputs and outputs.

    Raises:
        ValueError: states or weights do not fit.
    """
    plan = plan._replace(dropout=checks.dropout(plan.dropout))
    inputs = [chainer.as_variable(v) for v in (hx, cx, x, *weights)]
    hx_shape, cx_shape, x_shape, *shapes = [v.shape for v in inputs]
    layers = len(shapes) // plan.n_weights
    plain = len(hx_shape) == len(cx_shape) == 2 and layers == 1 and plan.order != layout.N_STEP
    outer = () if plain else (layers,)
    units = hx_shape[-1] if hx_shape else 0
    checks.states(hx_shape, cx_shape, outer, plan.batches, units)
    plan.check_weights(tuple(shapes), x_shape[-1], units)
    if is_static():
        return composed(
            plan, inputs, lambda x, k: F.dropout(x, plan.dropout) if k >= plan.directions else x
        )
    return LSTMSequence(plan).apply(inputs)


def lstm_sequence(
    hx: Input,
    cx: Input,
    xs: Union[Input, Sequence[Input]],
    weights: Sequence[Sequence[Input]],
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> tuple:
    """Stacked LSTM layers, with or without peepholes, over whole sequences, as one node.

    Args:
        hx, cx: (S * D, B, H), the initial state of each layer and direction
            (index ``D * layer + direction``), or (B, H) if there is only one.
        xs: (T, B, I), or T steps (B_t, I) with B >= B_0 >= B_1 >= ….
        weights: for each layer and direction W (4H, I), b (4H,), U (4H, H),
            and for peepholes P_i, P_f, P_o (H, H); gates interleaved as in
            ``lstm``.  Later layers take D * H inputs.
        bidirectional: D = 2 instead of 1.
        dropout: ratio, on the inputs of every layer but the first.

    Returns:
        hy, cy as hx, and ys as xs, (T, B, D * H) or a tuple of (B_t, D * H).
        Rows that a step does not have keep their state.

    Raises:
        ValueError: shapes do not fit, batches grow in time, or dropout is out of range.
        chainer.utils.type_check.InvalidType: dtypes do not fit.
        TypeError: no arrays, no lists of arrays, no number for dropout, or ChainerX arrays.
    """
    directions = 2 if bidirectional else 1
    dense = not isinstance(xs, (list, tuple))
    hx, cx = checks.variable('hx', hx), checks.variable('cx', cx)
    if dense:
        xs = checks.variable('xs', xs)
        if xs.ndim != 3:
            raise ValueError(f'expected xs of shape (time, batch, inputs), got {xs.shape}')
        batches, x = (xs.shape[1],) * xs.shape[0], xs
    else:
        batches = checks.steps(xs)
        x = F.concat(xs, axis=0)
    _check_layers(directions, weights)
    plan = Plan(batches, directions, dropout, layout.INTERLEAVED, len(weights[0]))
    hy, cy, y = apply(plan, hx, cx, x, [w for group in weights for w in group])
    return hy, cy, y if dense else split_steps(y, batches)


def split_steps(y: chainer.Variable, batches: tuple[int, ...]) -> tuple[chainer.Variable, ...]:
    """Packed rows (P, N) -> a variable (B_t, N) for each time step."""
    return outputs.split_axis(y, list(itertools.accumulate(batches[:-1]))) if batches else ()


def _check_layers(directions, weights):
    if not checks.sequence('weights', weights, 'those of each layer') or len(weights) % directions:
        raise ValueError(
            f'expected weights of each layer and direction, {directions} a layer, '
            f'got {len(weights)}'
        )
    for k, group in enumerate(weights):
        for w in checks.sequence(f'weights[{k}]', group, 'arrays'):
            checks.variable(f'weights[{k}]', w)
        if len(group) not in (3, 6) or len(group) != len(weights[0]):
            raise ValueError(
                f'expected weights[{k}] to be W, b, U, or these and three peepholes, '
                f'as many in each layer and direction; got {len(group)} arrays'
            )
    if weights[0][1].ndim != 1:
        raise ValueError(f'expected weights[0][1] (b) of shape (4H,), got {weights[0][1].shape}')
