"""Packings of ragged sequences: whole ones, padded ones, and ones with resets inside."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Optional

import numpy

from chainer_lstm.kernels.packing import Ends, Packing, inverse


@functools.lru_cache(maxsize=32)
def packing_of_sequences(lengths: tuple[int, ...]) -> Packing:
    """Return the packing of whole sequences, one after the other."""
    counts = numpy.array(lengths, numpy.intp)
    # sorted as in Chainer: the order of equal lengths decides which dropout mask each gets
    order = numpy.argsort(-counts)
    sizes = _sizes(counts)
    starts = (numpy.cumsum(counts) - counts)[order]
    rows = numpy.concatenate([starts[:0], *(starts[:n] + t for t, n in enumerate(sizes))])
    return Packing(sizes, len(lengths), rows, ends=_sorted(order))


def packing_of_padded(
    valid: numpy.ndarray,
    places: numpy.ndarray,
    resets: Optional[numpy.ndarray] = None,
    repeats: bool = True,
) -> Packing:
    """Return the packing of padded sequences.

    Args:
        valid: (B, T) booleans, whether a step is not masked; T > 0.
        places: (B, T), the caller's row of each step; negative if there is no row (not valid).
        resets: (B, T) booleans, whether the state is reset before a step.
        repeats: whether outputs of masked steps repeat the previous ones, instead of being 0.
    """
    begins = numpy.zeros_like(valid) if resets is None else resets.copy()
    begins[:, 0] = True
    piece = numpy.cumsum(begins).reshape(valid.shape) - 1
    pieces = int(begins.sum())
    counts = numpy.bincount(piece[valid], minlength=pieces)
    seen = valid.cumsum(axis=1)  # valid steps of the piece, this one included
    seen -= (seen - valid)[begins][piece]
    order = numpy.argsort(-counts, kind='stable')
    rank, sizes = inverse(order)[piece], _sizes(counts)
    starts = numpy.cumsum([0, *sizes])
    packed = starts[seen - 1] + rank
    rows = places[valid][numpy.argsort(packed[valid])]
    # in buffers of states: forward begins with the initial states, reverse ends with them
    before = numpy.where(seen == 0, rank, pieces + packed)
    after = numpy.where(seen == counts[piece], starts[-1] + rank, starts[seen] + rank)
    masked = ~valid & (places >= 0)
    repeated = (before[masked], after[masked]) if repeats else None
    ends = _sorted(order) if resets is None else _pieces(order, piece, resets[:, 0])
    return Packing(sizes, pieces, rows, places[masked], repeated, ends)


def packing_of_rows(
    lengths: Sequence[int], places: numpy.ndarray, resets: numpy.ndarray
) -> Packing:
    """Return the packing of sequences with resets, of which all rows are valid.

    Args:
        lengths: (B,), the number of steps of each.
        places, resets: as in ``packing_of_padded``; entries beyond a length are ignored.
    """
    valid = numpy.arange(places.shape[1]) < numpy.asarray(lengths)[:, None]
    return packing_of_padded(valid, numpy.where(valid, places, -1), resets & valid)


def _sorted(order: numpy.ndarray) -> Optional[Ends]:
    """Return the ends of whole sequences in an order, None if it is the caller's."""
    if (order[1:] > order[:-1]).all():
        return None
    never = numpy.zeros(len(order), bool)
    return Ends((order,) * 2, (never,) * 2, (inverse(order),) * 2)


def _pieces(order: numpy.ndarray, piece: numpy.ndarray, reset_first: numpy.ndarray) -> Ends:
    """Return the ends of pieces in an order.

    ``piece`` (B, T) is the piece of each step; ``reset_first`` (B,) says whether a sequence begins
    with a reset.
    """
    batch, rank = len(piece), inverse(order)
    sequence = numpy.repeat(numpy.arange(batch), piece[:, -1] - piece[:, 0] + 1)[order]
    forward, reverse = numpy.ones((2, len(order)), bool)
    forward[piece[:, 0]] = reset_first
    reverse[piece[:, -1]] = False
    restarts = forward[order], reverse[order]
    first = [numpy.where(restart, batch, sequence) for restart in restarts]
    return Ends(first, restarts, (rank[piece[:, -1]], rank[piece[:, 0]]))


def _sizes(counts: numpy.ndarray) -> tuple[int, ...]:
    """Return the number of sequences at each time step from the number of steps of each."""
    return tuple([int((counts > t).sum()) for t in range(counts.max(initial=0))])
