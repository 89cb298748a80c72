"""Checks of what users pass, made before anything is changed."""

from __future__ import annotations

import collections
from typing import Any

import chainer
import numpy
from chainer.utils import type_check

from chainer_lstm.functions.checks import variable


def batch(x: Any) -> chainer.Variable:
    """A variable of floats with a batch axis and at least one more.

    Raises:
        TypeError: not a variable or array, or a variable without data.
        chainer.utils.type_check.InvalidType: another dtype or fewer axes.
    """
    x = variable('x', x)
    floats(x)
    return x


def floats(x: Any) -> None:
    """The same of a variable or an array that is one."""
    if x.dtype.kind != 'f':
        raise type_check.InvalidType('x.dtype.kind == f', f'{x.dtype.kind} ({x.dtype})')
    if x.ndim < 2:
        raise type_check.InvalidType(
            'x.ndim >= 2 (a batch axis and the input)', f'{x.ndim} (shape {x.shape})'
        )
    if 0 in x.shape[1:]:
        raise type_check.InvalidType('x.shape == (batch, at least 1, ...)', f'{x.shape}')


def states(c: Any, h: Any, units: int) -> tuple:
    """c and h, each None or a variable of floats of shape (B, units).

    Raises:
        TypeError: not a variable or array, or not of floats.
        ValueError: another shape, or two that differ.
    """
    c, h = _state('c', c, units), _state('h', h, units)
    if c is not None and h is not None and c.shape != h.shape:
        raise ValueError(f'expected c and h of one shape, got {c.shape} and {h.shape}')
    return c, h


def _state(name: str, value: Any, units: int) -> chainer.Variable | None:
    if value is None:
        return None
    value = variable(name, value)
    if value.ndim != 2 or value.shape[1] != units:
        raise ValueError(f'expected {name} of shape (batch, {units}), got {value.shape}')
    if value.dtype.kind != 'f':
        raise TypeError(f'expected {name} of a float dtype, got {value.dtype}')
    return value


def stored(link: chainer.Link, deserializer: chainer.Deserializer) -> None:
    """Check that the file has every parameter of the link, of numbers in the shape that it expects.

    Read before the first one is set, so that a wrong file changes nothing;
    Chainer would broadcast a wrong shape, drop imaginary parts, or stop half-way.

    Raises:
        KeyError: a parameter is missing (from the deserializer).
        ValueError: a parameter has another shape, or is not of real numbers; or it has several
            names, because links share it, and their arrays differ.
    """
    params = [getattr(child, name) for child in link.links() for name in child._params]
    uses = collections.Counter(map(id, params))
    shared: dict[int, tuple[str, Any]] = {}
    for path, child in link.namedlinks():
        place = deserializer
        for key in path.strip('/').split('/') if path != '/' else ():
            place = place[key]
        for name in sorted(child._params):
            data = place(name, None)
            if data is None:
                continue
            key = f'{path}/{name}'.strip('/')
            _check_array(key, data, child, name)
            param = id(getattr(child, name))
            if uses[param] > 1:
                first, expected = shared.setdefault(param, (key, data))
                if not same_bits(data, expected):
                    raise ValueError(
                        f'{key}: expected the values of {first}, the same parameter here, '
                        'got others; load the file into a link that does not tie them'
                    )


def _check_array(key: str, data: Any, link: chainer.Link, name: str) -> None:
    param = getattr(link, name)
    if param.array is not None:
        expected = param.shape
    elif isinstance(link, chainer.links.Linear):
        expected = (link.out_size, *data.shape[-1:])  # any in_size
    else:
        expected = data.shape  # a link that the user has put there takes its shapes from the file
    if data.dtype.kind not in 'fiub':
        raise ValueError(f'{key}: expected real numbers, got {data.dtype}')
    if data.shape != expected:
        raise ValueError(f'{key}: expected shape {expected}, got {data.shape}')


def same_bits(x: numpy.ndarray, y: numpy.ndarray) -> bool:
    """Return whether two arrays are equal, NaN to NaN."""
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
