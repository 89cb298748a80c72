"""LSTMs over many trees at once, level by level: the leaves, the nodes all of whose children are
leaves, and so on.  Arrays in, arrays out.

Nodes are sorted by their level, in a level those with most children first: the children in the
first place of a level are then those of its first rows, and so on, as time steps of a packed
sequence.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import tree
from chainer_lstm.kernels import tree_gates
from chainer_lstm.kernels.engines.engine import Engine

Kind = Union[tree.ChildSum, tree.Nary]


class Level(NamedTuple):
    """Nodes whose children are computed already.

    Attributes:
        start, stop: the rows of the nodes.
        children: the rows of their children's states, None for leaves: (K, n) where each node has
            K, otherwise (E,), the first children of all nodes before the second ones.
        counts: how many nodes have a k-th child; they are the first ones.
        parents: the node of each edge, counted from ``start``; None where each node has K.
    """

    start: int
    stop: int
    children: Any = None
    counts: Sequence[int] = ()
    parents: Any = None

    def total(self, x: Any) -> Any:
        """Return the sums over the children of each node: (E, H) or (K, n, H) -> (n, H)."""
        if x.ndim == 3:
            return x.sum(axis=0)
        first, *others = self.counts
        found = x[:first].copy()
        end = first
        for count in others:
            found[:count] += x[end : end + count]
            end += count
        return found

    def spread(self, x: Array) -> Array:
        """Return the rows of the parents for each child: (n, H) -> (E, H), or an array that
        broadcasts to (K, n, H).
        """
        return x if self.parents is None else x[self.parents]

    def each(self, x: Array) -> Sequence[Array]:
        """Return the rows of the first children of nodes, of the second ones, and so on."""
        if self.parents is None:
            return list(x)
        stops = numpy.cumsum(self.counts).tolist()
        return [x[start:stop] for start, stop in itertools.pairwise([0, *stops])]

    def on(self, xp: Any) -> Level:
        """Return the level with its indexes as arrays of a module."""
        children, parents = self.children, self.parents
        return self._replace(
            children=None if children is None else xp.asarray(children),
            parents=None if parents is None else xp.asarray(parents),
        )


class Plan(NamedTuple):
    """The levels of a batch of trees.

    Attributes:
        order: the node of each row, (N,); None where rows are as given.
        levels: the levels.
        given: the number of rows of states that are given, which come before those of nodes.
    """

    order: Optional[Any]
    levels: Sequence[Level]
    given: int


def single(children: int, batch: int) -> Plan:
    """Return the plan of one node of each of a batch of trees, whose children's states are given,
    the first children of all before the second ones.
    """
    given = children * batch
    rows = numpy.arange(given).reshape(children, batch) if children else None
    return Plan(None, [Level(0, batch, rows)], given)


def plan(children: Any, nodes: int, kind: Kind) -> Plan:
    """Return the levels of trees.

    Args:
        children: for each node the numbers of its children: lists, or an array (N, K) with -1 where
            there is none.
        nodes: N.
        kind: the equations.

    Raises:
        TypeError: no such lists or array, or not of integers.
        ValueError: another number of nodes, a number out of range, too many children, a node with
            two parents, or a cycle.
    """
    n_ary = kind.n_ary if isinstance(kind, tree.Nary) else None
    parents, slots, kids = _edges(children, nodes, n_ary)
    height = _heights(parents, kids, nodes)
    counts = numpy.bincount(parents, minlength=nodes)
    order = numpy.lexsort((-counts, height))
    row = numpy.empty(nodes, int)
    row[order] = numpy.arange(nodes)
    stops = numpy.cumsum(numpy.bincount(height)).tolist() if nodes else []
    bounds = list(itertools.pairwise([0, *stops]))
    if n_ary is not None:
        table = numpy.full((nodes, n_ary), nodes)  # the row of zeros after all states
        table[row[parents], slots] = row[kids]
        inner = [Level(*rows, table[slice(*rows)].T) for rows in bounds[1:]]
    else:
        inner = _ragged(bounds, height[parents], slots, row[parents], row[kids])
    return Plan(order, [*(Level(*rows) for rows in bounds[:1]), *inner], 0)


def _ragged(
    bounds: Sequence[tuple[int, int]], height: Any, slots: Any, parents: Any, kids: Any
) -> list[Level]:
    """Return the levels above the leaves, of edges: the level of the parent, the place among its
    children, and the rows of both.
    """
    order = numpy.lexsort((parents, slots, height))
    slots, parents, kids = slots[order], parents[order], kids[order]
    ends = numpy.cumsum(numpy.bincount(height, minlength=len(bounds))).tolist()
    found = []
    for (start, stop), edges in zip(bounds[1:], itertools.pairwise(ends)):
        rows = kids[slice(*edges)]
        counts = numpy.bincount(slots[slice(*edges)]).tolist()
        if counts[-1] == stop - start:
            found.append(Level(start, stop, rows.reshape(len(counts), stop - start)))
        else:
            found.append(Level(start, stop, rows, counts, parents[slice(*edges)] - start))
    return found


def _edges(children: Any, nodes: int, n_ary: Optional[int]) -> tuple[Any, Any, Any]:
    """Return the parent, the place among its children, and the child of each edge, checked."""
    if isinstance(children, numpy.ndarray):
        if children.ndim != 2 or n_ary not in (None, children.shape[1]):
            columns = 'K' if n_ary is None else n_ary
            raise ValueError(f'expected children of shape (N, {columns}), got {children.shape}')
        lengths = numpy.full(len(children), children.shape[1])
        kids = children.ravel()
    else:
        lengths, kids = _flat(children)
    if kids.size and kids.dtype.kind not in 'iu':
        raise TypeError(f'expected children to be node numbers, integers, got {kids.dtype}')
    if len(lengths) != nodes:
        raise ValueError(f'expected children of {nodes} nodes, as x has rows, got {len(lengths)}')
    parents = numpy.repeat(numpy.arange(nodes), lengths)
    slots = numpy.arange(len(kids)) - numpy.repeat(numpy.cumsum(lengths) - lengths, lengths)
    _refuse(
        (kids < -1) | (kids >= nodes), parents, f'node numbers below {nodes}, or -1 for none', kids
    )
    there = kids >= 0
    there = kids >= 0
    if n_ary is None:
        parents, kids = parents[there], kids[there]
        slots = numpy.arange(len(kids)) - numpy.searchsorted(parents, parents)
    else:
        _refuse(slots >= n_ary, parents, f'at most {n_ary} children', lengths[parents])
        parents, slots, kids = parents[there], slots[there], kids[there]
    kids = kids.astype(int)
    twice = numpy.flatnonzero(numpy.bincount(kids, minlength=nodes) > 1)
    if twice.size:
        of = parents[kids == twice[0]][:2].tolist()
        raise ValueError(
            f'expected one parent of each node, got node {twice[0]} as a child of nodes '
            f'{of[0]} and {of[1]}'
        )
    return parents, slots, kids


def _flat(children: Any) -> tuple[Any, Any]:
    """Return the number of entries of each of many lists, and all entries; None becomes -1."""
    if not isinstance(children, (list, tuple)):
        raise TypeError(
            'expected children to be a list with a list of node numbers for each node, or an '
            f'integer array (N, K), got {type(children).__name__}'
        )
    for node, row in enumerate(children):
        if not isinstance(row, (list, tuple, numpy.ndarray)):
            raise TypeError(
                f'children[{node}]: expected a list of node numbers, got {type(row).__name__}'
            )
    lengths = numpy.array([len(row) for row in children], int)
    entries = [-1 if kid is None else kid for row in children for kid in row]
    kids = numpy.array(entries) if entries else numpy.zeros(0, int)
    if kids.ndim != 1:
        raise TypeError('expected children to be node numbers, got arrays of other shapes')
    return lengths, kids


def _refuse(wrong: Any, parents: Any, expected: str, got: Any) -> None:
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(f'children[{parents[k]}]: expected {expected}, got {got[k]}')


def _heights(parents: Any, kids: Any, nodes: int) -> Any:
    """Return the level of each node: 0 for leaves, otherwise above all of its children."""
    parent = numpy.full(nodes, -1)
    parent[kids] = parents
    waits = numpy.bincount(parents, minlength=nodes)  # for so many children
    height = numpy.full(nodes, -1)
    now = numpy.flatnonzero(waits == 0)
    for level in itertools.count():
        if not now.size:
            break
        height[now] = level
        above = parent[now]
        above = above[above >= 0]
        numpy.subtract.at(waits, above, 1)
        now = numpy.unique(above[waits[above] == 0])
    if nodes and height.min() < 0:
        raise ValueError(f'expected trees, got a cycle through node {int(height.argmin())}')
    return height


class Saved(NamedTuple):
    """What backward needs.

    Attributes:
        levels: the levels, their indexes where the arrays are.
        c, h: the states of all rows, and a row of zeros.
        gates: of each level (a, i, o, f), activated; f of edges, None of leaves.
        t: (N, H), tanh(c) of the nodes.
    """

    levels: Sequence[Level]
    c: Array
    h: Array
    gates: Sequence[Any]
    t: Array


def forward(
    e: Engine,
    kind: Kind,
    of: Plan,
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
        weights: those of the kind.
        cs, hs: the states that are given, arrays (B, H).
    """
    units = x.shape[1] // kind.blocks
    c, h = (_buffer(e.xp, x, units, of.given, states) for states in (cs, hs))
    t = e.xp.empty((len(x), units), x.dtype)
    levels = [level.on(e.xp) for level in of.levels]
    saved = []
    for level in levels:
        now, f = x[level.start : level.stop], None
        c_children: Sequence[Array] = ()
        if level.children is None:
            aio = now[:, : 3 * units].copy()
        else:
            c_children = level.each(c[level.children])
            aio, f = kind.join(
                functools.partial(_linear, e),
                weights,
                now,
                h[level.children],
                level.total,
                level.spread,
            )
        new = slice(of.given + level.start, of.given + level.stop)
        gates = _gates(level, _blocks(aio, units), f)
        sigmoids = [aio[:, units:], *([] if f is None else [f])]
        c[new], t[level.start : level.stop], h[new] = tree_gates.forward(
            e.xp, gates, aio[:, :units], sigmoids, c_children
        )
        saved.append(gates)
    return Saved(levels, c, h, saved, t)


