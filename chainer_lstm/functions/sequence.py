"""Stacked layers of a cell over whole sequences as one autograd node, packing included."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Any, Optional, Union

import chainer
import chainer.functions as F
import numpy
from chainer.utils import type_check

from chainer_lstm import cells, kernels
from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import argname
from chainer_lstm.functions import checks, composed
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.node import (
    Input,
    Node,
    arrays,
    as_variable,
    check_unchanged,
    differentiated,
    full,
    widened,
)
from chainer_lstm.functions.plan import Output, Plan
from chainer_lstm.functions.step import check_cell, is_static
from chainer_lstm.functions.weights import shapes_of, weights_of
from chainer_lstm.kernels import products
from chainer_lstm.kernels.engines.engine import Gradients, Layer
from chainer_lstm.kernels.packing import packing_of_steps
from chainer_lstm.kernels.sequence import layer_of


class SequenceNode(Node):
    """Inputs: the states, (S D, B, H) each, the arrays of the sequences, and the weights -> the
    new states, and the arrays of the outputs.

    States of a single layer may be (B, H).  The sequences are one array (…, I), or several whose
    rows are joined; the outputs are like them.  To rearrange them outside takes more time than a
    small sequence.

    Backward runs on arrays and consumes what forward has saved; a second one
    runs forward again.  Gradients that are to be differentiated go through the
    single steps, which are differentiable themselves.

    Args:
        plan: what it is computed by.
        inputs: the number of arrays of the sequences.
    """

    def __init__(self, plan: Plan, inputs: int) -> None:
        super().__init__()
        self._plan = plan
        states = len(plan.cell.states)
        self._cuts = states, states + inputs
        self._drops = plan.dropout > 0 and chainer.config.train
        self._draws = bool(plan.cell.noise) and chainer.config.train
        self._masks: dict[int, Array] = {}
        self._noise: dict[int, Sequence[Array]] = {}
        self._saved: Any = None

    @property
    def label(self) -> str:
        """The name in graphs and of hooks."""
        return f'{type(self._plan.cell).__name__}Sequence'

    @property
    def kind(self) -> Hashable:
        return type(self), self._plan.cell, self._cuts

    def check_type_forward(self, in_types: Any) -> None:
        states, xs, weights = self._split(in_types)
        names = self.names
        argname((*states, *xs), names[: self._cuts[1]])
        for x in xs:
            type_check.expect(x.dtype.kind == 'f')
            checks.same_dtype('x', x=x, xs=xs[0])
        for w in weights:
            type_check.expect(w.dtype.kind == 'f')
            if type_check.eval(w.ndim) == 1:
                checks.same_dtype('x', b=w, x=xs[0])
        for name, state in zip(names, states):
            checks.same_dtype(name, **{name: state, 'x': xs[0]})

    def _split(self, inputs: Sequence[Any]) -> tuple[Sequence, Sequence, Sequence]:
        """Return the states, the sequences and the weights among the inputs."""
        first, last = self._cuts
        return inputs[:first], inputs[first:last], inputs[last:]

    @property
    def names(self) -> list[str]:
        """The names of the inputs."""
        first, last = self._cuts
        xs = ['x'] if last - first == 1 else [f'xs[{k}]' for k in range(last - first)]
        weights = range(len(self.shapes) - last) if hasattr(self, 'shapes') else ()
        of_weights = [self._plan.form.name(*divmod(k, self._plan.form.count)) for k in weights]
        return [*(f'{state}{"x"}' for state in self._plan.cell.states), *xs, *of_weights]

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.shapes = [x.shape for x in inputs]
        keep = chainer.config.enable_backprop and self._plan.cell.has_backward
        saved, outputs = self._run(inputs, keep)
        self._saved = saved if keep else None
        self._outputs = [(y.shape, y.dtype) for y in outputs]
        return outputs

    def _run(self, inputs: Sequence[Array], keep: bool) -> tuple[Any, tuple]:
        """Compute the outputs, and what backward needs: the engine, and of each layer and
        direction the ``Layer``, its gates.
        """
        plan, given = self._plan, inputs[self._cuts[0]]
        engine, dtype, packing = engine_of(given), given.dtype, self._plan.packing
        xp = engine.xp
        states, xs, weights = self._split(widened(engine, inputs))
        groups = plan.groups(weights)
        states = [packing.sort(xp, s.reshape(len(groups), *s.shape[-2:])) for s in states]
        new = [xp.empty_like(s) for s in states]
        x = self._packed(xp, xs)
        saved: list[tuple[Layer, Any]] = []
        for first in range(0, len(groups), plan.directions):
            layers = []
            for k in range(first, first + plan.directions):
                rows = plan.rows(k)
                initial = plan.cell.State(*(s[k] for s in states))
                named = plan.form.pack(xp, groups[k])
                noise = self._drawn(xp, k, initial)
                x_k = self._dropped(xp, x, k)
                layers.append(layer_of(xp, plan.cell, named, rows, x_k, initial, noise))
            saved += zip(layers, engine.sequence_forward(layers, keep))
            for k, layer in enumerate(layers, first):
                for y, buffer in zip(new, layer.states):
                    y[k] = layer.rows.last(xp, buffer)
            hs = [layer.rows.inner(layer.states[-1]) for layer in layers]
            x = hs[0] if len(hs) == 1 else xp.concatenate(hs, axis=1)
        outputs = [
            packing.unsort(xp, y).reshape(shape) for y, shape in zip(new, self._shapes_of(inputs))
        ]
        if plan.output is Output.LAST:
            h = packing.unsort(xp, new[-1][-plan.directions :])
            outputs.append(xp.concatenate(h, axis=1))
        else:
            buffers = [layer.states[-1] for layer, _ in saved[-plan.directions :]]
            outputs += self._unpacked(packing.unpack(xp, x, buffers), xs)
        return (engine, saved), tuple([y.astype(dtype, copy=False) for y in outputs])

    def _shapes_of(self, inputs: Sequence[Array]) -> list[tuple[int, ...]]:
        return [x.shape for x in inputs[: self._cuts[0]]]

    def _packed(self, xp: Any, xs: Sequence[Array]) -> Array:
        """Return the packed rows of the sequences."""
        x = xs[0] if len(xs) == 1 else xp.concatenate(xs)
        if self._plan.swapped:
            x = x.swapaxes(0, 1)
        return self._plan.packing.pack(xp, _rows(x))

    def _unpacked(self, y: Array, xs: Sequence[Array]) -> list[Array]:
        """Return the arrays of the outputs, of rows as the caller has them."""
        if len(xs) > 1:
            ends = list(itertools.accumulate(len(x) for x in xs))
            return [y[end - len(x) : end] for end, x in zip(ends, xs)]
        batch, time = xs[0].shape[:2]
        if self._plan.swapped:
            return [y.reshape(time, batch, y.shape[-1]).swapaxes(0, 1)]
        return [y.reshape(*xs[0].shape[:-1], y.shape[-1])]

    def _dropped(self, xp: Any, x: Array, k: int) -> Array:
        """The input of a layer and direction;
        each has a mask of its own, drawn once, as Chainer draws it.
        """
        if k < self._plan.directions or not self._drops:
            return x
        if k not in self._masks:
            scale = x.dtype.type(1 / (1 - self._plan.dropout))
            # float64 on the CPU, for Chainer's numbers; CuPy's differ anyway, and float32 is faster
            dtype = {} if xp is numpy else {'dtype': numpy.float32}
            drawn = xp.random.rand(*x.shape, **dtype)
            self._masks[k] = (drawn >= self._plan.dropout) * scale
        return x * self._masks[k].astype(x.dtype, copy=False)

    def _drawn(self, xp: Any, k: int, initial: Any) -> Sequence[Array]:
        """The noise of a layer and direction, drawn once."""
        if not self._draws:
            return ()
        if k not in self._noise:
            shape = self._plan.packing.total, initial[-1].shape[-1]
            self._noise[k] = self._plan.cell.draw(xp, shape, initial[-1].dtype)
        return self._noise[k]

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        check_unchanged(self)
        plan = self._plan
        grad_outputs = tuple([full(g, *of) for g, of in zip(grad_outputs, self._outputs)])
        if chainer.config.enable_backprop or not plan.cell.has_backward:
            return differentiated(self, self._composed, indexes, grad_outputs)
        inputs = arrays(self.get_retained_inputs())
        if self._saved is None:
            self._saved, _ = self._run(inputs, True)
        (engine, saved), self._saved = self._saved, None
        of_states, gy = self._output_gradients(engine.xp, saved, arrays(grad_outputs), inputs)
        first, last = self._cuts
        gweights: dict[int, Array] = {}
        for k in reversed(range(0, len(saved), plan.directions)):
            layers, gates = zip(*saved[k : k + plan.directions])
            begun = []
            units = of_states[0].shape[-1]
            for d in range(plan.directions):
                output = None if gy is None else gy[:, d * units : (d + 1) * units]
                begun.append(Gradients(output, plan.cell.State(*(g[k + d] for g in of_states))))
            found = engine.sequence_backward(layers, gates, begun)
            for d, state in enumerate(found):
                for g, gradient in zip(of_states, state):
                    g[k + d] = gradient
            gy = None
            for d, (layer, gpre) in enumerate(zip(layers, gates), k):
                at = last + d * plan.form.count
                if any(i in indexes for i in range(at, at + plan.form.count)):
                    gweights.update(enumerate(plan.form.gradients(engine, layer, gpre), at))
                if k or any(first <= i < last for i in indexes):
                    part = self._input_gradient(engine, layer, gpre, d)
                    gy = part if gy is None else gy + part
        found_states = self._state_gradients(engine.xp, of_states, inputs)
        result = {**dict(enumerate(found_states)), **gweights}
        if gy is not None:
            result.update(enumerate(self._sequence_gradients(engine.xp, gy, inputs), first))
        return tuple([as_variable(result[i].astype(inputs[i].dtype, copy=False)) for i in indexes])

    def _output_gradients(
        self, xp: Any, saved: Sequence, grad_outputs: Sequence, inputs: Sequence[Array]
    ) -> tuple[list[Array], Optional[Array]]:
        """Return the gradients with respect to the last states, (S D, B, H) each, and to the
        packed output (P, D H) or None, in the dtype of the gates.
        """
        plan, packing, states = self._plan, self._plan.packing, self._cuts[0]
        dtype = saved[0][1].dtype
        shape = len(saved), *inputs[0].shape[-2:]
        found = []
        for g in grad_outputs[:states]:
            if g is None:
                found.append(xp.zeros(shape, dtype))
            else:  # a copy: it is overwritten
                found.append(packing.sort(xp, g.astype(dtype, 'C').reshape(shape)))
        gys = grad_outputs[states:]
        self._of_initial = None
        if all(g is None for g in gys):
            return found, None
        if plan.output is Output.LAST:
            of_h = xp.stack(xp.split(gys[0].astype(dtype, copy=False), plan.directions, axis=1))
            found[-1][-plan.directions :] += packing.sort(xp, of_h)
            return found, None
        if len(gys) > 1:
            gy = xp.concatenate([
                xp.zeros(*of) if g is None else g
                for g, of in zip(gys, self._outputs[states:])
            ])  # fmt: skip
        else:
            gy = gys[0].swapaxes(0, 1) if plan.swapped else gys[0]
        gy = _rows(gy)
        firsts = [plan.rows(d).first for d in range(plan.directions)]
        gy, initial = packing.unpack_gradient(xp, gy, firsts)
        self._of_initial = initial
        return found, gy

    def _state_gradients(
        self, xp: Any, of_states: Sequence[Array], inputs: Sequence[Array]
    ) -> list[Array]:
        """Return the gradients with respect to the initial states."""
        if self._of_initial is not None:  # h0, that outputs at masked steps repeat
            last = of_states[-1]
            for d, g in enumerate(self._of_initial):
                last[len(last) - self._plan.directions + d] += g
        packing = self._plan.packing
        return [packing.unsort(xp, g).reshape(x.shape) for g, x in zip(of_states, inputs)]

    def _input_gradient(self, engine: kernels.Engine, layer: Layer, gpre: Array, k: int) -> Array:
        """Return the gradient with respect to the input of a layer and direction."""
        columns = products.columns(gpre, layer.cell.gates, layer.cell.inputs)
        gx = engine.matmul(columns, layer.weights['W'])
        if k in self._masks:
            gx *= self._masks[k]
        return gx

    def _sequence_gradients(self, xp: Any, gx: Array, inputs: Sequence[Array]) -> list[Array]:
        """Return the gradients with respect to the arrays of the sequences, of packed rows."""
        return self._unpacked(self._plan.packing.pack_gradient(xp, gx), self._split(inputs)[1])

    def _composed(self, inputs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        """Compute the outputs step by step on variables."""
        xp = engine_of(inputs[0].array).xp

        def drop(x: chainer.Variable, k: int) -> chainer.Variable:
            return self._dropped(xp, x, k)

        states, xs, weights = self._split(inputs)
        return composed.run_sequence(self._plan, states, xs, weights, drop, self._noise)


def _rows(x: Array) -> Array:
    """(…, N) -> (P, N)."""
    return x.reshape(int(numpy.prod(x.shape[:-1])), x.shape[-1])


def apply(
    plan: Plan, states: Sequence[Input], xs: Sequence[Input], weights: Sequence[Input]
) -> tuple[Any, tuple[chainer.Variable, ...]]:
    """Run a sequence, whose shapes other than those of states and weights were checked.

    Args:
        plan: what it is computed by.
        states: in the order of the cell's; (S D, B, H), or (B, H) of a single layer.
        xs: the arrays of the sequences.
        weights: those of each layer and direction, one after the other.

    Returns:
        The new ``State``, as the states, and the outputs as the plan has them, none where they are
        not wanted.

    Raises:
        ValueError: states or weights do not fit.
    """
    plan = plan._replace(dropout=checks.dropout(plan.dropout))
    inputs = [chainer.as_variable(v) for v in (*states, *xs, *weights)]
    count = len(states)
    for k, w in enumerate(inputs[count + len(xs) :]):
        checks.variable(plan.form.name(*divmod(k, plan.form.count)), w)
    shapes = tuple(v.shape for v in inputs[count + len(xs) :])
    layers = len(shapes) // plan.form.count
    of_states = [v.shape for v in inputs[:count]]
    plain = layers == 1 and not plan.form.stacked and all(len(s) == 2 for s in of_states)
    outer = () if plain else (layers,)
    units = of_states[-1][-1] if of_states[-1] else 0
    names = [f'{name}x' for name in plan.cell.states]
    # in Chainer's order, h first
    checks.states(names[::-1], of_states[::-1], outer, plan.packing.sizes, units)
    check_weights(plan, shapes, inputs[count].shape[-1], units)
    outputs: Sequence[chainer.Variable]
    if is_static(plan.cell):
        outputs = composed.run_sequence(
            plan,
            inputs[:count],
            inputs[count : count + len(xs)],
            inputs[count + len(xs) :],
            lambda x, k: F.dropout(x, plan.dropout) if k >= plan.directions else x,
            {},
        )
    else:
        outputs = SequenceNode(plan, len(xs)).apply(tuple(inputs))
    return plan.cell.State(*outputs[:count]), tuple(outputs[count:])


def check_weights(plan: Plan, got: tuple[tuple[int, ...], ...], inputs: int, units: int) -> None:
    """Compare the shapes of all weights with those that follow from the sizes of the input
    and the state.

    Raises:
        ValueError: one does not fit.
    """
    form = plan.form
    expected = shapes_of(form, plan.directions, len(got) // form.count, inputs, units)
    if got == expected:
        return
    at = next(at for at in range(len(got)) if got[at] != expected[at])
    error = f'expected {form.name(*divmod(at, form.count))} of shape {expected[at]}, got {got[at]}'
    same_rows = got[at][:1] == expected[at][:1] and len(got[at]) == len(expected[at]) == 2
    if at < plan.directions * form.count and same_rows and expected[at][1] == inputs:
        # Chainer's words, where the input does not fit
        error = f'Inconsistent input size in input values and weight parameters: {error}'
    raise ValueError(error)


def sequence(
    cell: Cell,
    states: Sequence[Input],
    xs: Union[Input, Sequence[Input]],
    weights: Sequence[Sequence[Input]],
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> tuple[Any, Any]:
    """Stacked layers of any cell over whole sequences, as one node.

    Args:
        cell: see ``chainer_lstm.cells``.
        states: the initial states in the order of ``cell.states``, each (S * D, B, H), one for
            each layer and direction (index ``D * layer + direction``), or (B, H) if there is only
            one.
        xs: (T, B, I), or T steps (B_t, I) with B >= B_0 >= B_1 >= ….
        weights: for each layer and direction those of the cell, in the order of ``cell.weights``,
            see ``cell.shapes``.  Later layers take D * H inputs.
        bidirectional: D = 2 instead of 1.
        dropout: ratio, on the inputs of every layer but the first.

    Returns:
        The last ``cell.State``, as the states, and the outputs as xs, (T, B, D * H) or a tuple of
        (B_t, D * H).  Rows that a step does not have keep their state.

    Raises:
        ValueError: shapes do not fit, batches grow in time, or dropout is out of range.
        chainer.utils.type_check.InvalidType: dtypes do not fit.
        TypeError: no cell, no arrays, no lists of arrays, no number for dropout, or ChainerX
            arrays.
    """
    check_cell(cell)
    if len(checks.sequence('states', states, 'arrays')) != len(cell.states):
        raise ValueError(f'expected states {", ".join(cell.states)}, got {len(states)} arrays')
    names = [f'{name}x' for name in cell.states]
    states = [checks.variable(name, s) for name, s in zip(names, states)]
    return _run(cell, states, xs, weights, 2 if bidirectional else 1, dropout)


def _run(
    cell: Cell,
    states: Sequence[chainer.Variable],
    xs: Any,
    weights: Sequence[Sequence[Input]],
    directions: int,
    dropout: float,
) -> tuple[Any, Any]:
    dense = not isinstance(xs, (list, tuple))
    if dense:
        xs = checks.variable('xs', xs)
        if xs.ndim != 3:
            raise ValueError(f'expected xs of shape (time, batch, inputs), got {xs.shape}')
        sizes = (xs.shape[1],) * xs.shape[0]
        given: Sequence[Input] = (xs,)
    else:
        sizes = checks.steps(xs)
        given = xs
    _check_layers(cell, directions, weights)
    packing = packing_of_steps(sizes, _batch(states[0], sizes))
    plan = Plan(cell, packing, weights_of(cell), directions, dropout)
    new, ys = apply(plan, states, given, [w for group in weights for w in group])
    return new, ys[0] if dense else ys


def _batch(state: Any, sizes: Sequence[int]) -> int:
    """Return the number of sequences, by a state that may have a wrong shape."""
    rows = state.shape[-2] if state.ndim > 1 else 0
    return max(rows, *sizes[:1], 0)


def lstm_sequence(
    hx: Input,
    cx: Input,
    xs: Union[Input, Sequence[Input]],
    weights: Sequence[Sequence[Input]],
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> tuple:
    """Stacked LSTM layers over whole sequences, as one node: ``sequence`` with states in Chainer's
    order.

    Args:
        hx, cx: (S * D, B, H), the initial state of each layer and direction
            (index ``D * layer + direction``), or (B, H) if there is only one.
        xs: (T, B, I), or T steps (B_t, I) with B >= B_0 >= B_1 >= ….
        weights: for each layer and direction W (4H, I), b (4H,), U (4H, H);
            gates interleaved as in ``lstm``.  Where more are given, such as P_i, P_f, P_o (H, H)
            besides, the cell is the one of ``cells.CELLS`` that has as many.  Later layers take
            D * H inputs.
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
    hx, cx = checks.variable('hx', hx), checks.variable('cx', cx)
    first = weights[0] if isinstance(weights, (list, tuple)) and weights else ()
    count = len(first) if isinstance(first, (list, tuple)) else 0
    found = (cell for cell in cells.CELLS.values() if len(cell.weights) == count)
    cell = next(found, cells.lstm)
    new, ys = _run(cell, (cx, hx), xs, weights, 2 if bidirectional else 1, dropout)
    return new.h, new.c, ys


def _check_layers(cell: Cell, directions: int, weights: Any) -> None:
    if not checks.sequence('weights', weights, 'those of each layer') or len(weights) % directions:
        raise ValueError(
            f'expected weights of each layer and direction, {directions} a layer, '
            f'got {len(weights)}'
        )
    for k, group in enumerate(weights):
        for w in checks.sequence(f'weights[{k}]', group, 'arrays'):
            checks.variable(f'weights[{k}]', w)
        if len(group) != len(cell.weights):
            raise ValueError(
                f'expected weights[{k}] to be {", ".join(cell.weights)} of {cell.name}, '
                f'got {len(group)} arrays'
            )
    b = weights[0][1]
    if b.ndim != 1:
        raise ValueError(
            f'expected weights[0][1] (b) of shape ({len(cell.inputs)}H,), got {b.shape}'
        )
