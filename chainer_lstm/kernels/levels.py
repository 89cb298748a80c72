"""The levels of many trees: the leaves, the nodes all of whose children are leaves, and so on.

Nodes are sorted by their level, in a level those with most children first: the children in the
first place of a level are then those of its first rows, and so on, as time steps of a packed
sequence.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import tree

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

    def rows(self, first: int = 0) -> slice:
        """Return the rows of the nodes in an array where those of all nodes begin at ``first``."""
        return slice(first + self.start, first + self.stop)

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
    lengths, kids = _flat(children, n_ary)
    if kids.size and kids.dtype.kind not in 'iu':
        raise TypeError(f'expected children to be node numbers, integers, got {kids.dtype}')
    if len(lengths) != nodes:
        raise ValueError(f'expected children of {nodes} nodes, as x has rows, got {len(lengths)}')
    parents = numpy.repeat(numpy.arange(nodes), lengths)
    slots = numpy.arange(len(kids)) - numpy.repeat(numpy.cumsum(lengths) - lengths, lengths)
    _refuse(
        (kids < -1) | (kids >= nodes), parents, f'node numbers below {nodes}, or -1 for none', kids
    )
    if n_ary is not None:
        _refuse(slots >= n_ary, parents, f'at most {n_ary} children', lengths[parents])
    there = kids >= 0
    parents, slots, kids = parents[there], slots[there], kids[there].astype(int)
    if n_ary is None:  # the places of children are those among the ones that are there
        slots = numpy.arange(len(kids)) - numpy.searchsorted(parents, parents)
    twice = numpy.flatnonzero(numpy.bincount(kids, minlength=nodes) > 1)
    if twice.size:
        first, second = parents[kids == twice[0]][:2].tolist()
        raise ValueError(
            f'expected one parent of each node, got node {twice[0]} as a child of nodes '
            f'{first} and {second}'
        )
    return parents, slots, kids


def _flat(children: Any, n_ary: Optional[int]) -> tuple[Any, Any]:
    """Return the number of entries of each node, and all entries; None becomes -1."""
    if isinstance(children, numpy.ndarray):
        if children.ndim != 2 or n_ary not in (None, children.shape[1]):
            columns = 'K' if n_ary is None else n_ary
            raise ValueError(f'expected children of shape (N, {columns}), got {children.shape}')
        return numpy.full(len(children), children.shape[1]), children.ravel()
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
    try:
        kids = numpy.array(entries) if entries else numpy.zeros(0, int)
    except ValueError:  # entries of several shapes
        kids = None
    if kids is None or kids.ndim != 1:
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
