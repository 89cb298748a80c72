"""Checks of arguments, shared by functions, links and all layers above them."""

from __future__ import annotations

import itertools
import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any, Optional

import chainer
import numpy
from chainer.backends import cuda
from chainer.utils import type_check


def variable(name: str, value: Any) -> chainer.Variable:
    """Return the value as a variable with data.

    Raises:
        TypeError: not a variable or an array, or a variable without data.
    """
    if not isinstance(value, chainer.Variable):
        if not isinstance(value, chainer.get_array_types()):
            raise TypeError(
                f'expected {name} to be an array or a variable, got {type(value).__name__}'
            )
        return chainer.as_variable(value)
    if value.array is None:
        raise TypeError(
            f'expected {name} to be an array or a variable, got a variable without data'
        )
    return value


def size(name: str, value: Any, optional: bool = False) -> Any:
    """Return a positive integer; None if the size is optional and not given.

    Raises:
        TypeError: not an integer.
        ValueError: less than 1.
    """
    if value is None and optional:
        return None
    try:
        number = (
            None if isinstance(value, (bool, numpy.bool_, type(None))) else operator.index(value)
        )
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f'expected {name} to be a positive integer, got {value!r}')
    if number < 1:
        raise ValueError(f'expected {name} to be a positive integer, got {number}')
    return number


def number(name: str, value: Any, low: float, high: float = math.inf) -> Any:
    """Return a number in [low, high).

    As in Chainer, booleans (also NumPy's) count as 0 and 1, and arrays without axes as the
    number they hold.

    Raises:
        TypeError: not a number.
        ValueError: out of this range, or NaN.
    """
    if not _is_number(value):
        raise TypeError(f'expected {name} to be a number, got {value!r}')
    if not low <= value < high:
        raise ValueError(f'expected {name} to be at least {low} and less than {high}, got {value}')
    return value.item() if isinstance(value, chainer.get_array_types()) else value


def _is_number(value: Any) -> bool:
    if isinstance(value, chainer.get_array_types()):
        return value.ndim == 0 and value.dtype.kind in 'biuf'
    return isinstance(value, (numbers.Real, numpy.bool_))


def dropout(value: Any, n_layers: Optional[int] = None) -> Any:
    """Return the dropout ratio between layers, in [0, 1).

    Args:
        value: the ratio.
        n_layers: of an NStep link or function.  A single layer has no dropout: any value is
            accepted, as in Chainer, and 0 is returned.
    """
    return 0.0 if n_layers == 1 else number('dropout', value, 0, 1)


