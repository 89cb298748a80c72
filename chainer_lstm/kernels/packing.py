"""Ragged sequences as packed rows: time step 0 first, the longest sequence first in each step."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels.tables import on_device, rows_before


class Rows:
    """The layout of the rows of packed sequences, in the order in which a direction computes them.

    States lie in buffers (P + B, H) that also hold the initial state, next to the rows of the first
    step, so that the rows before a step are usually a view::

        forward    initial | step 0 | step 1 | … | step T-1
        reverse    step 0 | step 1 | … | step T-1 | initial

    Args:
        batches: the number of rows of each time step, not growing.
        batch: B, the number of sequences; sequences beyond ``batches[0]`` are empty.
        reverse: whether the last time step is computed first.

    Raises:
        ValueError: sizes in ``batches`` grow, or are negative or above ``batch``.  Kernels rely on
            them.
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
        self.has_empty = any(n < batch for n in batches[:1])  # whether one has no step, of some
        self.first = 0 if reverse else batch  # where the rows begin in a buffer
        self.initial = self.total if reverse else 0  # and the initial state

    @functools.cached_property
    def table(self) -> numpy.ndarray:
        """The first row of each step and its number of rows, in order, int64 (2, T)."""
        return numpy.array(self.steps, numpy.int64).reshape(-1, 2).T.copy()

    @functools.cached_property
    def starts(self) -> numpy.ndarray:
        """The first row of each time step."""
        return numpy.array(sorted(start for start, _ in self.steps), numpy.int32)

    @functools.cached_property
    def lengths(self) -> numpy.ndarray:
        """The number of steps of each sequence, not growing."""
        counts = numpy.array([n for _, n in self.steps], numpy.intp)
        return (counts > numpy.arange(self.batch)[:, None]).sum(axis=1, dtype=numpy.int32)

    def buffer(self, xp: Any, initial: Array, filled: bool = True) -> Array:
        """Return a buffer (P + B, H) that holds the initial state (B, H), if filled."""
        buffer = xp.empty((self.total + self.batch, initial.shape[1]), initial.dtype)
        if filled:
            buffer[self.initial : self.initial + self.batch] = initial
        return buffer

    def inner(self, buffer: Array) -> Array:
        """Return the packed rows (P, H) of a buffer."""
        return buffer[self.first : self.first + self.total]

    def previous(self, xp: Any, buffer: Array, k: int) -> Array:
        """Return the rows (n, H) before the k-th step in order; where a sequence begins, its
        initial row.
        """
        _, n = self.steps[k]
        known = min(n, self.steps[k - 1][1]) if k else 0
        start = self.first + self.steps[k - 1][0]
        if known == n:
            return buffer[start : start + n]
        initial = buffer[self.initial + known : self.initial + n]
        return xp.concatenate((buffer[start : start + known], initial)) if known else initial

    def all_previous(self, xp: Any, buffer: Array) -> Array:
        """Return for each packed row the row before it, (P, H)."""
        if self.equal:
            return buffer[self.batch :] if self.reverse else buffer[: self.total]
        return buffer[on_device(xp, self._before)]

    def of_all_steps(self, xp: Any, x: Array) -> Array:
        """Return the rows (P, H) of an array (B, H) that is the same at all steps."""
        return x[on_device(xp, self._sequences)]

    def last(self, xp: Any, buffer: Array) -> Array:
        """Return the state (B, H) after the last step of each sequence, initial if it is empty."""
        if self.equal and self.steps:
            start, n = self.steps[-1]
            return buffer[self.first + start : self.first + start + n]
        return buffer[on_device(xp, self._ends)]

    @functools.cached_property
    def _before(self) -> numpy.ndarray:
        """For each row, the one before it in a buffer."""
        return rows_before(self.table, self.first, self.initial)

    @functools.cached_property
    def _sequences(self) -> numpy.ndarray:
        """The sequence of each row."""
        parts = [numpy.arange(n) for _, n in sorted(self.steps)]
        return numpy.concatenate((numpy.arange(0), *parts))

    @functools.cached_property
    def _ends(self) -> numpy.ndarray:
        """For each sequence, its last row in a buffer."""
        if not self.steps:
            return self.initial + numpy.arange(self.batch)
        last = 0 if self.reverse else self.lengths - 1
        ends = numpy.where(self.lengths > 0, self.first + self.starts[last], self.initial)
        return ends + numpy.arange(self.batch)


@functools.lru_cache(maxsize=32)
def rows_of(batches: tuple[int, ...], batch: int, reverse: bool) -> Rows:
    """Return cached ``Rows``; treat them as immutable."""
    return Rows(batches, batch, reverse)


