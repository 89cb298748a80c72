"""Base of the engines that compile the stages of ``.cuh`` files, in CUDA and in C++."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Stage, is_compiled
from chainer_lstm.kernels import boundary
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.engines.types import NOTHING, Kept, Noise, Part


class CompiledEngine(NumpyEngine):
    """A subclass defines ``launch``.  Cells without a ``.cuh`` run as array code."""

    def launch(
        self, kernel: str, like: Array, *arrays: Optional[Array], numbers: Iterable[float] = ()
    ) -> None:
        """Run a kernel over the units of ``like`` (B, H).

        Args:
            kernel: a name in ``boundary.KERNELS``, where the shapes of the arrays are declared.
            like: an array of the batch and dtype of the call.
            *arrays: in the order of the kernel; None for an input that is not given.
            numbers: those of the cell.
        """
        raise NotImplementedError

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
        if not is_compiled(cell):
            return super().stage_forward(cell, stage, parts, state, more, gates, new)
        like = getattr(state, stage.reads[0])
        first, narrow = parts[0].value, []
        named: dict[str, Optional[Array]] = {**more, 'xw': first}
        for value, names in parts[1:]:
            if value.ndim == 1:
                named['b'] = value
            elif len(names) == len(cell.gates):
                named['hu'] = value
            else:
                narrow.append(value)
        to_one = [p for p in stage.products if len(p.gates) == 1 < len(cell.gates)]
        products = [p.weight.lower() for p in to_one if not p.diagonal]
        named.update(zip(products, narrow))
        is_first = stage is cell.stages[0]
        if gates is None:
            gates = self.empty_gates(like, cell) if is_first else first
        if new is None:
            written = self.empties(like, len(stage.writes))
        else:
            written = [getattr(new, name) for name in stage.writes]
        named.update(_before(is_first, stage, state), gates=gates)
        named.update(zip(stage.writes, written))
        self._launch(cell, f'forward_{cell.stages.index(stage)}', like, named)
        return gates, state._replace(**dict(zip(stage.writes, written)))

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
        if not is_compiled(cell):
            return super().stage_backward(
                cell, stage, gates, state, new, gradients, more, gpre, out, kept
            )
        index = cell.stages.index(stage)
        like = getattr(state, stage.reads[0])
        if out is None:
            found = self.empties(like, len(stage.reads))
        else:
            found = [getattr(out, name) for name in stage.reads]
        named = {**more, **_before(index == 0, stage, state), 'gates': gates, 'gpre': gpre}
        named.update((name, getattr(new, name)) for name in stage.needs)
        named.update((f'g{name}', g) for name, g in gradients._asdict().items())
        named.update((f'g{name}_prev', g) for name, g in zip(stage.reads, found))
        self._launch(cell, f'backward_{index}', like, named)
        return cell.State(**dict(zip(stage.reads, found)))

    def _launch(
        self, cell: Cell, kernel: str, like: Array, named: Mapping[str, Optional[Array]]
    ) -> None:
        """Launch a kernel of a cell with arrays by the names of its arguments."""
        name = f'{cell.name}_{kernel}'
        arrays = map(named.get, boundary.KERNELS[name].names)
        self.launch(name, like, *arrays, numbers=cell.numbers.values())

    def empties(self, like: Array, count: int) -> list[Array]:
        """Return uninitialized arrays of the shape of ``like``."""
        return [self.xp.empty(like.shape, like.dtype) for _ in range(count)]

    def empty_gates(self, like: Array, cell: Cell) -> Array:
        """Return an uninitialized array of the gates of a cell, for a state like ``like``.

        Raises:
            ValueError: ``like`` does not have two axes.
        """
        if like.ndim != 2:
            raise ValueError(f'expected a state of shape (batch, units), got {like.shape}')
        batch, units = like.shape
        return self.xp.empty((batch, len(cell.gates) * units), like.dtype)


def _before(is_first: bool, stage: Stage, state: Any) -> dict[str, Optional[Array]]:
    """Return the states that a stage reads by the names of kernel arguments."""
    form = '{}_prev' if is_first else '{}'
    return {form.format(name): getattr(state, name) for name in stage.reads}
