"""Ragged sequences as packed rows: those of time step 0 first,
the longest sequence first in each step.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array


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

    def of_all_steps(self, xp: Any, x: Array) -> Array:
        """Return the rows (P, H) of an array (B, H) that is the same at all steps."""
        return x[xp.asarray(self._sequences)]

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
    def _sequences(self) -> Array:
        """The sequence of each row."""
        index = numpy.empty(self.total, numpy.intp)
        for start, n in self.steps:
            index[start : start + n] = numpy.arange(n)
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
    """Return the ``Rows`` of sequences, which must not be changed: they are cached."""
    return Rows(batches, batch, reverse)


class Packing:
    """A ragged batch as packed rows, and where its rows lie in the arrays of a caller.

    The rows of all steps are packed: those of step 0 first, the sequence with the most steps first
    in each.  A caller's arrays, joined along the first axis, have N rows; those that are not packed
    are masked.  The methods take arrays; all but those of gradients also take variables, for which
    ``xp`` has functions.

    Attributes:
        sizes: the number of rows of each time step, not growing.
        batch: B, the number of sequences.
        order: (B,), the sequence of each row of a state, or None where they are in order.
        rows: (P,), the caller's row of each packed row, or None where they are in order.
        masked: (N - P,), the caller's masked rows, or None.
        repeated: for each direction (N - P,), the row of a buffer of states (see ``Rows``) that
            the output repeats at a masked row: the last one before it in the direction's order.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        batch: int,
        order: Optional[numpy.ndarray] = None,
        rows: Optional[numpy.ndarray] = None,
        masked: Optional[numpy.ndarray] = None,
        repeated: Sequence[numpy.ndarray] = (),
    ) -> None:
        self.sizes = sizes
        self.batch = batch
        self.total = sum(sizes)
        is_sorted = order is None or bool((order[1:] > order[:-1]).all())
        self.order = None if is_sorted else order
        self.rows = rows
        self.masked = masked if masked is not None and len(masked) else None
        self.repeated = repeated

    def pack(self, xp: Any, x: Array) -> Array:
        """(N, I) -> (P, I)."""
        if self.masked is not None:
            return x[xp.asarray(self.rows)]
        return self._take(xp, x, self.rows)

    def pack_gradient(self, xp: Any, gx: Array) -> Array:
        """Return the gradient of ``pack`` with respect to its input: (P, I) -> (N, I)."""
        if self.masked is not None:
            zeros = xp.zeros((len(self.masked), gx.shape[1]), gx.dtype)
            gx = xp.concatenate((gx, zeros), axis=0)
        return self._take(xp, gx, self._places)

    def unpack(self, xp: Any, y: Array, buffers: Sequence[Array]) -> Array:
        """(P, D H), and the buffers (P + B, H) of its directions -> (N, D H)."""
        if self.masked is not None:
            repeated = [buffer[xp.asarray(k)] for buffer, k in zip(buffers, self.repeated)]
            y = xp.concatenate((y, xp.concatenate(repeated, axis=1)), axis=0)
        return self._take(xp, y, self._places)

    def unpack_gradient(
        self, xp: Any, gy: Array, firsts: Sequence[int]
    ) -> tuple[Array, Sequence[Array]]:
        """Return the gradient of ``unpack`` with respect to its input, (N, D H) -> (P, D H), and to
        the initial states of the directions, D arrays (B, H), none without masked rows.

        ``firsts`` are ``Rows.first`` of the directions.
        """
        found = self.pack(xp, gy)
        if self.masked is None:
            return found, ()
        of_masked = xp.split(gy[xp.asarray(self.masked)], len(firsts), axis=1)
        initial = []
        for d, (first, part) in enumerate(zip(firsts, of_masked)):
            buffer = xp.zeros((self.total + self.batch, part.shape[1]), gy.dtype)
            xp.add.at(buffer, xp.asarray(self.repeated[d]), part)  # a row may repeat often
            columns = slice(d * part.shape[1], (d + 1) * part.shape[1])
            found[:, columns] += buffer[first : first + self.total]
            initial.append(buffer[: self.batch] if first else buffer[self.total :])
        return found, initial

    def sort(self, xp: Any, state: Array) -> Array:
        """Return states (S D, B, H) with the rows as packed ones have them."""
        return self._take(xp, state, self.order, axis=1)

    def unsort(self, xp: Any, state: Array) -> Array:
        """Return the inverse of ``sort``."""
        return self._take(xp, state, self._ranks, axis=1)

    @functools.cached_property
    def _places(self) -> Optional[numpy.ndarray]:
        """The place of each of the caller's rows among packed and then masked ones."""
        masked = () if self.masked is None else (self.masked,)
        return None if self.rows is None else _inverse(numpy.concatenate((self.rows, *masked)))

    @functools.cached_property
    def _ranks(self) -> Optional[numpy.ndarray]:
        """The row of a sorted state of each sequence."""
        return None if self.order is None else _inverse(self.order)

    def _take(self, xp: Any, x: Array, rows: Optional[numpy.ndarray], axis: int = 0) -> Array:
        return x if rows is None else xp.take(x, xp.asarray(rows), axis=axis)


def _inverse(order: numpy.ndarray) -> numpy.ndarray:
    found = numpy.empty_like(order)
    found[order] = numpy.arange(len(order))
    return found


@functools.lru_cache(maxsize=256)
def packing_of_steps(sizes: tuple[int, ...], batch: int) -> Packing:
    """Return the packing of arrays that are packed already, such as time steps one after the
    other.
    """
    return Packing(sizes, batch)


@functools.lru_cache(maxsize=32)
def packing_of_sequences(lengths: tuple[int, ...]) -> Packing:
    """Return the packing of whole sequences, one after the other."""
    counts = numpy.array(lengths, numpy.intp)
    # sorted as in Chainer: the order of equal lengths decides which dropout each gets
    order = numpy.argsort(-counts)
    sizes = [int(numpy.sum(counts > t)) for t in range(counts.max(initial=0))]
    starts = (numpy.cumsum(counts) - counts)[order]
    rows = [starts[:n] + t for t, n in enumerate(sizes)]
    return Packing(tuple(sizes), len(lengths), order, numpy.concatenate([starts[:0], *rows]))


def packing_of_padded(valid: numpy.ndarray, batch_first: bool) -> Packing:
    """Return the packing of padded sequences.

    Args:
        valid: (B, T) booleans, whether a step is not masked.
        batch_first: whether the caller's rows are those of (B, T), not of (T, B).
    """
    batch, time = valid.shape
    counts = valid.sum(axis=1)
    order = numpy.argsort(-counts, kind='stable')
    counts, valid = counts[order], valid[order].T
    sizes = [int((counts > t).sum()) for t in range(counts.max(initial=0))]
    starts = numpy.cumsum([0, *sizes])
    rank, seen = numpy.arange(batch), valid.cumsum(axis=0)  # seen: valid steps, this one included
    packed = starts[seen - 1] + rank
    step, sequence = (1, time) if batch_first else (batch, 1)
    flat = numpy.arange(time)[:, None] * step + order * sequence
    rows = flat[valid][numpy.argsort(packed[valid])]
    # in buffers of states: forward begins with the initial ones, reverse ends with them
    before = numpy.where(seen == 0, rank, batch + packed)
    after = numpy.where(seen == counts, starts[-1] + rank, starts[seen] + rank)
    return Packing(tuple(sizes), batch, order, rows, flat[~valid], (before[~valid], after[~valid]))
