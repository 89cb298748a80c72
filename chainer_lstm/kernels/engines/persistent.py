"""The persistent engine: one kernel launch for all time steps, with the recurrent weights in
registers and shared memory throughout.

It computes sequences of ``_CELL`` of float32 and, in float32, of float16.  Single steps, other
cells and dtypes, and shapes that do not fit on the device are left to the CuPy engine, or refused
if this engine was selected by name.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy

from chainer_lstm import cells
from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.kernels import boundary, captured, cuda
from chainer_lstm.kernels.engines import cublas
from chainer_lstm.kernels.engines import persistent_half as half
from chainer_lstm.kernels.engines import persistent_plan as plans
from chainer_lstm.kernels.engines.cupy import CupyEngine, cupy_engine
from chainer_lstm.kernels.engines.types import Gradients, Layer, Shape
from chainer_lstm.kernels.packing import Rows
from chainer_lstm.kernels.tables import on_device

_CELL = cells.lstm  # the only cell of these kernels
_FLOAT32 = numpy.dtype(numpy.float32)
_DIRECTIONS = {'forward': 'fwd', 'backward': 'bwd'}

# struct Job in persistent.cuh
_JOB = [
    *((name, 'Q') for name in (
        'U', 'weights', 'b', 'h0', 'c0', 'hy', 'cy', 'gates', 'h', 'c', 'gh', 'gh_last', 'gc_last',
        'gb', 'starts', 'lengths', 'exchange', 'error')),
    ('exchange_size', 'q'),
    *((name, 'i') for name in (
        'batch', 'steps', 'begin', 'end', 'first', 'initial', 'reverse', 'gh_stride',
        'from_zeros')),
]  # fmt: skip
_LAYOUT = struct.Struct(''.join(code for _, code in _JOB) + '0q')  # padded as in C
# CuPy passes one element of an array by value
_JOBS = numpy.dtype((numpy.void, plans.MOST_JOBS * _LAYOUT.size))
_NONE = dict.fromkeys((name for name, _ in _JOB), 0)
_PREPARE_BLOCKS = 256
_plan = functools.cache(plans.plan)
_TIMED_OUT = (
    'a persistent LSTM kernel timed out waiting for its other blocks; its results are NaN (set '
    "chainer.config.lstm_engine = 'cupy' to compute without it)"
)


class Schedule(NamedTuple):
    """The common part of the launches for sequences of the same lengths.

    Attributes:
        cuts: (first step, one past the last step) of each launch, in order.
        exchange: the size of a job's exchange buffer, in 16 bytes.
        options: compiler options.
        shared: members of struct Job that all jobs have, numbers and arrays.
    """

    cuts: Sequence[tuple[int, int]]
    exchange: int
    options: tuple[str, ...]
    shared: Mapping[str, Any]


class PersistentEngine(CupyEngine):
    """float32 products in the configured precision: three bf16 products, TF32 or bf16.

    Args:
        precision: 'highest', 'high' or 'medium'.
        forced: whether a sequence that it cannot compute is an error.

    If a launch times out, its results are NaN and the next sequence raises RuntimeError.
    """

    def __init__(self, precision: str, forced: bool) -> None:
        self._precision = precision
        self._forced = forced

    def supports(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> bool:
        try:
            self._grid(cell, dtype, shape, direction)
        except ValueError:
            return False
        return True

    def sequence_forward(self, layers: Sequence[Layer], keep: bool) -> list[Optional[Array]]:
        grid = self._grid_of(layers, 'forward')
        if grid is None:
            return super().sequence_forward(layers, keep)
        if layers[0].states.h.dtype != half.FLOAT16:
            return self._forward(grid, layers)
        wide = [half.layer_to_float32(self.xp, layer) for layer in layers]
        gates = self._forward(grid, wide)
        for layer, computed in zip(layers, wide):
            half.write_states(layer, computed)
        return [x.astype(half.FLOAT16) if keep else None for x in gates]

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        grid = self._grid_of(layers, 'backward')
        if grid is None or gradients[0].output.c is not None:
            return super().sequence_backward(layers, gates, gradients)
        if layers[0].states.h.dtype != half.FLOAT16:
            return self._backward(grid, layers, gates, gradients)
        wide = half.backward_to_float32(self.xp, layers, gates, gradients)
        return half.write_gradients(gates, wide[1], self._backward(grid, *wide))

    def _forward(self, grid: plans.Grid, layers: Sequence[Layer]) -> list[Any]:
        arguments: list[dict[str, Any]] = []
        for layer in layers:
            b, U = (self.xp.ascontiguousarray(layer.weights[name]) for name in ('b', 'U'))
            arrays = {'U': U, 'b': b, **dict.fromkeys(('h0', 'c0', 'hy', 'cy'))}
            if layer.initial is not None:
                for name, state in layer.initial._asdict().items():
                    arrays[f'{name}0'] = self.xp.ascontiguousarray(state)
                    arrays[f'{name}y'] = getattr(layer.last, name)
            arrays['gates'] = self.xp.empty((layer.rows.total, b.size), _FLOAT32)
            self.matmul(layer.x, layer.weights['W'].T, arrays['gates'])
            arguments.append({**arrays, **layer.states._asdict(), **_layout(layer.rows)})
        self._run(grid, layers[0].rows, arguments)
        return [job['gates'] for job in arguments]

    def _backward(
        self,
        grid: plans.Grid,
        layers: Sequence[Layer],
        gates: Sequence[Array],
        gradients: Sequence[Gradients],
    ) -> list[Any]:
        results, arguments = [], []
        for layer, activated, given in zip(layers, gates, gradients):
            if layer.rows.has_empty:  # no block computes the gradients of empty sequences
                given.begin()
            # the kernel overwrites these with the gradients with respect to the initial states
            last = given.last._make(map(self.xp.ascontiguousarray, given.last))
            gh = None if given.output.h is None else _strided(self.xp, given.output.h)
            given.of_weights['b'] = gb = self.xp.empty(activated.shape[1], activated.dtype)
            arguments.append(
                {
                    'U': self.xp.ascontiguousarray(layer.weights['U']),
                    'gates': activated,
                    'c': layer.states.c,
                    'gh': gh,
                    'gh_last': last.h,
                    'gc_last': last.c,
                    'gb': gb,
                    **_layout(layer.rows),
                    'gh_stride': 0 if gh is None else gh.strides[0] // gh.itemsize,
                    'from_zeros': int(given.from_zeros),
                }
            )
            results.append(last)
        self._run(grid, layers[0].rows, arguments)
        return results

    def _compute_type(self) -> Optional[int]:
        if self._precision == 'highest' or self._device().capability < plans.MIN_CAPABILITY:
            return super()._compute_type()
        return cublas.TF32

    def _grid(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> plans.Grid:
        """Return the launch grid for sequences of this shape.

        Raises:
            ValueError: the engine cannot compute them; the message gives the reason.
        """
        if cell != _CELL:
            raise ValueError(f'it computes the cell {_CELL.name} only, got {cell.name}')
        if dtype not in (_FLOAT32, half.FLOAT16):
            raise ValueError(f'it computes float32 and float16 only, got {dtype}')
        precision = self._precision
        if precision == 'highest' and dtype == half.FLOAT16:
            precision = 'high'  # TF32 has all bits of float16
        device = self._device()
        return _plan(
            _DIRECTIONS[direction], shape.units, precision, shape.batch, shape.jobs, device
        )

    def _grid_of(self, layers: Sequence[Layer], direction: str) -> Optional[plans.Grid]:
        """Return the launch grid for these layers, or None to leave them to the CuPy engine.

        Raises:
            ValueError: the engine cannot compute them, but was selected by name.
        """
        cell, rows, h = layers[0].cell, layers[0].rows, layers[0].states[-1]
        if rows.total * h.shape[1] == 0:
            return None
        shape = Shape(len(rows.steps), rows.batch, h.shape[1], len(layers))
        try:
            grid = self._grid(cell, h.dtype, shape, direction)
            self._check_room(grid)
        except ValueError as error:
            if self._forced:
                raise ValueError(
                    f"chainer.config.lstm_engine is 'persistent', but {error}"
                ) from None
            return None
        return grid

    def _check_room(self, grid: plans.Grid) -> None:
        """Check that all blocks of a launch are resident at the same time, as they wait for each
        other.

        Raises:
            ValueError: the device cannot hold all of them.
        """
        blocks, most = grid.kernel.blocks * grid.rows * grid.jobs, self._room(grid)
        if blocks > most:
            raise ValueError(
                f'its {blocks} blocks do not fit into the device at the same time, which holds '
                f'{most} (other processes, MPS or a debugger may take the rest)'
            )

    def _room(self, grid: plans.Grid) -> int:
        return _room_of(grid.kernel, grid.shared_bytes, self._device_id())

    def _run(self, grid: plans.Grid, rows: Rows, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Run jobs of one shape, ``grid.jobs`` at a time."""
        self.check_time_out()
        kernel = boundary.PERSISTENT[f'lstm_sequence_{grid.kernel.direction}']
        for job in jobs:
            arrays = [job[name] for name in kernel.names]
            boundary.check(kernel, _FLOAT32, (rows.batch, grid.kernel.units, rows.total), arrays)
            for argument, x in zip(kernel.arguments, arrays):
                if argument.written and x is not None:
                    boundary.dense(argument, x)
        schedule = _schedule(self.xp, grid, rows, self._place())
        captured.keep(schedule)
        for k in range(0, len(jobs), grid.jobs):
            self._launch_all(grid, schedule, jobs[k : k + grid.jobs])

    def _launch_all(
        self, grid: plans.Grid, schedule: Schedule, jobs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Cut the sequence into launches, to keep the exchange buffer small; each launch continues
        from the states of the previous one.
        """
        kernel, count = grid.kernel, len(jobs)
        of_weights, of_job = 16 * kernel.weights, 16 * (kernel.weights + schedule.exchange)
        memory = self.xp.empty((count * of_job // 16, 4), numpy.uint32)
        at = self._address(memory)
        shared = {**schedule.shared, 'error': self._error().ctypes.data}
        members = []
        for job in jobs:
            own = {'weights': at, 'exchange': at + of_weights}
            given = {**shared, **job, **own}
            members.append({**_NONE, **{name: self._word(given[name]) for name in given}})
            at += of_job
        for begin, end in schedule.cuts:
            arguments = _packed(members, begin, end)
            self._start(grid, schedule, '_prepare', (_PREPARE_BLOCKS, 1, count), arguments)
            self._start(grid, schedule, '', (kernel.blocks, grid.rows, count), arguments)
            for job in members:
                job['U'] = 0  # the weights are packed now

    def _start(
        self,
        grid: plans.Grid,
        schedule: Schedule,
        stage: str,
        blocks: tuple[int, int, int],
        arguments: numpy.ndarray,
    ) -> None:
        """Launch the cooperative kernel, or with ``stage`` the kernel that prepares its buffers."""
        compiled = _compiled(grid.kernel.direction, stage, schedule.options)
        shared_bytes = 0 if stage else grid.shared_bytes
        compiled(blocks, (plans.THREADS,), (arguments,), shared_mem=shared_bytes)

    def _word(self, value: Any) -> int:
        """Return a member of struct Job: a number as it is, an array as its address, 0 for None."""
        if value is None:
            return 0
        return value if type(value) is int else self._address(value)

    def _device_id(self) -> int:
        return self.xp.cuda.get_device_id()

    def _place(self) -> tuple[int, int]:
        """Return the current device and stream."""
        return self._device_id(), self.xp.cuda.get_current_stream().ptr

    def check_time_out(self) -> None:
        if self.timed_out():
            raise RuntimeError(_TIMED_OUT)

    def timed_out(self) -> bool:
        """Return whether a launch on the current device timed out since the last call, without
        waiting for running launches.
        """
        error = self._error()
        found = bool(error[0])
        error[0] = 0
        return found

    def _device(self) -> plans.Device:
        return _device_of(self._device_id())

    def _error(self) -> numpy.ndarray:
        """Return the error flag of the current device, in pinned memory: the host reads it without
        synchronizing.
        """
        return _error_of(self._device_id())


def _packed(jobs: Sequence[dict[str, int]], begin: int, end: int) -> numpy.ndarray:
    """Return struct Jobs for a launch of these steps."""
    packed = bytearray(_JOBS.itemsize)
    for k, job in enumerate(jobs):
        job['begin'], job['end'] = begin, end
        _LAYOUT.pack_into(packed, k * _LAYOUT.size, *[job[name] for name in _NONE])
    return numpy.frombuffer(packed, _JOBS)


@functools.lru_cache(maxsize=64)
def _schedule(xp: Any, grid: plans.Grid, rows: Rows, place: tuple[int, int]) -> Schedule:
    """Return the launches for a kernel and sequences, with their tables on the device and stream
    of ``place``.
    """
    kernel, groups = grid.kernel, -(-rows.batch // plans.GROUP)
    steps = sum(n > 0 for _, n in rows.steps)
    most = min(steps, kernel.steps(groups))
    cuts = [(begin, min(begin + most, steps)) for begin in range(0, steps, most)]
    if kernel.direction == 'bwd':
        cuts.reverse()
    exchange = kernel.exchange(groups, most)
    shared = {'batch': rows.batch, 'steps': steps, 'exchange_size': exchange}
    if not rows.equal:
        tables = {'starts': rows.starts, 'lengths': rows.lengths}
        shared.update((name, on_device(xp, table)) for name, table in tables.items())
    return Schedule(cuts, exchange, cuda.options(kernel.constants), shared)


def _compiled(direction: str, stage: str, options: tuple[str, ...]) -> Any:
    return cuda.sequence_kernel(
        f'persistent_{direction}.cu',
        f'lstm_sequence_{direction}{stage}',
        options,
        cooperative=not stage,
    )


@functools.cache
def _room_of(kernel: plans.Kernel, shared_bytes: int, device_id: int) -> int:
    """Return how many blocks of a kernel a device can hold at the same time."""
    compiled = _compiled(kernel.direction, '', cuda.options(kernel.constants))
    device = _device_of(device_id)
    # always the same value: another thread may be launching this kernel
    compiled.max_dynamic_shared_size_bytes = device.shared_memory
    occupancy = cupy_engine.xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
    each = occupancy(compiled.kernel.ptr, plans.THREADS, shared_bytes)
    return each * device.multiprocessors


def _layout(rows: Rows) -> dict[str, int]:
    return {'first': rows.first, 'initial': rows.initial, 'reverse': int(rows.reverse)}


def _strided(xp: Any, gh: Array) -> Array:
    """Return gh as float32 with contiguous rows, of any row stride."""
    gh = gh.astype(numpy.float32, copy=False)
    rows, columns = gh.strides
    return (
        gh
        if columns == gh.itemsize and rows % gh.itemsize == 0 and rows > 0
        else xp.ascontiguousarray(gh)
    )


@functools.cache
def _device_of(number: int) -> plans.Device:
    device = cupy_engine.xp.cuda.Device(number)
    return plans.Device(
        int(device.compute_capability),
        device.attributes['MultiProcessorCount'],
        device.attributes['MaxSharedMemoryPerBlockOptin'],
    )


@functools.cache
def _error_of(number: int) -> numpy.ndarray:
    flag = numpy.frombuffer(cupy_engine.xp.cuda.alloc_pinned_memory(4), numpy.int32, 1)
    flag[0] = 0
    return flag


@functools.cache
def _persistent(precision: str, forced: bool) -> PersistentEngine:
    return PersistentEngine(precision, forced)


def check() -> None:
    """Wait for the current device.

    Raises:
        RuntimeError: a persistent kernel timed out since the last sequence began.
    """
    cupy_engine.xp.cuda.Device().synchronize()
    if _persistent('highest', False).timed_out():
        raise RuntimeError(_TIMED_OUT)


def engine_of(name: str, precision: str) -> CupyEngine:
    """Return the engine for CuPy arrays by name, 'cupy' or 'persistent'."""
    return cupy_engine if name == 'cupy' else _persistent(precision, forced=True)
