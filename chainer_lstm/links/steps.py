"""Masks and resets of padded sequences as NumPy booleans."""

from __future__ import annotations

from typing import Any, Optional

import numpy

from chainer_lstm.functions import checks


def valid_steps(batch: int, time: int, lengths: Any, mask: Any) -> Optional[numpy.ndarray]:
    """Return which steps are valid, (B, T) booleans, or None for all.

    Args:
        batch, time: B, T.
        lengths: (B,) integers, 0 to T, or None.
        mask: (B, T) or (B, T, 1) of 0 and 1, or None.

    Raises:
        TypeError, ValueError: both lengths and mask are given, or one of them does not fit.
    """
    if lengths is not None and mask is not None:
        raise ValueError('expected lengths or mask, got both')
    if mask is not None:
        valid = checks.flags('mask', mask, (batch, time))
    elif lengths is not None:
        lengths = checks.on_cpu(lengths)
        if lengths.dtype.kind not in 'iu' and lengths.size:
            raise TypeError(f'expected lengths to be integers, got {lengths.dtype}')
        if lengths.shape != (batch,):
            raise ValueError(f'expected lengths of shape ({batch},), got {lengths.shape}')
        if ((lengths < 0) | (lengths > time)).any():
            raise ValueError(f'expected lengths of 0 to {time}, got {lengths.tolist()}')
        valid = numpy.arange(time) < lengths[:, None]
    else:
        return None
    return None if valid.all() else valid


def reset_steps(
    batch: int, time: int, resets: Any, backwards: bool = False
) -> Optional[numpy.ndarray]:
    """Return before which steps the state is reset, (B, T) booleans, or None if it never is.

    With ``backwards`` the resets are those of reversed sequences: a part begins where it ended.

    Raises:
        TypeError, ValueError: ``resets`` are not (B, T) or (B, T, 1) of 0 and 1.
    """
    if resets is None:
        return None
    found = checks.flags('resets', resets, (batch, time))
    if backwards:
        never = numpy.zeros((batch, 1), bool)
        found = numpy.concatenate((never, found[:, :0:-1]), axis=1)[:, :time]
    return found if found.any() else None
