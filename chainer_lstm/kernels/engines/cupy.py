"""The CuPy engine: cuBLAS for the products, one fused kernel for each stage of a step."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels import boundary, captured, cuda
from chainer_lstm.kernels.arguments import Kernel
from chainer_lstm.kernels.engines import cublas
from chainer_lstm.kernels.engines.compiled import CompiledEngine
from chainer_lstm.kernels.engines.cupy_updates import CupyUpdates
from chainer_lstm.kernels.engines.engine import Layer, Losses

_THREADS = 256
_MAX_BLOCKS = 1024  # threads stride over what is left
# of cuda/*.cu
_LANES = 32
_COLUMN_SUMS_THREADS = 512
_EMBEDDING_COLUMNS = 256  # of a warp
_FEW_WARPS = 2048  # all warps of a GPU of 132 multiprocessors, four blocks each, are 4224
_SHARED_NUMBERS = {'embedding_gradient': 8}  # of a thread; 1 is enough for the others
_NO_LABEL = -(2**63)
_KEYS = 2**53  # which float64 has exactly


class Mask(NamedTuple):
    """The random numbers of a dropout, each a function of the key and its place.

    Attributes:
        ratio: how many are dropped.
        key: the key.
        inputs: of a CUDA graph, whose replays read the key from the device; or None.
        address: where.
    """

    ratio: float
    key: int
    inputs: Optional[captured.Inputs]
    address: int


class CupyEngine(CupyUpdates, CompiledEngine):
    """float16 stays float16 in memory; the kernels compute it in float32."""

    takes_initial = True

    @functools.cached_property
    def xp(self) -> Any:
        import cupy

        return cupy

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        return numpy.result_type(*dtypes)

    def matmul(self, a: Array, b: Array, out: Optional[Array] = None) -> Array:
        compute_type = self._compute_type()
        found = None
        if compute_type is not None:
            found = cublas.product(self.xp, a, b, out, compute_type)
        return super().matmul(a, b, out) if found is None else found

    def linear(self, x: Array, W: Array, b: Optional[Array] = None) -> Array:
        y = self.matmul(x, W.T)
        if b is not None:
            y += b
        return y

    def column_sums(self, x: Array) -> Array:
        if not x.flags.c_contiguous or x.size == 0 or x.dtype.char not in 'efd':
            return super().column_sums(x)
        sums = self.xp.empty(x.shape[1], x.dtype)
        blocks = -(-x.shape[1] // _LANES)
        self._launch_function(
            'column_sums', x.dtype, x.shape, (x, sums), (blocks,), _COLUMN_SUMS_THREADS
        )
        return sums

    def cross_entropy(self, x: Array, t: Array, losses: Losses, keep: bool) -> tuple[Array, Any]:
        xp, real = self.xp, numpy.result_type(x.dtype, numpy.float32)
        if len(x) == 0:
            return xp.zeros(() if losses.mean else 0, x.dtype), None
        rows, classes = x.shape
        maxima, sums, of_rows = (xp.empty(rows, real) for _ in range(3))
        given = x, t, maxima, sums, of_rows
        threads = _threads_of_row(classes)
        numbers = (losses.ignore_label,)
        self._launch_function('cross_entropy', x.dtype, x.shape, given, (rows,), threads, numbers)
        if not losses.mean:
            return of_rows.astype(x.dtype, copy=False), (maxima, sums, None)
        loss, coefficient = xp.empty(1, x.dtype), xp.empty(1, real)
        numbers = (losses.ignore_label, losses.normalize)
        given = of_rows, t, loss, coefficient
        self._launch_function(
            'cross_entropy_mean', x.dtype, (rows, 1), given, (1,), _THREADS, numbers
        )
        return loss.reshape(()), (maxima, sums, coefficient)

    def cross_entropy_gradient(
        self, x: Array, t: Array, losses: Losses, gy: Array, kept: Any
    ) -> Array:
        gx = self.xp.empty(x.shape, x.dtype)
        if kept is None:  # of no rows
            return gx
        sizes = (*x.shape, gy.size)
        given = x, t, *kept, gy.reshape(gy.size), gx
        threads, numbers = _threads_of_row(x.shape[1]), (losses.ignore_label,)
        self._launch_function(
            'cross_entropy_gradient', x.dtype, sizes, given, (len(x),), threads, numbers
        )
        return gx

    def draw_mask(self, shape: tuple[int, ...], dtype: numpy.dtype, ratio: float) -> Mask:
        random, size = self.xp.random, math.prod(shape)

        def key() -> int:
            # of CuPy's own kernels; its seed sets it anew, and it needs no work of the device
            return int(random.get_random_state()._get_seed(size)) % _KEYS

        inputs = captured.current()
        if inputs is None:
            return Mask(ratio, key(), None, 0)
        return Mask(ratio, 0, inputs, inputs.address(key))

    def dropout(self, x: Array, mask: Mask, out: Optional[Array] = None) -> Array:
        y = self.xp.empty(x.shape, x.dtype) if out is None else out
        if x.size:
            numbers = mask.key, mask.address, round(mask.ratio * 2**32), 1 / (1 - mask.ratio)
            blocks = min(-(-x.size // (4 * _THREADS)), _MAX_BLOCKS)
            boundary.dense(boundary.CUDA['dropout'].arguments[1], y)
            given = x.reshape(-1), y.reshape(-1)
            self._launch_function(
                'dropout', x.dtype, (x.size,), given, (blocks,), _THREADS, numbers
            )
        return y

    def embedding_gradient(
        self, ids: Array, gy: Array, classes: int, ignore_label: Optional[int]
    ) -> Array:
        gW = self.xp.empty((classes, gy.shape[1]), gy.dtype)
        if gW.size:
            if ids.dtype.itemsize < 4:
                ids = ids.astype(numpy.int32)
            warps, parts = _THREADS // _LANES, -(-gy.shape[1] // _EMBEDDING_COLUMNS)
            splits = warps if classes * parts < _FEW_WARPS else 1
            numbers = _NO_LABEL if ignore_label is None else ignore_label, splits
            blocks = -(-classes * splits // warps), parts
            sizes = (*gy.shape, classes)
            self._launch_function(
                'embedding_gradient', gy.dtype, sizes, (ids, gy, gW), blocks, _THREADS, numbers
            )
        return gW

    def _compute_type(self) -> Optional[int]:
        """Return how exact products of float32 are, for ``cublas.product``; None where CuPy decides
        by CUPY_TF32 or what else was set.
        """
        core = self.xp._core  # CuPy has no public name for this
        default = core._routines_linalg.COMPUTE_TYPE_DEFAULT
        return cublas.FLOAT32 if core.get_compute_type(numpy.float32) == default else None

    def sequence_forward(self, layers: Sequence[Layer], keep: bool) -> list[Optional[Array]]:
        for layer in layers:
            layer.begin()
        return super().sequence_forward(layers, keep)

    def launch(
        self, kernel: str, like: Array, *arrays: Optional[Array], numbers: Iterable[float] = ()
    ) -> None:
        expected = boundary.KERNELS[kernel]
        boundary.check(expected, like.dtype, like.shape, arrays)
        if like.size == 0:
            return
        given = self._given(expected, like.itemsize, arrays)
        addresses = [0 if x is None else self._address(x) for x in given]
        layout = expected.layout if like.dtype.char == 'd' else expected.layout_of_floats
        packed = layout.pack(*like.shape, *numbers, *addresses)
        blocks = min(-(-like.size // _THREADS), _MAX_BLOCKS)
        launch = cuda.stage_kernel(kernel, like.dtype.char)
        launch((blocks,), (_THREADS,), (numpy.frombuffer(packed, _value_of(len(packed))),))

    def _launch_function(
        self,
        name: str,
        dtype: numpy.dtype,
        sizes: Sequence[int],
        arrays: Sequence[Optional[Array]],
        blocks: tuple[int, ...],
        threads: int,
        numbers: Sequence[float] = (),
    ) -> None:
        """Launch a kernel of ``boundary.CUDA``.

        Args:
            name: of the kernel.
            dtype: of the arrays, but for those of integers and those that are computed in.
            sizes: those of the kernel; none is 0.
            arrays: in the order of the kernel; None for one that is not given.
            blocks, threads: of the launch.
            numbers: words and numbers of the kernel.
        """
        expected = boundary.CUDA[name]
        boundary.check(expected, dtype, sizes, arrays)
        given = self._given(expected, dtype.itemsize, arrays)
        addresses = [0 if x is None else self._address(x) for x in given]
        layout = expected.layout if dtype.char == 'd' else expected.layout_of_floats
        packed = layout.pack(*sizes, *numbers, *addresses)
        integers = [x.itemsize for x in given if x is not None and x.dtype.kind == 'i']
        launch = cuda.function_kernel(name, dtype.char, integers[0] if integers else 4)
        packed = numpy.frombuffer(packed, _value_of(len(packed)))
        shared_bytes = threads * max(dtype.itemsize, 4) * _SHARED_NUMBERS.get(name, 1)
        launch(blocks, (threads,), (packed,), shared_mem=shared_bytes)

    def _given(
        self, kernel: Kernel, itemsize: int, arrays: Sequence[Optional[Array]]
    ) -> list[Optional[Array]]:
        """Return the arrays as a kernel takes them: C-contiguous, and gates where those of a unit
        can be loaded at once.
        """
        load = (kernel.gates & -kernel.gates) * itemsize  # bytes
        given: list[Optional[Array]] = []
        for argument, x in zip(kernel.arguments, arrays):
            if x is not None:
                if not x.flags.c_contiguous:
                    if argument.written:
                        boundary.dense(argument, x)
                    x = self.xp.ascontiguousarray(x)
                if argument.axes[-1] == 'gates' and self._address(x) % load:
                    if argument.written:
                        raise ValueError(
                            f'expected {argument.name}, which is written into, to lie at a '
                            f'multiple of {load} bytes'
                        )
                    x = self.xp.array(x)
            given.append(x)
        return given

    def _address(self, x: Array) -> int:
        return x.data.ptr


def _threads_of_row(columns: int) -> int:
    """Return the threads of a block for a row: eight numbers of it for each, if there are more than
    for one warp, and not for more than eight.
    """
    return min(-(-columns // (8 * _LANES)) * _LANES, _THREADS)


@functools.cache
def _value_of(size: int) -> numpy.dtype:
    """Return the dtype of one element of so many bytes, which CuPy passes to a kernel by value."""
    return numpy.dtype((numpy.void, size))


cupy_engine = CupyEngine()
