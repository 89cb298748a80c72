"""Ragged sequences as packed rows: those of time step 0 first,
the longest sequence first in each step.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy

Array = Any


class Rows:
    """Where the rows of packed sequences lie, in the order in which one direction computes them.

    States are kept in buffers (P + B, H) that hold the initial state too, on
    the side of the first step, so that the rows before a step are mostly a
    view.

    Args:
        batches: number of rows of each time step, not growing.
        batch: B, number of sequences; those beyond ``batches[0]`` are empty.
        reverse: whether the last time step is computed first.

    Raises:
        ValueError: sizes in ``batches`` grow, or are negative or above ``batch``.  Kernels find the
            rows of a step by them.
    """

    def __init__(self, batches: Sequence[int], batch: int, reverse: bool = False) -> None:
        if any(now < later for now, later in itertools.pairwise((batch, *batches, 0))):
            raise ValueError(
                f'batches: expected sizes that do not grow, at most {batch}, got {list(batches)}'
            )
        starts = numpy.cumsum([0, *batches])
        self.total = int(starts[-1])  # P
        self.batch = batch
        self.reverse = reverse
        self.steps = [(int(start), n) for start, n in zip(starts, batches)]
        if reverse:
            self.steps.reverse()
        self.equal = all(n == batch for n in batches)  # whether each sequence has every step
        self.first = 0 if reverse else batch  # where the rows begin in a buffer
        self.initial = self.total if reverse else 0  # and the initial state

    @functools.cached_property
    def table(self) -> Array:
        """int64 (2, T), where the rows of each step begin and how many they are,
        in the order of computation.
        """
        return numpy.array(self.steps, numpy.int64).reshape(-1, 2).T.copy()

    @functools.cached_property
    def starts(self) -> Array:
        """The first row of each time step."""
        return numpy.array(
            [start for start, _ in self.steps[:: -1 if self.reverse else 1]], numpy.int32
        )

    @functools.cached_property
    def lengths(self) -> Array:
        """The number of steps of each sequence, not growing."""
        counts = numpy.array([n for _, n in self.steps], numpy.intp)
        return (counts > numpy.arange(self.batch)[:, None]).sum(axis=1, dtype=numpy.int32)

    def buffer(self, xp: Any, initial: Array) -> Array:
        """Return a buffer (P + B, H) that holds the initial state (B, H)."""
        buffer = xp.empty((self.total + self.batch, initial.shape[1]), initial.dtype)
        buffer[self.initial : self.initial + self.batch] = initial
        return buffer

    def inner(self, buffer: Array) -> Array:
        """The packed rows (P, H) of a buffer."""
        return buffer[self.first : self.first + self.total]

    def previous(self, xp: Any, buffer: Array, k: int) -> Array:
        """The rows (n, H) before the k-th step in order;
        from the initial state where a sequence begins.
        """
        _, n = self.steps[k]
        known = min(n, self.steps[k - 1][1]) if k else 0
        start = self.first + self.steps[k - 1][0]
        if known == n:
            return buffer[start : start + n]
        initial = buffer[self.initial + known : self.initial + n]
        return xp.concatenate((buffer[start : start + known], initial)) if known else initial

    def all_previous(self, xp: Any, buffer: Array) -> Array:
        """The rows (P, H) before all rows."""
        if self.equal:
            return buffer[self.batch :] if self.reverse else buffer[: self.total]
        return buffer[xp.asarray(self._before)]

    def last(self, xp: Any, buffer: Array) -> Array:
        """The state (B, H) after the last step of each sequence;
        the initial one of an empty sequence.
        """
        if self.equal and self.steps:
            start, n = self.steps[-1]
            return buffer[self.first + start : self.first + start + n]
        return buffer[xp.asarray(self._ends)]

    @functools.cached_property
    def _before(self) -> Array:
        """For each row, the one before it in a buffer."""
        index = numpy.empty(self.total, numpy.intp)
        for k, (start, n) in enumerate(self.steps):
            before = self.first + self.steps[k - 1][0] + numpy.arange(n)
            known = min(n, self.steps[k - 1][1]) if k else 0
            index[start : start + n] = numpy.where(
                numpy.arange(n) < known, before, self.initial + numpy.arange(n)
            )
        return index

    @functools.cached_property
    def _ends(self) -> Array:
        """For each sequence, its last row in a buffer."""
        index = self.initial + numpy.arange(self.batch)
        for start, n in self.steps:
            index[:n] = self.first + start + numpy.arange(n)
        return index


@functools.lru_cache(maxsize=32)
def rows_of(batches: tuple[int, ...], batch: int, reverse: bool) -> Rows:
    """The ``Rows``, which nobody changes, of sequences as they were before."""
    return Rows(batches, batch, reverse)
