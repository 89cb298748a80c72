"""The C++ library of the native engine: loaded if it was built, with its kernels as functions.

Built by setup.py, and called through ctypes, which needs no binding code, is part of Python and
lets other threads run during a call.  Threads: as many as ``OMP_NUM_THREADS`` says, or as the
process may use cores, and no more than that; ``threadpoolctl`` limits them.  With it the process
keeps up to 256 MB of freed memory for the next arrays.
"""

from __future__ import annotations

import ctypes
import functools
import os
import pathlib
import warnings
from collections.abc import Callable
from importlib import machinery
from typing import Any, Optional

import numpy

from chainer_lstm import cells
from chainer_lstm.kernels import boundary, cell_kernels
from chainer_lstm.kernels.native import cores

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
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
    """The library; None where it was not built, cannot be loaded or was built from another version
    of the source.
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
    """Return what is wrong with a library whose cells or kernels are not those of ``boundary``,
    or None.
    """
    for cell in cells.COMPILED.values():
        if _text(found, 'chainer_lstm_cell', cell.name) != cell_kernels.description(cell):
            return _other_version(f'the cell {cell.name} is another')
    for name, kernel in boundary.KERNELS.items():
        if _text(found, 'chainer_lstm_arguments', name) != kernel.text:
            return _other_version(f'{name} has other arguments')
    if not hasattr(found, 'chainer_lstm_set_num_cores'):
        return _other_version('it has no number of cores')
    return None


def _text(found: Any, function: str, name: str) -> Optional[str]:
    """Return what a function of the library answers for a name."""
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
    """Those that this processor has and the library was built for, the best first."""
    found = library()
    names: list[str] = []
    if found is not None:
        while (name := found.chainer_lstm_instruction_set(len(names))) is not None:
            names.append(name.decode())
    return names


@functools.cache
def kernel(instruction_set: str, name: str, dtype: numpy.dtype) -> Callable[..., None]:
    """A kernel of the library for arrays of a dtype, float32 or float64.

    Returns:
        A function of the kernel's sizes, a tuple, and its arrays, see ``boundary.KERNELS``.  Arrays
        that are only read are copied where the kernel cannot read them in place.  It raises

        - ValueError: an array has another shape or dtype, or one to write into is not dense, not
          aligned or read-only; nothing was computed.
        - MemoryError: there is none left.

    Raises:
        ValueError: there is no such kernel in the library.
    """
    loaded = library()
    found = None
    if loaded is not None and dtype in _DTYPES:
        found = loaded.chainer_lstm_kernel(
            instruction_set.encode(), name.encode(), dtype.char.encode()
        )
    if found is None:
        raise ValueError(
            f'expected a kernel of the library, got {name} of {dtype} for {instruction_set}'
        )
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p)(found)
    expected = boundary.KERNELS[name]
    pack = expected.layout.pack

    def call(sizes: tuple[int, ...], *arrays: Any) -> None:
        boundary.check(expected, dtype, sizes, arrays)
        members: list[int] = [*sizes]
        copies: list[Any] = []  # they live until the kernel returns, as the arrays do
        for argument, x in zip(expected.arguments, arrays):
            strides = argument.strides
            if x is None:
                members += (0,) * (1 + strides)
            elif strides:
                members += _of_rows(x, strides, copies)
            else:
                address = _address(x)
                if address is None or address % x.itemsize:
                    address = _of_copy(argument, x, copies)
                members.append(address)
        if function(pack(*members)):
            raise MemoryError('no memory for packed weights')

    return call


def _address(x: Any) -> Optional[int]:
    """Return the address of a dense array that may be written; None for others.
    NumPy takes four times as long.
    """
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(x))
    except (TypeError, ValueError):
        return None


def _of_copy(argument: boundary.Argument, x: Any, copies: list[Any]) -> int:
    """Return the address of a dense and aligned array of the same values,
    which is kept in ``copies``.

    Raises:
        ValueError: the kernel writes into the array.
    """
    if argument.written:
        boundary.dense(argument, x)
        if not (x.flags.aligned and x.flags.writeable):
            raise ValueError(
                f'expected {argument.name}, which is written into, to be aligned and not read-only'
            )
    copies.append(numpy.require(x, requirements=['C', 'A']))
    return copies[-1].__array_interface__['data'][0]


def _of_rows(x: Any, strides: int, copies: list[Any]) -> list[int]:
    """Return the address and the first strides of a matrix,
    which is copied if its strides do not fit the kernel.

    They have to be whole numbers of elements, and one element in a row whose stride is not taken.
    """
    row, column = x.strides
    size = x.itemsize
    if row % size or column % size or not x.flags.aligned or (strides == 1 and column != size):
        x = numpy.require(x, requirements=['C', 'A'])
        copies.append(x)
    address = _address(x if x.strides[1] == size else x.T) or x.__array_interface__['data'][0]
    return [address, *(stride // size for stride in x.strides[:strides])]


def _threads() -> int:
    """Return OMP_NUM_THREADS, or the number of cores."""
    setting = os.environ.get('OMP_NUM_THREADS', '').split(',')[0].strip()
    return int(setting) if setting.isdigit() and int(setting) else cores.cores()


def _keep_memory() -> None:
    """Lets glibc keep what is freed, unless its own variables say otherwise.

    The arrays of one training step would go back to the system after it, and come anew for the
    next, page by page: that took an eighth of the time.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None and not any(name.startswith('MALLOC_') for name in os.environ):
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)


def _register() -> None:
    """Tells threadpoolctl, where it is installed, of the library."""
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
