"""Loads the CUDA source in this folder and the ``.cuh`` of the cells: a kernel is compiled at its
first use, once per dtype.
"""

from __future__ import annotations

import functools
import hashlib
import pathlib
import re
from typing import Any

from chainer_lstm.cells import COMPILED

_FOLDER = pathlib.Path(__file__).parent
_CELLS = _FOLDER.parents[1] / 'cells'
_ENGINES = _FOLDER.parent / 'engines'
_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)
_TYPES = {'e': ('half_bits', 'float'), 'f': ('float', 'float'), 'd': ('double', 'double')}
_STAGES = ('First', 'Second')
_INDEXES = {4: 'int', 8: 'index_t'}  # by bytes
# the kernels of functions, by name -> the file
FUNCTIONS = {
    'cross_entropy': 'cross_entropy.cu',
    'cross_entropy_mean': 'cross_entropy.cu',
    'cross_entropy_gradient': 'cross_entropy.cu',
    'dropout': 'dropout.cu',
    'column_sums': 'sums.cu',
    'embedding_gradient': 'sums.cu',
}


def source(name: str, folder: pathlib.Path = _FOLDER) -> str:
    """Return a file's text with its includes expanded: CuPy's cache identifies a kernel by its text
    alone.
    """
    path = folder / name
    text = path.read_text(encoding='utf-8')
    return _INCLUDE.sub(lambda match: source(match.group(1), path.parent), text)


@functools.cache
def source_hash() -> str:
    """Return a hash of all CUDA sources and of the Python files that plan persistent launches."""
    files = [*_FOLDER.glob('*.cu*'), *_CELLS.glob('*.cuh'), *_ENGINES.glob('persistent*.py')]
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def stage(name: str, dtype_char: str) -> tuple[str, tuple[str, ...]]:
    """Return the source and the compiler options of a stage's kernel.

    Args:
        name: in ``boundary.KERNELS``, such as 'lstm_forward_0'.
        dtype_char: ``dtype.char`` of the arrays: 'e', 'f' or 'd'.
    """
    cell, _, number = name.rsplit('_', 2)
    stored, real = _TYPES[dtype_char]
    file = type(COMPILED[cell]).__module__.rpartition('.')[-1]
    constants = {
        'CELL': cell.title().replace('_', '') + 'Cell',
        'STAGE': _STAGES[int(number)],
        'FORWARD': f'{cell}_forward_{number}',
        'BACKWARD': f'{cell}_backward_{number}',
        'STORED': stored,
        'REAL': real,
    }
    return source(f'{file}.cuh', _CELLS) + source('cells.cu'), options(constants)


def function(name: str, dtype_char: str, index_bytes: int) -> tuple[str, tuple[str, ...]]:
    """Return the source and the compiler options of a kernel of a function.

    Args:
        name: in ``boundary.CUDA``.
        dtype_char: ``dtype.char`` of the arrays: 'e', 'f' or 'd'.
        index_bytes: the size of its classes, 4 or 8.
    """
    stored, real = _TYPES[dtype_char]
    constants = {'STORED': stored, 'REAL': real, 'INDEX': _INDEXES[index_bytes]}
    return source(FUNCTIONS[name]), options(constants)


def options(constants: dict[str, Any]) -> tuple[str, ...]:
    """Return compiler options that define constants."""
    return '--std=c++17', *(f'-D{name}={value}' for name, value in constants.items())


@functools.cache
def stage_kernel(name: str, dtype_char: str) -> Any:
    """Return a stage's kernel as a ``cupy.RawKernel``, which CuPy compiles once for each compute
    capability.
    """
    import cupy

    text, options = stage(name, dtype_char)
    return cupy.RawKernel(text, name, options)


@functools.cache
def update_kernel(name: str, options: tuple[str, ...]) -> Any:
    """Return a kernel that updates many parameters as a ``cupy.RawKernel``."""
    import cupy

    return cupy.RawKernel(source('updates.cu'), name, options)


@functools.cache
def function_kernel(name: str, dtype_char: str, index_bytes: int) -> Any:
    """Return a kernel of a function as a ``cupy.RawKernel``; see ``function``."""
    import cupy

    text, options = function(name, dtype_char, index_bytes)
    return cupy.RawKernel(text, name, options)


@functools.cache
def sequence_kernel(file: str, name: str, options: tuple[str, ...], cooperative: bool) -> Any:
    """Return a kernel of the persistent engine; the launch of a cooperative one fails unless all
    its blocks can be resident.
    """
    import cupy

    return cupy.RawKernel(source(file), name, options, enable_cooperative_groups=cooperative)
