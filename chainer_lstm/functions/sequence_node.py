"""Stacked layers of a cell over whole sequences as one autograd node, packing included."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from typing import Any, Optional

import chainer
import chainer.functions as F
from chainer.utils import type_check

from chainer_lstm import kernels
from chainer_lstm.arrays import Array
from chainer_lstm.chainer_private import argname, setting
from chainer_lstm.functions import cell_noise, checks, composed
from chainer_lstm.functions.config import engine_of, is_static_graph
from chainer_lstm.functions.dropout import Dropout
from chainer_lstm.functions.node import (
    Node,
    arrays,
    as_variable,
    cast,
    check_unchanged,
    differentiated,
    full,
    widened,
)
from chainer_lstm.functions.sequence_plan import Output, Plan, state_names
from chainer_lstm.kernels import products
from chainer_lstm.kernels.engines.numpy import numpy_engine
from chainer_lstm.kernels.engines.types import NOTHING, Gradients, Layer, Noise, Shape
from chainer_lstm.kernels.sequence import gradients_of, layer_of


class SequenceNode(Node):
    """Inputs: the states, (S D, B, H) each, the arrays of the sequences, and the weights -> the
    new states, and the arrays of h and, if wanted, those of c.

    States of a single layer may be (B, H).  The sequences are one array (…, I), or several whose
    rows are joined; the outputs have the same form.  Rows are rearranged inside of the node,
    because nodes for it would take more time than a small sequence.

    Backward runs on arrays and consumes what forward has saved; a second
    backward runs forward again.  Double backprop composes the single steps of
    Chainer's own functions.

    Args:
        plan: the cell, the packing and the options.
        inputs: the number of arrays of the sequences.
    """

    def __init__(self, plan: Plan, inputs: int) -> None:
        super().__init__()
        self._plan = plan
        states = len(plan.cell.states)
        self._cuts = states, states + inputs
        self._drops = plan.dropout > 0 and setting('train')
        self._draws = plan.cell.is_random and setting('train')
        self._masks: dict[int, Any] = {}
        self._noise: dict[int, Noise] = {}
        self._saved: Any = None

    @property
    def label(self) -> str:
        """The name in computational graphs and in hooks."""
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
        return [*state_names(self._plan.cell), *xs, *of_weights]

    def forward(self, inputs: tuple) -> tuple:
        if not setting('enable_backprop'):
            return self._run(inputs, engine_of(inputs[0]), False)[1]
        self.retain_inputs(range(len(inputs)))
        self.shapes = [x.shape for x in inputs]
        keep = self._plan.cell.has_backward
        self._saved, outputs = self._run(inputs, engine_of(inputs[0]), keep)
        self._outputs = [(y.shape, y.dtype) for y in outputs]
        return outputs

    def composed(self, inputs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        """Compute the outputs by Chainer's own functions."""
        xp = chainer.backend.get_array_module(inputs[0])
        _, outputs = self._run(inputs, None, False, composed.Rearranging(xp))
        return outputs

    def _run(
        self, inputs: Sequence, engine: Optional[kernels.Engine], keep: bool, xp: Any = None
    ) -> tuple[Any, tuple]:
        """Return what backward needs, or None, and the outputs.

        Args:
            inputs: arrays, or without an engine variables.
            engine: the engine of arrays.
            keep: whether to return for backward the engine and, for each layer and direction, its
                ``Layer`` and gates.
            xp: without an engine, the functions of variables.
        """
        plan, packing = self._plan, self._plan.packing
        if engine is not None:
            xp = engine.xp
        states, xs, weights = self._split(widened(engine or numpy_engine, inputs))
        groups = plan.groups(weights)
        states = [
            packing.begin(xp, s.reshape(len(groups), *s.shape[-2:]), plan.directions)
            for s in states
        ]
        ends: list[list] = [[] for _ in states]
        new: Sequence = ()
        if engine is not None and engine.takes_states:
            new = [xp.empty(s.shape, s.dtype) for s in states]
        form, apart = plan.form, False
        if form.by_gates and engine is not None and not keep:
            shape = Shape(len(packing.sizes), packing.batch, states[-1].shape[-1], plan.directions)
            apart = engine.takes_gates(plan.cell, states[-1].dtype, shape)
        saved: list[tuple[Layer, Any]] = []
        layers: list[Layer] = []
        for first in range(0, len(groups), plan.directions):
            x = _rows_of_all(xp, layers, 'h') if layers else self._packed(xp, xs)
            layers = []
            for k, group in enumerate(groups[first : first + plan.directions], first):
                initial = plan.cell.State(*(s[k] for s in states))
                drawn = self._drawn(xp, k, initial[0])
                named = form.parts(xp, group) if apart else form.pack(xp, group, engine)
                job = plan.cell, named, plan.rows(k), self._dropped(engine, x, k), initial, drawn
                if engine is None:
                    layers.append(composed.run_layer(*job))
                else:
                    last = plan.cell.State(*(y[k] for y in new)) if new else None
                    layers.append(layer_of(xp, *job, last))
            if engine is not None:
                saved += zip(layers, engine.sequence_forward(layers, keep))
            for layer in () if new else layers:
                for of_state, buffer in zip(ends, layer.states):
                    of_state.append(layer.rows.last(xp, buffer))
        if not new:
            new = [xp.concatenate(of, axis=0).reshape(s.shape) for of, s in zip(ends, states)]
        new = [packing.end(xp, y, plan.directions) for y in new]
        outputs = [y.reshape(*s.shape[:-2], *y.shape[-2:]) for y, s in zip(new, inputs)]
        for name in plan.outputs:
            if plan.output is Output.LAST:
                of_last = getattr(plan.cell.State(*new), name)[-plan.directions :]
                outputs.append(xp.concatenate(list(of_last), axis=1))
            else:
                outputs += self._of_all_steps(xp, layers, name, xs)
        if outputs[0].dtype != inputs[0].dtype:
            outputs = [cast(y, inputs[0].dtype) for y in outputs]
        return (engine, saved) if keep else None, tuple(outputs)

    def _of_all_steps(
        self, xp: Any, layers: Sequence[Layer], name: str, xs: Sequence[Array]
    ) -> list[Array]:
        """Return the arrays of a state of all steps, of the directions of the last layer."""
        buffers = [getattr(layer.states, name) for layer in layers]
        y = self._plan.packing.unpack(xp, _rows_of_all(xp, layers, name), buffers)
        return self._unpacked(y, xs)

    def _packed(self, xp: Any, xs: Sequence[Array]) -> Array:
        """Return the packed rows of the sequences."""
        x = xs[0] if len(xs) == 1 else xp.concatenate(xs, axis=0)
        return self._plan.packing.pack(xp, self._rows(x))

    def _rows(self, x: Array) -> Array:
        """Return the rows of an array of sequences."""
        x = x.transpose(1, 0, 2) if self._plan.swapped else x
        return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])

    def _unpacked(self, y: Array, xs: Sequence[Array]) -> list[Array]:
        """Return the arrays of the outputs, of rows as the caller has them."""
        if len(xs) > 1:
            ends = list(itertools.accumulate(len(x) for x in xs))
            return [y[end - len(x) : end] for end, x in zip(ends, xs)]
        axes = xs[0].shape[:-1]
        if self._plan.swapped:
            return [y.reshape(axes[1], axes[0], y.shape[-1]).transpose(1, 0, 2)]
        return [y.reshape(*axes, y.shape[-1])]

    def _dropped(self, engine: Optional[kernels.Engine], x: Any, k: int) -> Any:
        """Return the input of a layer and direction after dropout; each has a mask of its own,
        drawn once, as in Chainer.
        """
        if k < self._plan.directions or not self._drops:
            return x
        ratio = self._plan.dropout
        if is_static_graph():  # dropout is drawn in each replay
            return F.dropout(x, ratio)
        if k not in self._masks:
            drawn_by = engine or engine_of(x.array)
            self._masks[k] = drawn_by.draw_mask(x.shape, x.dtype, ratio)
        if engine is None:
            return Dropout(ratio, self._masks[k]).apply((x,))[0]
        return engine.dropout(x, self._masks[k])

    def _drawn(self, xp: Any, k: int, state: Array) -> Noise:
        """Return the noise of a layer and direction, drawn once, for a state (B, H)."""
        if not self._draws:
            return NOTHING
        if k not in self._noise:
            packing, (batch, units) = self._plan.packing, state.shape
            self._noise[k] = cell_noise.draw(
                self._plan.cell, xp, packing.total, batch, units, state.dtype
            )
        return self._noise[k]

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        check_unchanged(self)
        plan = self._plan
        grad_outputs = tuple([full(g, *of) for g, of in zip(grad_outputs, self._outputs)])
        if chainer.config.enable_backprop or not plan.cell.has_backward:
            return differentiated(self, self.composed, indexes, grad_outputs)
        inputs = arrays(self.get_retained_inputs())
        if self._saved is None:
            self._saved, _ = self._run(inputs, engine_of(inputs[0]), True)
        (engine, saved), self._saved = self._saved, None
        given = arrays(grad_outputs)
        from_zeros = engine.takes_states and self._has_no_gradient_of_states(given)
        of_states, gys, of_initial = self._output_gradients(
            engine.xp, saved, given, inputs, from_zeros
        )
        result: dict[int, Array] = {}
        gx = None
        for k in reversed(range(0, len(saved), plan.directions)):
            layers, gates = zip(*saved[k : k + plan.directions])
            of_last = [g[k : k + plan.directions] for g in of_states]
            begun = self._begun(engine.xp, layers, gys, of_last, from_zeros)
            found = engine.sequence_backward(layers, gates, begun)
            for d, state in enumerate(found):
                for g, gradient in zip(of_last, state):
                    g[d] = gradient
            directions = list(zip(layers, gates, begun))
            gx = self._layer_gradients(engine, k, directions, indexes, result)
            gys = {} if gx is None else {'h': gx}
        result.update(enumerate(self._state_gradients(engine.xp, of_states, of_initial, inputs)))
        if gx is not None:
            first, last = self._cuts
            gx = plan.packing.pack_gradient(engine.xp, gx)
            result.update(enumerate(self._unpacked(gx, inputs[first:last]), first))
        return tuple([as_variable(result[i].astype(inputs[i].dtype, copy=False)) for i in indexes])

    def _begun(
        self,
        xp: Any,
        layers: Sequence[Layer],
        gys: dict[str, Array],
        of_last: Sequence[Array],
        from_zeros: bool,
    ) -> list[Gradients]:
        """Return the gradients with which backward of each direction of a layer begins: with
        respect to its states of all steps, by name, and its last states, (D, B, H) each, which
        stand for zeros with ``from_zeros``.
        """
        plan, begun = self._plan, []
        for d, layer in enumerate(layers):
            outputs = {name: _columns(gy, d, plan.directions) for name, gy in gys.items()}
            last = plan.cell.State(*(g[d] for g in of_last))
            begun.append(gradients_of(xp, layer, plan.cell.State(**outputs), last, from_zeros))
        return begun

    def _layer_gradients(
        self,
        engine: kernels.Engine,
        k: int,
        directions: Sequence[tuple[Layer, Array, Gradients]],
        indexes: Sequence[int],
        result: dict[int, Array],
    ) -> Optional[Array]:
        """Return the gradient with respect to the input of a layer, None if it is not requested;
        write the weight gradients into ``result``.  k is the index of its first direction.
        """
        form, (first, last) = self._plan.form, self._cuts
        gx = None
        for group, (layer, gpre, begun) in enumerate(directions, k):
            at = last + group * form.count
            if any(i in indexes for i in range(at, at + form.count)):
                result.update(enumerate(form.gradients(engine, layer, gpre, begun), at))
            if k or any(first <= i < last for i in indexes):
                part = self._input_gradient(engine, layer, gpre, group)
                gx = part if gx is None else gx + part
        return gx

    def _has_no_gradient_of_states(self, grad_outputs: Sequence[Optional[Array]]) -> bool:
        of_states = grad_outputs[: self._cuts[0]]
        return self._plan.output is Output.ALL and all(g is None for g in of_states)

    def _output_gradients(
        self,
        xp: Any,
        saved: Sequence,
        grad_outputs: Sequence,
        inputs: Sequence[Array],
        from_zeros: bool,
    ) -> tuple[list[Array], dict[str, Array], dict[str, Sequence[Array]]]:
        """Return the gradients with respect to the last states, (S D, S, H) each, to the packed
        outputs by name, (P, D H), and to the initial states of each direction of the last layer,
        which outputs at masked steps repeat, by name; in the dtype of the gates.

        With ``from_zeros`` those of the last states stand for zeros, whatever they hold.
        """
        plan, packing, states = self._plan, self._plan.packing, self._cuts[0]
        dtype = saved[0][1].dtype
        found = plan.cell.State()
        for name, g, (shape, _) in zip(found._fields, grad_outputs, self._outputs):
            shape = len(saved), *shape[-2:]
            if from_zeros:
                g = xp.empty((len(saved), packing.batch, shape[-1]), dtype)
            else:  # a copy: it is overwritten
                g = xp.zeros(shape, dtype) if g is None else g.astype(dtype, 'C').reshape(shape)
            found = found._replace(**{name: g})
        gys: dict[str, Array] = {}
        of_initial: dict[str, Sequence[Array]] = {}
        count = (len(grad_outputs) - states) // len(plan.outputs)
        firsts = [plan.rows(d).first for d in range(plan.directions)]
        for first, name in zip(range(states, len(grad_outputs), count), plan.outputs):
            parts = grad_outputs[first : first + count]
            if all(g is None for g in parts):
                continue
            gy = _joined(xp, parts, self._outputs[first:])
            if plan.output is Output.LAST:
                of_last = xp.split(gy.astype(dtype, copy=False), plan.directions, axis=1)
                getattr(found, name)[-plan.directions :] += xp.stack(of_last)
            else:
                gys[name], of_initial[name] = packing.unpack_gradient(xp, self._rows(gy), firsts)
        if from_zeros:
            return list(found), gys, of_initial
        return [packing.end_gradient(xp, g, plan.directions) for g in found], gys, of_initial

    def _state_gradients(
        self,
        xp: Any,
        of_states: Sequence[Array],
        of_initial: dict[str, Sequence[Array]],
        inputs: Sequence[Array],
    ) -> list[Array]:
        """Return the gradients with respect to the initial states."""
        directions, found = self._plan.directions, []
        for name, of_state, x in zip(self._plan.cell.states, of_states, inputs):
            for d, g in enumerate(of_initial.get(name, ())):
                of_state[len(of_state) - directions + d] += g
            of_state = self._plan.packing.begin_gradient(xp, of_state, directions, x.shape[-2])
            found.append(of_state.reshape(x.shape))
        return found

    def _input_gradient(self, engine: kernels.Engine, layer: Layer, gpre: Array, k: int) -> Array:
        """Return the gradient with respect to the input of a layer and direction."""
        part = products.input_gradient(layer.cell, gpre, layer.kept)
        gx = engine.matmul(part, layer.weights['W'])
        if k in self._masks:
            gx = engine.dropout(gx, self._masks[k], gx)
        return gx


def _rows_of_all(xp: Any, layers: Sequence[Layer], name: str) -> Array:
    """Return a state of all rows, (P, D H), of the directions of a layer."""
    parts = [layer.rows.inner(getattr(layer.states, name)) for layer in layers]
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, axis=1)


def _columns(y: Array, direction: int, directions: int) -> Array:
    """Return the columns of a direction."""
    width = y.shape[1] // directions
    return y[:, direction * width : (direction + 1) * width]


def _joined(xp: Any, gradients: Sequence[Optional[Array]], outputs: Sequence) -> Array:
    """Return gradients of outputs of these shapes and dtypes as one array; None are zeros."""
    if len(gradients) == 1 and gradients[0] is not None:
        return gradients[0]
    given = [xp.zeros(*of) if g is None else g for g, of in zip(gradients, outputs)]
    return xp.concatenate(given)
