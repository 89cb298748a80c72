"""The functions that ``chainer.cuda`` had in v1: ``init``, and some that make CuPy's arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
from chainer.backends import cuda

from chainer_lstm.arrays import Array
from chainer_lstm.compat.replacements import Replacements


def install(replacements: Replacements) -> None:
    """Add the functions that v2 removed; without a GPU they raise an error, as in v1."""
    replacements.set(cuda, 'init', init)
    creators = {'full': full, **{name: _creator(name) for name in ('empty', 'ones', 'zeros')}}
    for name, create in creators.items():
        replacements.set(cuda, name, create)
        replacements.set(cuda, f'{name}_like', _like(create))


def init(arg: Any = None) -> None:
    """Check that CUDA can be used."""
    cuda.check_cuda_available()


def full(shape: Any, fill_value: Any, dtype: Any = numpy.float32, stream: None = None) -> Array:
    """Return an array of CuPy that is filled with a value."""
    cuda.check_cuda_available()
    return cuda.cupy.full(shape, fill_value, dtype=dtype)


def _creator(name: str) -> Callable:
    def create(shape: Any, dtype: Any = numpy.float32, stream: None = None) -> Array:
        cuda.check_cuda_available()
        return getattr(cuda.cupy, name)(shape, dtype=dtype)

    return create


def _like(create: Callable) -> Callable:
    def like(array: Array, *args: Any, stream: None = None) -> Array:
        return create(array.shape, *args, dtype=array.dtype)

    return like
