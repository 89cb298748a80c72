"""The persistent engine: one launch for all time steps,
with the recurrent weights on chip from first to last.

It computes float32 LSTM sequences; everything else (single steps, peepholes, float16 and float64,
shapes that do not fit the device) is the CuPy engine's, unless this engine was asked for by name.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy

from chainer_lstm.kernels import boundary, cuda
from chainer_lstm.kernels import persistent_plan as plans
from chainer_lstm.kernels.cupy_engine import CupyEngine, cupy_engine
from chainer_lstm.kernels.packing import Rows

Array = Any

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
_FLOAT32 = numpy.dtype(numpy.float32)
_plan = functools.cache(plans.plan)


class PersistentEngine(CupyEngine):
    """float32 products as exact as ``precision`` asks for: bf16 in three parts, TF32 or bf16.

    Args:
        precision: 'highest', 'high' or 'medium'.
        forced: whether a sequence that it cannot compute is an error.

    Sequences raise a RuntimeError if an earlier launch gave up waiting for a block that died; its
    results are NaN.
    """

    def __init__(self, precision: str, forced: bool) -> None:
        self._precision = precision
        self._forced = forced

    def recur_forward(self, *job: Any) -> None:
        self.recur_forward_all([job])

    def recur_backward(self, *job: Any) -> tuple[Array, Array, Array]:
        return self.recur_backward_all([job])[0]

    def recur_forward_all(self, jobs: Sequence[tuple]) -> None:
        gates, weights, _, _, rows = jobs[0]
        grid = self._grid('fwd', gates, weights, rows, len(jobs))
        if grid is None:
            for job in jobs:
                super().recur_forward(*job)
            return
        self._run(
            grid,
            rows,
            [
                {
                    'U': self.xp.ascontiguousarray(weights.U),
                    'gates': gates,
                    'h': h,
                    'c': c,
                    **_layout(rows),
                }
                for gates, weights, h, c, rows in jobs
            ],
        )

    def recur_backward_all(self, jobs: Sequence[tuple]) -> list[tuple[Array, Array, Array]]:
        saved, weights, rows, *_ = jobs[0]
        grid = self._grid('bwd', saved.gates, weights, rows, len(jobs))
        if grid is None:
            return [super(PersistentEngine, self).recur_backward(*job) for job in jobs]
        results, arguments = [], []
        for saved, weights, rows, gh, gh_last, gc_last in jobs:
            gh_last, gc_last = map(
                self.xp.ascontiguousarray, (gh_last, gc_last)
            )  # become gh0 and gc0
            gh = None if gh is None else _strided(self.xp, gh)
            arguments.append(
                {
                    'U': self.xp.ascontiguousarray(weights.U),
                    'gates': saved.gates,
                    'c': saved.c,
                    'gh': gh,
                    'gh_last': gh_last,
                    'gc_last': gc_last,
                    **_layout(rows),
                    'gh_stride': 0 if gh is None else gh.strides[0] // gh.itemsize,
                }
            )
            results.append((gh_last, gc_last, saved.gates))
        self._run(grid, rows, arguments)
        return results

    # The products that are CuPy's

    def matmul(self, a, b, out=None):
        with self._products():
            return super().matmul(a, b, out)

    def recur(self, h, U, out):
        with self._products():
            return super().recur(h, U, out)

    def affine(self, x, W, b):
        with self._products():
            return super().affine(x, W, b)

    def linear(self, x, W):
        with self._products():
            return super().linear(x, W)

    @contextlib.contextmanager
    def _products(self) -> Iterator[None]:
        """Lets CuPy use TF32 where the precision allows it, besides what CUPY_TF32 says."""
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

    def _grid(
        self, direction: str, gates: Array, weights: Any, rows: Rows, jobs: int
    ) -> Optional[plans.Grid]:
        """How to compute sequences of this shape, or None where that is the CuPy engine's.

        Raises:
            ValueError: it is, and this engine must be used.
        """
        if gates.size == 0:
            return None
        try:
            if gates.dtype != numpy.float32:
                raise ValueError(f'it computes float32 only, got {gates.dtype}')
            if weights.peepholes:
                raise ValueError('it has no peepholes')
            return _plan(
                direction, gates.shape[1] // 4, self._precision, rows.batch, jobs, self._device()
            )
        except ValueError as error:
            if self._forced:
                raise ValueError(
                    f"chainer.config.lstm_engine is 'persistent', but {error}"
                ) from None
            return None

    def _run(self, grid: plans.Grid, rows: Rows, jobs: list[dict[str, Any]]) -> None:
        """Runs jobs of one shape, ``grid.jobs`` at a time."""
        error = self._error()
        if error[0]:
            error[0] = 0
            raise RuntimeError(
                'a persistent LSTM kernel waited in vain for its other blocks and gave up; what it '
                "computed is NaN (chainer.config.lstm_engine = 'cupy' does without it)"
            )
        steps = sum(n > 0 for _, n in rows.steps)
        kernel = boundary.PERSISTENT[f'lstm_sequence_{grid.kernel.direction}']
        for job in jobs:
            arrays = [job[argument.name] for argument in kernel.arguments]
            boundary.check(kernel, _FLOAT32, (rows.batch, grid.kernel.units, rows.total), arrays)
            for argument, x in zip(kernel.arguments, arrays):
                if argument.written:
                    boundary.dense(argument, x)
        shared = {'error': error, 'batch': rows.batch, 'steps': steps}
        if not rows.equal:
            shared.update(
                starts=self.xp.asarray(rows.starts), lengths=self.xp.asarray(rows.lengths)
            )
        for k in range(0, len(jobs), grid.jobs):
            self._launch_all(grid, steps, [{**job, **shared} for job in jobs[k : k + grid.jobs]])

    def _launch_all(self, grid: plans.Grid, steps: int, jobs: list[dict[str, Any]]) -> None:
        """As many launches as keep the exchange buffer small;
        the states between them are where the last one ends.
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
        """struct Jobs: numbers as they are, arrays by their addresses."""
        arguments = numpy.zeros((), _JOBS)
        for k, job in enumerate(jobs):
            values = (job.get(name) for name, _ in _JOB)
            arguments['job'][k] = tuple(
                0 if value is None else value if isinstance(value, int) else self._address(value)
                for value in values
            )
        return arguments.view(_BYTES)

    def _device(self) -> plans.Device:
        return _device_of(self.xp.cuda.Device().id)

    def _error(self) -> numpy.ndarray:
        """The current device's error flag, which its kernels raise and which is read
        without waiting for them.
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
    """The kernel itself, which needs shared memory and all of its blocks at once,
    or a stage before it.
    """
    compiled = cuda.sequence_kernel(
        f'persistent_{kernel.direction}.cu',
        f'lstm_sequence_{kernel.direction}{stage}',
        cuda.sequence_options(kernel.constants),
        cooperative=not stage,
    )
    if shared_bytes:
        compiled.max_dynamic_shared_size_bytes = shared_bytes
    compiled(blocks, (plans.THREADS,), (arguments,), shared_mem=shared_bytes)


def _layout(rows: Rows) -> dict[str, int]:
    return {'first': rows.first, 'initial': rows.initial, 'reverse': int(rows.reverse)}


def _strided(xp: Any, gh: Array) -> Array:
    """gh as float32 rows that may be apart from each other."""
    gh = gh.astype(numpy.float32, copy=False)
    rows, columns = gh.strides
    return (
        gh
        if columns == gh.itemsize and rows % gh.itemsize == 0 and rows > 0
        else xp.ascontiguousarray(gh)
    )


@functools.cache
def _device_of(number: int) -> plans.Device:
    import cupy

    device = cupy.cuda.Device(number)
    return plans.Device(
        int(device.compute_capability),
        device.attributes['MultiProcessorCount'],
        device.attributes['MaxSharedMemoryPerBlockOptin'],
    )


@functools.cache
def _error_of(number: int) -> numpy.ndarray:
    import cupy

    flag = numpy.frombuffer(cupy.cuda.alloc_pinned_memory(4), numpy.int32, 1)
    flag[0] = 0
    return flag


@functools.cache
def _persistent(precision: str, forced: bool) -> PersistentEngine:
    return PersistentEngine(precision, forced)


def engine_of(name: str, precision: str) -> CupyEngine:
    """The engine for CuPy arrays: 'auto' is this one where it can, 'cupy' or 'persistent'."""
    return cupy_engine if name == 'cupy' else _persistent(precision, name == 'persistent')
