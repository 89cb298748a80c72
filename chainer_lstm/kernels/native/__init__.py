"""Loads the C++ library of the native engine, if it was built, with its kernels as functions.

setup.py builds the library.  The package reads its description through ctypes; if that matches what
the package expects, the library is loaded as a Python module too, whose functions call the kernels.
The number of threads is ``OMP_NUM_THREADS`` or the number of cores that the process may use, and at
most the latter; ``threadpoolctl`` can limit it.  Once the library is loaded, the process keeps up
to 256 MB of freed memory for the next arrays.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import pathlib
import struct
import warnings
from collections.abc import Callable
from importlib import machinery
from typing import Any, Optional

import numpy

from chainer_lstm import cells
from chainer_lstm.kernels import boundary, cell_kernels
from chainer_lstm.kernels.arguments import PADDING
from chainer_lstm.kernels.native import cores

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MODULE = '_native'
_DTYPES = (numpy.dtype(numpy.float32), numpy.dtype(numpy.float64))


def library_file() -> Optional[pathlib.Path]:
    """Return the file of the library, or None."""
    if 'CHAINER_LSTM_NATIVE' in os.environ:  # another build of it, such as one with sanitizers
        return pathlib.Path(os.environ['CHAINER_LSTM_NATIVE'])
    return built_in(pathlib.Path(__file__).parent)


def built_in(folder: pathlib.Path) -> Optional[pathlib.Path]:
    """Return the library in a folder, or None."""
    files = (folder / f'_native{suffix}' for suffix in machinery.EXTENSION_SUFFIXES)
    return next((file for file in files if file.exists()), None)


@functools.cache
def library() -> Optional[ctypes.CDLL]:
    """Return the library; None if it was not built, cannot be loaded or was built from another
    version of the source.
    """
    file = library_file()
    try:
        found = None if file is None else ctypes.CDLL(str(file))
    except OSError:
        return None
    if found is None:
        return None
    error = mismatch(found)
    if error is not None:
        warnings.warn(f'{error}; NumPy computes', RuntimeWarning, stacklevel=2)
        return None
    found.chainer_lstm_kernel.restype = ctypes.c_void_p
    found.chainer_lstm_kernel.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char)
    found.chainer_lstm_instruction_set.restype = ctypes.c_char_p
    found.chainer_lstm_set_num_cores(cores.processors())
    found.chainer_lstm_set_num_threads(_threads())
    _keep_memory()
    _register()
    return found


def mismatch(found: Any) -> Optional[str]:
    """Return how the cells or kernels of a library differ from those of ``boundary``, or None."""
    if not hasattr(found, f'PyInit_{_MODULE}'):
        return _other_version('it is no Python module')
    for cell in cells.COMPILED.values():
        if _text(found, 'chainer_lstm_cell', cell.name) != cell_kernels.description(cell):
            return _other_version(f'the cell {cell.name} is another')
    for name, kernel in boundary.KERNELS.items():
        if _text(found, 'chainer_lstm_arguments', name) != kernel.text:
            return _other_version(f'{name} has other arguments')
    if not hasattr(found, 'chainer_lstm_set_num_cores'):
        return _other_version('it has no number of cores')
    return None


@functools.cache
def _module() -> Any:
    """Return the library as a Python module."""
    spec: Any = importlib.util.spec_from_file_location(_MODULE, library_file())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _text(found: Any, function: str, name: str) -> Optional[str]:
    """Return the text that a function of the library returns for a name."""
    answer = getattr(found, function, None)
    if answer is None:  # in libraries before this check
        return None
    answer.restype = ctypes.c_char_p
    answer.argtypes = (ctypes.c_char_p,)
    text = answer(name.encode())
    return None if text is None else text.decode()


def _other_version(difference: str) -> str:
    return (
        f'the native engine was built from another version of the source ({difference}): '
        'build it again, by pip install --editable . or make'
    )


def instruction_sets() -> list[str]:
    """Return the instruction sets of the library that this processor has, the best first."""
    found = library()
    names: list[str] = []
    if found is not None:
        while (name := found.chainer_lstm_instruction_set(len(names))) is not None:
            names.append(name.decode())
    return names


@functools.cache
def function(instruction_set: str, name: str, dtype: numpy.dtype) -> Callable[..., bool]:
    """Return a kernel of the library for arrays of a dtype, float32 or float64.

    Returns:
        A function of the kernel's sizes, a tuple, and its arrays, see ``boundary.KERNELS``.  It
        returns False, and computes nothing, if an array has another shape or dtype, is of a
        subclass, or cannot be read or written in place; otherwise True.  It raises MemoryError if
        memory is exhausted.

    Raises:
        ValueError: there is no such kernel in the library.
    """
    loaded = library()
    address = None
    if loaded is not None and dtype in _DTYPES:
        address = loaded.chainer_lstm_kernel(
            instruction_set.encode(), name.encode(), dtype.char.encode()
        )
    if address is None:
        raise ValueError(
            f'expected a kernel of the library, got {name} of {dtype} for {instruction_set}'
        )
    expected = boundary.KERNELS[name]
    return _module().function(address, dtype.char, *_table(expected), numpy.ndarray)


@functools.cache
def kernel(instruction_set: str, name: str, dtype: numpy.dtype) -> Callable[..., None]:
    """Return ``function`` for arrays of any memory layout: inputs that the kernel cannot read in
    place are copied.

    Returns:
        A function of the kernel's sizes, a tuple, and its arrays.  It raises

        - ValueError: an array has another shape or dtype, or an output is read-only, not aligned
          or not contiguous; where the kernel takes a stride of rows, only each row has to be
          contiguous.  Nothing was computed.
        - MemoryError: memory is exhausted.

    Raises:
        ValueError: there is no such kernel in the library.
    """
    in_place = function(instruction_set, name, dtype)
    expected = boundary.KERNELS[name]

    def call(sizes: tuple[int, ...], *arrays: Any) -> None:
        if in_place(sizes, *arrays):
            return
        boundary.check(expected, dtype, sizes, arrays)
        readable = [_readable(*pair) for pair in zip(expected.arguments, arrays)]
        if not in_place(sizes, *readable):
            raise ValueError(f'{name}: expected arrays of NumPy, got {[*map(type, arrays)]}')

    return call


def _table(kernel: boundary.Kernel) -> tuple[str, bytes]:
    """Return the kinds of a kernel's sizes and a table of its arguments, in module.cpp's format."""
    axes = {name: (1, index, -1, 1) for index, name in enumerate(kernel.sizes)}
    if 'units' in axes:
        axes['gates'] = kernel.gates, kernel.sizes.index('units'), -1, 1
    if 'rows' in axes and 'batch' in axes:
        axes['states'] = 1, kernel.sizes.index('rows'), kernel.sizes.index('batch'), 1
    axes.update([(f'padded_{name}', (*axis[:3], PADDING)) for name, axis in axes.items()])
    partners = {other: one for one, other in kernel.pairs}
    assert len(partners) == len(kernel.pairs)
    table = b''
    for k, (argument, word) in enumerate(zip(kernel.arguments, kernel.words)):
        flags = argument.optional, argument.square, argument.written, argument.integers
        bits = sum(flag << bit for bit, flag in enumerate(flags))
        of_axes = [number for axis in argument.axes for number in axes[axis]]
        numbers = word, argument.strides, bits, partners.get(k, -1), len(argument.axes), *of_axes
        table += struct.pack('13i', *numbers, *[0] * (13 - len(numbers)))
    return kernel.layout.format[: len(kernel.sizes)], table


def _readable(argument: boundary.Argument, x: Any) -> Any:
    """Return an array of the same values that the kernel can read in place; None for None.

    Raises:
        ValueError: the kernel writes into the array and cannot.
    """
    if x is None:
        return None
    x = numpy.asarray(x)  # not of a subclass
    aligned = x.flags.aligned
    if argument.written:
        boundary.dense(argument, x)
        if not (aligned and x.flags.writeable):
            raise ValueError(
                f'expected {argument.name}, which is written into, to be aligned and not read-only'
            )
        return x
    whole = aligned and not any(stride % x.itemsize for stride in x.strides)
    if whole and (argument.strides == 2 or (argument.strides and x.strides[1] == x.itemsize)):
        return x
    return numpy.require(x, requirements=['C', 'A'])


def _threads() -> int:
    """Return OMP_NUM_THREADS, or the number of cores."""
    setting = os.environ.get('OMP_NUM_THREADS', '').split(',')[0].strip()
    return int(setting) if setting.isdigit() and int(setting) else cores.cores()


def _keep_memory() -> None:
    """Let glibc keep freed memory, unless the user has set its environment variables.

    By default the arrays of a training step are returned to the system after it and mapped again,
    page by page, in the next: that took an eighth of the time.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None and not any(name.startswith('MALLOC_') for name in os.environ):
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)


def _register() -> None:
    """Register the library with threadpoolctl, if that is installed."""
    try:
        import threadpoolctl
    except ImportError:
        return

    class Controller(threadpoolctl.LibController):
        user_api = 'chainer_lstm'
        internal_api = 'chainer_lstm'
        filename_prefixes = ('_native',)
        check_symbols = ('chainer_lstm_get_num_threads',)

        def get_num_threads(self) -> int:
            return self.dynlib.chainer_lstm_get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.chainer_lstm_set_num_threads(num_threads)

        def get_version(self) -> None:
            return None

        def set_additional_attributes(self) -> None:
            self.instruction_sets = instruction_sets()

    threadpoolctl.register(Controller)