def _blocks(x: Array, units: int) -> list[Array]:
    """Return the columns of a, i, o."""
    return [x[:, k * units : (k + 1) * units] for k in range(3)]


def _gates(level: Level, aio: Sequence[Array], f: Optional[Array]) -> tree.Gates:
    a, i, o = aio
    return tree.Gates([a], [i], o, [] if f is None else level.each(f))


def _buffer(xp: Any, x: Array, units: int, given: int, states: Sequence[Array]) -> Array:
    """Return the rows of states that are given, those of nodes, uninitialized, and one of zeros."""
    found = xp.empty((given + len(x) + 1, units), x.dtype)
    found[-1] = 0
    for k, state in enumerate(states):
        found[k * len(state) : (k + 1) * len(state)] = state
    return found


def backward(
    e: Engine, kind: Kind, saved: Saved, weights: Sequence[Array], gc: Array, gh: Array
) -> tuple[Array, Sequence[Optional[Array]]]:
    """Compute the gradients.

    Args:
        e, kind, weights: as in ``forward``.
        saved: what it returned.
        gc, gh: of the shape of the states, with the gradients of nodes, otherwise zeros; those of
            children are added.

    Returns:
        The gradients with respect to x and the weights.
    """
    nodes, units = saved.t.shape
    given = len(gc) - 1 - nodes
    gx = e.xp.empty((nodes, kind.blocks * units), gc.dtype)
    found: list[Any] = []
    for level, gates in zip(reversed(saved.levels), reversed(saved.gates)):
        now, new = gx[level.start : level.stop], slice(given + level.start, given + level.stop)
        of_new = saved.t[level.start : level.stop], gc[new], gh[new]
        aio = _blocks(now, units)
        if level.children is None:
            now[:, 3 * units :] = 0
            tree_gates.backward(e.xp, gates, [], *of_new, _gates(level, aio, None), [])
            continue
        c_children, h_children = saved.c[level.children], saved.h[level.children]
        gf, gc_children = kind.room(e.xp, now, c_children), e.xp.empty_like(c_children)
        room, cs, gcs = _gates(level, aio, gf), level.each(c_children), level.each(gc_children)
        tree_gates.backward(e.xp, gates, cs, *of_new, room, gcs)
        gc[level.children] += gc_children
        factors = kind.factors(now, gf, h_children, level.total)
        products = [_matmul(e, g, U) for (g, _), U in zip(factors, weights)]
        _add(gh, level.children, kind.of_children(products, level.spread))
        found.append(factors)
    return gx, _weight_gradients(e, weights, found)


def _add(gradients: Array, children: Any, of_children: Any) -> None:
    """Add the gradients of children, an array or one array for each child of a node.

    A node is the child of one other: no row but that of zeros is twice among them.
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
    """(…, H) -> (P, H)."""
    return x if x.ndim == 2 else x.reshape((x.shape[0] * x.shape[1], x.shape[2]))


def _linear(e: Engine, x: Array, W: Array) -> Array:
    return e.linear(_rows(x), W).reshape((*x.shape[:-1], len(W)))


def _matmul(e: Engine, x: Array, W: Array) -> Array:
    return e.matmul(_rows(x), W).reshape((*x.shape[:-1], W.shape[1]))
