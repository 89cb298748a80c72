"""The levels of many trees: the leaves, the nodes all of whose children are leaves, and so on.

Nodes are sorted by level, and within a level by their number of children, most first.  So the k-th
children of a level belong to its first rows, like the rows of a time step of packed sequences.
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
    """Nodes that can be computed together, because their children are in lower levels.

    Attributes:
        start, stop: the rows of the nodes.
        children: the rows of their children's states, None for leaves: (K, n) if each node has K
            children, otherwise (E,), the first children of all nodes before the second ones.
        counts: the number of nodes that have a k-th child; they are the first nodes.
        parents: the node of each edge, counted from ``start``; None if each node has K children.
    """

    start: int
    stop: int
    children: Any = None
    counts: Sequence[int] = ()
    parents: Any = None

    def rows(self, first: int = 0) -> slice:
        """Return the rows of the nodes in an array in which the first node is row ``first``."""
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
        order: the node of each row, (N,); None if the rows are in the order of the nodes.
        levels: the levels.
        given: the number of given rows of states, which precede the rows of nodes.
    """

    order: Optional[Any]
    levels: Sequence[Level]
    given: int


def single(children: int, batch: int) -> Plan:
    """Return the plan of a batch of single nodes whose children's states are given, the first
    children of all nodes before the second ones.
    """
    given = children * batch
    rows = numpy.arange(given).reshape(children, batch) if children else None
    return Plan(None, [Level(0, batch, rows)], given)


def plan(children: Any, nodes: int, kind: Kind) -> Plan:
    """Return the levels of trees.

    Args:
        children: for each node the numbers of its children: lists, or an array (N, K) with -1 for
            no child.
        nodes: N.
        kind: the equations.

    Raises:
        TypeError: children are not such lists or such an array, or not integers.
        ValueError: the number of nodes differs, a number is out of range, a node has too many
            children or two parents, or there is a cycle.
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
    """Return the levels above the leaves from edges: the level of each parent, the place among its
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
    """Check the edges; return the parent, the place among its children, and the child of each."""
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
    if n_ary is None:  # places count only the children that exist
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
    waits = numpy.bincount(parents, minlength=nodes)  # the number of children without a level yet
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
