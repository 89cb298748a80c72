"""Tables of row numbers, and their copies on GPUs."""

from __future__ import annotations

import weakref
from typing import Any

import numpy

from chainer_lstm.kernels import captured

_copies: dict[int, tuple[weakref.ref[numpy.ndarray], dict[tuple[int, int], Any]]] = {}


def on_device(xp: Any, table: numpy.ndarray) -> Any:
    """Return a table as an array of ``xp``: on a GPU a copy that is cached as long as the table
    lives.  The table must not be changed.

    Each stream has a copy of its own, because streams do not wait for each other's copies.
    """
    cuda = getattr(xp, 'cuda', None)
    if cuda is None:
        return xp.asarray(table)
    key = id(table)
    entry = _copies.get(key)
    if entry is None or entry[0]() is not table:
        entry = weakref.ref(table, lambda _: _copies.pop(key, None)), {}
        _copies[key] = entry
    copies = entry[1]
    place = cuda.get_device_id(), cuda.get_current_stream().ptr
    if place not in copies:
        copies[place] = xp.asarray(table)
    captured.keep(copies[place])
    return copies[place]


def rows_before(steps: numpy.ndarray, first: int, initial: int) -> numpy.ndarray:
    """Return for each packed row the row before it in a buffer of states, see ``packing.Rows``.

    Args:
        steps: (2, T), the first row and the number of rows of each step, in order.
        first, initial: where packed and initial rows begin in a buffer.
    """
    starts, sizes = steps
    count = len(starts)
    # the size and the offset of the step before each; none before the first
    known = numpy.concatenate(([0], sizes))[:count]
    moved = first + numpy.concatenate(([0], starts))[:count] - starts
    order = numpy.argsort(starts, kind='stable')  # from the order of computation to that in memory
    starts, known, moved = (numpy.repeat(x[order], sizes[order]) for x in (starts, known, moved))
    rows = numpy.arange(len(starts))
    in_step = rows - starts
    return numpy.where(in_step < known, rows + moved, in_step + initial)