class Packing:
    """A ragged batch as packed rows, and the place of its rows in the arrays of a caller.

    The rows of step 0 come first, and within a step the sequence with the most steps comes first.
    A caller's arrays, joined along the first axis, have N rows; rows that are not packed are
    masked.  If a state is reset inside of a sequence, the rest of the sequence is packed as a
    sequence of its own with another initial state: S >= B pieces in all.

    The methods take arrays; all but those of gradients also take variables, with an ``xp`` of
    functions of variables.  G is the number of layers and directions.

    Attributes:
        sizes: the number of rows of each time step, not growing.
        batch: S, the number of pieces.
        total: P, the number of packed rows.
        rows: (P,), the caller's row of each packed row, or None if they are in order.
        masked: (N - P,), the caller's masked rows, or None.
        repeated: for each direction (N - P,), the row of a buffer of states (see ``Rows``) that
            the output repeats at a masked row: the last row before it in the direction's order.
            None if the output is 0 there.
        resets: whether any state is reset; then initial states may have an additional row, the
            state after a reset, which is otherwise 0.
        rows_of_states: the smallest and the largest number of rows of states; None for no limit.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        batch: int,
        rows: Optional[numpy.ndarray] = None,
        masked: Optional[numpy.ndarray] = None,
        repeated: Optional[Sequence[numpy.ndarray]] = None,
        ends: Optional[Ends] = None,
    ) -> None:
        self.sizes = sizes
        self.batch = batch
        self.total = sum(sizes)
        self.rows = rows
        self.masked = masked if masked is not None and len(masked) else None
        self.repeated = repeated
        self._ends = ends
        self._rows: list[Optional[Rows]] = [None, None]
        self._of_states: dict[tuple[int, ...], numpy.ndarray] = {}
        self.resets = ends is not None and any(restarts.any() for restarts in ends.restarts)
        least, most = sizes[0] if sizes else 0, None
        if ends is not None and self.resets:
            least = len(ends.last[0])
            most = least + 1
        self.rows_of_states: tuple[int, Optional[int]] = least, most

    def rows_of_direction(self, reverse: bool) -> Rows:
        """Return the layout of the packed rows in the order in which a direction computes them."""
        found = self._rows[reverse]
        if found is None:
            found = self._rows[reverse] = rows_of(self.sizes, self.batch, reverse)
        return found

    def pack(self, xp: Any, x: Array) -> Array:
        """Return the packed rows of an input, (N, I) -> (P, I)."""
        return self._take(xp, x, self.rows, reorder=self.masked is None)

    def pack_gradient(self, xp: Any, gx: Array) -> Array:
        """Return the gradient of ``pack`` with respect to its input: (P, I) -> (N, I)."""
        if self.masked is not None:
            zeros = xp.zeros((len(self.masked), gx.shape[1]), gx.dtype)
            gx = xp.concatenate((gx, zeros), axis=0)
        return self._take(xp, gx, self._places)

    def unpack(self, xp: Any, y: Array, buffers: Sequence[Array]) -> Array:
        """Return an output in the caller's order from (P, D H) and the buffers (P + S, H) of its
        directions -> (N, D H).
        """
        if self.masked is not None:
            if self.repeated is None:
                rest = xp.zeros((len(self.masked), y.shape[1]), y.dtype)
            else:
                repeated = [buffer[on_device(xp, k)] for buffer, k in zip(buffers, self.repeated)]
                rest = xp.concatenate(repeated, axis=1)
            y = xp.concatenate((y, rest), axis=0)
        return self._take(xp, y, self._places)

    def unpack_gradient(
        self, xp: Any, gy: Array, firsts: Sequence[int]
    ) -> tuple[Array, Sequence[Array]]:
        """Return the gradient of ``unpack`` with respect to its input, (N, D H) -> (P, D H), and to
        the initial states of the directions, D arrays (S, H), or none if no output repeats them.

        ``firsts`` are ``Rows.first`` of the directions.
        """
        found = self.pack(xp, gy)
        if self.masked is None or self.repeated is None:
            return found, ()
        of_masked = xp.split(gy[on_device(xp, self.masked)], len(firsts), axis=1)
        initial = []
        for d, (first, part) in enumerate(zip(firsts, of_masked)):
            buffer = xp.zeros((self.total + self.batch, part.shape[1]), gy.dtype)
            xp.add.at(buffer, on_device(xp, self.repeated[d]), part)  # a row may repeat often
            columns = slice(d * part.shape[1], (d + 1) * part.shape[1])
            found[:, columns] += buffer[first : first + self.total]
            initial.append(buffer[: self.batch] if first else buffer[self.total :])
        return found, initial

    def begin(self, xp: Any, state: Array, directions: int) -> Array:
        """Return the initial states of pieces (G, S, H) from those of sequences (G, B, H); with
        resets also from (G, B + 1, H).
        """
        if self._ends is None:
            return state
        groups, given, units = state.shape
        if self.resets and given == self.rows_of_states[0]:
            zeros = xp.zeros((groups, 1, units), state.dtype)
            state = xp.concatenate((state, zeros), axis=1)
        return self._states(xp, state, self._ends.first, directions)

    def begin_gradient(self, xp: Any, gradient: Array, directions: int, given: int) -> Array:
        """Return the gradient of ``begin`` with respect to a state of so many rows."""
        if self._ends is None:
            return gradient
        found = xp.zeros((len(gradient), given + 1, gradient.shape[2]), gradient.dtype)
        for k, part in enumerate(gradient):
            # the row of resets is assigned several times, and then replaced by the sum
            found[k, on_device(xp, self._ends.first[k % directions])] = part
            if self.resets:
                restarts = on_device(xp, self._ends.restarts[k % directions])
                found[k, self.rows_of_states[0]] = part[restarts].sum(axis=0)
        return found[:, :given]

    def end(self, xp: Any, state: Array, directions: int) -> Array:
        """Return the last states of sequences from those of pieces, (G, S, H) -> (G, B, H)."""
        if self._ends is None:
            return state
        return self._states(xp, state, self._ends.last, directions)

    def end_gradient(self, xp: Any, gradient: Array, directions: int) -> Array:
        """Return the gradient of ``end``: (G, B, H) -> (G, S, H)."""
        if self._ends is None:
            return gradient
        found = xp.zeros((len(gradient), self.batch, gradient.shape[2]), gradient.dtype)
        for k, part in enumerate(gradient):
            found[k, on_device(xp, self._ends.last[k % directions])] = part
        return found

    def _states(
        self, xp: Any, state: Array, tables: Sequence[numpy.ndarray], directions: int
    ) -> Array:
        """Return rows of states by a table for each direction."""
        groups, rows, units = state.shape
        key = id(tables), groups, rows, directions  # tables belong to ``_ends``, which keeps them
        if key not in self._of_states:
            parts = [tables[k % directions] + k * rows for k in range(groups)]
            self._of_states[key] = numpy.concatenate(parts)
        flat = state.reshape(groups * rows, units)
        found = self._take(xp, flat, self._of_states[key], reorder=not self.resets)
        return found.reshape(groups, len(tables[0]), units)

    @functools.cached_property
    def _places(self) -> Optional[numpy.ndarray]:
        """The place of each of the caller's rows among the packed rows, then the masked ones."""
        masked = () if self.masked is None else (self.masked,)
        return None if self.rows is None else inverse(numpy.concatenate((self.rows, *masked)))

    def _take(
        self, xp: Any, x: Array, rows: Optional[numpy.ndarray], reorder: bool = True
    ) -> Array:
        """Return rows of x; for all rows in another order, ``reorder`` is faster for variables."""
        if rows is None:
            return x
        rows = on_device(xp, rows)
        return xp.take(x, rows, axis=0) if reorder else x[rows]


class Ends(NamedTuple):
    """The beginnings of pieces and the ends of sequences, for each direction.

    Attributes:
        first: (S,), the sequence whose state a piece begins with, B for the state after a reset.
        restarts: (S,) booleans, whether a piece begins after a reset.
        last: (B,), the piece that a sequence ends with.
    """

    first: Sequence[numpy.ndarray]
    restarts: Sequence[numpy.ndarray]
    last: Sequence[numpy.ndarray]


def inverse(order: numpy.ndarray) -> numpy.ndarray:
    """Return the permutation that undoes an order."""
    found = numpy.empty_like(order)
    found[order] = numpy.arange(len(order))
    return found


@functools.lru_cache(maxsize=256)
def packing_of_equal(time: int, batch: int) -> Packing:
    """Return the packing of time steps of one size, one after the other."""
    return packing_of_steps((batch,) * time, batch)


@functools.lru_cache(maxsize=256)
def packing_of_steps(sizes: tuple[int, ...], batch: int) -> Packing:
    """Return the packing of rows that are already in packed order, step after step."""
    return Packing(sizes, batch)
