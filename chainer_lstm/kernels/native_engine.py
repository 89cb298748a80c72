"""The native engine: products, recurrences and stages in C++, in threads of its own.

BLAS's threads go on spinning after a product and halve the speed of others,
so all products of a call are made here.
"""

from __future__ import annotations

from typing import Any

import numpy

from chainer_lstm.kernels import native
from chainer_lstm.kernels.fused_engine import FusedEngine

Array = Any
_FEW_STEPS = 3  # for which packing the weights does not pay


class NativeEngine(FusedEngine):
    """float32 and float64, in vectors of an instruction set of ``native.instruction_sets()``."""

    def __init__(self, instruction_set: str) -> None:
        self.instruction_set = instruction_set

    def matmul(self, a, b, out=None):
        return self._product(a, b, None, out)

    def affine(self, x, W, b):
        return self._product(x, W.T, b)

    def column_sums(self, x):
        return self._product(numpy.ones((1, len(x)), x.dtype), x, None)[0]

    def linear(self, x, W):
        return None if x is None else self._product(x, W.T, None)

    def lstm_step_fwd(self, c_prev, x, W, b, h, U):
        gates, c, h_new = self._empty(c_prev, 4, 1, 1)
        self._kernel('lstm_step_fwd', c.dtype)(
            (*c.shape, x.shape[-1]), x, W, b, h, U, c_prev, gates, c, h_new
        )
        return gates, c, h_new

    def lstm_step_bwd(self, gates, c_prev, c, gc, gh, W, U):
        gpre, gc_prev = self._empty(c, 4, 1)
        gx, gh_prev = (
            None if w is None else numpy.empty((len(c), w.shape[1]), c.dtype) for w in (W, U)
        )
        inputs = 0 if W is None else W.shape[1]
        self._kernel('lstm_step_bwd', c.dtype)(
            (*c.shape, inputs), gates, c_prev, c, gc, gh, W, U, gpre, gc_prev, gx, gh_prev
        )
        return gpre, gc_prev, gx, gh_prev

    def peephole_step_fwd(self, c_prev, x, W, b, P_i, P_f, h, U):
        gates, c = self._empty(c_prev, 4, 1)
        self._kernel('peephole_step_fwd', c.dtype)(
            (*c.shape, x.shape[-1]), x, W, b, h, U, P_i, P_f, c_prev, gates, c
        )
        return gates, c

    def peephole_step_bwd(self, gates, c_prev, gc, go, W, U, P_i, P_f):
        batch, inputs = len(c_prev), 0 if W is None else W.shape[1]
        gpre, gc_prev = self._empty(c_prev, 4, 1)
        gx, gh_prev = (
            None if w is None else numpy.empty((batch, w.shape[1]), c_prev.dtype) for w in (W, U)
        )
        self._kernel('peephole_step_bwd', c_prev.dtype)(
            (*c_prev.shape, inputs),
            gates,
            c_prev,
            gc,
            go,
            W,
            U,
            P_i,
            P_f,
            gpre,
            gc_prev,
            gx,
            gh_prev,
        )
        return gpre, gc_prev, gx, gh_prev

    def peephole_output_fwd(self, gates, c, P_o):
        (h,) = self._empty(c, 1)
        gates = self._dense(gates)
        self._kernel('peephole_output_fwd', c.dtype)(c.shape, c, P_o, gates, h)
        return gates, h

    def peephole_output_bwd(self, gates, c, gh, P_o):
        go, gc = self._empty(c, 1, 1)
        self._kernel('peephole_output_bwd', c.dtype)(c.shape, gates, c, gh, P_o, go, gc)
        return go, gc

    def recur(self, h, U, out):
        return self._product(h, U.T, None, out[: len(h)])

    def forward_all(self, jobs, keep):
        if len(jobs[0][-1].steps) <= _FEW_STEPS:
            return super().forward_all(jobs, keep)
        return [self._forward(*job, keep) for job in jobs]

    def _forward(self, x, weights, h, c, rows, keep):
        gates = numpy.empty((rows.total, len(weights.U)), h.dtype) if keep else None
        if rows.total and h.size:
            sizes = (
                len(rows.steps),
                rows.batch,
                h.shape[1],
                x.shape[1],
                rows.total,
                rows.first,
                rows.initial,
            )
            self._kernel('sequence_forward', h.dtype)(
                sizes,
                *rows.table,
                weights.U,
                *_three(weights.peepholes),
                x,
                weights.W,
                weights.b,
                gates,
                h,
                c,
            )
        return gates

    def recur_backward(self, saved, weights, rows, gh, gh_last, gc_last):
        gates = saved.gates
        if len(rows.steps) <= _FEW_STEPS:
            return super().recur_backward(saved, weights, rows, gh, gh_last, gc_last)
        if gates.size:
            sizes = (
                len(rows.steps),
                rows.batch,
                gates.shape[1] // 4,
                rows.total,
                rows.first,
                rows.initial,
            )
            gh = None if gh is None else numpy.asarray(gh, gates.dtype)
            self._kernel('recur_backward', gates.dtype)(
                sizes,
                *rows.table,
                weights.U,
                *_three(weights.peepholes),
                saved.c,
                gh,
                gates,
                gh_last,
                gc_last,
            )
        return gh_last, gc_last, gates

    def exponentials(self, x, keep):
        if not x.dtype.isnative:
            return super().exponentials(x, keep)
        y = numpy.empty(x.shape, x.dtype) if keep else None
        maxima, sums = numpy.empty((2, len(x)), x.dtype)
        self._kernel('exponentials', x.dtype)(x.shape, x, y, maxima, sums)
        return y, maxima, sums

    def _product(self, a, b, bias, out=None):
        if not a.ndim == b.ndim == 2:
            raise ValueError(
                f'matmul: expected two matrices, got arrays of shapes {a.shape} and {b.shape}'
            )
        dtype = numpy.result_type(a, b)
        a, b = (x if x.dtype == dtype else x.astype(dtype) for x in (a, b))
        out = numpy.empty((a.shape[0], b.shape[1]), dtype) if out is None else out
        self._kernel('matmul', dtype)((*out.shape, a.shape[1]), a, b, bias, out)
        return out

    def _launch(self, kernel, like, *arrays):
        self._kernel(kernel, like.dtype)(like.shape, *arrays)

    def _dense(self, x):
        return numpy.require(x, requirements='CAW')

    def _kernel(self, name, dtype):
        if dtype.char not in 'fd':
            raise TypeError(f'expected arrays of float32 or float64, got {dtype}')
        return native.kernel(self.instruction_set, name, dtype)


def _three(peepholes):
    """P_i, P_f, P_o, or three times None."""
    return peepholes or (None, None, None)
