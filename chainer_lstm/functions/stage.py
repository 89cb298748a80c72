"""A stage of a time step as an autograd node, of any cell."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Optional

import chainer
from chainer.utils import type_check

from chainer_lstm import kernels
from chainer_lstm.chainer_private import argname, setting
from chainer_lstm.functions import cell_noise, composed
from chainer_lstm.functions.chained import Chained
from chainer_lstm.functions.checks import same_dtype, variable
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.node import (
    as_variable,
    cast,
    check_unchanged,
    differentiated,
    full,
    replaced,
    widened,
)
from chainer_lstm.functions.signature import Signature, check_axes, vectors_of
from chainer_lstm.kernels import products
from chainer_lstm.kernels.engines.types import NOTHING, Kept, Noise, Part

Named = Mapping[str, Any]


class StageNode(Chained):
    """The states, x and weights that a stage reads, in the order of a ``Signature`` -> the states
    that it computes, and the gates that a later stage activates.

    If x has fewer rows than a state that is not the last one, the other rows are carried over.
    Backward runs on arrays.  For double backprop (``chainer.config.enable_backprop``), and for a
    cell without ``backward``, the stage is computed once more on variables.

    Args:
        of: the signature.
    """

    gates: Any = None
    m: Any = None  # h before the projection
    kept: Kept

    def __init__(self, of: Signature) -> None:
        super().__init__()
        self.signature = of
        self.cell = of.cell
        self.stage = of.stage
        self.names: Sequence[str] = of.names
        self.weights = of.weights
        self.noise: Noise = NOTHING

    @property
    def kind(self) -> Hashable:
        return type(self), self.signature  # one for each cell, and hashed by identity

    def apply(self, inputs: tuple) -> tuple:
        try:
            return super().apply(inputs)
        except (AttributeError, TypeError):
            for name, x in zip(self.names, inputs):
                variable(name, x)  # Chainer's error does not name the argument
            raise

    def check_type_forward(self, in_types: Any) -> None:
        argname(in_types, self.names)
        of, cell, types = self.signature, self.cell, dict(zip(self.names, in_types))
        if of.first:
            self._check_input(types)
        units = types[self.names[0]].shape[1]
        for product in self.stage.products:
            if product.weight not in types:
                continue
            W, count = types[product.weight], len(product.gates)
            if product.diagonal:
                self._check_vectors([product.weight], types, units)
                continue
            type_check.expect(W.dtype.kind == 'f', W.ndim == 2)
            rows = count * units if count > 1 else units
            if product.gates == cell.inputs:
                rows = types['W'].shape[0]
            type_check.expect(W.shape[0] == rows, W.shape[1] == cell.width(product.state, units))
            self._check_vectors(vectors_of(product), types, W.shape[0])
        self._check_vectors(self.stage.vectors, types, units)
        if of.projection is not None:
            V = types[of.projection]
            type_check.expect(
                V.dtype.kind == 'f',
                V.ndim == 2,
                V.shape[0] == cell.outputs,
                V.shape[1] == units,
            )

    def _check_vectors(self, names: Sequence[str], types: Named, size: Any) -> None:
        """Check weights of one axis."""
        of = self.signature
        for name in names:
            vector = types[name]
            same_dtype(name, **{name: vector, 'x': types[of.names[of.like]]})
            type_check.expect(vector.ndim == 1)
            type_check.expect(vector.shape[0] == size)

    def _check_input(self, types: Named) -> None:
        """Check x, its weights and the states."""
        x, W, b = types['x'], types['W'], types['b']
        states = {name: types[name] for name in self.cell.states if name in types}
        type_check.expect(x.dtype.kind == 'f', W.dtype.kind == 'f')
        same_dtype('x', b=b, x=x)
        for name, state in states.items():
            same_dtype(name, **{name: state, 'x': x})
            type_check.expect(state.ndim == 2)
        type_check.expect(x.ndim == 2, W.ndim == 2, b.ndim == 1)
        units = types[self.names[0]].shape[1]
        type_check.expect(
            x.shape[1] == W.shape[1],
            W.shape[0] == len(self.cell.inputs) * units,
            b.shape[0] == W.shape[0],
        )
        self._check_vectors(vectors_of(products.of_x(self.cell)), types, W.shape[0])
        for name, state in states.items():
            is_last = name == self.cell.states[-1]
            rows = state.shape[0] == x.shape[0] if is_last else x.shape[0] <= state.shape[0]
            type_check.expect(rows, state.shape[1] == self.cell.width(name, units))

    def check_broadcasting(self) -> None:
        """Refuse shapes that NumPy would broadcast; called when Chainer does not check types.

        Raises:
            ValueError: a shape in ``self.shapes`` does not fit.
        """
        shapes, last = dict(zip(self.names, self.shapes)), self.cell.states[-1]
        if self.signature.projection is not None:
            V, expected = shapes[self.signature.projection], (self.cell.outputs, self.shapes[0][1])
            if expected != V:
                raise ValueError(
                    f'expected {self.signature.projection} of shape {expected}, got {V}'
                )
        if not self.signature.first:
            return
        check_axes(self.names, self.shapes, 2, self.signature.biases)
        x, W, count = shapes['x'], shapes['W'], len(self.cell.inputs)
        for name in self.cell.states:
            units = W[0] // count
            width = self.cell.width(name, units)
            state = shapes.get(name, (x[0], width))
            rows = x[0] == state[0] if name == last else x[0] <= state[0]
            if not rows or state[1] != width or W[0] != count * units:
                raise ValueError(
                    f'expected {name} ({"B" if name == last else "B0"}, {width}), x (B, I) and '
                    f'W ({count}H, I), B <= B0, got shapes {state}, {x} and {W}'
                )

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.shapes = [x.shape for x in inputs]
        if not setting('type_check'):
            self.check_broadcasting()
        of, cell, like = self.signature, self.cell, inputs[self.signature.like]
        self.retain_outputs(of.retained)
        engine, batch = engine_of(like), len(like if of.first else self.gates)
        wide = self._in_one_dtype(engine, inputs)
        state = self._state_of(wide, batch)
        if cell.is_random and setting('train') and not self.noise:
            units = wide[0].shape[1]
            self.noise = cell_noise.draw(cell, engine.xp, batch, batch, units, wide[0].dtype)
        named = dict(zip(self.names, wide))
        self.kept = {}
        self.gates, found = self.compute(engine, named, state)
        if of.projection is not None:
            self.m, V = found[-1], named[of.projection]
            found = (*found[:-1], engine.linear(self.m, V))
        outputs = []
        for _, k, before in of.writes:
            y = found[k]
            if y.dtype != like.dtype:
                y = y.astype(like.dtype)
            if before is not None and y.shape != self.shapes[before]:
                y = _of_all_rows(engine, y, inputs[before], batch)
            outputs.append(y)
        for name in of.pending:
            outputs.append(products.columns(self.gates, cell.gates, (name,)).copy('C'))
        self.outputs_of = [(y.shape, y.dtype) for y in outputs]
        return tuple(outputs)

    def compute(self, engine: kernels.Engine, named: Named, state: Any) -> tuple[Any, Any]:
        """Return the gates and the new state, of inputs in one dtype."""
        return engine.step_forward(
            self.cell, self.stage, named.get('x'), state, named, self.noise, self.gates, self.kept
        )

    def gradients(
        self, indexes: tuple[int, ...], grad_outputs: tuple, given: Optional[dict]
    ) -> tuple:
        """Return the gradients; ``given`` has the rows that nodes before handed to this one."""
        check_unchanged(self)
        new = self._retained()
        grad_outputs = tuple([full(g, *of) for g, of in zip(grad_outputs, self.outputs_of)])
        if setting('enable_backprop') or not self.cell.has_backward:
            return differentiated(self, self.composed, indexes, grad_outputs)
        cell, of = self.cell, self.signature
        inputs = [node.data for node in self.inputs]  # what was retained, as arrays
        engine, dtype, batch = engine_of(inputs[0]), self.gates.dtype, len(self.gates)
        wide = self._in_one_dtype(engine, inputs)
        named, state = dict(zip(self.names, wide)), self._state_of(wide, batch)
        of_outputs = [None if g is None else g.array for g in grad_outputs]
        of_new = cell.State(**{
            name: g if g is None else _rows_of(g, batch, dtype)
            for (name, _, _), g in zip(of.writes, of_outputs)
        })  # fmt: skip
        gpre = engine.xp.empty_like(self.gates, order='C')
        for name, g in zip(of.pending, of_outputs[len(of.writes) :]):
            products.columns(gpre, cell.gates, (name,))[...] = 0 if g is None else g
        gh = None
        if of.projection is not None:
            gh, of_new = self._unprojected(engine, named[of.projection], of_new)
        through = of.through(indexes)
        weights = {name: named[name] for name in through}
        kept = {**self.kept}
        gx, found = self.differentiate(engine, named, state, new, of_new, weights, gpre, kept)
        gpre = products.columns(gpre, cell.gates, of.gates)
        of_products = products.rows_of(self.stage, state, new, self.noise)
        rows = {'gpre': gpre, 'x': named.get('x'), 'gh': gh, 'm': self.m, **of_products, **kept}
        before = self.node_before(indexes)
        result = self.weight_gradients(engine, rows, inputs, indexes, before, given)
        of_states = dict(zip(self.stage.writes, of_outputs))
        for i in indexes:
            name, x = self.names[i], inputs[i]
            if name == 'x':
                result[i] = cast(gx, x.dtype)
            elif name in cell.states:
                g = cast(getattr(found, name), x.dtype)
                result[i] = g if len(g) == len(x) else _padded(g, x, of_states.get(name))
            elif not of.first and name in self.stage.gates:
                result[i] = products.columns(gpre, of.gates, (name,))
        return tuple([as_variable(result.get(i)) for i in indexes])

    def _unprojected(self, engine: kernels.Engine, V: Any, gradients: Any) -> tuple[Any, Any]:
        """Return the gradient with respect to h, and the gradients with that with respect to m in
        its place.
        """
        gh = gradients[-1]
        if gh is None:
            return engine.xp.zeros((len(self.m), len(V)), self.m.dtype), gradients
        return gh, gradients._replace(**{self.cell.states[-1]: engine.matmul(gh, V)})

    def differentiate(
        self,
        engine: kernels.Engine,
        named: Named,
        state: Any,
        new: Any,
        gradients: Any,
        weights: Named,
        gpre: Any,
        kept: Kept,
    ) -> tuple[Any, Any]:
        """Return the gradients with respect to x and the states, and write ``gpre``."""
        return engine.step_backward(
            self.cell,
            self.stage,
            self.gates,
            state,
            new,
            gradients,
            weights,
            self.noise,
            gpre,
            kept,
        )

    def node_before(self, indexes: Sequence[int]) -> Optional[Chained]:
        """Return the node that computes the weight gradients of this one with its own, or None."""
        before = self.inputs[0].creator_node
        return before if 0 in indexes and self.is_of_same_weights(before) else None

    def composed(self, inputs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        """Compute the outputs by Chainer's own functions."""
        wide = self.gates.dtype
        named = {name: cast(x, wide) for name, x in zip(self.names, inputs)}
        state = self.cell.State(*(named.get(name) for name in self.cell.states))
        gates, _, found = composed.run_step(
            self.cell, (self.stage,), self.parts(named), state, named, self.noise
        )
        dtype = inputs[self.signature.like].dtype
        states = [cast(getattr(found, name), dtype) for name in self.stage.writes]
        return [*states, *(getattr(gates, name) for name in self.signature.pending)]

    def parts(self, named: Named) -> list[Part]:
        """Return the pre-activations without the products of the stage, variables."""
        if 'x' in named:
            return [Part(composed.of_input(self.cell, named['x'], named), self.cell.inputs)]
        # the gates that an earlier stage has activated are placeholders, which no stage reads
        given = {**dict.fromkeys(self.cell.gates), **{g: named[g] for g in self.stage.gates}}
        like = named[self.stage.gates[0]]
        return [Part(like if x is None else x, (name,)) for name, x in given.items()]

    def _in_one_dtype(self, engine: kernels.Engine, inputs: Sequence[Any]) -> Sequence[Any]:
        """Return the inputs in the dtype of the gates, or, before they exist, of the engine."""
        if self.gates is None:
            return widened(engine, inputs)
        dtype = self.gates.dtype
        return [cast(x, dtype) for x in inputs]

    def _state_of(self, inputs: Sequence[Any], batch: int) -> Any:
        """Return the states among the inputs, only the rows that the step updates."""
        found = []
        for k in self.signature.states:
            x = None if k is None else inputs[k]
            found.append(x if x is None or len(x) == batch else x[:batch])
        return self.cell.State(*found)

    def _retained(self) -> Any:
        """Return the new states that backward needs, only the rows that the step updates."""
        found, batch, dtype = {}, len(self.gates), self.gates.dtype
        retained = self.signature.retained
        for k, y in zip(retained, self.get_retained_outputs() if retained else ()):
            name, shape = self.stage.writes[k], self.outputs_of[k][0]
            if y.shape != shape:
                raise replaced(f'{name} of the output', shape, y.shape)
            found[name] = _rows_of(y.array, batch, dtype)
        return self.cell.State(**found)


def _rows_of(x: Any, batch: int, dtype: Any) -> Any:
    """Return the first rows of an array in a dtype; the array itself if it has no others."""
    return cast(x if len(x) == batch else x[:batch], dtype)


def _of_all_rows(engine: kernels.Engine, y: Any, before: Any, batch: int) -> Any:
    """Return a new state followed by the rows that are carried over."""
    if y.shape != (batch, *before.shape[1:]):
        raise ValueError(
            f'expected weights that fit the state {before.shape}, and h of {batch} rows as x; '
            f'got a new state {y.shape}'
        )
    return engine.xp.concatenate((y, before[batch:]))


def _padded(gradient: Any, x: Any, of_output: Any) -> Any:
    """Return the gradient of all rows of a state; rows that were carried over get the gradient of
    the output.
    """
    xp = chainer.backend.get_array_module(x)
    found = xp.zeros(x.shape, gradient.dtype)
    found[: len(gradient)] = gradient
    if of_output is not None:
        found[len(gradient) :] = of_output[len(gradient) :]
    return found
