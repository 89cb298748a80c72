"""The CuPy engine: cuBLAS for the products, one fused kernel for all gates of a step."""

from __future__ import annotations

from typing import Any

import numpy

from chainer_lstm.kernels import boundary, cuda
from chainer_lstm.kernels.fused_engine import FusedEngine

Array = Any
_THREADS = 256
_MAX_BLOCKS = 1024  # threads stride over what is left


class CupyEngine(FusedEngine):
    """float16 stays float16 in memory; the kernels compute it in float32."""

    @property
    def xp(self) -> Any:  # type: ignore[override]
        import cupy

        return cupy

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        return numpy.result_type(*dtypes)

    def linear(self, x, W):
        return None if x is None else self.xp.matmul(x, W.T)

    def recur(self, h, U, out):
        return self.xp.matmul(h, U.T, out=out[: len(h)])

    def _launch(self, kernel: str, like: Array, *arrays: Array) -> None:
        """Runs a kernel of cells.cu with a thread per element of ``like``;
        its last argument is their number.
        """
        expected = boundary.KERNELS[kernel]
        boundary.check(expected, like.dtype, like.shape, arrays)
        n, units = like.size, like.shape[1]
        if n == 0:
            return
        arguments = [
            self._argument(argument, x, 4 * units)
            for argument, x in zip(expected.arguments, arrays)
        ]
        if any(
            argument.name == 'b' for argument in expected.arguments
        ):  # the row of each unit's bias
            arguments.append(numpy.int64(units))
        cuda.kernel('cells.cu', kernel, like.dtype.char)(
            (min(-(-n // _THREADS), _MAX_BLOCKS),), (_THREADS,), (*arguments, numpy.int64(n))
        )

    def _dense(self, x: Array) -> Array:
        return self._aligned(self.xp.ascontiguousarray(x), x.shape[1])

    def _argument(self, argument: boundary.Argument, x: Array, width: int) -> Array:
        """What a kernel takes: null for None, dense arrays, and gates, as wide as given,
        aligned for loads of four.
        """
        if x is None:
            return numpy.uint64(0)
        if argument.written:
            boundary.dense(argument, x)
            return x
        return self._aligned(self.xp.ascontiguousarray(x), width)

    def _aligned(self, x: Array, width: int) -> Array:
        aligned = x.shape[-1] != width or self._address(x) % (4 * x.itemsize) == 0
        return x if aligned else x.copy()

    def _address(self, x: Array) -> int:
        return x.data.ptr


cupy_engine = CupyEngine()
