"""Runs the kernels of updates on the CPU, on the threads of ``fibres.hpp``."""

import functools

import numpy

from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines import cupy_updates
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from tests.kernels import fibres

THREADS = 64  # two warps


class _KeepingNumpy:
    """NumPy, whose new arrays are kept as long as this, as the memory of a CUDA graph is."""

    def __init__(self):
        self._kept = []

    def empty(self, shape, dtype):
        self._kept.append(numpy.empty(shape, dtype))
        return self._kept[-1]


class UpdatesOnCpu(cupy_updates.CupyUpdates):
    """The updates of ``CupyEngine`` on arrays of NumPy."""

    def __init__(self):
        self.xp = _KeepingNumpy()

    def _address(self, x):
        return x.ctypes.data

    def span(self, x):
        return NumpyEngine().span(x)


def engine(monkeypatch, edit=lambda text: text, seed=1, most=3, blocks=3):
    """An ``UpdatesOnCpu``; from now on the test's kernels come from here, their source edited if
    wanted, of so many parameters and blocks a launch.
    """

    def update_kernel(name, options):
        return fibres.Kernel(edit(cuda.source('updates.cu')), 'KERNEL', options, seed, resident=2)

    monkeypatch.setattr(cuda, 'update_kernel', functools.cache(update_kernel))
    monkeypatch.setattr(cupy_updates, '_THREADS', THREADS)
    monkeypatch.setattr(cupy_updates, '_MOST', most)
    monkeypatch.setattr(cupy_updates, '_MAX_BLOCKS', blocks)
    return UpdatesOnCpu()
