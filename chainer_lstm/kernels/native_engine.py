"""The native engine: products, recurrences and stages in C++, in threads of its own.

BLAS's threads go on spinning after a product and halve the speed of others,
so all products of a call are made here.
"""
from __future__ import annotations

from typing import Any

import numpy

from chainer_lstm.kernels import native
from chainer_lstm.kernels.fused_engine import FusedEngine
from chainer_lstm.kernels.native import address

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
        if c_prev.size:
            x, h = (None if x is None else _rows(x) for x in (x, h))
            W, b, U, c_prev = (None if x is None else _dense(x) for x in (W, b, U, c_prev))
            self._kernel('lstm_step_fwd', gates.dtype)(
                *c_prev.shape, x.shape[1], address(x), _row(x), address(W), address(b), address(h), _row(h),
                *map(address, (U, c_prev, gates, c, h_new)))
        return gates, c, h_new

    def lstm_step_bwd(self, gates, c_prev, c, gc, gh, W, U):
        if not c.size:
            return super().lstm_step_bwd(gates, c_prev, c, gc, gh, W, U)
        gpre, gc_prev = self._empty(c, 4, 1)
        gx, gh_prev = (None if w is None else numpy.empty((len(c), w.shape[1]), c.dtype) for w in (W, U))
        arrays = [None if x is None else _dense(x) for x in (gates, c_prev, c, gc, gh, W, U)]
        self._kernel('lstm_step_bwd', c.dtype)(
            *c.shape, 0 if W is None else W.shape[1], *map(address, (*arrays, gpre, gc_prev, gx, gh_prev)))
        return gpre, gc_prev, gx, gh_prev

    def recur(self, h, U, out):
        return self._product(h, U.T, None, out[:len(h)])

    def forward_all(self, jobs, keep):
        if len(jobs[0][-1].steps) <= _FEW_STEPS:
            return super().forward_all(jobs, keep)
        return [self._forward(*job, keep) for job in jobs]

    def _forward(self, x, weights, h, c, rows, keep):
        gates = numpy.empty((rows.total, len(weights.U)), h.dtype) if keep else None
        if rows.total and h.size:
            x, W, b = _rows(x), _dense(weights.W), _dense(weights.b)
            where, _keep = self._sequence(weights, rows)
            self._kernel('sequence_forward', h.dtype)(*where, x.shape[1], address(x), _row(x),
                                                      *map(address, (W, b, gates, h, c)))
        return gates

    def recur_backward(self, saved, weights, rows, gh, gh_last, gc_last):
        gates = saved.gates
        if len(rows.steps) <= _FEW_STEPS:
            return super().recur_backward(saved, weights, rows, gh, gh_last, gc_last)
        if gates.size:
            where, _keep = self._sequence(weights, rows)
            gh = None if gh is None else _rows(numpy.asarray(gh, gates.dtype))
            self._kernel('recur_backward', gates.dtype)(
                *where, address(gates), address(saved.c), address(gh), _row(gh), address(gh_last),
                address(gc_last))
        return gh_last, gc_last, gates

    def exponentials(self, x, keep):
        if not x.dtype.isnative:
            return super().exponentials(x, keep)
        x = _dense(x)
        y = numpy.empty_like(x) if keep else None
        maxima, sums = numpy.empty((2, len(x)), x.dtype)
        self._kernel('exponentials', x.dtype)(*x.shape, *map(address, (x, y, maxima, sums)))
        return y, maxima, sums

    def _sequence(self, weights, rows):
        """The arguments that both recurrences begin with, and the arrays that they point into."""
        arrays = [_dense(x) for x in (*rows.table, weights.U, *weights.peepholes)]
        start, n, U, *peepholes = map(address, arrays)
        return (len(rows.steps), start, n, rows.batch, weights.U.shape[1], rows.first, rows.initial,
                U, *(peepholes or (None, None, None))), arrays

    def _product(self, a, b, bias, out=None):
        dtype = numpy.result_type(a, b)
        a, b = (_strided(x if x.dtype == dtype else x.astype(dtype)) for x in (a, b))
        out = numpy.empty((a.shape[0], b.shape[1]), dtype) if out is None else out
        (a_row, a_col), (b_row, b_col) = ([stride // dtype.itemsize for stride in x.strides] for x in (a, b))
        if bias is not None:
            bias = _dense(bias)
        self._kernel('matmul', dtype)(
            *out.shape, a.shape[1], address(a), a_row, a_col, address(b if b_col == 1 else b.T), b_row, b_col,
            address(bias), address(out))
        return out

    def _launch(self, kernel, like, *args):
        if like.size:
            arrays = [_dense(x) if isinstance(x, numpy.ndarray) else x for x in args]
            self._kernel(kernel, like.dtype)(
                *(address(x) if isinstance(x, numpy.ndarray) else x for x in arrays), like.size)

    def _dense(self, x):
        return _dense(x)

    def _kernel(self, name, dtype):
        if dtype.char not in 'fd':
            raise TypeError(f'expected arrays of float32 or float64, got {dtype}')
        return native.kernel(self.instruction_set, name, dtype.char)


def _dense(x):
    return x if x.flags.c_contiguous and x.flags.aligned else numpy.require(x, requirements='CA')


def _strided(x):
    """The array, dense if it is not aligned or its strides are no whole numbers of elements."""
    whole = x.flags.aligned and not any(stride % x.itemsize for stride in x.strides)
    return x if whole else _dense(x)


def _rows(x):
    """The array with dense rows, the rows themselves anywhere."""
    return x if x.strides[1] == x.itemsize and _strided(x) is x else _dense(x)


def _row(x):
    """Elements from one row to the next."""
    return 0 if x is None else x.strides[0] // x.itemsize
