"""Layer normalization of products, and the gradients through it, on any engine.

Forward saves rows by name for backward: for the product with a weight the normalized rows (P, N)
and the scale (P,) by which they were multiplied.  Backward adds the gradients with respect to the
rows before normalization (P, N), and for each of ``Cell.vectors`` the rows (P, H) whose sum is its
gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Norm
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.types import Kept


def normalized_of(weight: str) -> str:
    """Return the name of the normalized rows of the product with a weight."""
    return f'normalized {weight}'


def gradient_of(weight: str) -> str:
    """Return the name of the gradients with respect to the rows before normalization."""
    return f'gradient {weight}'


def scale_of(weight: str) -> str:
    """Return the name of the scale."""
    return f'scale {weight}'


def rows_of(vector: str) -> str:
    """Return the name of the rows whose sums are the gradient with respect to a vector."""
    return f'rows of {vector}'


def rooms(xp: Any, cell: Cell, rows: int, units: int, dtype: Any) -> Kept:
    """Return arrays for all rows that the steps of a layer save."""
    found = {rows_of(name): xp.empty((rows, units), dtype) for name in cell.vectors}
    for stage in cell.stages:
        for product in stage.products:
            if product.norm is not None:
                shape = rows, len(product.gates) * units
                found[normalized_of(product.weight)] = xp.empty(shape, _wide_dtype(dtype))
                found[gradient_of(product.weight)] = xp.empty(shape, dtype)
                found[scale_of(product.weight)] = xp.empty(rows, _wide_dtype(dtype))
    return found


def forward(
    e: Engine, x: Array, weight: str, norm: Norm, gain: Array, b: Optional[Array], kept: Kept
) -> Array:
    """Return the product x (P, N) with a weight, normalized, times the gain, plus b.

    x is in a dtype that ``wide`` returns, and may be overwritten.
    """
    y, rows, scale = e.normalize(x, gain, b, norm.epsilon)
    _put(kept, normalized_of(weight), rows)
    _put(kept, scale_of(weight), scale)
    return y


def backward(e: Engine, gradient: Array, weight: str, gain: Array, kept: Kept) -> Array:
    """Return the gradient with respect to the product from that of the result of ``forward``."""
    rows, scale = kept[normalized_of(weight)], kept[scale_of(weight)]
    found = e.normalize_backward(wide(gradient), gain, rows, scale)
    return _put(kept, gradient_of(weight), found.astype(gradient.dtype, copy=False))


def keep_vectors(kept: Kept, found: Mapping[str, Array]) -> None:
    """Save the rows of vectors by name."""
    for name, rows in found.items():
        _put(kept, rows_of(name), rows)


def _put(kept: Kept, name: str, value: Array) -> Array:
    """Save an array by name, in the existing array of this name if there is one."""
    if name in kept:
        kept[name][...] = value
    else:
        kept[name] = value
    return kept[name]


def wide(x: Array) -> Array:
    """Return an array in a dtype that does not overflow for sums of squares."""
    return x.astype(_wide_dtype(x.dtype), copy=False)


def _wide_dtype(dtype: Any) -> Any:
    return numpy.result_type(numpy.float32, dtype)
