"""LSTMs over many trees at once, level by level, on arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells import tree
from chainer_lstm.kernels import levels, tree_gates
from chainer_lstm.kernels.engines.engine import Engine


class Saved(NamedTuple):
    """The results of forward, which backward needs.

    Attributes:
        levels: the levels, with their indexes on the device of the arrays.
        c, h: the states of all rows, and a row of zeros.
        gates: the activated gates of each level (a, i, o, f); f of edges, None for leaves.
        t: (N, H), tanh(c) of the nodes.
    """

    levels: Sequence[levels.Level]
    c: Array
    h: Array
    gates: Sequence[Any]
    t: Array


def forward(
    e: Engine,
    kind: levels.Kind,
    of: levels.Plan,
    x: Array,
    weights: Sequence[Array],
    cs: Sequence[Array],
    hs: Sequence[Array],
) -> Saved:
    """Compute the states of all nodes.

    Args:
        e: the engine.
        kind: the equations.
        of: the levels.
        x: (N, blocks H), the products of the input, in the order of the levels.
        weights: the weights of the kind.
        cs, hs: the given states, arrays (B, H).
    """
    units = x.shape[1] // kind.blocks
    c, h = (_buffer(e.xp, x, units, of.given, states) for states in (cs, hs))
    t = e.xp.empty((len(x), units), x.dtype)
    on_device = [level.on(e.xp) for level in of.levels]
    linear = functools.partial(_linear, e)
    saved = []
    for level in on_device:
        of_x, f = x[level.rows()], None
        c_children: Sequence[Array] = ()
        if level.children is None:
            aio = of_x[:, : 3 * units].copy()
        else:
            c_children = level.each(c[level.children])
            h_children = h[level.children]
            aio, f = kind.join(linear, weights, of_x, h_children, level.total, level.spread)
        gates = _gates(level, _blocks(aio, units), f)
        sigmoids = [aio[:, units:], *([] if f is None else [f])]
        new = level.rows(of.given)
        c[new], t[level.rows()], h[new] = tree_gates.forward(
            e.xp, gates, aio[:, :units], sigmoids, c_children
        )
        saved.append(gates)
    return Saved(on_device, c, h, saved, t)


def _blocks(x: Array, units: int) -> list[Array]:
    """Return the columns of a, i, o."""
    return [x[:, k * units : (k + 1) * units] for k in range(3)]


def _gates(level: levels.Level, aio: Sequence[Array], f: Optional[Array]) -> tree.Gates:
    a, i, o = aio
    return tree.Gates([a], [i], o, [] if f is None else level.each(f))


def _buffer(xp: Any, x: Array, units: int, given: int, states: Sequence[Array]) -> Array:
    """Return the given rows of states, uninitialized rows for the nodes, and a row of zeros."""
    found = xp.empty((given + len(x) + 1, units), x.dtype)
    found[-1] = 0
    for k, state in enumerate(states):
        found[k * len(state) : (k + 1) * len(state)] = state
    return found


def backward(
    e: Engine, kind: levels.Kind, saved: Saved, weights: Sequence[Array], gc: Array, gh: Array
) -> tuple[Array, Sequence[Optional[Array]]]:
    """Compute the gradients.

    Args:
        e, kind, weights: as in ``forward``.
        saved: the result of ``forward``.
        gc, gh: of the shape of the states, with the gradients of nodes, otherwise zeros; the
            gradients of children are added to them.

    Returns:
        The gradients with respect to x and the weights.
    """
    nodes, units = saved.t.shape
    given = len(gc) - 1 - nodes
    gx = e.xp.empty((nodes, kind.blocks * units), gc.dtype)
    found: list[Any] = []
    for level, gates in zip(reversed(saved.levels), reversed(saved.gates)):
        of_x, new = gx[level.rows()], level.rows(given)
        of_new = saved.t[level.rows()], gc[new], gh[new]
        aio = _blocks(of_x, units)
        if level.children is None:
            of_x[:, 3 * units :] = 0
            tree_gates.backward(e.xp, gates, [], *of_new, _gates(level, aio, None), [])
            continue
        c_children, h_children = saved.c[level.children], saved.h[level.children]
        gf, gc_children = kind.room(e.xp, of_x, c_children), e.xp.empty_like(c_children)
        room, cs, gcs = _gates(level, aio, gf), level.each(c_children), level.each(gc_children)
        tree_gates.backward(e.xp, gates, cs, *of_new, room, gcs)
        gc[level.children] += gc_children
        factors = kind.factors(of_x, gf, h_children, level.total)
        products = [_matmul(e, g, U) for (g, _), U in zip(factors, weights)]
        _add(gh, level.children, kind.of_children(products, level.spread))
        found.append(factors)
    return gx, _weight_gradients(e, weights, found)


def _add(gradients: Array, children: Any, of_children: Any) -> None:
    """Add the gradients of children, an array or one array for each child of a node.

    A node is the child of at most one other: only the row of zeros can occur twice.
    """
    if isinstance(of_children, list):
        for rows, gradient in zip(children, of_children):
            gradients[rows] += gradient
    else:
        gradients[children] += of_children


def _weight_gradients(
    e: Engine, weights: Sequence[Array], found: Sequence[Any]
) -> Sequence[Optional[Array]]:
    """Return the gradients of the weights, one product each for all levels; None without edges."""
    if not found:
        return [None] * len(weights)
    gradients = []
    for of_levels in zip(*found):
        left, right = (_joined(e.xp, [_rows(pair[k]) for pair in of_levels]) for k in (0, 1))
        gradients.append(e.matmul(left.T, right))
    return gradients


def _joined(xp: Any, rows: Sequence[Array]) -> Array:
    return rows[0] if len(rows) == 1 else xp.concatenate(rows)


def _rows(x: Array) -> Array:
    """Return (…, H) as (P, H)."""
    return x if x.ndim == 2 else x.reshape((x.shape[0] * x.shape[1], x.shape[2]))


def _linear(e: Engine, x: Array, W: Array) -> Array:
    return e.linear(_rows(x), W).reshape((*x.shape[:-1], len(W)))


def _matmul(e: Engine, x: Array, W: Array) -> Array:
    return e.matmul(_rows(x), W).reshape((*x.shape[:-1], W.shape[1]))
