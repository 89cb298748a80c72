"""Functions other than cells, by the kernels of ``cuda/cross_entropy.cu``, ``dropout.cu`` and
``sums.cu``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels import boundary, captured
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.engines.types import Losses

_WARP = 32
_THREADS = 256
_COLUMN_SUMS_THREADS = 512
_MAX_BLOCKS = 1024  # of a dropout; threads stride over further elements
_EMBEDDING_COLUMNS = 256  # of a warp
_FEW_WARPS = 2048  # half of the warps that a GPU of 132 multiprocessors runs at a time
_NO_LABEL = -(2**63)
_KEYS = 2**53  # integers that float64 has exactly


class Mask(NamedTuple):
    """The mask of a dropout: each of its numbers depends on a key and its index.

    Attributes:
        ratio: the ratio of dropped numbers.
        key: the key.
        address: the address of a float64 on the device that is used as the key, or 0.
        inputs: the inputs of the CUDA graph that the address belongs to, or None.
    """

    ratio: float
    key: int
    address: int = 0
    inputs: Optional[captured.Inputs] = None


class FunctionKernels(NumpyEngine):
    """The methods of ``CupyEngine`` for functions; a subclass defines ``launch_function``."""

    def launch_function(
        self,
        kernel: str,
        dtype: numpy.dtype,
        sizes: Sequence[int],
        arrays: Sequence[Optional[Array]],
        blocks: tuple[int, ...],
        threads: int,
        numbers: Sequence[float] = (),
        shared_numbers: int = 0,
    ) -> None:
        """Launch a kernel.

        Args:
            kernel: a name in ``boundary.CUDA``, which has the shapes of the arrays.
            dtype: the dtype of the kernel; arrays of integers and of intermediate results have
                others.
            sizes: the sizes of the kernel.
            arrays: the arrays in the order of the kernel; None for one that is not given.
            blocks, threads: the size of the launch.
            numbers: words and numbers of the kernel.
            shared_numbers: how many numbers a block needs in shared memory.
        """
        raise NotImplementedError

    def column_sums(self, x: Array) -> Array:
        if not x.flags.c_contiguous or x.size == 0:
            return super().column_sums(x)
        sums, threads = self.xp.empty(x.shape[1], x.dtype), _COLUMN_SUMS_THREADS
        blocks = (-(-x.shape[1] // _WARP),)
        self.launch_function(
            'column_sums', x.dtype, x.shape, (x, sums), blocks, threads, shared_numbers=threads
        )
        return sums

    def cross_entropy(self, x: Array, t: Array, losses: Losses, keep: bool) -> tuple[Array, Any]:
        xp, rows, real = self.xp, len(x), numpy.result_type(x.dtype, numpy.float32)
        if rows == 0:
            return xp.zeros(() if losses.mean else 0, x.dtype), None
        kept, sizes, label = xp.empty((3, rows), real), (*x.shape, 3), _label(losses.ignore_label)
        arrays: Sequence[Array] = x, t, kept
        threads = _threads_of_row(x.shape[1])
        self.launch_function(
            'cross_entropy', x.dtype, sizes, arrays, (rows,), threads, (label,), threads
        )
        if not losses.mean:
            return kept[2].astype(x.dtype, copy=False), (kept, None)
        loss, coefficient = xp.empty(1, x.dtype), xp.empty(1, real)
        arrays, numbers = (kept, t, loss, coefficient), (label, losses.normalize)
        self.launch_function(
            'cross_entropy_mean', x.dtype, (rows, 3, 1), arrays, (1,), _THREADS, numbers, _THREADS
        )
        return loss.reshape(()), (kept, coefficient)

    def cross_entropy_gradient(
        self, x: Array, t: Array, losses: Losses, gy: Array, kept: Any
    ) -> Array:
        gx = self.xp.empty(x.shape, x.dtype)
        if kept is None:  # there are no rows
            return gx
        arrays = x, t, *kept, gy.reshape(gy.size), gx
        sizes, numbers = (*x.shape, 3, gy.size), (_label(losses.ignore_label),)
        blocks, threads = (len(x),), _threads_of_row(x.shape[1])
        self.launch_function(
            'cross_entropy_gradient', x.dtype, sizes, arrays, blocks, threads, numbers
        )
        return gx

    def draw_mask(self, shape: tuple[int, ...], dtype: numpy.dtype, ratio: float) -> Mask:
        def key() -> int:
            return captured.random_position(self.xp, math.prod(shape)) % _KEYS

        inputs = captured.current()
        if inputs is None:
            return Mask(ratio, key())
        return Mask(ratio, 0, inputs.address(key), inputs)

    def dropout(self, x: Array, mask: Mask, out: Optional[Array] = None) -> Array:
        y = self.xp.empty(x.shape, x.dtype) if out is None else out
        boundary.dense(boundary.CUDA['dropout'].arguments[1], y)
        if x.size:
            arrays = x.reshape(-1), y.reshape(-1)
            blocks = (min(-(-x.size // (4 * _THREADS)), _MAX_BLOCKS),)
            numbers = mask.key, mask.address, round(mask.ratio * 2**32), 1 / (1 - mask.ratio)
            self.launch_function('dropout', x.dtype, (x.size,), arrays, blocks, _THREADS, numbers)
        return y

    def embedding_gradient(
        self, ids: Array, gy: Array, classes: int, ignore_label: Optional[int]
    ) -> Array:
        gW = self.xp.empty((classes, gy.shape[1]), gy.dtype)
        if gW.size == 0:
            return gW
        if ids.dtype.itemsize < 4:
            ids = ids.astype(numpy.int32)
        warps, parts = _THREADS // _WARP, -(-gy.shape[1] // _EMBEDDING_COLUMNS)
        splits = warps if classes * parts < _FEW_WARPS else 1
        blocks = -(-classes * splits // warps), parts
        self.launch_function(
            'embedding_gradient',
            gy.dtype,
            (*gy.shape, classes),
            (ids, gy, gW),
            blocks,
            _THREADS,
            numbers=(_label(ignore_label), splits),
            shared_numbers=0 if splits == 1 else warps * _EMBEDDING_COLUMNS,
        )
        return gW


def _label(ignore_label: Optional[float]) -> int:
    """Return the ids to ignore as an integer; for None, and a fraction, one that no id has."""
    return int(ignore_label) if ignore_label is not None and ignore_label % 1 == 0 else _NO_LABEL


def _threads_of_row(columns: int) -> int:
    """Return the number of threads for a row: one for eight numbers, in whole warps."""
    return min(-(-columns // (8 * _WARP)) * _WARP, _THREADS)
