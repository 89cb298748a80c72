"""Nodes of time steps that compute their weight gradients for many steps at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from chainer_lstm import kernels
from chainer_lstm.cells import Cell
from chainer_lstm.functions.node import Node


class Chain:
    """The rows of steps with the same weights, and the sums of the gradients of earlier rows.

    The weight gradient of T steps is one product over the rows of all of them.  To bound the
    memory, a chain that has grown long is folded: its gradients are computed and added to the
    sums, and its rows are released.
    """

    LONGEST = 256  # steps
    LARGEST = 2**23  # numbers in their rows

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        self._sums: dict[str, Any] = {}
        self._joined: dict[str, Any] = {}

    @classmethod
    def of(cls, handed: Mapping[int, Chain]) -> Chain:
        """Return one chain of all: the first one, with the others appended to it."""
        if not handed:
            return cls()
        first, *others = handed.values()
        for other in others:
            first._rows += other._rows
            first._size += other._size
            for name, value in other._sums.items():
                first._sums[name] = first._sums[name] + value if name in first._sums else value
        return first

    def append(self, rows: dict[str, Any]) -> None:
        """Append the rows of a step, arrays (or variables) by name."""
        if self._joined:
            self._joined = {}
        self._rows.append(rows)
        for x in rows.values():
            if x is not None:
                self._size += x.size

    def is_long(self) -> bool:
        """Return whether the chain is long enough to be folded."""
        return len(self._rows) >= self.LONGEST or self._size >= self.LARGEST

    def gradient(self, engine: kernels.Engine, name: str, of_rows: Callable[..., Any]) -> Any:
        """Return the gradient with respect to a weight, of all rows."""
        found = of_rows(engine, _Joined(engine, self._rows, self._joined)) if self._rows else 0
        return found + self._sums[name] if name in self._sums else found

    def fold(self, engine: kernels.Engine, weights: Mapping[str, Callable[..., Any]]) -> None:
        """Compute the gradients of the rows so far with respect to these weights, and release
        the rows.
        """
        self._sums = {
            name: self.gradient(engine, name, of_rows) for name, of_rows in weights.items()
        }
        self._rows, self._joined, self._size = [], {}, 0


class _Joined:
    """The rows of all steps of a chain by name, joined when they are first needed."""

    def __init__(self, engine: kernels.Engine, chain: list[dict], joined: dict[str, Any]) -> None:
        self._engine = engine
        self._chain = chain
        self._joined = joined

    def __getitem__(self, name: str) -> Any:
        if name not in self._joined:
            arrays = [rows[name] for rows in self._chain]
            self._joined[name] = (
                arrays[0] if len(arrays) == 1 else self._engine.xp.concatenate(arrays)
            )
        return self._joined[name]


class Chained(Node):
    """A node of a time step.

    Backward of a step passes the rows for its weight gradients to the previous step, if that step
    has the same weights and runs later in the same backward pass.  The first step of the chain
    computes the gradients of all steps, with one product for each weight.

    Attributes:
        cell: the cell.
        names: of the inputs.
        weights: by name, (engine, rows) -> gradient.
    """

    cell: Cell
    names: Sequence[str]

    weights: Mapping[str, Callable[..., Any]]

    def weight_gradients(
        self,
        engine: kernels.Engine,
        rows: dict,
        inputs: Sequence,
        indexes: Sequence[int],
        before: Optional[Chained],
        given: Optional[dict],
    ) -> dict[int, Any]:
        """Return the gradients with respect to weights by index, without those that ``before``
        computes.

        ``given`` is the result of ``passes.handed()`` in ``backward``.
        """
        names, weights = self.names, self.weights
        if given is None:  # called outside of a backward pass
            given, before = {}, None
        chain = Chain.of(given.pop(id(self), {}))
        chain.append(rows)
        known = () if before is None else before.names  # weights that the step before has
        made, handed = {}, []
        for i in indexes:
            name = names[i]
            if name not in weights:
                continue
            if name in known:
                handed.append(name)
            else:
                gradient, weight = chain.gradient(engine, name, weights[name]), inputs[i]
                if gradient.shape != weight.shape:  # NumPy broadcasts, where types are not checked
                    raise ValueError(f'{name}: expected shape {gradient.shape}, got {weight.shape}')
                made[i] = gradient.astype(weight.dtype, copy=False)
        if handed:
            if chain.is_long():
                chain.fold(engine, {name: weights[name] for name in handed})
            given.setdefault(id(before), {})[id(self)] = chain
        return made

    def is_of_same_weights(self, before: Any) -> bool:
        """Return whether ``before`` is a step with the weights of this one; the first step of a
        chain may lack the weights of a state.
        """
        if type(before) is not type(self) or before.cell != self.cell:
            return False
        if len(before.inputs) > len(self.inputs):
            return False
        weights = self.weights
        for name, mine, its in zip(self.names, self.inputs, before.inputs):
            if mine is not its and name in weights:
                return False
        return True
