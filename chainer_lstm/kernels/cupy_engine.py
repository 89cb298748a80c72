"""The CuPy engine: cuBLAS for the products, one fused kernel for all gates of a step."""
from __future__ import annotations

from typing import Any

import numpy

from chainer_lstm.kernels import cuda
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
        return self.xp.matmul(h, U.T, out=out[:len(h)])

    def _dense(self, x: Array) -> Array:
        return self._argument(x, x.shape[1])

    def _launch(self, kernel: str, like: Array, *args: Array) -> None:
        """Runs a kernel of cells.cu with a thread per element of ``like``; its last argument is their number."""
        n = like.size
        if n == 0:
            return
        arguments = [self._argument(arg, 4 * like.shape[1]) for arg in args]
        cuda.kernel('cells.cu', kernel, like.dtype.char)(
            (min(-(-n // _THREADS), _MAX_BLOCKS),), (_THREADS,), (*arguments, numpy.int64(n)))

    def _argument(self, arg: Array, width: int) -> Array:
        """What a kernel takes: null for None, dense arrays, and gates, as wide as given, aligned for loads of four."""
        if arg is None:
            return numpy.uint64(0)
        if isinstance(arg, int):
            return numpy.int64(arg)
        arg = self.xp.ascontiguousarray(arg)
        aligned = arg.shape[-1] != width or self._address(arg) % (4 * arg.itemsize) == 0
        return arg if aligned else arg.copy()

    def _address(self, x: Array) -> int:
        return x.data.ptr


cupy_engine = CupyEngine()
