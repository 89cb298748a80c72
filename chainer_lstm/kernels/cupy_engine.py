"""The CuPy engine: cuBLAS for the products, one fused kernel for all gates of a step."""
from __future__ import annotations

from typing import Any

import numpy

from chainer_lstm.kernels import cuda
from chainer_lstm.kernels import layout
from chainer_lstm.kernels.engine import Engine

Array = Any
_THREADS = 256
_MAX_BLOCKS = 1024  # threads stride over what is left


class CupyEngine(Engine):
    """float16 stays float16 in memory; the kernels compute it in float32."""

    @property
    def xp(self) -> Any:  # type: ignore[override]
        import cupy

        return cupy

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        return numpy.result_type(*dtypes)

    def lstm_fwd(self, xw, hu, b, c_prev):
        gates, c, h = self._empty(c_prev, 4, 1, 1)
        self._launch('lstm_fwd', c_prev, xw, hu, b, c_prev, gates, c, h, c_prev.shape[1])
        return gates, c, h

    def lstm_bwd(self, gates, c_prev, c, gc, gh):
        gpre, gc_prev = self._empty(c, 4, 1)
        self._launch('lstm_bwd', c, gates, c_prev, c, gc, gh, gpre, gc_prev)
        return gpre, gc_prev

    def peephole_cell_fwd(self, xw, hu, b, pi, pf, c_prev):
        gates, c = self._empty(c_prev, 4, 1)
        self._launch('peephole_cell_fwd', c_prev, xw, hu, b, pi, pf, c_prev, gates, c, c_prev.shape[1])
        return gates, c

    def peephole_out_fwd(self, gates, po, c):
        h, = self._empty(c, 1)
        gates = self._argument(gates, gates.shape[1])
        self._launch('peephole_out_fwd', c, gates, po, c, h)
        return gates, h

    def peephole_out_bwd(self, gates, c, gc, gh):
        go, gc_sum = self._empty(c, 1, 1)
        self._launch('peephole_out_bwd', c, gates, c, gc, gh, go, gc_sum)
        return go, gc_sum

    def peephole_cell_bwd(self, gates, c_prev, gc, go):
        gpre, gc_prev = self._empty(c_prev, 4, 1)
        self._launch('peephole_cell_bwd', c_prev, gates, c_prev, gc, go, gpre, gc_prev)
        return gpre, gc_prev

    def linear(self, x, W):
        return None if x is None else self.xp.matmul(x, W.T)

    def order(self, order):
        return layout.INTERLEAVED

    def recur(self, h, U, out):
        return self.xp.matmul(h, U.T, out=out[:len(h)])

    def lstm_fwd_(self, pre, hu, c_prev, c, h, order):
        self._launch('lstm_fwd', c, pre, hu, None, c_prev, pre, c, h, c.shape[1])

    def lstm_bwd_(self, gates, c_prev, c, gc, gh, work, order):
        self._launch('lstm_bwd', c, gates, c_prev, c, gc, gh, gates, gc)

    def peephole_cell_fwd_(self, pre, hu, pi, pf, c_prev, c, h, order):
        self._launch('peephole_cell_fwd', c, pre, hu, None, pi, pf, c_prev, pre, c, c.shape[1])

    def peephole_out_fwd_(self, gates, po, c, h, order):
        self._launch('peephole_out_fwd', c, gates, po, c, h)

    def peephole_out_bwd_(self, gates, c, gc, gh, work, order):
        self._launch('peephole_out_bwd', c, gates, c, gc, gh, work[0], gc)
        return work[0]

    def peephole_cell_bwd_(self, gates, c_prev, gc, go, work, order):
        self._launch('peephole_cell_bwd', c_prev, gates, c_prev, gc, go, gates, gc)

    def _empty(self, like: Array, *widths: int) -> list[Array]:
        batch, units = like.shape
        return [self.xp.empty((batch, width * units), like.dtype) for width in widths]

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
