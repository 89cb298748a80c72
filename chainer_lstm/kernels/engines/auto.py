"""The engine of 'auto' on a GPU: stepwise, or persistent if a trial has found that faster."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines import persistent
from chainer_lstm.kernels.engines.cupy import CupyEngine, cupy_engine
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.persistent import PersistentEngine
from chainer_lstm.kernels.engines.trial import Backward, Forward, Job, Trials, key_of
from chainer_lstm.kernels.engines.types import Gradients, Layer, Shape
from chainer_lstm.kernels.engines.verdicts import Verdict, VerdictFile, cache_folder


class StepwiseEngine(PersistentEngine):
    """The CuPy engine, with float32 products of the configured precision."""

    def supports(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> bool:
        return False

    def sequence_forward(self, layers: Sequence[Layer], keep: bool) -> list[Optional[Array]]:
        return CupyEngine.sequence_forward(self, layers, keep)

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        return CupyEngine.sequence_backward(self, layers, gates, gradients)


class AutoEngine(StepwiseEngine):
    """The stepwise engine; it tries the persistent one at the first sequence of each kind."""

    def __init__(self, precision: str) -> None:
        super().__init__(precision, forced=False)
        self._answer = StepwiseEngine(precision, forced=False)
        self._candidate = PersistentEngine(precision, forced=True)

    def supports(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> bool:
        return self._candidate.supports(cell, dtype, shape, direction)

    def sequence_forward(self, layers: Sequence[Layer], keep: bool) -> list[Optional[Array]]:
        return self._run_chosen(Forward(layers, keep))

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        job = Backward(layers, gates, gradients)
        if any(g is not None for given in gradients for g in given.output[:-1]):
            return job.run(self._answer)  # the persistent kernel takes gradients of h only
        return self._run_chosen(job)

    def check_time_out(self) -> None:
        current_trials().check_time_out(self._candidate)

    def _run_chosen(self, job: Job) -> Any:
        layer = job.layers[0]
        if layer.rows.total * layer.states[-1].shape[1] == 0:
            return job.run(self._answer)
        key = key_of(job, self._precision)
        return current_trials().run(key, job, self._answer, self._candidate)


class _Device:
    """The current CUDA device and stream, for trials."""

    def capturing(self) -> bool:
        return cupy_engine.xp.cuda.get_current_stream().is_capturing()

    def synchronize(self) -> None:
        cupy_engine.xp.cuda.Device().synchronize()

    def seconds(self, call: Callable[[], Any]) -> float:
        xp = cupy_engine.xp
        start, end = xp.cuda.Event(), xp.cuda.Event()
        xp.cuda.get_current_stream().synchronize()
        start.record()
        call()
        end.record()
        end.synchronize()
        return xp.cuda.get_elapsed_time(start, end) / 1e3


def current_trials() -> Trials:
    """Return the trials on the current device."""
    return _trials_of(cupy_engine.xp.cuda.Device().id)


@functools.cache
def _trials_of(number: int) -> Trials:
    return Trials(_Device(), _verdict_file(number))


def _verdict_file(number: int) -> VerdictFile:
    """Return the file of verdicts for a device and the installed software."""
    xp = cupy_engine.xp
    properties = xp.cuda.runtime.getDeviceProperties(number)
    identity = {
        'device': properties['name'].decode(),
        'capability': f'{properties["major"]}.{properties["minor"]}',
        'multiprocessors': str(properties['multiProcessorCount']),
        'driver': str(xp.cuda.runtime.driverGetVersion()),
        'cupy': xp.__version__,
        'nvrtc': '.'.join(map(str, xp.cuda.nvrtc.getVersion())),
        'source': cuda.source_hash(),
    }
    return VerdictFile(identity, cache_folder())


def verdicts(number: int) -> dict[str, Verdict]:
    """Return the verdicts on the persistent engine on a device by key, of this and of earlier
    processes.
    """
    own = _trials_of(number).verdicts
    return {**_verdict_file(number).read(), **{str(key): own[key] for key in list(own)}}


@functools.cache
def _auto(precision: str) -> AutoEngine:
    return AutoEngine(precision)


@functools.cache
def _stepwise(precision: str) -> StepwiseEngine:
    return StepwiseEngine(precision, forced=False)


def engine_of(name: str, precision: str, measure: bool) -> Engine:
    """Return the engine for CuPy arrays.

    Args:
        name: 'auto', 'cupy' or 'persistent'.
        precision: of float32 products.
        measure: whether 'auto' may choose by measured times, which differ from run to run.
    """
    if name != 'auto':
        return persistent.engine_of(name, precision)
    return _auto(precision) if measure else _stepwise(precision)
