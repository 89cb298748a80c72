"""One layer in one direction over whole sequences, over any engine.

The product of the input is made for all steps at once (by the native engine
for a few at a time), then the recurrence runs with one small product a step,
and the gradients of the weights are one product each.  ``recur_forward`` and
``recur_backward`` are the recurrence as a loop over an engine's steps, for
engines that have nothing better.  ``pre``, gates and ``gpre`` share one
buffer, in the engine's order of gates.

With I inputs, H units, P packed rows of B sequences: x (P, I), W (4H, I), b (4H,), U (4H, H),
peepholes (H, H), h0 and c0 (B, H).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from chainer_lstm.kernels import layout
from chainer_lstm.kernels.packing import Rows

Array = Any


class Weights(NamedTuple):
    """W, b, U with rows in an order of gates, and the peepholes P_i, P_f, P_o if there are any."""

    W: Array
    b: Array
    U: Array
    peepholes: tuple[Array, ...]
    order: str


class Saved(NamedTuple):
    """What backward needs; it consumes the gates."""

    x: Array
    gates: Array
    h: Array  # buffers, see Rows
    c: Array


def forward(
    e: Any, x: Array, weights: Weights, h0: Array, c0: Array, rows: Rows
) -> tuple[Array, Saved]:
    """-> h (P, H), saved; states at the ends by ``rows.last(xp, saved.h)``."""
    return forward_all(e, [(x, weights, h0, c0, rows)])[0]


def forward_all(e: Any, inputs: Sequence[tuple], keep: bool = True) -> list[tuple[Array, Saved]]:
    """``forward`` of independent sequences, such as both directions of a layer,
    which an engine may run together.

    What is saved serves ``backward`` only with ``keep``.
    """
    jobs = [
        (x, weights, *(rows.buffer(e.xp, state)[0] for state in (h0, c0)), rows)
        for x, weights, h0, c0, rows in inputs
    ]
    return [
        (rows.inner(h), Saved(x, gates, h, c))
        for (x, _, h, c, rows), gates in zip(jobs, e.forward_all(jobs, keep))
    ]


def recur_forward(
    e: Any, pre: Array, weights: Weights, h_buffer: Array, c_buffer: Array, rows: Rows
) -> None:
    """pre (P, 4H) becomes gates, the rows of the buffers are written after the initial states
    in them.
    """
    xp = e.xp
    h, c = rows.inner(h_buffer), rows.inner(c_buffer)
    room = xp.empty((rows.batch, pre.shape[1]), pre.dtype)
    for k, (start, n) in enumerate(rows.steps):
        now = slice(start, start + n)
        hu = e.recur(rows.previous(xp, h_buffer, k), weights.U, room)
        c_prev = rows.previous(xp, c_buffer, k)
        if weights.peepholes:
            P_i, P_f, P_o = weights.peepholes
            e.peephole_cell_fwd_(
                pre[now],
                hu,
                e.matmul(c_prev, P_i.T),
                e.matmul(c_prev, P_f.T),
                c_prev,
                c[now],
                h[now],
                weights.order,
            )
            e.peephole_out_fwd_(pre[now], e.matmul(c[now], P_o.T), c[now], h[now], weights.order)
        else:
            e.lstm_fwd_(pre[now], hu, c_prev, c[now], h[now], weights.order)


def recur_backward(
    e: Any, saved: Saved, weights: Weights, rows: Rows, gh: Array, gh_last: Array, gc_last: Array
) -> tuple[Array, Array, Array]:
    """gh (P, H) or None, gh_last and gc_last (B, H), overwritten
    -> gh0, gc0 (B, H), gpre (P, 4H) over the gates.
    """
    xp = e.xp
    c = rows.inner(saved.c)
    gh_now, gc = gh_last, gc_last
    work = xp.empty((2, rows.batch, c.shape[1]), c.dtype)
    for k in reversed(range(len(rows.steps))):
        start, n = rows.steps[k]
        now = slice(start, start + n)
        gates, c_prev = saved.gates[now], rows.previous(xp, saved.c, k)
        if gh is not None:
            gh_now[:n] += gh[now]
        if weights.peepholes:
            P_i, P_f, P_o = weights.peepholes
            go = e.peephole_out_bwd_(gates, c[now], gc[:n], gh_now[:n], work[:, :n], weights.order)
            gc[:n] += e.matmul(go, P_o)
            e.peephole_cell_bwd_(gates, c_prev, gc[:n], go, work[:, :n], weights.order)
            _, gi, gf, _ = layout.gates(gates, weights.order)
            gc[:n] += e.matmul(gi, P_i)
            gc[:n] += e.matmul(gf, P_f)
        else:
            e.lstm_bwd_(gates, c_prev, c[now], gc[:n], gh_now[:n], work[:, :n], weights.order)
        e.matmul(gates, weights.U, gh_now[:n])
    return gh_now, gc, saved.gates


def weight_gradients(e: Any, saved: Saved, gpre: Array, weights: Weights, rows: Rows) -> Weights:
    """Gradients of the weights from gpre of all rows."""
    xp = e.xp
    peepholes: tuple[Array, ...] = ()
    if weights.peepholes:
        _, gi, gf, go = layout.gates(gpre, weights.order)
        c_prev = rows.all_previous(xp, saved.c)
        c = rows.inner(saved.c)
        peepholes = (e.matmul(gi.T, c_prev), e.matmul(gf.T, c_prev), e.matmul(go.T, c))
    return Weights(
        e.matmul(gpre.T, saved.x),
        e.column_sums(gpre),
        e.matmul(gpre.T, rows.all_previous(xp, saved.h)),
        peepholes,
        weights.order,
    )
