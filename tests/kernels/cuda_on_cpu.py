"""Runs the package's CUDA source on the CPU:
compiled by g++ as plain C++, called like ``cupy.RawKernel``.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

import numpy

from chainer_lstm.kernels import boundary, cuda
from chainer_lstm.kernels.engines.cupy import CupyEngine

# environment variable: build with AddressSanitizer and UBSan
SANITIZE = 'CHAINER_LSTM_TEST_SANITIZE'
_HEADER = pathlib.Path(__file__).with_name('cuda_on_cpu.hpp')
_OPTIONS = ('-x', 'c++', '-O1', '-mf16c', '-fPIC', '-shared')
_SANITIZERS = ('-fsanitize=address,undefined', '-fno-sanitize-recover=undefined')
_KERNEL = re.compile(r'__global__ void (\w+)\(')
_ALIGNMENT = 512  # CuPy's
_GUARD = 4096  # bytes before and after each array
_CANARY = 0xA5
_NOT_WRITTEN = 0xFF  # a NaN in every float type


@functools.cache
def missing():
    """What this machine lacks to run CUDA source, or None."""
    if shutil.which('g++') is None:
        return 'no g++ to compile the CUDA source with'
    if platform.machine() not in ('x86_64', 'AMD64'):
        return (
            'half.cuh converts float16 on the CPU with x86-64 instructions; '
            f'this is {platform.machine()}'
        )
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    if cpuinfo.exists() and not re.search(r'\bf16c\b', cpuinfo.read_text()):
        return 'this CPU lacks the float16 conversions (F16C) that half.cuh uses'
    return None


@functools.cache
def sanitizer_environment():
    """Environment variables for a Python that loads sanitized kernels;
    None where AddressSanitizer does not work.
    """
    path = subprocess.run(
        ['g++', '-print-file-name=libasan.so'], capture_output=True, text=True, check=True
    ).stdout
    if not pathlib.Path(path.strip()).is_absolute():
        return None
    environment = {
        **os.environ,
        SANITIZE: '1',
        'LD_PRELOAD': path.strip(),
        'ASAN_OPTIONS': 'detect_leaks=0',
    }
    probe = subprocess.run([sys.executable, '-c', ''], env=environment, capture_output=True)
    return environment if probe.returncode == 0 else None


def _sanitized():
    return SANITIZE in os.environ


@functools.cache
def folder():
    return tempfile.TemporaryDirectory(
        prefix='chainer_lstm_cuda_on_cpu_'
    )  # removed when Python ends


@functools.cache
def _library(text, options):
    """A shared library with ``run_<kernel>`` for every kernel in the text."""
    launchers = ''.join(f'LAUNCHER({name})\n' for name in _KERNEL.findall(text))
    path = pathlib.Path(
        folder().name, hashlib.sha256(repr((text, options)).encode()).hexdigest() + '.so'
    )
    subprocess.run(
        ['g++', *_OPTIONS, *(_SANITIZERS if _sanitized() else ()), *options, '-o', path, '-'],
        input=f'#include "{_HEADER}"\n{text}\n{launchers}',
        text=True,
        check=True,
    )
    return ctypes.CDLL(os.fspath(path))


class Kernel:
    """A kernel of ``boundary.KERNELS``, as ``cupy.RawKernel``, of which it takes the arguments that
    the engine uses.

    Raises:
        TypeError: the argument is not what the kernel takes (a GPU would run on with wrong bytes).
        ValueError: gates do not lie where a GPU loads those of a unit at once.
    """

    def __init__(self, name, dtype_char, edit, backwards):
        text, options = cuda.stage(name, dtype_char)
        _, direction, _ = name.rsplit('_', 2)
        self._run = _library(edit(text), options)['run_' + direction.upper()]
        self._run.argtypes = (
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_ulong,
            ctypes.c_bool,
        )
        self._run.restype = ctypes.c_bool
        self._expected = boundary.KERNELS[name]
        gates = self._expected.gates
        self._load = (gates & -gates) * numpy.dtype(dtype_char).itemsize
        self._backwards = backwards

    def __call__(self, grid, block, args):
        (blocks,), (threads,), (arguments,) = grid, block, args
        assert arguments.size == 1  # CuPy passes no others by value
        if arguments.nbytes == self._expected.layout.size:
            words = self._expected.layout.unpack(arguments.tobytes())
            addresses = words[len(self._expected.sizes) :]
            for argument, address in zip(self._expected.arguments, addresses):
                if argument.axes[-1] == 'gates' and address % self._load:
                    raise ValueError(f'{argument.name} is not aligned')
        address, size = arguments.ctypes.data, arguments.nbytes
        if not self._run(blocks, threads, address, size, self._backwards):
            raise TypeError(f'{size} bytes of arguments do not fit {self._expected.name}')


class GuardedNumpy:
    """NumPy, with memory as CuPy would give it, but every new array between canaries."""

    def __init__(self):
        self._guards = []

    def __getattr__(self, name):
        return getattr(numpy, name)

    def empty(self, shape, dtype):
        size = int(numpy.prod(shape)) * numpy.dtype(dtype).itemsize
        memory = _exact_memory(size) if _sanitized() else self._memory(size)
        memory[:] = _NOT_WRITTEN
        return memory.view(dtype).reshape(shape)

    def array(self, x):
        """A copy."""
        y = self.empty(x.shape, x.dtype)
        y[...] = x
        return y

    def matmul(self, a, b, out=None):
        return self.array(numpy.matmul(a, b)) if out is None else numpy.matmul(a, b, out=out)

    def ascontiguousarray(self, x):
        return (x if x.flags.c_contiguous else self.array(x)).view(_DeviceArray)

    def check_guards(self):
        """Fails if anything was written before or after an array."""
        for guard in self._guards:
            assert (guard == _CANARY).all(), 'written outside of an array'

    def _memory(self, size):
        whole = numpy.full(size + 2 * _GUARD + _ALIGNMENT, _CANARY, numpy.uint8)
        start = _GUARD + -(whole.ctypes.data + _GUARD) % _ALIGNMENT
        self._guards += [whole[:start], whole[start + size :]]
        return whole[start : start + size]


class _DeviceArray(numpy.ndarray):
    """Its copies are aligned as CuPy's; NumPy aligns to 16 bytes only."""

    def copy(self):
        return GuardedNumpy().array(self)


def _exact_memory(size):
    """Return bytes with no allocation around them, so that AddressSanitizer sees accesses outside;
    they are never freed.
    """
    pointer = ctypes.c_void_p()
    if ctypes.CDLL(None).posix_memalign(ctypes.byref(pointer), _ALIGNMENT, size):
        raise MemoryError
    return numpy.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer.value))


class CudaOnCpuEngine(CupyEngine):
    """``CupyEngine`` with its kernels on the CPU."""

    xp = None  # in place of CupyEngine's property

    def __init__(self):
        self.xp = GuardedNumpy()

    def _address(self, x):
        return x.ctypes.data

    def _compute_type(self):
        return None  # products are NumPy's

    def column_sums(self, x):
        return x.sum(axis=0)  # of threads that wait for each other, see fibres.py


def engine(monkeypatch, edit=lambda text: text, backwards=False):
    """A ``CudaOnCpuEngine``; from now on the test's kernels come from here,
    their source edited if wanted.
    """
    monkeypatch.setattr(
        cuda,
        'stage_kernel',
        functools.cache(lambda name, dtype_char: Kernel(name, dtype_char, edit, backwards)),
    )
    return CudaOnCpuEngine()
