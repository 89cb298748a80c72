"""The chain of steps with the same weights, whose weight gradients are made together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chainer_lstm import kernels


class Chain:
    """The rows of steps with the same weights, and the gradients that were made
    of rows before them.

    A long chain is folded now and then: the gradients of the rows so far are
    made and added up, and the rows forgotten, so that a chain of any length
    takes little memory.
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
        """Return whether it is time to fold the chain."""
        return len(self._rows) >= self.LONGEST or self._size >= self.LARGEST

    def gradient(self, engine: kernels.Engine, name: str, of_rows: Callable[..., Any]) -> Any:
        """Return the gradient with respect to a weight, of all rows."""
        found = of_rows(engine, _Joined(engine, self._rows, self._joined)) if self._rows else 0
        return found + self._sums[name] if name in self._sums else found

    def fold(self, engine: kernels.Engine, weights: Mapping[str, Callable[..., Any]]) -> None:
        """Make the gradients of the rows so far with respect to all weights
        that are still wanted.
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
