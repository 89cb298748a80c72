"""CUDA source, as files beside this one, and its loading:
compiled when first used, once per dtype.
"""

from __future__ import annotations

import functools
import pathlib
import re
from typing import Any

_FOLDER = pathlib.Path(__file__).parent
_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)
_TYPES = {'e': ('half_bits', 'float'), 'f': ('float', 'float'), 'd': ('double', 'double')}


def source(name: str) -> str:
    """A file's text with its own includes put in: CuPy's cache knows a kernel by its text alone."""
    text = (_FOLDER / name).read_text(encoding='utf-8')
    return _INCLUDE.sub(lambda match: source(match.group(1)), text)


def options(dtype_char: str) -> tuple[str, ...]:
    """Compiler options for arrays of a dtype, named by ``dtype.char``: 'e', 'f' or 'd'."""
    stored, real = _TYPES[dtype_char]
    return '--std=c++17', f'-DSTORED={stored}', f'-DREAL={real}'


@functools.cache
def kernel(file: str, name: str, dtype_char: str) -> Any:
    """A kernel of a file as a ``cupy.RawKernel``, which CuPy compiles once for each kind
    of device.
    """
    import cupy

    return cupy.RawKernel(source(file), name, options(dtype_char))


def sequence_options(constants: dict[str, int]) -> tuple[str, ...]:
    """Compiler options for a file of the persistent engine."""
    return '--std=c++17', *(f'-D{name}={value}' for name, value in constants.items())


@functools.cache
def sequence_kernel(file: str, name: str, options: tuple[str, ...], cooperative: bool) -> Any:
    """A kernel of such a file; if cooperative, all its blocks run at the same time or none does."""
    import cupy

    return cupy.RawKernel(source(file), name, options, enable_cooperative_groups=cooperative)
