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
from typing import Any, NamedTuple

Array = Any


class Step(NamedTuple):
    """A time step.

    Attributes:
        names: of the inputs; the last two, h and U, may be left out.
        forward: (engine, *inputs) -> saved, c, h; of ``PEEPHOLE_CELL`` o in place of h.
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
    gpre, gc_prev, gx, gh_prev = e.lstm_step_bwd(
        gates, *e.wide_like(gates, c_prev, c, gc, gh, W, U)
    )
    return {'c': gc_prev, 'x': gx, 'h': gh_prev}, {'gpre': gpre, 'x': x, 'h': h}


def _peephole_cell_forward(e, c_prev, x, W, b, P_i, P_f, h=None, U=None):
    dtype = x.dtype
    c_prev, x, W, b, P_i, P_f, h, U = e.wide(c_prev, x, W, b, P_i, P_f, h, U)
    gates, c = e.peephole_step_fwd(c_prev, x, W, b, P_i, P_f, h, U)
    return gates, e.cast(c, dtype), e.dense(e.split(gates)[3])


def _peephole_cell_backward(e, gates, inputs, c, gc, go, wanted):
    c_prev, x, W, _, P_i, P_f, h, U = (*inputs, None, None)[:8]
    W, U, P_i, P_f = (
        w if name in wanted else None for name, w in (('x', W), ('h', U), ('c', P_i), ('c', P_f))
    )
    c_prev, gc, go, W, P_i, P_f, U = e.wide_like(gates, c_prev, gc, go, W, P_i, P_f, U)
    gc, go = (e.zeros_like(c_prev) if g is None else g for g in (gc, go))
    gpre, gc_prev, gx, gh_prev = e.peephole_step_bwd(gates, c_prev, gc, go, W, U, P_i, P_f)
    return {'c': gc_prev, 'x': gx, 'h': gh_prev}, {'gpre': gpre, 'x': x, 'h': h, 'c_prev': c_prev}


def peephole_out_forward(e: Any, gates: Array, c: Array, P_o: Array) -> tuple[Array, Array]:
    """Compute the output of a peephole step.

    Args:
        e: the engine.
        gates: (B, 4H) from ``PEEPHOLE_CELL``, o before activation; may be overwritten.
        c: (B, H), the new state of the cell.
        P_o: (H, H).

    Returns:
        The gates with o activated, and h (B, H) in the dtype of c.
    """
    dtype = c.dtype
    c, P_o = e.wide_like(gates, c, P_o)
    gates, h = e.peephole_output_fwd(gates, c, P_o)
    return gates, e.cast(h, dtype)


def peephole_out_backward(
    e: Any, gates: Array, c: Array, gh: Array, P_o: Array
) -> tuple[Array, Array, dict[str, Array]]:
    """Compute the gradients of ``peephole_out_forward``.

    Returns:
        Those with respect to o before activation and to c, both (B, H), and the rows for that of
        P_o.
    """
    c, gh, P_o = e.wide_like(gates, c, gh, P_o)
    go, gc = e.peephole_output_bwd(gates, c, gh, P_o)
    return go, gc, {'go': go, 'c': c}


def _gW(e, rows):
    return e.matmul(rows['gpre'].T, *e.wide_like(rows['gpre'], rows['x']))


def _gU(e, rows):
    return e.matmul(rows['gpre'].T, *e.wide_like(rows['gpre'], rows['h']))


def _gb(e, rows):
    return e.column_sums(rows['gpre'])


def _gP(gate):
    return lambda e, rows: e.matmul(e.split(rows['gpre'])[gate].T, rows['c_prev'])


def gP_o(e: Any, rows: dict[str, Array]) -> Array:
    """Compute the gradient with respect to P_o, of the rows of ``peephole_out_backward``."""
    return e.matmul(rows['go'].T, rows['c'])


_LINEAR = {'W': _gW, 'b': _gb, 'U': _gU}
_PEEPHOLES = {'P_i': _gP(1), 'P_f': _gP(2)}

LSTM = Step(('c', 'x'), _lstm_forward, _lstm_backward, {})
LSTM_STEP = Step(('c', 'x', 'W', 'b', 'h', 'U'), _lstm_step_forward, _lstm_step_backward, _LINEAR)
# the first half of a step, up to the new c:
# its second output is o before activation, in the wide dtype
PEEPHOLE_CELL = Step(
    ('c', 'x', 'W', 'b', 'P_i', 'P_f', 'h', 'U'),
    _peephole_cell_forward,
    _peephole_cell_backward,
    {**_LINEAR, **_PEEPHOLES},
)
