"""The persistent engine: one launch for all time steps,
with the recurrent weights on chip from first to last.

It computes sequences of ``_CELL`` in float32.  Everything else (single steps, other cells and
dtypes, shapes that do not fit the device) is the CuPy engine's, unless this engine was asked for by
name.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy

from chainer_lstm import cells
from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.kernels import boundary, cuda
from chainer_lstm.kernels.engines import persistent_plan as plans
from chainer_lstm.kernels.engines.cupy import CupyEngine, cupy_engine
from chainer_lstm.kernels.engines.engine import Gradients, Layer, Shape
from chainer_lstm.kernels.packing import Rows

_CELL = cells.lstm  # which the kernels are written for
_FLOAT32 = numpy.dtype(numpy.float32)
_DIRECTIONS = {'forward': 'fwd', 'backward': 'bwd'}

# struct Job in persistent.cuh
_JOB = [
    *((name, 'u8') for name in (
        'U', 'weights', 'gates', 'h', 'c', 'gh', 'gh_last', 'gc_last', 'starts', 'lengths',
        'exchange', 'error')),
    ('exchange_size', 'i8'),
    *((name, 'i4') for name in (
        'batch', 'steps', 'begin', 'end', 'first', 'initial', 'reverse', 'gh_stride')),
]  # fmt: skip
_JOBS = numpy.dtype([('job', _JOB, plans.MOST_JOBS)])
# for CuPy, which asks NumPy for a description of all fields of a structured dtype at each launch
_BYTES = numpy.dtype((numpy.void, _JOBS.itemsize))
_PREPARE_BLOCKS = 256
_plan = functools.cache(plans.plan)


class PersistentEngine(CupyEngine):
    """float32 products as exact as ``precision`` asks for: bf16 in three parts, TF32 or bf16.

    Args:
        precision: 'highest', 'high' or 'medium'.
        forced: whether a sequence that it cannot compute is an error.

    Sequences raise a RuntimeError if an earlier launch timed out; its results are NaN.
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
        arguments = []
        for layer in layers:
            W, b, U = (layer.weights[name] for name in ('W', 'b', 'U'))
            gates = self.linear(layer.x, W, b)
            arrays = {'U': self.xp.ascontiguousarray(U), 'gates': gates}
            arguments.append({**arrays, **layer.states._asdict(), **_layout(layer.rows)})
        self._run(grid, layers[0].rows, arguments)
        return [job['gates'] for job in arguments]

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        grid = self._grid_of(layers, 'backward')
        if grid is None or gradients[0].output.c is not None:
            return super().sequence_backward(layers, gates, gradients)
        results, arguments = [], []
        for layer, activated, given in zip(layers, gates, gradients):
            # become the gradients with respect to the initial states
            last = given.last._make(map(self.xp.ascontiguousarray, given.last))
            gh = None if given.output.h is None else _strided(self.xp, given.output.h)
            arguments.append(
                {
                    'U': self.xp.ascontiguousarray(layer.weights['U']),
                    'gates': activated,
                    'c': layer.states.c,
                    'gh': gh,
                    'gh_last': last.h,
                    'gc_last': last.c,
                    **_layout(layer.rows),
                    'gh_stride': 0 if gh is None else gh.strides[0] // gh.itemsize,
                }
            )
            results.append(last)
        self._run(grid, layers[0].rows, arguments)
        return results

    # The products that are CuPy's

    def matmul(self, a: Array, b: Array, out: Optional[Array] = None) -> Array:
        with self._products():
            return super().matmul(a, b, out)

    def linear(self, x: Array, W: Array, b: Optional[Array] = None) -> Array:
        with self._products():
            return super().linear(x, W, b)

    @contextlib.contextmanager
    def _products(self) -> Iterator[None]:
        """Let CuPy use TF32 where the precision allows it, besides what CUPY_TF32 says."""
        if self._precision == 'highest' or self._device().capability < plans.MIN_CAPABILITY:
            yield
            return
        core = self.xp._core  # CuPy has no public name for this
        before = core.get_compute_type(numpy.float32)
        core.set_compute_type(numpy.float32, core._routines_linalg.COMPUTE_TYPE_TF32)
        try:
            yield
        finally:
            core.set_compute_type(numpy.float32, before)

    def _grid(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> plans.Grid:
        """Return how to compute sequences of this shape.

        Raises:
            ValueError: that is the CuPy engine's; the message says why.
        """
        if cell != _CELL:
            raise ValueError(f'it computes the cell {_CELL.name} only, got {cell.name}')
        if dtype != _FLOAT32:
            raise ValueError(f'it computes float32 only, got {dtype}')
        device = self._device()
        return _plan(
            _DIRECTIONS[direction], shape.units, self._precision, shape.batch, shape.jobs, device
        )

    def _grid_of(self, layers: Sequence[Layer], direction: str) -> Optional[plans.Grid]:
        """Return how to compute these layers, or None where that is the CuPy engine's.

        Raises:
            ValueError: it is, and this engine must be used.
        """
        cell, rows, h = layers[0].cell, layers[0].rows, layers[0].states[-1]
        if rows.total * h.shape[1] == 0:
            return None
        shape = Shape(len(rows.steps), rows.batch, h.shape[1], len(layers))
        try:
            return self._grid(cell, h.dtype, shape, direction)
        except ValueError as error:
            if self._forced:
                raise ValueError(
                    f"chainer.config.lstm_engine is 'persistent', but {error}"
                ) from None
            return None

    def _run(self, grid: plans.Grid, rows: Rows, jobs: list[dict[str, Any]]) -> None:
        """Run jobs of one shape, ``grid.jobs`` at a time."""
        if self.timed_out():
            raise RuntimeError(
                'a persistent LSTM kernel timed out waiting for its other blocks; its results are '
                "NaN (set chainer.config.lstm_engine = 'cupy' to compute without it)"
            )
        steps = sum(n > 0 for _, n in rows.steps)
        kernel = boundary.PERSISTENT[f'lstm_sequence_{grid.kernel.direction}']
        for job in jobs:
            arrays = [job[argument.name] for argument in kernel.arguments]
            boundary.check(kernel, _FLOAT32, (rows.batch, grid.kernel.units, rows.total), arrays)
            for argument, x in zip(kernel.arguments, arrays):
                if argument.written:
                    boundary.dense(argument, x)
        shared = {'error': self._error(), 'batch': rows.batch, 'steps': steps}
        if not rows.equal:
            shared.update(
                starts=self.xp.asarray(rows.starts), lengths=self.xp.asarray(rows.lengths)
            )
        for k in range(0, len(jobs), grid.jobs):
            self._launch_all(grid, steps, [{**job, **shared} for job in jobs[k : k + grid.jobs]])

    def _launch_all(self, grid: plans.Grid, steps: int, jobs: list[dict[str, Any]]) -> None:
        """Launch as often as keeps the exchange buffer small; each launch begins with the states in
        which the one before it ended.
        """
        kernel, groups = grid.kernel, -(-jobs[0]['batch'] // plans.GROUP)
        size = kernel.exchange(groups, min(steps, kernel.steps(groups)))
        for job in jobs:
            job['weights'] = self.xp.empty((kernel.weights, 4), numpy.uint32)
            job['exchange'] = self.xp.empty((size, 4), numpy.uint32)
            job['exchange_size'] = size
        cuts = range(0, steps, kernel.steps(groups))
        for begin in cuts if kernel.direction == 'fwd' else reversed(cuts):
            for job in jobs:
                job['begin'], job['end'] = begin, min(begin + kernel.steps(groups), steps)
            arguments = self._arguments(jobs)
            _launch(kernel, '_prepare', (_PREPARE_BLOCKS, 1, len(jobs)), arguments)
            _launch(kernel, '', (kernel.blocks, grid.rows, len(jobs)), arguments, grid.shared_bytes)
            for job in jobs:
                job['U'] = None  # packed now

    def _arguments(self, jobs: list[dict[str, Any]]) -> numpy.ndarray:
        """Return struct Jobs: numbers as they are, arrays by their addresses."""
        arguments = numpy.zeros((), _JOBS)
        for k, job in enumerate(jobs):
            values = (job.get(name) for name, _ in _JOB)
            arguments['job'][k] = tuple(
                0 if value is None else value if isinstance(value, int) else self._address(value)
                for value in values
            )
        return arguments.view(_BYTES)

    def timed_out(self) -> bool:
        """Return whether a launch on the current device did so since the last call; launches that
        have not ended are not waited for.
        """
        error = self._error()
        found = bool(error[0])
        error[0] = 0
        return found

    def _device(self) -> plans.Device:
        return _device_of(self.xp.cuda.Device().id)

    def _error(self) -> numpy.ndarray:
        """Return the current device's error flag, which the host reads without waiting for the
        kernels that raise it.
        """
        return _error_of(self.xp.cuda.Device().id)

    def _address(self, x: Array) -> int:
        return x.ctypes.data if isinstance(x, numpy.ndarray) else super()._address(x)


def _launch(
    kernel: plans.Kernel,
    stage: str,
    blocks: tuple[int, int, int],
    arguments: numpy.ndarray,
    shared_bytes: int = 0,
) -> None:
    """Launch a kernel, whose blocks all run at the same time, or a stage before it."""
    compiled = cuda.sequence_kernel(
        f'persistent_{kernel.direction}.cu',
        f'lstm_sequence_{kernel.direction}{stage}',
        cuda.options(kernel.constants),
        cooperative=not stage,
    )
    if shared_bytes:
        compiled.max_dynamic_shared_size_bytes = shared_bytes
    compiled(blocks, (plans.THREADS,), (arguments,), shared_mem=shared_bytes)


def _layout(rows: Rows) -> dict[str, int]:
    return {'first': rows.first, 'initial': rows.initial, 'reverse': int(rows.reverse)}


def _strided(xp: Any, gh: Array) -> Array:
    """Return gh as float32 rows, which may be apart from each other."""
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


def engine_of(name: str, precision: str) -> CupyEngine:
    """Return the engine for CuPy arrays by name, 'cupy' or 'persistent'."""
    return cupy_engine if name == 'cupy' else _persistent(precision, forced=True)
