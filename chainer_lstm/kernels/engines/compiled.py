"""The base of engines with compiled stages: the stages of ``.cuh`` files, in CUDA and in C++."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Stage, is_compiled
from chainer_lstm.kernels.engines.engine import NOTHING, Kept, Noise, Part
from chainer_lstm.kernels.engines.numpy import NumpyEngine


class CompiledEngine(NumpyEngine):
    """A subclass has ``launch``.  Cells without a ``.cuh`` are computed by their array code."""

    def launch(self, kernel: str, like: Array, *arrays: Optional[Array]) -> None:
        """Run a kernel over the units of ``like`` (B, H).

        Args:
            kernel: a name in ``boundary.KERNELS``, which says the shapes of the arrays.
            like: an array of the batch and dtype of the call.
            *arrays: in the order of the kernel; None for an input that is not given.
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
        wide = bias = None
        for value, names in parts[1:]:
            if value.ndim == 1:
                bias = value
            elif len(names) == len(cell.gates):
                wide = value
            else:
                narrow.append(value)
        is_first = stage is cell.stages[0]
        if gates is None:
            gates = self.empty_gates(like, cell) if is_first else first
        if new is None:
            written = self.empties(like, len(stage.writes))
        else:
            written = [getattr(new, name) for name in stage.writes]
        self.launch(
            f'{cell.name}_forward_{cell.stages.index(stage)}',
            like,
            *((first, wide, bias) if is_first else ()),
            *narrow,
            *(getattr(state, name) for name in stage.reads),
            gates,
            *written,
        )
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
        known = {name for done in cell.stages[: index + 1] for name in done.writes}
        if out is None:
            found = self.empties(like, len(stage.reads))
        else:
            found = [getattr(out, name) for name in stage.reads]
        self.launch(
            f'{cell.name}_backward_{index}',
            like,
            gates,
            *(getattr(state, name) for name in stage.reads),
            *(getattr(new, name) for name in stage.needs),
            *(getattr(gradients, name) for name in cell.states if name in known),
            gpre,
            *found,
        )
        return cell.State(**dict(zip(stage.reads, found)))

    def empties(self, like: Array, count: int) -> list[Array]:
        """Return uninitialized arrays of the shape of ``like``."""
        return [self.xp.empty(like.shape, like.dtype) for _ in range(count)]

    def empty_gates(self, like: Array, cell: Cell) -> Array:
        """Return an uninitialized array of the gates of a cell, for a state like ``like``.

        Raises:
            ValueError: ``like`` has another number of axes than two.
        """
        if like.ndim != 2:
            raise ValueError(f'expected a state of shape (batch, units), got {like.shape}')
        batch, units = like.shape
        return self.xp.empty((batch, len(cell.gates) * units), like.dtype)
