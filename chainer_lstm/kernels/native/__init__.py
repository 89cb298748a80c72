"""The C++ library of the native engine: loaded if it was built, with its kernels as functions.

Built by setup.py, and called through ctypes, which needs no binding code, is part of Python and lets other threads
run during a call.  Threads: as many as ``OMP_NUM_THREADS`` says, or as the process may use cores;
``threadpoolctl`` limits them.  With it the process keeps up to 256 MB of freed memory for the next arrays.
"""
from __future__ import annotations

import ctypes
import functools
import os
import pathlib
from collections.abc import Callable
from importlib import machinery
from typing import Any
from typing import Optional

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_N, _P = ctypes.c_ssize_t, ctypes.c_void_p
_SEQUENCE = (_N, _P, _P, _N, _N, _N, _N, _P, _P, _P, _P)
_ARGUMENTS = {
    'matmul': (_N, _N, _N, _P, _N, _N, _P, _N, _N, _P, _P),
    'sequence_forward': (*_SEQUENCE, _N, _P, _N, _P, _P, _P, _P, _P),
    'recur_backward': (*_SEQUENCE, _P, _P, _P, _N, _P, _P),
    'lstm_fwd': (_P,) * 7 + (_N, _N),
    'lstm_bwd': (_P,) * 7 + (_N,),
    'lstm_step_fwd': (_N, _N, _N, _P, _N, _P, _P, _P, _N, *(_P,) * 5),
    'lstm_step_bwd': (_N, _N, _N, *(_P,) * 11),
    'peephole_cell_fwd': (_P,) * 8 + (_N, _N),
    'peephole_out_fwd': (_P,) * 4 + (_N,),
    'peephole_out_bwd': (_P,) * 6 + (_N,),
    'peephole_cell_bwd': (_P,) * 6 + (_N,),
    'exponentials': (_N, _N, _P, _P, _P, _P),
}


def _file() -> Optional[pathlib.Path]:
    if 'CHAINER_LSTM_NATIVE' in os.environ:  # another build of it, such as one with sanitizers
        return pathlib.Path(os.environ['CHAINER_LSTM_NATIVE'])
    return built_in(pathlib.Path(__file__).parent)


def built_in(folder: pathlib.Path) -> Optional[pathlib.Path]:
    """Return the library in a folder, or None."""
    files = (folder / f'_native{suffix}' for suffix in machinery.EXTENSION_SUFFIXES)
    return next((file for file in files if file.exists()), None)


@functools.cache
def library() -> Optional[ctypes.CDLL]:
    """The library; None where it was not built or cannot be loaded."""
    file = _file()
    try:
        found = None if file is None else ctypes.CDLL(str(file))
    except OSError:
        return None
    if found is not None:
        found.chainer_lstm_kernel.restype = _P
        found.chainer_lstm_kernel.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char)
        found.chainer_lstm_instruction_set.restype = ctypes.c_char_p
        found.chainer_lstm_set_num_threads(_threads())
        _keep_memory()
        _register()
    return found


def instruction_sets() -> list[str]:
    """Those that this processor has and the library was built for, the best first."""
    found, names = library(), []
    while found is not None and (name := found.chainer_lstm_instruction_set(len(names))) is not None:
        names.append(name.decode())
    return names


@functools.cache
def kernel(instruction_set: str, name: str, dtype_char: str) -> Callable[..., None]:
    """A function of the library for arrays of a dtype, 'f' or 'd'.  It takes addresses and sizes.

    Raises (the function, when called):
        MemoryError: there is none left.
    """
    address = library().chainer_lstm_kernel(instruction_set.encode(), name.encode(), dtype_char.encode())
    function = ctypes.CFUNCTYPE(ctypes.c_int, *_ARGUMENTS[name])(address)

    def call(*args):
        if function(*args):
            raise MemoryError('no memory for packed weights')
    return call


def address(x: Any) -> Optional[int]:
    """Of an array's first element; None for None."""
    if x is None:
        return None
    try:  # a quarter of the other's time
        return ctypes.addressof(ctypes.c_char.from_buffer(x))
    except (TypeError, ValueError):  # it must not be written, is not dense or has no elements
        return x.__array_interface__['data'][0]


def _threads() -> int:
    """OMP_NUM_THREADS, or the number of cores this process may run on: their second threads would not help."""
    setting = os.environ.get('OMP_NUM_THREADS', '').split(',')[0].strip()
    if setting.isdigit() and int(setting):
        return int(setting)
    if not hasattr(os, 'sched_getaffinity'):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        try:
            cores.add(pathlib.Path(f'/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list').read_text())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def _keep_memory() -> None:
    """Lets glibc keep what is freed, unless its own variables say otherwise.

    The arrays of one training step would go back to the system after it, and come anew for the next, page by page:
    that took an eighth of the time.
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

        def get_num_threads(self):
            return self.dynlib.chainer_lstm_get_num_threads()

        def set_num_threads(self, num_threads):
            self.dynlib.chainer_lstm_set_num_threads(num_threads)

        def get_version(self):
            return None

        def set_additional_attributes(self):
            self.instruction_sets = instruction_sets()

    threadpoolctl.register(Controller)
