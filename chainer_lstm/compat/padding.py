"""Padding values outside the range of a dtype, which NumPy 1 wrapped and NumPy 2 refuses."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy


def wrap(padding: Any, dtype: numpy.dtype) -> Any:
    """Return a padding value for an integer dtype, wrapped as NumPy 1 did: -1 is 255 in uint8.

    Other values are returned as they are, and so is an integer that no dtype holds.

    Args:
        padding: the value, a number in most cases.
        dtype: the dtype of the array to be padded.
    """
    if dtype.kind not in 'iu' or not _is_finite(padding):
        return padding
    value = numpy.asarray(int(padding))
    return padding if value.dtype.kind == 'O' else value.astype(dtype)[()]


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)
