"""Numbers that each replay of a captured CUDA graph reads from device memory.

A graph freezes the arguments of its kernels.  A number that changes from one update to the next,
such as a learning rate or the position of a random generator, is therefore passed by address: the
code that launches the kernel asks ``current()`` for the inputs of the graph that is being captured,
and passes the address of a number in place of the number.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Optional

import numpy

_MOST = 256  # numbers per graph
_WORKSPACE = 32 << 20  # bytes: as much as cuBLAS itself takes on an H100
_local = threading.local()


class Inputs:
    """The changing numbers of one graph.

    Args:
        xp: CuPy, with the device of the graph current.

    Attributes:
        numbers: (256,) float64 on the device; before each replay ``values()`` is copied into it.
        kept: objects that have to live as long as the graph, such as arrays that its kernels read.
    """

    def __init__(self, xp: Any) -> None:
        self.numbers = xp.zeros(_MOST, numpy.float64)
        self.kept: list[Any] = []
        self._xp = xp
        self._computed: list[Callable[[], float]] = []

    def address(self, compute: Callable[[], float]) -> int:
        """Return the address of a float64 on the device, which is set to the result of ``compute``
        when the capture ends and before each replay.

        Raises:
            RuntimeError: the graph has 256 numbers already.
        """
        if len(self._computed) == _MOST:
            raise RuntimeError(f'expected at most {_MOST} numbers in a graph')
        self._computed.append(compute)
        return self.numbers.data.ptr + (len(self._computed) - 1) * self.numbers.itemsize

    def values(self) -> numpy.ndarray:
        """Return the numbers of the next replay, (256,) float64."""
        found = numpy.zeros(_MOST)
        found[: len(self._computed)] = [compute() for compute in self._computed]
        return found

    def send(self) -> None:
        """Copy the numbers of the next replay to the device, on the current stream."""
        if self._computed:
            self.numbers[...] = self._xp.asarray(self.values())

    @functools.cached_property
    def workspace(self) -> Any:
        """Memory for cuBLAS, made while the graph is captured."""
        return self._xp.empty(_WORKSPACE, numpy.uint8)


def current() -> Optional[Inputs]:
    """Return the inputs of the graph that this thread is capturing; None while it captures none."""
    return getattr(_local, 'inputs', None)


def random_position(xp: Any, size: int = 0) -> int:
    """Return the position of CuPy's random generator, which the host passes to kernels as their
    seed and which follows ``cupy.random.seed``; then move it past so many numbers.
    """
    return int(xp.random.get_random_state()._get_seed(size))


def keep(x: Any) -> None:
    """Let an object live as long as the graph that this thread is capturing, if it does."""
    inputs = current()
    if inputs is not None:
        inputs.kept.append(x)


@contextlib.contextmanager
def capturing(inputs: Inputs) -> Iterator[None]:
    """Let ``current()`` return these inputs in the current thread."""
    before, _local.inputs = current(), inputs
    try:
        yield
    finally:
        _local.inputs = before
