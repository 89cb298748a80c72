"""One time step of each cell, matrix products included, over any engine.

A ``Step`` says how its outputs and its gradients are computed.  Gradients by
weights are sums over rows, so they are computed from ``rows``, the arrays that
they need of one step or of many, one after the other: that is how a chain of
steps pays for them once.  Other products are made only for gradients that are
wanted.

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
        backward: (engine, saved, inputs, c, gc, gh, wanted) -> gradients by the
            names c, x and h, those of x and h if ``wanted`` has them, and rows by name.
        weights: by name, (engine, rows) -> gradient.
    """

    names: tuple[str, ...]
    forward: Callable[..., tuple[Array, Array, Array]]
    backward: Callable[..., tuple[dict[str, Array], dict[str, Array]]]
    weights: dict[str, Callable[..., Array]]


def _lstm_forward(e, c_prev, x):
    c_wide, x = e.wide(c_prev, x)
    gates, c, h = e.lstm_fwd(x, None, None, c_wide)
    return gates, e.cast(c, c_prev.dtype), e.cast(h, c_prev.dtype)


def _lstm_backward(e, gates, inputs, c, gc, gh, wanted):
    gpre, gc_prev = e.lstm_bwd(gates, *e.wide_like(gates, inputs[0], c, gc, gh))
    return {'c': gc_prev, 'x': gpre}, {}


def _lstm_step_forward(e, c_prev, x, W, b, h=None, U=None):
    dtype = x.dtype
    c_prev, x, W, b, h, U = e.wide(c_prev, x, W, b, h, U)
    gates, c, h = e.lstm_step_fwd(c_prev, x, W, b, h, U)
    return gates, e.cast(c, dtype), e.cast(h, dtype)


def _lstm_step_backward(e, gates, inputs, c, gc, gh, wanted):
    c_prev, x, W, _, h, U = (*inputs, None, None)[:6]
    W, U = (w if name in wanted else None for name, w in (('x', W), ('h', U)))
    gpre, gc_prev, gx, gh_prev = e.lstm_step_bwd(gates, *e.wide_like(gates, c_prev, c, gc, gh, W, U))
    return {'c': gc_prev, 'x': gx, 'h': gh_prev}, {'gpre': gpre, 'x': x, 'h': h}


def _peephole_step_forward(e, c_prev, x, W, b, P_i, P_f, P_o, h=None, U=None):
    dtype = x.dtype
    c_prev, x, W, b, P_i, P_f, P_o, h, U = e.wide(c_prev, x, W, b, P_i, P_f, P_o, h, U)
    gates, c = e.peephole_cell_fwd(
        e.linear(x, W), e.linear(h, U), b, e.linear(c_prev, P_i), e.linear(c_prev, P_f), c_prev)
    gates, h = e.peephole_out_fwd(gates, e.linear(c, P_o), c)
    return gates, e.cast(c, dtype), e.cast(h, dtype)


def _peephole_step_backward(e, gates, inputs, c, gc, gh, wanted):
    c_prev, x, W, _, P_i, P_f, P_o, h, U = (*inputs, None, None)[:9]
    c_prev, c, gc, gh, W, P_i, P_f, P_o, U = e.wide_like(gates, c_prev, c, gc, gh, W, P_i, P_f, P_o, U)
    go, gc = e.peephole_out_bwd(gates, c, gc, gh)
    gc = gc + e.matmul(go, P_o)
    gpre, gc_prev = e.peephole_cell_bwd(gates, c_prev, gc, go)
    gradients = {name: e.matmul(gpre, w) for name, w in (('x', W), ('h', U)) if name in wanted}
    if 'c' in wanted:
        _, gi, gf, _ = e.split(gpre)
        gradients['c'] = gc_prev + e.matmul(gi, P_i) + e.matmul(gf, P_f)
    return gradients, {'gpre': gpre, 'x': x, 'h': h, 'c_prev': c_prev, 'c': c}


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
