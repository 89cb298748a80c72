"""A stand-in for CuPy whose arrays are NumPy's, for programs on a machine without a GPU.

Besides the functions that CuPy shares with NumPy it has the functions that programs call.  Every
device number means the CPU, and the functions for memory and streams do nothing.
"""

from __future__ import annotations

import contextlib
import time
import types
from typing import Any

import numpy
from chainer.backend import CpuDevice
from chainer.backends import cuda as chainer_cuda

from chainer_lstm.chainer_private import convert_arrays, to_cpu


class _Module(types.ModuleType):
    """A module of CuPy: some names, and all names of a module of NumPy."""

    def __init__(
        self, name: str, numpy_module: types.ModuleType | None = None, **names: Any
    ) -> None:
        super().__init__(name)
        self._numpy_module = numpy_module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        if self._numpy_module is not None and hasattr(self._numpy_module, name):
            return getattr(self._numpy_module, name)
        raise AttributeError(
            f'module {self.__name__!r} has no attribute {name!r} where --cpu puts NumPy '
            'in the place of CuPy',
            name=name,
            obj=self,
        )


class _Random(_Module):
    """``cupy.random``, whose functions have a ``dtype``."""

    def __getattr__(self, name: str) -> Any:
        function = super().__getattr__(name)
        if not callable(function) or isinstance(function, type):
            return function

        def draw(*args: Any, dtype: Any = None, **options: Any) -> Any:
            if dtype is None:
                return function(*args, **options)
            return numpy.asarray(function(*args, **options)).astype(dtype)

        return draw


class Device(chainer_cuda.DummyDeviceType):
    """``cupy.cuda.Device``: the CPU, under the number of a GPU."""

    def __init__(self, device: Any = None) -> None:
        self.id = 0 if device is None else int(device)

    def __int__(self) -> int:
        return self.id

    def __hash__(self) -> int:
        return hash(type(self))


class GpuDevice(CpuDevice):
    """``chainer.backend.GpuDevice``: the CPU, with the attributes of a GPU's device."""

    def __init__(self, device: Any = None) -> None:
        super().__init__()
        self.device = Device() if device is None else device

    @staticmethod
    def from_device_id(device_id: int) -> GpuDevice:
        """Return the device of any number."""
        return GpuDevice(Device(device_id))

    @staticmethod
    def from_array(array: object) -> None:
        """Return None: no array is on a GPU."""

    def __reduce__(self) -> Any:
        return CpuDevice, ()  # a model that is pickled can be read without --cpu


class Stream(contextlib.AbstractContextManager):
    """``cupy.cuda.Stream``: everything is done when the function that does it returns."""

    null: Stream

    def __init__(self, *args: Any, **options: Any) -> None:
        self.done = True

    def __exit__(self, *error: Any) -> None:
        return None

    def nothing(self, *args: Any, **options: Any) -> None:
        """Return at once."""

    synchronize = use = wait_event = nothing

    def record(self, event: Any = None) -> Any:
        """Return the event, recorded."""
        event = Event() if event is None else event
        event.record()
        return event


Stream.null = Stream()


class Event:
    """``cupy.cuda.Event``: a time of the CPU's clock."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.done = True
        self.seconds = 0.0

    def record(self, stream: Any = None) -> None:
        """Take the time."""
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        """Return at once."""


class MemoryPool:
    """``cupy.cuda.MemoryPool``: empty."""

    def nothing(self, *args: Any, **options: Any) -> int:
        """Return 0, for bytes, blocks and limits."""
        return 0

    free_all_blocks = free_all_free = n_free_blocks = nothing
    used_bytes = free_bytes = total_bytes = set_limit = get_limit = malloc = nothing


def nothing(*args: Any, **options: Any) -> None:
    """Return at once, instead of managing a GPU."""


def current_device(device: Any = None) -> Device:
    """Return the device of a number, or of none."""
    return device if isinstance(device, Device) else Device(device)


def to_gpu(array: Any, device: Any = None, stream: Any = None) -> Any:
    """Copy arrays, as ``chainer.cuda.to_gpu`` does, into the CPU's memory."""
    return convert_arrays(array, lambda each: None if each is None else numpy.array(to_cpu(each)))


def _asnumpy(array: Any, *args: Any, **options: Any) -> numpy.ndarray:
    return numpy.array(array)


def _memoize(for_each_device: bool = False) -> Any:
    return lambda function: function


def _fuse(*args: Any, **options: Any) -> Any:
    return args[0] if args and callable(args[0]) else lambda function: function


def _scatter_add(array: numpy.ndarray, index: Any, value: Any) -> None:
    numpy.add.at(array, index, value)


def _no_kernel(*args: Any, **options: Any) -> Any:
    raise RuntimeError(
        'a kernel in CUDA C++ needs a GPU, and the program is run with --cpu: expected one that '
        'computes with the functions of NumPy where there is no GPU'
    )


def _elapsed_time(start: Event, end: Event) -> float:
    return 1000 * (end.seconds - start.seconds)


_runtime = _Module(
    'cupy.cuda.runtime',
    deviceSynchronize=nothing,
    getDevice=lambda: 0,
    setDevice=nothing,
    getDeviceCount=lambda: 1,
    memGetInfo=lambda: (0, 0),
    profilerStart=nothing,
    profilerStop=nothing,
)
_cuda = _Module(
    'cupy.cuda',
    Device=Device,
    Event=Event,
    Stream=Stream,
    ExternalStream=Stream,
    MemoryPool=MemoryPool,
    PinnedMemoryPool=MemoryPool,
    runtime=_runtime,
    set_allocator=nothing,
    set_pinned_memory_allocator=nothing,
    is_available=lambda: True,
    get_device_id=lambda: 0,
    get_elapsed_time=_elapsed_time,
    get_current_stream=Stream,
    profile=contextlib.nullcontext,
    profiler=_Module('cupy.cuda.profiler', start=nothing, stop=nothing, initialize=nothing),
    nvtx=_Module('cupy.cuda.nvtx', RangePush=nothing, RangePop=nothing, Mark=nothing),
    device=_Module('cupy.cuda.device', Device=Device, get_device_id=lambda: 0),
    stream=_Module('cupy.cuda.stream', Event=Event, Stream=Stream, get_elapsed_time=_elapsed_time),
    memory=_Module('cupy.cuda.memory', MemoryPool=MemoryPool, set_allocator=nothing),
)
_pool = MemoryPool()

cupy = _Module(
    'cupy',
    numpy,
    cuda=_cuda,
    random=_Random('cupy.random', numpy.random),
    asnumpy=_asnumpy,
    get_array_module=lambda *arrays: numpy,
    scatter_add=_scatter_add,
    memoize=_memoize,
    clear_memo=nothing,
    fuse=_fuse,
    get_default_memory_pool=lambda: _pool,
    get_default_pinned_memory_pool=lambda: _pool,
    ElementwiseKernel=_no_kernel,
    ReductionKernel=_no_kernel,
    RawKernel=_no_kernel,
    RawModule=_no_kernel,
)
cupyx = _Module('cupyx', scatter_add=_scatter_add, rsqrt=lambda x: 1 / numpy.sqrt(x))
