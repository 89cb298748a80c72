"""What engines with compiled stages share:
how the stages are called, the same names and arguments in CUDA and C++.
"""

from __future__ import annotations

from typing import Any

from chainer_lstm.kernels import layout
from chainer_lstm.kernels.engine import Engine

Array = Any


class FusedEngine(Engine):
    """A subclass has ``_launch(kernel, like, *arrays)``,
    which runs a stage over the units of ``like`` (B, H).

    The arrays are those of ``boundary.KERNELS``; None for an input that is
    not given.  Gates are interleaved.
    """

    def _launch(self, kernel: str, like: Array, *arrays: Array) -> None:
        raise NotImplementedError

    def _dense(self, x: Array) -> Array:
        """The array as ``_launch`` can write into it."""
        return self.xp.ascontiguousarray(x)

    def lstm_fwd(self, xw, hu, b, c_prev):
        gates, c, h = self._empty(c_prev, 4, 1, 1)
        self._launch('lstm_fwd', c_prev, xw, hu, b, c_prev, gates, c, h)
        return gates, c, h

    def lstm_bwd(self, gates, c_prev, c, gc, gh):
        gpre, gc_prev = self._empty(c, 4, 1)
        self._launch('lstm_bwd', c, gates, c_prev, c, gc, gh, gpre, gc_prev)
        return gpre, gc_prev

    def peephole_cell_fwd(self, xw, hu, b, pi, pf, c_prev):
        gates, c = self._empty(c_prev, 4, 1)
        self._launch('peephole_cell_fwd', c_prev, xw, hu, b, pi, pf, c_prev, gates, c)
        return gates, c

    def peephole_out_fwd(self, gates, po, c):
        (h,) = self._empty(c, 1)
        gates = self._dense(gates)
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

    def order(self, order):
        return layout.INTERLEAVED

    def lstm_fwd_(self, pre, hu, c_prev, c, h, order):
        self._launch('lstm_fwd', c, pre, hu, None, c_prev, pre, c, h)

    def lstm_bwd_(self, gates, c_prev, c, gc, gh, work, order):
        self._launch('lstm_bwd', c, gates, c_prev, c, gc, gh, gates, gc)

    def peephole_cell_fwd_(self, pre, hu, pi, pf, c_prev, c, h, order):
        self._launch('peephole_cell_fwd', c, pre, hu, None, pi, pf, c_prev, pre, c)

    def peephole_out_fwd_(self, gates, po, c, h, order):
        self._launch('peephole_out_fwd', c, gates, po, c, h)

    def peephole_out_bwd_(self, gates, c, gc, gh, work, order):
        self._launch('peephole_out_bwd', c, gates, c, gc, gh, work[0], gc)
        return work[0]

    def peephole_cell_bwd_(self, gates, c_prev, gc, go, work, order):
        self._launch('peephole_cell_bwd', c_prev, gates, c_prev, gc, go, gates, gc)

    def _empty(self, like: Array, *widths: int) -> list[Array]:
        if like.ndim != 2:
            raise ValueError(f'expected a state of shape (batch, units), got {like.shape}')
        batch, units = like.shape
        return [self.xp.empty((batch, width * units), like.dtype) for width in widths]