def sequence(name: str, value: Any, of: str) -> Any:
    """Return the value if it is a list or tuple.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f'expected {name} to be a list or tuple of {of}, got {type(value).__name__}'
        )
    return value


def steps(xs: Any) -> tuple[int, ...]:
    """Return the batch size of each time step.

    Raises:
        TypeError: xs is not a list or tuple of arrays.
        ValueError: xs is empty, its batches grow in time, or its widths differ.
    """
    if not sequence('xs', xs, 'time steps'):
        raise ValueError('expected at least one time step in xs, got an empty list')
    for t, x in enumerate(xs):
        variable(f'xs[{t}]', x)
        if x.ndim != 2 or x.shape[1] != xs[0].shape[1]:
            raise ValueError(f'expected xs[{t}] of shape (batch, {xs[0].shape[-1]}), got {x.shape}')
    batches = tuple(x.shape[0] for x in xs)
    if any(now < later for now, later in itertools.pairwise(batches)):
        raise ValueError(
            'expected batch sizes in xs that do not grow in time (sort the sequences by length, '
            f'longest first, before transposing them), got {list(batches)}'
        )
    return batches


def states(
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    layers: tuple[int, ...],
    least: int,
    most: Optional[int],
    widths: Sequence[int],
) -> None:
    """Expect states of shape (*layers, B, width), least <= B <= most; most None for no bound.

    Raises:
        ValueError: a state has another shape.
    """
    for name, shape, width in zip(names, shapes, widths):
        if (
            len(shape) != len(layers) + 2
            or shape[:-2] != layers
            or shape[-2] < least
            or (most is not None and shape[-2] > most)
            or shape[-1] != width
        ):
            rows = f'at least {least}' if most is None else f'{least} or {most}'
            expected = ', '.join(map(str, (*layers, rows, width)))
            raise ValueError(f'expected {name} of shape ({expected}), got {shape}')
    if any(shape[:-1] != shapes[0][:-1] for shape in shapes):
        got = ' and '.join(map(str, shapes))
        kind = 'shape' if len({*widths}) == 1 else 'number of rows'
        raise ValueError(f'expected {" and ".join(names)} of one {kind}, got {got}')


def same_dtype(convert: str, **two: Any) -> None:
    """Expect two arguments to have the same dtype.

    Args:
        convert: the name of the argument whose conversion the error suggests.
        **two: the arguments by name; arrays, or types as in ``check_type_forward``.

    Raises:
        chainer.utils.type_check.InvalidType: their dtypes differ.
    """
    dtypes = {name: _evaluated(argument.dtype) for name, argument in two.items()}
    (name, got), (other, expected) = dtypes.items()
    if got != expected:
        wanted = expected if convert == name else got
        raise type_check.InvalidType(
            f'{name}.dtype == {other}.dtype',
            f'{got} != {expected} ({conversion(convert, dtypes[convert], wanted)})',
        )


def conversion(name: str, got: numpy.dtype, wanted: numpy.dtype) -> str:
    """Return a hint how to convert an argument to the expected dtype,
    and how it may have got the other one.
    """
    hint = f'{name}.astype({wanted.char!r}) converts it'
    if got == numpy.float64:
        hint += '; NumPy 2 keeps float64 scalars, and an array multiplied by one becomes float64'
    return hint


def _evaluated(dtype: Any) -> numpy.dtype:
    return dtype.eval() if isinstance(dtype, type_check.Expr) else dtype


def flags(name: str, values: Any, shape: tuple[int, ...]) -> numpy.ndarray:
    """Return 0 and 1 as booleans of a shape; the values may have a last axis of size 1 more.

    Raises:
        TypeError: the values are not booleans or numbers.
        ValueError: they have another shape, or a value is neither 0 nor 1.
    """
    values = on_cpu(values)
    if values.dtype.kind not in 'biuf':
        raise TypeError(f'expected {name} to be booleans or numbers, got {values.dtype}')
    if values.shape not in (shape, (*shape, 1)):
        raise ValueError(f'expected {name} of shape {shape} or {(*shape, 1)}, got {values.shape}')
    wrong = values[(values != 0) & (values != 1)]
    if wrong.size:
        raise ValueError(f'expected {name} to be of 0 and 1, got {wrong[0]}')
    return values.reshape(shape) == 1


def flags_of_each(name: str, values: Any, lengths: Sequence[int], of: str) -> list[numpy.ndarray]:
    """Return the flags of each time step or sequence, booleans of these lengths.

    Raises:
        TypeError: the values have no length, or as ``flags``.
        ValueError: there are more or fewer than ``lengths``, or as ``flags``.
    """
    if not hasattr(values, '__len__') or getattr(values, 'ndim', 1) == 0:
        kind = type(values).__name__
        raise TypeError(f'expected {name} to be a list or an array of {of}, got {kind}')
    if len(values) != len(lengths):
        raise ValueError(f'expected {name} of {len(lengths)} {of}, got {len(values)}')
    return [flags(f'{name}[{k}]', values[k], (n,)) for k, n in enumerate(lengths)]


def on_cpu(values: Any) -> numpy.ndarray:
    """Return an array or a variable as a NumPy array."""
    values = chainer.as_array(values)
    return numpy.asarray(cuda.to_cpu(values) if isinstance(values, cuda.ndarray) else values)
