"""The NumPy engine: runs the array code of any cell, and is the base of all other engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Stage, normalized, normalized_gradient
from chainer_lstm.cells.stages import Names
from chainer_lstm.kernels import layout, normalization, products, sequence
from chainer_lstm.kernels.engines.numpy_updates import NumpyUpdates
from chainer_lstm.kernels.engines.types import (
    NOTHING,
    Gradients,
    Kept,
    Layer,
    Losses,
    Noise,
    Part,
    Shape,
    Weights,
)
from chainer_lstm.kernels.packing import Rows

_BLOCK = 2**18  # scores at a time, which stay in the cache
_FEW_ROWS = 128  # up to so many rows OpenBLAS takes two thirds of the time for W xᵀ as for x Wᵀ


class NumpyEngine(NumpyUpdates):
    """See ``Engine`` for what its methods take and return; the others are parts of these, which the
    native engine computes in C++.
    """

    takes_states = False

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        """Return the dtype to compute in: float16 is computed in float32."""
        return numpy.result_type(numpy.float32, *dtypes)

    def takes_gates(self, cell: Cell, dtype: Any, shape: Shape) -> bool:
        return False

    def matmul(self, a: Array, b: Array, out: Optional[Array] = None) -> Array:
        return self.xp.matmul(a, b) if out is None else self.xp.matmul(a, b, out=out)

    def linear(self, x: Array, W: Array, b: Optional[Array] = None) -> Array:
        if len(x) <= _FEW_ROWS:
            y = self.xp.matmul(W, x.T).T
        else:
            y = self.xp.matmul(x, W.T)
        if b is not None:
            y += b
        return y

    def interleaved(self, gates: Sequence[Array]) -> Array:
        return layout.join(self.xp, gates, layout.INTERLEAVED)

    def planar(self, x: Array) -> Array:
        return layout.planar(x)

    def column_sums(self, x: Array) -> Array:
        return self.xp.sum(x, axis=0)

    def cross_entropy(self, x: Array, t: Array, losses: Losses, keep: bool) -> tuple[Array, Any]:
        exponentials, maxima, sums = self.exponentials(x, keep)
        valid = self.xp.not_equal(t, losses.ignore_label)
        y = self.xp.log(sums)
        y -= x[self.xp.arange(len(t)), t * valid] - maxima
        y *= valid
        coefficient = 1.0
        if losses.mean:
            coefficient = 1 / max(int(valid.sum()) if losses.normalize else len(t), 1)
            y = self.xp.asarray(y.sum() * coefficient, x.dtype)
        return y, (exponentials, sums, coefficient) if keep else None

    def cross_entropy_gradient(
        self, x: Array, t: Array, losses: Losses, gy: Array, kept: Any
    ) -> Array:
        gx, sums, coefficient = kept
        valid = self.xp.not_equal(t, losses.ignore_label)
        scale = (gy * coefficient if losses.mean else gy) * valid.astype(x.dtype)
        gx *= (scale / sums)[:, None]
        gx[self.xp.arange(len(t)), t * valid] -= scale
        return gx

    def exponentials(self, x: Array, keep: bool) -> tuple[Optional[Array], Array, Array]:
        """Return exp(x - maxima) (N, V), or None without ``keep``, the maxima of the rows (N,) and
        the sums of exp (N,), of scores x (N, V), V > 0.
        """
        xp = self.xp
        y = xp.empty_like(x) if keep else None
        maxima, sums = xp.empty((2, len(x)), x.dtype)
        height = max(_BLOCK // x.shape[1], 1)
        scratch = xp.empty((0 if keep else height, x.shape[1]), x.dtype)
        for k in range(0, len(x), height):
            rows = slice(k, k + height)
            part = x[rows]
            out = scratch[: len(part)] if y is None else y[rows]
            part.max(axis=1, out=maxima[rows])
            xp.subtract(part, maxima[rows, None], out=out)
            xp.exp(out, out=out)
            out.sum(axis=1, out=sums[rows])
        return y, maxima, sums

    def draw_mask(self, shape: tuple[int, ...], dtype: numpy.dtype, ratio: float) -> Any:
        scale = dtype.type(1 / (1 - ratio))
        return (self.xp.random.rand(*shape) >= ratio) * scale  # as Chainer draws it

    def dropout(self, x: Array, mask: Any, out: Optional[Array] = None) -> Array:
        return self.xp.multiply(x, mask.astype(x.dtype, copy=False), out)

    def embedding_gradient(
        self, ids: Array, gy: Array, classes: int, ignore_label: Optional[int]
    ) -> Array:
        return self.sums_by_class(_classes(ids, classes, ignore_label), gy, classes)

    def sums_by_class(self, of: Array, x: Array, classes: int) -> Array:
        """Return (V, N), the sums of the rows of x (P, N) of each class.

        Args:
            of: (P,) int64, the class of each row, from 0 to V - 1; rows of other classes are
                skipped.
            x: the rows.
            classes: V.
        """
        sums = self.xp.zeros((classes, x.shape[1]), x.dtype)
        for k, row in zip(of, x):  # add.at takes five times as long
            if 0 <= k < classes:
                sums[k] += row
        return sums

    def normalize(
        self, x: Array, gain: Array, b: Optional[Array], epsilon: float
    ) -> tuple[Array, Array, Array]:
        rows, scale = normalized(self.xp, x, epsilon)
        y = rows * gain
        return y if b is None else y + b, rows, scale[:, 0]

    def normalize_backward(self, gy: Array, gain: Array, rows: Array, scale: Array) -> Array:
        return normalized_gradient(self.xp, rows, scale[:, None], gy * gain)

    def stage_forward(
        self,
        cell: Cell,
        stage: Stage,
        parts: Sequence[Part],
        state: Any,
        more: Noise = NOTHING,
        gates: Optional[Array] = None,
        new: Any = None,
    ) -> tuple[Array, Any]:
        before, more = _wide_state(state), {name: _wide(x) for name, x in more.items()}
        added = products.diagonal_parts(stage, before, more)
        values = products.gates_of(
            cell, [*(Part(_wide(value), names) for value, names in parts), *added]
        )
        activated, found = stage.forward(
            self.xp, values, before, **products.arguments(cell, stage, more)
        )
        dtype = parts[0].value.dtype
        first = stage is cell.stages[0]
        if gates is not None:
            all_gates = gates
        elif first:
            shape = (len(values[0]), len(cell.gates) * values[0].shape[1])
            all_gates = self.xp.empty(shape, dtype)
        else:
            all_gates = parts[0].value
        written = _returned(f'{cell.name}: forward', stage.gates, activated, values[0])
        for g, name in enumerate(cell.gates):
            if first or name in written:
                all_gates[:, g :: len(cell.gates)] = written.get(name, values[g])
        states = _states(f'{cell.name}: forward', stage.writes, found, values[0])
        return all_gates, _written(state, states, new, dtype)

    def stage_backward(
        self,
        cell: Cell,
        stage: Stage,
        gates: Array,
        state: Any,
        new: Any,
        gradients: Any,
        more: Noise,
        gpre: Array,
        out: Any = None,
        kept: Optional[Kept] = None,
    ) -> Any:
        assert stage.backward is not None
        dtype, count = gates.dtype, len(cell.gates)
        activated = _wide(gates)
        values = cell.Gates(*(activated[:, g::count] for g in range(count)))
        given = cell.State(*(0 if g is None else g for g in _wide_state(gradients)))
        more = {name: _wide(x) for name, x in more.items()}
        found, before, *more_found = stage.backward(
            self.xp,
            values,
            _wide_state(state),
            _wide_state(new),
            given,
            **products.arguments(cell, stage, more),
        )
        method = f'{cell.name}: backward'
        of_gates = _returned(method, stage.gates, found, values[0])
        for name, gradient in of_gates.items():
            gpre[:, cell.gates.index(name) :: count] = gradient
        states = _states(method, stage.reads, before, values[0])
        for product in products.diagonal(stage):
            if product.weight in more:
                gradient = of_gates[product.gates[0]] * more[product.weight]
                states[product.state] = gradient + states.get(product.state, 0)
        if kept is not None:
            of_vectors = more_found[0] if more_found else ()
            of_vectors = _returned(method, stage.vectors, of_vectors, values[0])
            normalization.keep_vectors(kept, of_vectors)
        return _written(cell.State(), states, out, dtype)

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
        if x is not None:
            of_input = products.of_input(self, cell, x, weights, kept)
            parts = [Part(of_input, cell.inputs), Part(weights['b'], cell.inputs)]
        else:
            assert gates is not None
            parts = [Part(gates, cell.gates)]
        parts += products.parts_of(self, stage, state, weights, noise, kept)
        more = {**noise, **products.vectors(stage, weights)}
        return self.stage_forward(cell, stage, parts, state, more)

    def whole_step(self, cell: Cell, given: Sequence[Optional[Array]]) -> Optional[Sequence[Array]]:
        return None

    def whole_sequence(
        self,
        cell: Cell,
        rows: Rows,
        x: Array,
        weights: Weights,
        states: Sequence[Optional[Array]],
        units: int,
    ) -> Optional[Sequence[Array]]:
        return None

    def pack(self, W: Array) -> Optional[Array]:
        return None

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
        kept = {} if kept is None else kept
        more = {**noise, **products.vectors(stage, weights)}
        found = self.stage_backward(
            cell, stage, gates, state, new, gradients, more, gpre, None, kept
        )
        gx = None
        if stage is cell.stages[0]:
            products.add_input_gradient(self, cell, gpre, weights, kept)
        if 'W' in weights:
            gx = self.matmul(products.input_gradient(cell, gpre, kept), weights['W'])
        found = products.add_gradients(self, cell, stage, gpre, found, weights, noise, None, kept)
        return gx, found

    def check_time_out(self) -> None:
        pass

    def supports(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> bool:
        return False

    def sequence_forward(self, layers: Sequence[Layer], keep: bool) -> list[Optional[Array]]:
        return [sequence.forward(self, layer) for layer in layers]

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        return [sequence.backward(self, *job) for job in zip(layers, gates, gradients)]


def _classes(ids: Array, classes: int, ignore_label: Optional[int]) -> Array:
    """Return the row of each id, -1 for those to ignore.

    Raises:
        IndexError: there is no such row.
    """
    found = ids.astype(numpy.int64)
    found[ids < 0] += classes  # NumPy counts from the last row
    wrong = (found < 0) | (found >= classes)
    if ignore_label is not None:
        ignored = ids == ignore_label
        wrong &= ~ignored
        found[ignored] = -1
    if wrong.any():
        raise IndexError(f'expected ids below {classes}, got {ids[wrong][0]}')
    return found


def _wide(x: Array) -> Array:
    """Return float16 as float32, the dtype in which array code computes it."""
    return x.astype(numpy.float32) if x is not None and x.dtype.char == 'e' else x


def _wide_state(state: Any) -> Any:
    return state._make(map(_wide, state))


def _returned(method: str, names: Names, values: Sequence[Any], like: Array) -> dict[str, Any]:
    """Return the results of a cell's method by name: arrays of the shape of ``like``, or 0.

    Raises:
        ValueError: the method returned more or fewer values, or another shape.
    """
    shapes = [getattr(value, 'shape', value) for value in values]
    if len(shapes) != len(names) or any(s != like.shape and s != 0 for s in shapes):
        expected = ', '.join(names)
        raise ValueError(f'{method}: expected {expected} of shape {like.shape}, got {shapes}')
    return dict(zip(names, values))


def _states(method: str, names: Names, state: Any, like: Array) -> dict[str, Array]:
    """Return states, or their gradients, from the result of a cell's method as arrays by name."""
    found = _returned(method, names, [getattr(state, name, None) for name in names], like)
    return {name: value if hasattr(value, 'shape') else like * 0 for name, value in found.items()}


def _written(states: Any, found: dict[str, Array], room: Any, dtype: Any) -> Any:
    """Return ``states`` updated by ``found``, written into the arrays of ``room`` if given."""
    for name, value in found.items():
        if room is not None:
            target = getattr(room, name)
            target[...] = value
            value = target
        elif value.dtype != dtype:
            value = value.astype(dtype)
        states = states._replace(**{name: value})
    return states


numpy_engine = NumpyEngine()
