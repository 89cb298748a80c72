"""Checks of the arguments of links, made before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import chainer
from chainer.utils import type_check

from chainer_lstm.functions.checks import variable

States = tuple[Optional[chainer.Variable], Optional[chainer.Variable]]


def batch(x: Any) -> chainer.Variable:
    """Return a variable of floats with a batch axis and at least one more axis.

    Raises:
        TypeError: not a variable or array, or a variable without data.
        chainer.utils.type_check.InvalidType: another dtype or fewer axes.
    """
    x = variable('x', x)
    floats(x.array)
    return x


def floats(x: Any) -> None:
    """Expect an array of floats with a batch axis and at least one more axis."""
    if x.dtype.kind != 'f':
        raise type_check.InvalidType('x.dtype.kind == f', f'{x.dtype.kind} ({x.dtype})')
    if x.ndim < 2:
        raise type_check.InvalidType(
            'x.ndim >= 2 (a batch axis and the input)', f'{x.ndim} (shape {x.shape})'
        )
    if 0 in x.shape[1:]:
        raise type_check.InvalidType('x.shape == (batch, at least 1, ...)', f'{x.shape}')


def states(c: Any, h: Any, axes: Sequence[Union[str, int]]) -> States:
    """Return c and h, each None or a variable of floats.

    Args:
        c, h: variables or arrays, or None.
        axes: the size of each axis, or the name of an axis of any size.

    Raises:
        TypeError: a state is not a variable or array, or not of floats.
        ValueError: a state has another shape, or the two differ.
    """
    c, h = _state('c', c, axes), _state('h', h, axes)
    if c is not None and h is not None and c.shape != h.shape:
        raise ValueError(f'expected c and h of one shape, got {c.shape} and {h.shape}')
    return c, h


def _state(name: str, value: Any, axes: Sequence[Union[str, int]]) -> Optional[chainer.Variable]:
    if value is None:
        return None
    value = variable(name, value)
    fits = [isinstance(axis, str) or axis == size for axis, size in zip(axes, value.shape)]
    if value.ndim != len(axes) or not all(fits):
        expected = ', '.join(map(str, axes))
        raise ValueError(f'expected {name} of shape ({expected}), got {value.shape}')
    if value.dtype.kind != 'f':
        raise TypeError(f'expected {name} of a float dtype, got {value.dtype}')
    return value
