"""The GPU that is measured: its properties and its clock."""

from __future__ import annotations

import functools
import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy

CALLS = 16  # host and device times are medians of so many calls
LONGEST_WAIT = 1.0  # seconds that the device waits so that calls are queued before the first begins
_PROPERTIES = (
    'multiProcessorCount', 'l2CacheSize', 'persistingL2CacheMaxSize', 'sharedMemPerMultiprocessor',
    'sharedMemPerBlockOptin', 'regsPerMultiprocessor', 'memoryBusWidth', 'totalGlobalMem',
)  # fmt: skip
_WAIT = r"""
extern "C" __global__ void wait(long long nanoseconds) {
    long long now, end;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(end));
    end += nanoseconds;
    do
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    while (now < end);
}"""


class Gpu:
    """The current CUDA device, its name in torch, and the engines and precisions to time on it."""

    torch_name = 'cuda'
    engines = (
        ('persistent', 'highest'),
        ('persistent', 'high'),
        ('persistent', 'medium'),
        ('cupy', 'highest'),
    )

    def __init__(self) -> None:
        """Find the device.

        Raises:
            ImportError: CuPy is not installed.
            RuntimeError: CUDA finds no GPU.
        """
        self.xp = importlib.import_module('cupy')
        self.xp.zeros(1).sum().item()

    def facts(self) -> dict[str, Any]:
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self.xp.cuda.Device().id)
        return {
            'gpu': properties['name'].decode(),
            'capability': f'{properties["major"]}.{properties["minor"]}',
            **{name: int(properties[name]) for name in _PROPERTIES if name in properties},
            'cupy': self.xp.__version__,
            'nvrtc': '.'.join(map(str, self.xp.cuda.nvrtc.getVersion())),
            'driver': runtime.driverGetVersion(),
            'runtime': runtime.runtimeGetVersion(),
        }

    def synchronize(self) -> None:
        self.xp.cuda.Device().synchronize()

    def time(self, call: Callable[[], Any], seconds: float) -> float:
        """Return the seconds of a call, from calls one after the other for some seconds."""
        call()  # compiles kernels, loads libraries
        calls, spent = 1, self._spent(call, 1)
        while spent < seconds:
            calls = min(max(2 * calls, int(1.1 * calls * seconds / spent)), 10_000 * calls)
            spent = self._spent(call, calls)
        return spent / calls

    def _spent(self, call: Callable[[], Any], calls: int) -> float:
        self.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        self.synchronize()
        return time.perf_counter() - start

    def split(
        self, call: Callable[[], Any], before: Callable[[], Any] = lambda: None
    ) -> dict[str, float]:
        """Return the seconds of a call on the host and on the device, without waiting.

        The calls are queued behind a kernel that waits.  Otherwise a device that is faster than the
        host would be timed with the gaps between its kernels.  ``before`` runs before each call and
        is not timed.
        """
        before()
        call()
        calls, wait = CALLS, 2 * CALLS * (self._spent(before, 1) + self._spent(call, 1))
        while True:
            events, host = self._queue(call, before, calls, min(wait, LONGEST_WAIT))
            queued_in_time = not events[0].done
            self.synchronize()
            if queued_in_time or calls == 1:
                break
            calls //= 2  # the queue was full, and the host waited for the device
        elapsed = self.xp.cuda.get_elapsed_time
        device = [elapsed(*pair) / 1e3 for pair in zip(events[::2], events[1::2])]
        return {'host': statistics.median(host), 'device': statistics.median(device)}

    def _queue(
        self, call: Callable[[], Any], before: Callable[[], Any], calls: int, wait: float
    ) -> tuple[list[Any], list[float]]:
        """Return events before and after each call, and the seconds that it took the host."""
        events = [self.xp.cuda.Event() for _ in range(2 * calls)]
        host = []
        self._waiting((1,), (1,), (int(wait * 1e9),))
        for start, end in zip(events[::2], events[1::2]):
            before()
            start.record()
            begin = time.perf_counter()
            call()
            host.append(time.perf_counter() - begin)
            end.record()
        return events, host

    @functools.cached_property
    def _waiting(self) -> Any:
        return self.xp.RawKernel(_WAIT, 'wait')


class Cpu(Gpu):
    """NumPy instead of a GPU, to test the program; its figures mean nothing."""

    torch_name = 'cpu'
    engines = (('auto', 'highest'), ('numpy', 'high'))

    def __init__(self) -> None:
        self.xp = numpy

    def facts(self) -> dict[str, Any]:
        return {'gpu': 'none'}

    def synchronize(self) -> None:
        pass

    def split(
        self, call: Callable[[], Any], before: Callable[[], Any] = lambda: None
    ) -> dict[str, float]:
        before()
        return {'host': self._spent(call, 1), 'device': self._spent(call, 1)}


DEVICES = {'gpu': Gpu, 'cpu': Cpu}
