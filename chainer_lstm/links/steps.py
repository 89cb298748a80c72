"""Which steps of padded sequences are valid, before which the state is reset; read on the CPU."""

from __future__ import annotations

from typing import Any, Optional

import chainer
import numpy
from chainer.backends import cuda


def valid_steps(batch: int, time: int, lengths: Any, mask: Any) -> Optional[numpy.ndarray]:
    """Return which steps are valid, (B, T) booleans, or None for all.

    Args:
        batch, time: B, T.
        lengths: (B,) integers, 0 to T, or None.
        mask: (B, T) or (B, T, 1) of 0 and 1, or None.

    Raises:
        TypeError, ValueError: both are given, or one does not fit.
    """
    if lengths is not None and mask is not None:
        raise ValueError('expected lengths or mask, got both')
    if mask is not None:
        valid = flags('mask', mask, (batch, time))
    elif lengths is not None:
        lengths = on_cpu(lengths)
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


def reset_steps(batch: int, time: int, resets: Any) -> Optional[numpy.ndarray]:
    """Return before which steps the state is reset, (B, T) booleans, or None for none.

    Raises:
        TypeError, ValueError: ``resets`` are no (B, T) or (B, T, 1) of 0 and 1.
    """
    found = None if resets is None else flags('resets', resets, (batch, time))
    return found if found is not None and found.any() else None


def flags(name: str, values: Any, shape: tuple[int, ...]) -> numpy.ndarray:
    """Return booleans of a shape, of 0 and 1; they may have another axis, of size 1, at the end.

    Raises:
        TypeError, ValueError: they are others.
    """
    values = on_cpu(values)
    if values.dtype.kind not in 'biuf':
        raise TypeError(f'expected {name} to be booleans or numbers, got {values.dtype}')
    if values.shape not in (shape, (*shape, 1)):
        raise ValueError(f'expected {name} of shape {shape} or {(*shape, 1)}, got {values.shape}')
    wrong = values[(values != 0) & (values != 1)]
    if wrong.size:
        raise ValueError(f'expected {name} to be of 0 and 1, got {wrong[0]}')
    return values.reshape(shape) == 1


def reversed_resets(resets: numpy.ndarray) -> numpy.ndarray:
    """Return the resets of sequences that are fed in reverse: a piece begins where it ended."""
    found = numpy.zeros_like(resets)
    found[:, 1:] = resets[:, :0:-1]
    return found


def on_cpu(values: Any) -> numpy.ndarray:
    """Return an array or a variable as an array of NumPy."""
    values = chainer.as_array(values)
    return numpy.asarray(cuda.to_cpu(values) if isinstance(values, cuda.ndarray) else values)
