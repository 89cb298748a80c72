"""The native engine: products, steps and whole sequences in C++, on a thread pool of its own.

The threads of a BLAS keep spinning after a product and halve the speed of the next parallel code,
so this engine computes all products of a call itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Stage, is_compiled, is_normalized
from chainer_lstm.kernels import boundary, layout, native, products
from chainer_lstm.kernels.arguments import PADDING
from chainer_lstm.kernels.engines.compiled import CompiledEngine
from chainer_lstm.kernels.engines.native_steps import has_step, plan_of, whole_step_of
from chainer_lstm.kernels.engines.types import (
    NOTHING,
    AdamRates,
    Gradients,
    Kept,
    Layer,
    Noise,
    SgdRates,
    Shape,
    Weights,
)
from chainer_lstm.kernels.packing import Rows

_SUMMED = 4096  # squares that are summed in their own precision; the partial sums in float64
_SMALL = 1024  # up to so many numbers NumPy is faster than the call of a kernel
_FEW_STEPS = 3  # up to so many steps packing the weights takes longer than it saves


class NativeEngine(CompiledEngine):
    """float32 and float64, with one of the instruction sets of ``native.instruction_sets()``."""

    def __init__(self, instruction_set: str) -> None:
        self.instruction_set = instruction_set

    def matmul(self, a: Array, b: Array, out: Optional[Array] = None) -> Array:
        return self._product(a, b, None, out)

    def linear(self, x: Array, W: Array, b: Optional[Array] = None) -> Array:
        return self._product(x, W.T, b)

    def interleaved(self, gates: Sequence[Array]) -> Array:
        found = self._joined(gates, layout.INTERLEAVED)
        return super().interleaved(gates) if found is None else found

    def planar(self, x: Array) -> Array:
        found = self._joined(layout.split(x, layout.INTERLEAVED), layout.PLANAR)
        return super().planar(x) if found is None else found

    def _joined(self, gates: Sequence[Array], order: str) -> Optional[Array]:
        """Return a, i, f, o joined by the kernel; None if it does not take them."""
        first = gates[0]
        if first.ndim != 2 or 4 * first.size <= _SMALL:
            return None
        if first.dtype.char not in 'fd' or not first.dtype.isnative:
            return None
        out = numpy.empty((4 * len(first), first.shape[1]), first.dtype)
        copy = native.function(self.instruction_set, 'copy_gates', first.dtype)
        return out if copy(first.shape, *gates, *layout.split(out, order)) else None

    def column_sums(self, x: Array) -> Array:
        return self._product(numpy.ones((1, len(x)), x.dtype), x, None)[0]

    def exponentials(self, x: Array, keep: bool) -> tuple[Optional[Array], Array, Array]:
        if not x.dtype.isnative:
            return super().exponentials(x, keep)
        y = numpy.empty(x.shape, x.dtype) if keep else None
        maxima, sums = numpy.empty((2, len(x)), x.dtype)
        self._kernel('exponentials', x.dtype)(x.shape, x, y, maxima, sums)
        return y, maxima, sums

    def sums_by_class(self, of: Array, x: Array, classes: int) -> Array:
        sums = numpy.empty((classes, x.shape[1]), x.dtype)
        self._kernel('sums_by_class', x.dtype)((*x.shape, classes), of, x, sums)
        return sums

    def sum_of_squares(self, x: Array) -> float:
        if x.size <= _SUMMED:
            return super().sum_of_squares(x)
        sums = numpy.empty(-(-x.size // _SUMMED), x.dtype)
        self._kernel('sums_of_squares', x.dtype)((x.size, len(sums)), x.reshape(-1), sums)
        return float(sums.sum(dtype=numpy.float64))

    def sgd(self, g: Array, x: Array, v: Optional[Array] = None, *, rates: SgdRates) -> None:
        if x.size <= _SMALL:
            return super().sgd(g, x, v, rates=rates)
        self._update('sgd', rates, x, g, v)

    def adam(
        self,
        g: Array,
        x: Array,
        m: Array,
        v: Array,
        most: Optional[Array] = None,
        *,
        rates: AdamRates,
    ) -> None:
        self._update('adam', rates, x, g, m, v, most)

    def _update(
        self, name: str, rates: Iterable[float], x: Array, *others: Optional[Array]
    ) -> None:
        flat = [None if y is None else y.reshape(-1) for y in (x, *others)]
        self._kernel(name, x.dtype)((x.size, *rates), *flat)

    def normalize(
        self, x: Array, gain: Array, b: Optional[Array], epsilon: float
    ) -> tuple[Array, Array, Array]:
        rows = numpy.ascontiguousarray(x)
        y, scale = numpy.empty(x.shape, x.dtype), numpy.empty(len(x), x.dtype)
        self._kernel('normalize', x.dtype)((*x.shape, epsilon), gain, b, rows, y, scale)
        return y, rows, scale

    def normalize_backward(self, gy: Array, gain: Array, rows: Array, scale: Array) -> Array:
        gx = numpy.empty(gy.shape, gy.dtype)
        self._kernel('normalize_backward', gy.dtype)(gy.shape, gy, gain, rows, scale, gx)
        return gx

    def launch(
        self, kernel: str, like: Array, *arrays: Optional[Array], numbers: Iterable[float] = ()
    ) -> None:
        self._kernel(kernel, like.dtype)((*like.shape, *numbers), *arrays)

    def step_forward(
        self,
        cell: Cell,
        stage: Stage,
        x: Optional[Array],
        state: Any,
        weights: Weights,
        noise: Noise = NOTHING,
        gates: Optional[Array] = None,
        kept: Optional[Kept] = None,
    ) -> tuple[Array, Any]:
        if not has_step(cell, noise):
            return super().step_forward(cell, stage, x, state, weights, noise, gates, kept)
        plan = plan_of(cell, stage)
        like = state[plan.reads[0]]
        for weight, of in plan.products:
            if state[of] is None and weight in weights:
                weights = {name: w for name, w in weights.items() if name != weight}
        if gates is None:
            gates = self.empty_gates(like, cell)
        new = list(state)
        for k in plan.writes:
            new[k] = numpy.empty(like.shape, like.dtype)
        sizes = (*like.shape, 0 if x is None else x.shape[-1], *cell.numbers.values())
        of_weights = map(weights.get, plan.weights)
        arrays = [None, gates, x, *of_weights, *state, *new, *plan.not_packed]
        arrays += map(noise.get, plan.noise)
        self._kernel(plan.forward_name, like.dtype)(sizes, *plan.forward(arrays))
        return gates, cell.State(*new)

    def whole_step(self, cell: Cell, given: Sequence[Optional[Array]]) -> Optional[Sequence[Array]]:
        x = given[0]
        if x is None or x.ndim != 2 or not x.size:
            return None
        whole = whole_step_of(self.instruction_set, cell, x.dtype.char)
        return None if whole is None else whole(given)

    def whole_sequence(
        self,
        cell: Cell,
        rows: Rows,
        x: Array,
        weights: Weights,
        states: Sequence[Optional[Array]],
        units: int,
    ) -> Optional[Sequence[Array]]:
        steps, batch = len(rows.steps), rows.batch
        fits = is_compiled(cell) and cell.projection is None and steps > _FEW_STEPS and x.size
        if not fits or x.dtype.char not in 'fd' or not x.dtype.isnative:
            return None
        begun = [_begins(state, (batch, units), x.dtype) for state in states]
        if {*map(type, weights.values())} != {numpy.ndarray} or False in begun:
            return None
        buffers = [numpy.empty((rows.total + batch, units), x.dtype) for _ in states]
        for buffer, state in zip(buffers, states):
            buffer[rows.initial : rows.initial + batch] = 0 if state is None else state
        named = {**weights, **_rows_of_gates(cell, weights)}
        named.update(zip(cell.states, buffers))
        named['start'], named['n'] = rows.table
        named['x'] = x
        names, numbers = _arguments_of_sequence(cell, 'forward')
        where = rows.total, rows.first, rows.initial
        sizes = steps, batch, units, units, x.shape[1], *where, *numbers
        name = f'{cell.name}_sequence_forward'
        if not native.function(self.instruction_set, name, x.dtype)(sizes, *map(named.get, names)):
            return None
        return buffers

    def step_backward(
        self,
        cell: Cell,
        stage: Stage,
        gates: Array,
        state: Any,
        new: Any,
        gradients: Any,
        weights: Weights,
        noise: Noise,
        gpre: Array,
        kept: Optional[Kept] = None,
    ) -> tuple[Optional[Array], Any]:
        if not has_step(cell, noise):
            return super().step_backward(
                cell, stage, gates, state, new, gradients, weights, noise, gpre, kept
            )
        plan = plan_of(cell, stage)
        like = state[plan.reads[0]]
        wanted = [of for weight, of in plan.products if weight in weights]
        found: list[Optional[Array]] = [None] * len(state)
        for k in (*plan.reads, *wanted):
            found[k] = numpy.empty(like.shape, like.dtype)
        gx = None
        if 'W' in weights:
            gx = numpy.empty((like.shape[0], weights['W'].shape[-1]), like.dtype)
        sizes = (*like.shape, 0 if gx is None else gx.shape[1], *cell.numbers.values())
        of_weights = map(weights.get, plan.weights)
        of_states = [*new, *state, *gradients, *found]
        of_noise = map(noise.get, plan.noise)
        arrays = [None, gates, gpre, gx, *of_weights, *of_states, *of_noise]
        self._kernel(plan.backward_name, like.dtype)(sizes, *plan.backward(arrays))
        return gx, cell.State(*found)

    def takes_gates(self, cell: Cell, dtype: Any, shape: Shape) -> bool:
        return not cell.norms and self.supports(cell, dtype, shape, 'forward')

    def pack(self, W: Array) -> Optional[Array]:
        if W.dtype.char not in 'fd' or not W.dtype.isnative:
            return None
        rows, columns = W.shape
        packed = numpy.empty((-rows // PADDING * -PADDING, columns), W.dtype)
        self._kernel('pack', W.dtype)(W.shape, W, packed)
        return packed

    def supports(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> bool:
        compiled = is_compiled(cell) or is_normalized(cell)
        return compiled and numpy.dtype(dtype).char in 'fd' and shape.steps > _FEW_STEPS

    def sequence_forward(self, layers: Sequence[Layer], keep: bool) -> list[Optional[Array]]:
        if not self._runs(layers, 'forward'):
            return super().sequence_forward(layers, keep)
        if layers[0].cell.norms:
            return [self._normalized_forward(layer) for layer in layers]
        return [self._forward(layer, keep) for layer in layers]

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        if not self._runs(layers, 'backward'):
            return super().sequence_backward(layers, gates, gradients)
        for layer, gates_of_layer, of_layer in zip(layers, gates, gradients):
            self._backward(layer, gates_of_layer, of_layer)
            products.add_input_gradient(self, layer.cell, gates_of_layer, layer.weights, layer.kept)
        return [of_layer.last for of_layer in gradients]

    def _runs(self, layers: Sequence[Layer], direction: str) -> bool:
        """Return whether one kernel of the library computes all steps of these layers."""
        cell, rows, states = layers[0].cell, layers[0].rows, layers[0].states
        shape = Shape(len(rows.steps), rows.batch, states[-1].shape[1], len(layers))
        return self.supports(cell, states[-1].dtype, shape, direction)

    def _forward(self, layer: Layer, keep: bool) -> Optional[Array]:
        rows, states = layer.rows, layer.states
        units, dtype = states[0].shape[1], states[0].dtype
        gates = numpy.empty((rows.total, len(layer.cell.gates) * units), dtype) if keep else None
        named = {'x': layer.x, 'gates': gates, 'm': layer.m, **states._asdict()}
        named.update(_rows_of_gates(layer.cell, layer.weights))
        self._sequence('forward', layer, named)
        return gates

    def _normalized_forward(self, layer: Layer) -> Array:
        b = layer.weights['b']
        gates = products.of_input(self, layer.cell, layer.x, layer.weights, layer.kept, b)
        self._sequence('forward', layer, {'gates': gates, **layer.states._asdict()})
        return gates

    def _backward(self, layer: Layer, gates: Array, gradients: Gradients) -> None:
        named = {'gates': gates, f'g{layer.cell.states[-1]}_total': gradients.h}
        named.update(layer.states._asdict())
        for name, output in gradients.output._asdict().items():
            named[f'g{name}'] = None if output is None else _dense_rows(output, gates.dtype)
            named[f'g{name}_last'] = getattr(gradients.last, name)
        self._sequence('backward', layer, named)

    def _sequence(self, direction: str, layer: Layer, named: Mapping[str, Optional[Array]]) -> None:
        """Call the kernel of all steps with arrays by the names of its arguments."""
        rows, h = layer.rows, layer.states[-1]
        if not (rows.total and h.size):
            return
        names, numbers = _arguments_of_sequence(layer.cell, direction)
        start, n = rows.table
        named = {**layer.weights, **layer.noise, **layer.kept, 'start': start, 'n': n, **named}
        units = layer.states[0].shape[1]
        widths = units, units if layer.m is None else h.shape[1], layer.x.shape[1]
        where = rows.total, rows.first, rows.initial
        sizes = len(rows.steps), rows.batch, *widths, *where, *numbers
        name = f'{layer.cell.name}_sequence_{direction}'
        self._kernel(name, h.dtype)(sizes, *map(named.get, names))

    def _product(
        self, a: Array, b: Array, bias: Optional[Array], out: Optional[Array] = None
    ) -> Array:
        if not a.ndim == b.ndim == 2:
            raise ValueError(
                f'matmul: expected two matrices, got arrays of shapes {a.shape} and {b.shape}'
            )
        dtype = numpy.result_type(a, b)
        a, b = (x if x.dtype == dtype else x.astype(dtype) for x in (a, b))
        out = numpy.empty((a.shape[0], b.shape[1]), dtype) if out is None else out
        self._kernel('matmul', dtype)((*out.shape, a.shape[1]), a, b, bias, out)
        return out

    def _kernel(self, name: str, dtype: numpy.dtype) -> Callable[..., None]:
        if dtype.char not in 'fd':
            raise TypeError(f'expected arrays of float32 or float64, got {dtype}')
        return native.kernel(self.instruction_set, name, dtype)


def _dense_rows(x: Array, dtype: numpy.dtype) -> Array:
    """Return a matrix in a dtype, with contiguous rows.

    Rows that share memory, as in the gradient of a sum, keep sharing it.
    """
    x = numpy.asarray(x, dtype)
    if x.strides[1] == x.itemsize:
        return x
    if x.strides[0] == 0 and len(x):
        return numpy.broadcast_to(numpy.ascontiguousarray(x[:1]), x.shape)
    return numpy.ascontiguousarray(x)


def _begins(state: Optional[Array], shape: tuple[int, ...], dtype: numpy.dtype) -> bool:
    """Return whether a sequence may begin with a state as it is; None stands for zeros."""
    if state is None:
        return True
    return type(state) is numpy.ndarray and state.shape == shape and state.dtype == dtype


def _rows_of_gates(cell: Cell, weights: Weights) -> dict[str, Array]:
    """Split weights of all gates into the rows of each gate, by names such as ``W_a``."""
    return {
        f'{name}_{gate}': weights[name][g :: len(cell.gates)]
        for name in ('W', cell.lateral.weight)
        if name in weights
        for g, gate in enumerate(cell.gates)
    }


@functools.lru_cache(maxsize=256)
def _arguments_of_sequence(cell: Cell, direction: str) -> tuple[Sequence[str], Sequence[float]]:
    """Return the names of the arrays of a cell's kernel for all steps, and its numbers."""
    kernel = boundary.KERNELS[f'{cell.name}_sequence_{direction}']
    return kernel.names, tuple(cell.numbers.values())
