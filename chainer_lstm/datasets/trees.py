"""Trees as lists of the children of numbered nodes, for ``forward_trees`` of the tree LSTMs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy


class FlatTrees(NamedTuple):
    """The nodes of many trees, numbered: children before their parents, trees one after the other.

    Attributes:
        children: for each node the numbers of its children.
        values: for each node its value, None for nodes with children.
        roots: (trees,), the number of the root of each tree.
    """

    children: list[list[int]]
    values: list[Any]
    roots: numpy.ndarray


def flatten_trees(trees: Sequence[Any]) -> FlatTrees:
    """Assign numbers to the nodes of nested trees.

    >>> flatten_trees([('the', ('old', 'man')), 'yes'])
    FlatTrees(children=[[], [], [], [1, 2], [0, 3], []], \
values=['the', 'old', 'man', None, None, 'yes'], roots=array([4, 5]))

    Args:
        trees: each tree is the value of a leaf, or a tuple or list of the trees below its root.

    Raises:
        ValueError: a tuple or list is empty, or a list contains itself.
    """
    children: list[list[int]] = []
    values: list[Any] = []
    roots = [_append(tree, children, values) for tree in trees]
    return FlatTrees(children, values, numpy.array(roots, int))


def _append(root: Any, children: list[list[int]], values: list[Any]) -> int:
    """Append the nodes of a tree of any depth, and return the number of its root."""
    done: list[int] = []  # numbers of subtrees that wait for their parent
    above: set[int] = set()  # ids of the nodes above, and of this one
    todo = [(root, False)]
    while todo:
        node, is_below_done = todo.pop()
        inner = isinstance(node, (tuple, list))
        if inner and not node:
            raise ValueError('expected trees whose tuples and lists have entries, got an empty one')
        if inner and not is_below_done:
            if id(node) in above:
                raise ValueError('expected trees, got a list that contains itself')
            above.add(id(node))
            todo.append((node, True))
            todo += [(child, False) for child in reversed(node)]
            continue
        above.discard(id(node))
        count = len(node) if inner else 0
        first = len(done) - count
        done[first:], below = [len(children)], done[first:]
        children.append(below)
        values.append(None if inner else node)
    return done[0]


def children_of(parents: Sequence[int]) -> list[list[int]]:
    """Return the children of each node from the numbers of parents, which are -1 for roots.

    >>> children_of([1, 4, 1, -1, -1])
    [[], [0, 2], [], [], [1]]

    Args:
        parents: for each node the number of its parent, such as the heads of a dependency parse.

    Raises:
        TypeError: a parent is not an integer.
        ValueError: a number is out of range.
    """
    found: list[list[int]] = [[] for _ in parents]
    for node, parent in enumerate(parents):
        if not isinstance(parent, (int, numpy.integer)):
            raise TypeError(f'parents[{node}]: expected an integer, got {parent!r}')
        if not -1 <= parent < len(found):
            raise ValueError(
                f'parents[{node}]: expected a node number below {len(found)}, or -1 for a root, '
                f'got {parent}'
            )
        if parent >= 0:
            found[parent].append(node)
    return found
