"""One time step of each cell, matrix products included, over any engine.

A ``Step`` says how its outputs and its gradients are computed.  Gradients by
weights are sums over rows, so they are computed from ``rows``, the arrays that
they need of one step or of many, one after the other: that is how a chain of
steps pays for them once.  Other gradients are functions that compute them when
called, so nobody pays for one that is not wanted.

Shapes: x (B, I), c_prev and h (B, H), W (4H, I), b (4H,), U (4H, H), P_i, P_f, P_o (H, H).
c_prev has as many rows as x here.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

Array = Any


class Step(NamedTuple):
    """A time step.

    Attributes:
        names: of the inputs; the last two, h and U, may be left out.
        forward: (engine, *inputs) -> saved, c, h.
        backward: (engine, saved, inputs, c, gc, gh) -> gradient functions by
            the names c, x and h, and rows by name.
        weights: by name, (engine, rows) -> gradient.
    """

    names: tuple[str, ...]
    forward: Callable[..., tuple[Array, Array, Array]]
    backward: Callable[..., tuple[dict[str, Callable[[], Array]], dict[str, Array]]]
    weights: dict[str, Callable[..., Array]]


def _lstm_forward(e, c_prev, x):
    c_wide, x = e.wide(c_prev, x)
    gates, c, h = e.lstm_fwd(x, None, None, c_wide)
    return gates, e.cast(c, c_prev.dtype), e.cast(h, c_prev.dtype)


def _lstm_backward(e, gates, inputs, c, gc, gh):
    gpre, gc_prev = e.lstm_bwd(gates, *e.wide_like(gates, inputs[0], c, gc, gh))
    return {'c': lambda: gc_prev, 'x': lambda: gpre}, {}


def _lstm_step_forward(e, c_prev, x, W, b, h=None, U=None):
    dtype = x.dtype
    c_prev, x, W, b, h, U = e.wide(c_prev, x, W, b, h, U)
    gates, c, h = e.lstm_step_fwd(c_prev, x, W, b, h, U)
    return gates, e.cast(c, dtype), e.cast(h, dtype)


def _lstm_step_backward(e, gates, inputs, c, gc, gh):
    c_prev, c, gc, gh = e.wide_like(gates, inputs[0], c, gc, gh)
    gpre, gc_prev = e.lstm_bwd(gates, c_prev, c, gc, gh)
    gradients, rows = _linear_backward(e, gpre, *inputs[1:])
    return {'c': lambda: gc_prev, **gradients}, rows


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
    gc = gc + e.matmul(go, P_o)
    gpre, gc_prev = e.peephole_cell_bwd(gates, c_prev, gc, go)
    _, gi, gf, _ = e.split(gpre)
    gradients, rows = _linear_backward(e, gpre, x, W, b, *lateral)
    gradients['c'] = lambda: gc_prev + e.matmul(gi, P_i) + e.matmul(gf, P_f)
    return gradients, {**rows, 'c_prev': c_prev, 'c': c}


def _linear_backward(e, gpre, x, W, b, h=None, U=None):
    """Gradients of pre = x Wᵀ + b + h Uᵀ by x and h, and the rows for those by the weights."""
    gradients = {'x': lambda: e.matmul(gpre, *e.wide_like(gpre, W)),
                 'h': lambda: e.matmul(gpre, *e.wide_like(gpre, U))}
    return gradients, {'gpre': gpre, 'x': x, 'h': h}


def _gW(e, rows):
    return e.matmul(rows['gpre'].T, *e.wide_like(rows['gpre'], rows['x']))


def _gU(e, rows):
    return e.matmul(rows['gpre'].T, *e.wide_like(rows['gpre'], rows['h']))


def _gb(e, rows):
    return e.column_sums(rows['gpre'])


def _gP(gate, cell):
    return lambda e, rows: e.matmul(e.split(rows['gpre'])[gate].T, rows[cell])


_LINEAR = {'W': _gW, 'b': _gb, 'U': _gU}
_PEEPHOLES = {'P_i': _gP(1, 'c_prev'), 'P_f': _gP(2, 'c_prev'), 'P_o': _gP(3, 'c')}

LSTM = Step(('c', 'x'), _lstm_forward, _lstm_backward, {})
LSTM_STEP = Step(('c', 'x', 'W', 'b', 'h', 'U'), _lstm_step_forward, _lstm_step_backward, _LINEAR)
PEEPHOLE_STEP = Step(('c', 'x', 'W', 'b', 'P_i', 'P_f', 'P_o', 'h', 'U'),
                     _peephole_step_forward, _peephole_step_backward, {**_LINEAR, **_PEEPHOLES})
