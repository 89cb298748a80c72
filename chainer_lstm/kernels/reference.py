"""The cells' maths, readable: the definition of right for every engine.

``xp`` is whatever has ``tanh``, ``reshape`` and ``stack``: ``numpy``, ``cupy``,
or ``chainer.functions``, and with the latter the same lines are differentiable.

Gates are interleaved: gate g of unit u is column 4u + g, in the order a (cell
input), i, f, o.  ``gates`` are activated, ``pre`` and ``gpre`` belong to the
values before activation; all three are (B, 4H), everything else is (B, H).
A gradient that is not given may be the number 0.
"""

from __future__ import annotations

from typing import Any

Array = Any


def sigmoid(xp: Any, x: Array) -> Array:
    """The logistic function in the form Chainer computes it, which cannot overflow."""
    return xp.tanh(x * 0.5) * 0.5 + 0.5


def split(xp: Any, x: Array) -> tuple[Array, ...]:
    """(B, 4H) -> a, i, f, o, each (B, H)."""
    x = xp.reshape(x, (x.shape[0], x.shape[1] // 4, 4))
    return tuple(x[:, :, g] for g in range(4))


def join(xp: Any, gates: tuple[Array, ...]) -> Array:
    """a, i, f, o, each (B, H) -> (B, 4H)."""
    batch, units = gates[0].shape
    return xp.reshape(xp.stack(gates, axis=2), (batch, 4 * units))


def lstm_fwd(xp: Any, pre: Array, c_prev: Array) -> tuple[Array, Array, Array]:
    """-> gates, c, h.  Gers, Schmidhuber and Cummins 2000, eq. 1-6."""
    a, i, f, o = split(xp, pre)
    a, i, f, o = xp.tanh(a), sigmoid(xp, i), sigmoid(xp, f), sigmoid(xp, o)
    c = a * i + f * c_prev
    return join(xp, (a, i, f, o)), c, o * xp.tanh(c)


def lstm_bwd(
    xp: Any, gates: Array, c_prev: Array, c: Array, gc: Array, gh: Array
) -> tuple[Array, Array]:
    """-> gpre, gc_prev."""
    o = split(xp, gates)[3]
    t = xp.tanh(c)
    return _cell_bwd(xp, gates, c_prev, gc + gh * o * (1 - t * t), gh * t * o * (1 - o))


def peephole_cell_fwd(
    xp: Any, pre: Array, pi: Array, pf: Array, c_prev: Array
) -> tuple[Array, Array]:
    """pi = P_i c_prev, pf = P_f c_prev -> gates with o before activation, c.
    Gers and Schmidhuber 2000, eq. 1-5.
    """
    a, i, f, o = split(xp, pre)
    a, i, f = xp.tanh(a), sigmoid(xp, i + pi), sigmoid(xp, f + pf)
    return join(xp, (a, i, f, o)), a * i + f * c_prev


def peephole_out_fwd(xp: Any, gates: Array, po: Array, c: Array) -> tuple[Array, Array]:
    """po = P_o c -> gates with o activated, h."""
    a, i, f, o = split(xp, gates)
    o = sigmoid(xp, o + po)
    return join(xp, (a, i, f, o)), o * xp.tanh(c)


def peephole_out_bwd(xp: Any, gates: Array, c: Array, gc: Array, gh: Array) -> tuple[Array, Array]:
    """-> go of o before activation, gc with the part that comes through h,
    without the part through P_o.
    """
    o = split(xp, gates)[3]
    t = xp.tanh(c)
    return gh * t * o * (1 - o), gc + gh * o * (1 - t * t)


def peephole_cell_bwd(
    xp: Any, gates: Array, c_prev: Array, gc: Array, go: Array
) -> tuple[Array, Array]:
    """-> gpre, gc_prev without the parts through P_i and P_f."""
    return _cell_bwd(xp, gates, c_prev, gc, go)


def _cell_bwd(xp: Any, gates: Array, c_prev: Array, gc: Array, go: Array) -> tuple[Array, Array]:
    a, i, f, _ = split(xp, gates)
    ga = gc * i * (1 - a * a)
    gi = gc * a * i * (1 - i)
    gf = gc * c_prev * f * (1 - f)
    return join(xp, (ga, gi, gf, go)), gc * f
