"""Attributes of links, compared to know whether a program has set or changed them."""

from __future__ import annotations

import collections
import types
from collections.abc import Collection
from typing import Any, NamedTuple

import chainer
import numpy

_VALUES = {bool, int, float, str, type(None)}  # compared by value; other objects by identity
_CONTAINERS = (list, tuple, dict, set, collections.deque)  # compared by what is in them, too
_WHOLE = (chainer.Link, type, types.FunctionType, types.ModuleType)  # not looked into
_FEW = 64  # elements of a container, an object or an array of the host that are looked at
_DEPTH = 3  # of containers in containers

Attributes = list[tuple[chainer.Link, str, Any]]


class LinkState(NamedTuple):
    """A link as it was at one time.

    Attributes:
        link: the link.
        values: all its attributes.
        identities: their ``identity`` at that time.
    """

    link: chainer.Link
    values: dict[str, Any]
    identities: dict[str, Any]


Snapshot = list[LinkState]


def kept(x: Any, depth: int = _DEPTH) -> Any:
    """Return the objects whose ids are in the ``identity`` of an attribute."""
    if isinstance(x, chainer.Variable):
        return x, x.array
    return x, [kept(part, depth - 1) for part in _parts(x, depth)]


def identity(x: Any, depth: int = _DEPTH) -> Any:
    """Return what tells whether an attribute has been set, or changed in place."""
    if type(x) in _VALUES:
        return type(x), x  # in a tuple NaN is equal to itself
    if isinstance(x, chainer.Variable):
        return id(x), id(x.array)
    if isinstance(x, numpy.ndarray):
        return id(x), x.tobytes() if x.size <= _FEW and not x.dtype.hasobject else None
    parts = _parts(x, depth)
    return (id(x), len(parts), *[identity(part, depth - 1) for part in parts]) if parts else id(x)


def _parts(x: Any, depth: int) -> Collection[Any]:
    """Return the elements of a container, the keys and values of a dictionary or the attributes of
    an object; of a large one only how many there are.
    """
    if depth == 0 or isinstance(x, _WHOLE):
        return ()
    found = x if isinstance(x, _CONTAINERS) else getattr(x, '__dict__', None)
    if not isinstance(found, _CONTAINERS):
        return ()
    if len(found) > _FEW:
        return (len(found),)
    return (*found, *found.values()) if isinstance(found, dict) else found


def snapshot(model: chainer.Link) -> Snapshot:
    """Return all links with their attributes."""
    found = []
    for link in model.links():
        values = dict(vars(link))
        found.append(LinkState(link, values, {name: identity(x) for name, x in values.items()}))
    return found


def changes(before: Snapshot) -> Attributes:
    """Return the attributes of links that have changed since a snapshot."""
    return [
        (link, name, value)
        for link, _, identities in before
        for name, value in vars(link).items()
        if name not in identities or identities[name] != identity(value)
    ]
