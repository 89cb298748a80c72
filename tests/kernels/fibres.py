"""Runs kernels whose threads wait for each other on the CPU, on the threads of ``fibres.hpp``:
those of functions and the persistent ones, with the whole of ``PersistentEngine``.
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

import numpy

from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines import persistent, persistent_plan
from tests.kernels import cuda_on_cpu

_HEADER = pathlib.Path(__file__).with_name('device_on_cpu.hpp')
_OPTIONS = ('-x', 'c++', '-O1', '-fPIC', '-shared', '-Wno-unknown-pragmas')
_OUTCOMES = (
    None,
    'deadlock',
    'the lanes of a warp met in different operations',
    'written outside of shared memory',
    'too many stores or prefetches under way',
)
SPIN_LIMIT = 200_000


class Failure(AssertionError):
    """A kernel did not come to its end."""


@functools.cache
def missing():
    """What this machine lacks, or None."""
    if shutil.which('g++') is None:
        return 'no g++ to compile the CUDA source with'
    if platform.machine() not in ('x86_64', 'AMD64'):
        return f'fibres.hpp switches stacks with x86-64 instructions; this is {platform.machine()}'
    return None


@functools.cache
def _library(text, options):
    names = re.findall(r'__global__ void (?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(', text)
    launchers = ''.join(f'LAUNCHER({name})\n' for name in names)
    digest = hashlib.sha256(repr((text, options)).encode()).hexdigest()
    path = pathlib.Path(cuda_on_cpu.folder().name, digest + '.so')
    subprocess.run(
        ['g++', *_OPTIONS, *options, '-o', path, '-'],
        input=f'#include "{_HEADER}"\n{text}\n{launchers}',
        text=True,
        check=True,
    )
    return ctypes.CDLL(os.fspath(path))


class Kernel:
    """A kernel as ``cupy.RawKernel``.

    Args:
        seed: of the order in which threads run.
        resident: how many blocks fit at a time; 0 for all.
    """

    def __init__(self, text, name, options, seed, resident):
        library = _library(text, options)
        self._run, self._size = library['run_' + name], library['size_' + name]()
        self._seed, self._resident = seed, resident

    def __call__(self, grid, block, args, shared_mem=0):
        (threads,), (arguments,) = block, args
        if arguments.nbytes != self._size:
            raise TypeError(f'expected {self._size} bytes of arguments, got {arguments.nbytes}')
        outcome = self._run(
            (ctypes.c_int * 3)(*grid, *[1] * (3 - len(grid))),
            threads,
            shared_mem,
            ctypes.c_void_p(arguments.ctypes.data),
            self._resident,
            self._seed,
        )
        if _OUTCOMES[outcome]:
            raise Failure(_OUTCOMES[outcome])


class _StaleNumpy(cuda_on_cpu.GuardedNumpy):
    """New words for an exchange look like numbers that have arrived, as memory used before does."""

    def empty(self, shape, dtype):
        x = super().empty(shape, dtype)
        if x.dtype == numpy.uint32:
            x[...] = 0x3F3F3F3F
        return x


class FibreEngine(persistent.PersistentEngine):
    """``PersistentEngine`` on a device that is made up."""

    xp = None  # in place of CupyEngine's property

    def __init__(
        self,
        precision='highest',
        forced=True,
        multiprocessors=132,
        shared_memory=232448,
        capability=90,
    ):
        super().__init__(precision, forced)
        self.xp = _StaleNumpy()
        self.error = numpy.zeros(1, numpy.int32)
        self.room = multiprocessors
        self._made_up = persistent_plan.Device(capability, multiprocessors, shared_memory)

    def _device(self):
        return self._made_up

    def _address(self, x):
        return x.ctypes.data

    def _device_id(self):
        return 0

    def _place(self):
        return 0, 0

    def _room(self, grid):
        return self.room

    def _error(self):
        return self.error

    def _compute_type(self):
        return None  # products are NumPy's


def engine(monkeypatch, *args, edit=None, seed=1, resident=0, spin_limit=SPIN_LIMIT, **kwargs):
    """A ``FibreEngine``; from now on the test's kernels come from here,
    their source edited if wanted.
    """

    def sequence_kernel(file, name, options, cooperative):
        text = cuda.source(file)
        return Kernel(
            text if edit is None else edit(text),
            name,
            (*options, f'-DSPIN_LIMIT={spin_limit}'),
            seed,
            resident if cooperative else 0,
        )

    def function_kernel(name, dtype_char, index_bytes):
        text, options = cuda.function(name, dtype_char, index_bytes)
        return Kernel(text if edit is None else edit(text), name, (*options, '-mf16c'), seed, 0)

    monkeypatch.setattr(cuda, 'sequence_kernel', sequence_kernel)
    monkeypatch.setattr(cuda, 'function_kernel', functools.cache(function_kernel))
    monkeypatch.setattr(persistent, '_PREPARE_BLOCKS', 2)
    monkeypatch.setattr(
        persistent, '_plan', persistent_plan.plan
    )  # of which the test may change parts
    return FibreEngine(*args, **kwargs)
