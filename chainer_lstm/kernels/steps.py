"""One time step of each cell, matrix products included, over any engine.

A ``Step`` is a pair of functions.  Its inputs start with ``c_prev`` and ``x``;
``forward(engine, c_prev, x, ...) -> saved, c, h`` and
``backward(engine, saved, inputs, c, gc, gh) -> one function per input``, which
computes that input's gradient when called, so nobody pays for a gradient that
is not wanted.  ``c_prev`` has as many rows as ``x`` here.

Shapes: x (B, I), c_prev and h (B, H), W (4H, I), b (4H,), U (4H, H), P_i, P_f, P_o (H, H).
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

Array = Any
Gradient = Callable[[], Array]


class Step(NamedTuple):
    """The forward and backward functions of one time step."""

    forward: Callable[..., tuple[Array, Array, Array]]
    backward: Callable[..., list[Gradient]]


def _lstm_forward(e, c_prev, x):
    c_wide, x = e.wide(c_prev, x)
    gates, c, h = e.lstm_fwd(x, None, None, c_wide)
    return gates, e.cast(c, c_prev.dtype), e.cast(h, c_prev.dtype)


def _lstm_backward(e, gates, inputs, c, gc, gh):
    c_prev, _ = inputs
    gpre, gc_prev = e.lstm_bwd(gates, *e.wide_like(gates, c_prev, c, gc, gh))
    return [lambda: gc_prev, lambda: gpre]


def _lstm_step_forward(e, c_prev, x, W, b, h=None, U=None):
    dtype = x.dtype
    c_prev, x, W, b, h, U = e.wide(c_prev, x, W, b, h, U)
    gates, c, h = e.lstm_fwd(e.linear(x, W), e.linear(h, U), b, c_prev)
    return gates, e.cast(c, dtype), e.cast(h, dtype)


def _lstm_step_backward(e, gates, inputs, c, gc, gh):
    c_prev, c, gc, gh = e.wide_like(gates, inputs[0], c, gc, gh)
    gpre, gc_prev = e.lstm_bwd(gates, c_prev, c, gc, gh)
    return [lambda: gc_prev, *_linear_backward(e, gpre, *inputs[1:])]


def _peephole_step_forward(e, c_prev, x, W, b, P_i, P_f, P_o, h=None, U=None):
    dtype = x.dtype
    c_prev, x, W, b, P_i, P_f, P_o, h, U = e.wide(c_prev, x, W, b, P_i, P_f, P_o, h, U)
    gates, c = e.peephole_cell_fwd(
        e.linear(x, W), e.linear(h, U), b, e.linear(c_prev, P_i), e.linear(c_prev, P_f), c_prev)
    gates, h = e.peephole_out_fwd(gates, e.linear(c, P_o), c)
    return gates, e.cast(c, dtype), e.cast(h, dtype)


def _peephole_step_backward(e, gates, inputs, c, gc, gh):
    c_prev, x, W, b, P_i, P_f, P_o, *lateral = inputs
    c_prev, c, gc, gh, P_i, P_f, P_o = e.wide_like(gates, c_prev, c, gc, gh, P_i, P_f, P_o)
    go, gc = e.peephole_out_bwd(gates, c, gc, gh)
    gc = gc + e.xp.matmul(go, P_o)
    gpre, gc_prev = e.peephole_cell_bwd(gates, c_prev, gc, go)
    _, gi, gf, _ = e.split(gpre)
    gx, gW, gb, *glateral = _linear_backward(e, gpre, x, W, b, *lateral)
    return [
        lambda: gc_prev + e.xp.matmul(gi, P_i) + e.xp.matmul(gf, P_f),
        gx, gW, gb,
        lambda: e.xp.matmul(gi.T, c_prev),
        lambda: e.xp.matmul(gf.T, c_prev),
        lambda: e.xp.matmul(go.T, c),
        *glateral]


def _linear_backward(e, gpre, x, W, b, h=None, U=None):
    """Gradients of pre = x Wᵀ + b + h Uᵀ by x, W, b and, where given, h and U."""
    def product(a, b):
        return lambda: e.xp.matmul(*e.wide_like(gpre, a, b))

    gradients = [product(gpre, W), product(gpre.T, x), lambda: e.xp.sum(gpre, axis=0)]
    if h is not None:
        gradients += [product(gpre, U), product(gpre.T, h)]
    return gradients


LSTM = Step(_lstm_forward, _lstm_backward)
LSTM_STEP = Step(_lstm_step_forward, _lstm_step_backward)
PEEPHOLE_STEP = Step(_peephole_step_forward, _peephole_step_backward)
