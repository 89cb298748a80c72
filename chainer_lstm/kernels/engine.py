"""What a cell is computed with.  A new engine is one subclass and one line in ``engine_of``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Optional

import numpy

from chainer_lstm.kernels import layout, reference, sequence

Array = Any
_BLOCK = 2**18  # scores at a time: they stay in the cache


class Engine:
    """The NumPy engine, and the base of every other: a subclass replaces what it does better.

    ``None`` stands for an input that is not given (no previous ``h``, no bias,
    no gradient) and passes through ``wide``, ``wide_like`` and ``linear``.
    """

    xp: Any = numpy

    def cast(self, x: Array, dtype: Any) -> Array:
        """The array in another dtype; itself where it has that dtype already."""
        return x.astype(dtype, copy=False)

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        """The dtype to compute in: float16 is computed in float32."""
        return numpy.result_type(numpy.float32, *dtypes)

    def wide(self, *arrays: Array) -> list[Array]:
        """The arrays in one dtype, wide enough for the computation."""
        dtypes = {x.dtype for x in arrays if x is not None}
        dtype = self.wide_dtype(*dtypes)
        return (
            list(arrays)
            if dtypes == {dtype}
            else [None if x is None else self.cast(x, dtype) for x in arrays]
        )

    def wide_like(self, like: Array, *arrays: Array) -> list[Array]:
        """The arrays in the dtype of ``like``."""
        return [None if x is None else self.cast(x, like.dtype) for x in arrays]

    def linear(self, x: Array, W: Array) -> Array:
        """(B, I), (O, I) -> (B, O), of a small batch:
        W xᵀ takes two thirds of OpenBLAS's time for x Wᵀ.
        """
        return None if x is None else self.xp.matmul(W, x.T).T

    def matmul(self, a: Array, b: Array, out: Array = None) -> Array:
        """(M, K), (K, N) -> (M, N), in any memory order; out is dense and may be given."""
        return self.xp.matmul(a, b) if out is None else self.xp.matmul(a, b, out=out)

    def affine(self, x: Array, W: Array, b: Array) -> Array:
        """(P, I), (O, I), (O,) -> (P, O), of all rows of a sequence."""
        y = self.xp.matmul(x, W.T)
        y += b
        return y

    def dense(self, x: Array) -> Array:
        """A dense copy of the array."""
        return x.copy('C')

    def zeros_like(self, x: Array) -> Array:
        """Zeros of the shape and dtype of the array."""
        return self.xp.zeros_like(x)

    def column_sums(self, x: Array) -> Array:
        """(P, N) -> (N,)."""
        return self.xp.sum(x, axis=0)

    def split(self, x: Array) -> tuple[Array, ...]:
        """(B, 4H) -> a, i, f, o, each (B, H)."""
        return reference.split(self.xp, x)

    # The cells: as in reference.py, with pre = xw + hu + b given in parts, so that an engine can
    # fuse the sum.  peephole_out_fwd may overwrite its gates: they come from peephole_cell_fwd and
    # nobody else has them.

    def lstm_fwd(self, xw: Array, hu: Array, b: Array, c_prev: Array) -> tuple[Array, Array, Array]:
        return reference.lstm_fwd(self.xp, _sum(xw, b, hu), c_prev)

    def lstm_step_fwd(
        self, c_prev: Array, x: Array, W: Array, b: Array, h: Array, U: Array
    ) -> tuple[Array, Array, Array]:
        """``lstm_fwd`` and the products before it."""
        return self.lstm_fwd(self.linear(x, W), self.linear(h, U), b, c_prev)

    def lstm_bwd(
        self, gates: Array, c_prev: Array, c: Array, gc: Array, gh: Array
    ) -> tuple[Array, Array]:
        return reference.lstm_bwd(self.xp, gates, c_prev, c, _zero(gc), _zero(gh))

    def lstm_step_bwd(
        self, gates: Array, c_prev: Array, c: Array, gc: Array, gh: Array, W: Array, U: Array
    ) -> tuple[Array, Array, Array, Array]:
        """``lstm_bwd`` and the gradients by x and h; None where W or U is None."""
        gpre, gc_prev = self.lstm_bwd(gates, c_prev, c, gc, gh)
        gx, gh_prev = (None if w is None else self.matmul(gpre, w) for w in (W, U))
        return gpre, gc_prev, gx, gh_prev

    def peephole_cell_fwd(
        self, xw: Array, hu: Array, b: Array, pi: Array, pf: Array, c_prev: Array
    ) -> tuple[Array, Array]:
        return reference.peephole_cell_fwd(self.xp, _sum(xw, b, hu), pi, pf, c_prev)

    def peephole_out_fwd(self, gates: Array, po: Array, c: Array) -> tuple[Array, Array]:
        return reference.peephole_out_fwd(self.xp, gates, po, c)

    def peephole_out_bwd(self, gates: Array, c: Array, gc: Array, gh: Array) -> tuple[Array, Array]:
        return reference.peephole_out_bwd(self.xp, gates, c, _zero(gc), _zero(gh))

    def peephole_cell_bwd(
        self, gates: Array, c_prev: Array, gc: Array, go: Array
    ) -> tuple[Array, Array]:
        return reference.peephole_cell_bwd(self.xp, gates, c_prev, gc, go)

    # The halves of a step with peepholes, products included.
    # Gradients are None where their weights are.

    def peephole_step_fwd(
        self,
        c_prev: Array,
        x: Array,
        W: Array,
        b: Array,
        P_i: Array,
        P_f: Array,
        h: Array,
        U: Array,
    ) -> tuple[Array, Array]:
        """-> gates with o before activation, c."""
        return self.peephole_cell_fwd(
            self.linear(x, W),
            self.linear(h, U),
            b,
            self.linear(c_prev, P_i),
            self.linear(c_prev, P_f),
            c_prev,
        )

    def peephole_step_bwd(
        self,
        gates: Array,
        c_prev: Array,
        gc: Array,
        go: Array,
        W: Array,
        U: Array,
        P_i: Array,
        P_f: Array,
    ) -> tuple[Array, Array, Array, Array]:
        """-> gpre, gc_prev, gx, gh_prev; gc_prev without the parts through P_i and P_f
        where these are None.
        """
        gpre, gc_prev = self.peephole_cell_bwd(gates, c_prev, gc, go)
        _, gi, gf, _ = self.split(gpre)
        for g, P in ((gi, P_i), (gf, P_f)):
            gc_prev = gc_prev if P is None else gc_prev + self.matmul(g, P)
        gx, gh_prev = (None if w is None else self.matmul(gpre, w) for w in (W, U))
        return gpre, gc_prev, gx, gh_prev

    def peephole_output_fwd(self, gates: Array, c: Array, P_o: Array) -> tuple[Array, Array]:
        """-> gates with o activated, h; may overwrite its gates."""
        return self.peephole_out_fwd(gates, self.linear(c, P_o), c)

    def peephole_output_bwd(
        self, gates: Array, c: Array, gh: Array, P_o: Array
    ) -> tuple[Array, Array]:
        """-> go of o before activation, gc."""
        go, gc = self.peephole_out_bwd(gates, c, None, gh)
        return go, gc + self.matmul(go, P_o)

    def exponentials(self, x: Array, keep: bool) -> tuple[Optional[Array], Array, Array]:
        """Of scores (N, V), V > 0: exp(x - maxima) (N, V) or None, the maxima (N,)
        and its sums (N,), of the rows.
        """
        y = numpy.empty_like(x) if keep else None
        maxima, sums = numpy.empty((2, len(x)), x.dtype)
        height = max(_BLOCK // x.shape[1], 1)
        scratch = None if keep else numpy.empty((height, x.shape[1]), x.dtype)
        for k in range(0, len(x), height):
            rows = slice(k, k + height)
            part = x[rows]
            out = y[rows] if keep else scratch[: len(part)]
            part.max(axis=1, out=maxima[rows])
            numpy.subtract(part, maxima[rows, None], out=out)
            numpy.exp(out, out=out)
            out.sum(axis=1, out=sums[rows])
        return y, maxima, sums

    def forward_all(self, jobs: Sequence[tuple], keep: bool) -> list[Array]:
        """Independent layers of one shape, such as both directions;
        jobs: x, weights and buffers, see sequence.py.

        Returns:
            The gates of each; what it is does not matter unless ``keep``.
        """
        all_pre = [self.affine(x, weights.W, weights.b) for x, weights, *_ in jobs]
        self.recur_forward_all([(pre, *job[1:]) for pre, job in zip(all_pre, jobs)])
        return all_pre

    # The recurrence of a layer in one direction, its matrix product of all inputs made: see
    # sequence.py for the arguments.  Engines that run it as a whole replace these two, the others
    # what the loop there calls.

    def recur_forward(self, pre: Array, weights: Any, h: Array, c: Array, rows: Any) -> None:
        sequence.recur_forward(self, pre, weights, h, c, rows)

    def recur_backward(
        self, saved: Any, weights: Any, rows: Any, gh: Array, gh_last: Array, gc_last: Array
    ) -> tuple[Array, Array, Array]:
        return sequence.recur_backward(self, saved, weights, rows, gh, gh_last, gc_last)

    # Several of them, independent of each other and of one shape,
    # such as the two directions of a layer.

    def recur_forward_all(self, jobs: Sequence[tuple]) -> None:
        """jobs: arguments of ``recur_forward``."""
        for job in jobs:
            self.recur_forward(*job)

    def recur_backward_all(self, jobs: Sequence[tuple]) -> list[tuple[Array, Array, Array]]:
        """jobs: arguments of ``recur_backward``; -> what it returns, for each."""
        return [self.recur_backward(*job) for job in jobs]

    # The cells inside a sequence: as above, but in place.  pre (n, 4H) becomes gates, gates become
    # gpre, gc (n, H) becomes gc_prev, c and h are written, work (2, n, H) is scratch.

    def order(self, order: str) -> str:
        """The order in which weights in that order are computed with: NumPy joins blocks only."""
        return layout.PLANAR if order == layout.N_STEP else order

    def recur(self, h: Array, U: Array, out: Array) -> Array:
        """(n, H), (4H, H) -> (n, 4H), in the memory of out, which has room for (B, 4H)."""
        return numpy.matmul(
            U, h.T, out=out.reshape(-1)[: len(h) * len(U)].reshape(len(U), len(h))
        ).T

    def lstm_fwd_(
        self, pre: Array, hu: Array, c_prev: Array, c: Array, h: Array, order: str
    ) -> None:
        pre += hu
        a, i, f, o = layout.gates(pre, order)
        numpy.tanh(a, out=a)
        for gate in (i, f, o):
            _sigmoid_(gate)
        _new_cell_(a, i, f, c_prev, c, h)
        numpy.tanh(c, out=h)
        h *= o

    def lstm_bwd_(
        self, gates: Array, c_prev: Array, c: Array, gc: Array, gh: Array, work: Array, order: str
    ) -> None:
        go = self.peephole_out_bwd_(gates, c, gc, gh, work, order)
        self.peephole_cell_bwd_(gates, c_prev, gc, go, work, order)

    def peephole_cell_fwd_(
        self,
        pre: Array,
        hu: Array,
        pi: Array,
        pf: Array,
        c_prev: Array,
        c: Array,
        h: Array,
        order: str,
    ) -> None:
        """h is scratch."""
        pre += hu
        a, i, f, _ = layout.gates(pre, order)
        i += pi
        f += pf
        numpy.tanh(a, out=a)
        for gate in (i, f):
            _sigmoid_(gate)
        _new_cell_(a, i, f, c_prev, c, h)

    def peephole_out_fwd_(self, gates: Array, po: Array, c: Array, h: Array, order: str) -> None:
        o = layout.gates(gates, order)[3]
        o += po
        _sigmoid_(o)
        numpy.tanh(c, out=h)
        h *= o

    def peephole_out_bwd_(
        self, gates: Array, c: Array, gc: Array, gh: Array, work: Array, order: str
    ) -> Array:
        """-> go, in its place among the gates;
        gc gets what comes through h, without what comes through P_o.
        """
        o, (t, p) = layout.gates(gates, order)[3], work
        numpy.tanh(c, out=t)
        numpy.multiply(t, t, out=p)
        numpy.subtract(1, p, out=p)
        p *= o
        p *= gh
        gc += p
        t *= gh
        numpy.multiply(o, o, out=p)
        o -= p
        o *= t
        return o

    def peephole_cell_bwd_(
        self, gates: Array, c_prev: Array, gc: Array, go: Array, work: Array, order: str
    ) -> None:
        """gc_prev is without the parts through P_i and P_f."""
        (a, i, f, _), (p, q) = layout.gates(gates, order), work
        numpy.multiply(gc, a, out=p)
        numpy.multiply(gc, i, out=q)
        numpy.multiply(a, a, out=a)
        numpy.subtract(1, a, out=a)
        a *= q
        numpy.multiply(i, i, out=q)
        i -= q
        i *= p
        numpy.multiply(gc, c_prev, out=p)
        gc *= f
        numpy.multiply(f, f, out=q)
        f -= q
        f *= p


def _sigmoid_(x: Array) -> None:
    x *= 0.5
    numpy.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def _new_cell_(a: Array, i: Array, f: Array, c_prev: Array, c: Array, scratch: Array) -> None:
    numpy.multiply(f, c_prev, out=c)
    numpy.multiply(a, i, out=scratch)
    c += scratch


def _sum(x: Array, *others: Array) -> Array:
    """Return the sum of pre-activations (B, 4H) or (4H,), which all have to be of one width."""
    for other in others:
        if other is None:
            continue
        if other.shape[-1:] != x.shape[-1:]:
            raise ValueError(
                f'expected pre-activations of one width, got arrays of shapes {x.shape} and '
                f'{other.shape}'
            )
        x = x + other
    return x


def _zero(gradient: Array) -> Array:
    return 0 if gradient is None else gradient


ENGINES = ('numpy', 'native', 'cupy', 'persistent')


def engine_of(x: Array, name: str = 'auto', precision: str = 'highest') -> Engine:
    """The engine for arrays that live where ``x`` does.

    Args:
        x: an array.
        name: 'auto', or the name of an engine that must be used.
        precision: of float32 products, 'highest', 'high' or 'medium'; an
            engine may be more exact.

    Raises:
        ValueError: there is no such engine, or it cannot compute such arrays.
    """
    on_cpu = isinstance(x, numpy.ndarray)
    if name not in ('auto', *ENGINES):
        raise _refused(name, 'there is no such engine')
    if name != 'auto' and (name not in ('cupy', 'persistent')) != on_cpu:
        raise _refused(name, f'it cannot compute {type(x).__module__} arrays')
    if not on_cpu:
        from chainer_lstm.kernels import (
            persistent_engine,
        )  # needs CuPy, which CPU users do not have

        return persistent_engine.engine_of(name, precision)
    native = None if name == 'numpy' else _native_engine()
    if native is not None and x.dtype.char in 'efd':
        return native
    if name == 'native' and native is None:
        from chainer_lstm.kernels.native.missing import why_missing  # takes a look at all packages

        raise _refused(name, f'it was {why_missing()}')
    if name == 'native':
        raise _refused(name, f'it computes float16, float32 and float64, not {x.dtype}')
    return _numpy_engine


def _refused(name: str, reason: str) -> ValueError:
    return ValueError(
        f'expected chainer.config.lstm_engine to be one of {("auto", *ENGINES)}, got {name!r}: '
        f'{reason}'
    )


_numpy_engine = Engine()


@functools.cache
def _native_engine() -> Optional[Engine]:
    """With the best instruction set of this processor; None where the library was not built."""
    from chainer_lstm.kernels import native
    from chainer_lstm.kernels.native_engine import NativeEngine  # a subclass of the class above

    sets = native.instruction_sets()
    return NativeEngine(sets[0]) if sets else None
