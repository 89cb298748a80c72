"""Trials: the choice between two engines for whole sequences by measurement.

At the first sequence of a kind the reference engine computes the results that the caller gets.  The
candidate computes copies of the same sequence; if its results agree and it takes less time, it
computes all later sequences of this kind.  The module does not depend on CuPy.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Optional, Protocol, Union

from chainer_lstm.arrays import Array
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.types import Gradients, Layer, Shape
from chainer_lstm.kernels.engines.verdicts import Verdict, VerdictFile

# The largest accepted difference, relative to the largest number of an array: about ten times that
# of a correct candidate.
TOLERANCE = {'highest': 3e-4, 'high': 1e-2, 'medium': 5e-2}
_ROUNDING = 0.1  # of the tolerance: the change of inputs that probes how sensitive results are
_CALLS = 3  # timed calls of each engine
_LONGEST = 1.0  # seconds of timed calls, after which the trial ends
_ATTEMPTS = 3  # trials without a verdict, after which a kind is left to the reference engine
_ROWS, _STEPS = 8, 16  # batches are rounded up to multiples; as many steps or more are one kind
_TIMED_OUT = Verdict('wrong', 'it timed out waiting for its other blocks')
REPORT = 'python -c "import chainer_lstm; chainer_lstm.show_config()"'


class Candidate(Engine, Protocol):
    """An engine whose kernels may time out."""

    def timed_out(self) -> bool:
        """Return whether a finished kernel has timed out since the last call."""
        ...


class Device(Protocol):
    """The device on which trials run."""

    def capturing(self) -> bool:
        """Return whether calls are recorded into a graph, so that the host cannot synchronize."""
        ...

    def synchronize(self) -> None:
        """Wait until all work is done.

        Raises:
            Exception: a kernel failed; if the next call raises too, the device is unusable.
        """
        ...

    def seconds(self, call: Callable[[], Any]) -> float:
        """Return the time of a call."""
        ...


class Key(NamedTuple):
    """A kind of sequences.  Lengths are not part of it, because they differ from batch to batch.

    Attributes:
        direction: 'forward' or 'backward'.
        cell: its name.
        dtype: of the arrays, ``dtype.char``.
        precision: of float32 products.
        units: H.
        batch: rounded up to a multiple of 8, the rows that a block of the kernel computes together.
        steps: rounded down to a power of two, at most 16.
        jobs: independent layers, such as both directions.
    """

    direction: str
    cell: str
    dtype: str
    precision: str
    units: int
    batch: int
    steps: int
    jobs: int

    def __str__(self) -> str:
        return (
            f'{self.cell} {self.direction} {self.dtype} {self.precision} '
            f'H={self.units} B<={self.batch} T>={self.steps} D={self.jobs}'
        )


@dataclasses.dataclass(frozen=True)
class Forward:
    """The arguments of ``Engine.sequence_forward``."""

    layers: Sequence[Layer]
    keep: bool
    direction: ClassVar[str] = 'forward'

    def run(self, engine: Engine) -> list[Optional[Array]]:
        return engine.sequence_forward(self.layers, self.keep)

    def copy(self, scale: float = 1) -> Forward:
        """Return the same work on arrays of its own, its inputs multiplied by a number."""
        layers = [_copy(layer) for layer in self.layers]
        if scale != 1:
            layers = [dataclasses.replace(layer, x=layer.x * scale) for layer in layers]
        return Forward(layers, self.keep)

    def results(self, gates: Sequence[Optional[Array]]) -> list[Array]:
        """Return the arrays that engines have to agree on, from the result of ``run``."""
        states = [layer.rows.inner(s) for layer in self.layers for s in layer.states]
        last = [state for layer in self.layers for state in layer.last or ()]
        return [*(x for x in gates if x is not None), *states, *last]


@dataclasses.dataclass(frozen=True)
class Backward:
    """The arguments of ``Engine.sequence_backward``."""

    layers: Sequence[Layer]
    gates: Sequence[Array]
    gradients: Sequence[Gradients]
    direction: ClassVar[str] = 'backward'

    def run(self, engine: Engine) -> list[Any]:
        return engine.sequence_backward(self.layers, self.gates, self.gradients)

    def copy(self, scale: float = 1) -> Backward:
        """Return the same work on arrays of its own, its gates multiplied by a number."""
        gradients = [
            dataclasses.replace(given, last=_copies(given.last), h=_copy_of(given.h), of_weights={})
            for given in self.gradients
        ]
        return Backward(
            [_copy(layer) for layer in self.layers], [x * scale for x in self.gates], gradients
        )

    def results(self, states: Sequence[Any]) -> list[Array]:
        """Return the arrays that engines have to agree on, from the result of ``run``."""
        of_biases = [
            given.of_weights['b'] if 'b' in given.of_weights else _sum_of_rows(gpre)
            for given, gpre in zip(self.gradients, self.gates)
        ]
        return [*self.gates, *(gradient for state in states for gradient in state), *of_biases]


Job = Union[Forward, Backward]


def key_of(job: Job, precision: str) -> Key:
    """Return the kind of the sequences of a job."""
    layer = job.layers[0]
    rows, h = layer.rows, layer.states[-1]
    blocks = -(-rows.batch // _ROWS)
    power_of_two = 1 << len(rows.steps).bit_length() - 1 if rows.steps else 0
    return Key(
        direction=job.direction,
        cell=layer.cell.name,
        dtype=h.dtype.char,
        precision=precision,
        units=h.shape[1],
        batch=blocks * _ROWS,
        steps=min(power_of_two, _STEPS),
        jobs=len(job.layers),
    )


class Trials:
    """The trials and choices on one device.  Thread-safe.

    Args:
        device: the device.
        file: the verdicts of other processes.  A verdict for the candidate is checked once in this
            process, without timing: a launch that fitted there may not fit here.
    """

    def __init__(self, device: Device, file: VerdictFile) -> None:
        self.verdicts: dict[Key, Verdict] = {}  # of this process
        self._device = device
        self._file = file
        self._stored: dict[str, Verdict] = file.read()
        self._chosen: dict[Key, bool] = {}  # whether the candidate computes such sequences
        self._undecided: collections.Counter[Key] = collections.Counter()
        self._lock = threading.Lock()  # one trial at a time, so that they do not disturb each other

    def run(self, key: Key, job: Job, answer: Engine, candidate: Candidate) -> Any:
        """Return the result of ``job.run`` by the engine chosen for the key.

        Args:
            key: the kind of the job.
            job: the arguments of the engine.
            answer: the reference engine.
            candidate: the engine to try.

        Raises:
            RuntimeError: the candidate has timed out in an earlier call, whose results are NaN.
        """
        chosen = self._chosen.get(key)
        if chosen is None:
            return self._run_first(key, job, answer, candidate)
        if not chosen:
            return job.run(answer)
        self.check_time_out(candidate)
        return job.run(candidate)

    def _run_first(self, key: Key, job: Job, answer: Engine, candidate: Candidate) -> Any:
        """Compute a sequence of a new kind by the reference engine, and try the candidate on it."""
        if self._device.capturing() or not self._lock.acquire(blocking=False):
            return job.run(answer)
        try:
            if key in self._chosen:  # another thread's trial has ended meanwhile
                return job.run(answer)
            if not self._is_worth_a_trial(key, job, candidate):
                self._chosen[key] = False
                return job.run(answer)
            self.check_time_out(candidate)
            try:
                spare = job.copy()  # before the answer, which overwrites gates
            except MemoryError:
                return job.run(answer)
            found = job.run(answer)
            self._device.synchronize()
            self._decide(key, self._judge(key, spare, job.results(found), answer, candidate))
            return found
        finally:
            self._lock.release()

    def _is_worth_a_trial(self, key: Key, job: Job, candidate: Candidate) -> bool:
        stored = self._stored.get(str(key))
        if stored is not None and stored.kind != 'faster':
            self.verdicts[key] = stored
            return False
        layer = job.layers[0]
        rows, h = layer.rows, layer.states[-1]
        shape = Shape(len(rows.steps), rows.batch, h.shape[1], len(job.layers))
        return candidate.supports(layer.cell, h.dtype, shape, job.direction)

    def _judge(
        self, key: Key, spare: Job, expected: list[Array], answer: Engine, candidate: Candidate
    ) -> Verdict:
        """Return the verdict on a candidate from copies of a job and the expected results."""
        try:
            attempt = spare.copy()
            found = attempt.results(attempt.run(candidate))
            self._device.synchronize()
            verdict = self._compare(key, spare, found, expected, answer)
            if verdict is None:
                verdict = self._time(spare, answer, candidate)
        except Exception as error:  # an unproven kernel must not end a program
            return self._failed(key, error)
        return _TIMED_OUT if candidate.timed_out() else verdict

    def _compare(
        self, key: Key, spare: Job, found: list[Array], expected: list[Array], answer: Engine
    ) -> Optional[Verdict]:
        """Return the verdict by results alone, or None if the times have to decide."""
        apart = difference(found, expected)
        if apart is None:
            return Verdict('undecided', 'the expected results are 0 or not finite')
        # single steps round to float16, a kernel for all steps need not
        tolerance = TOLERANCE['medium' if key.dtype == 'e' else key.precision]
        if apart <= tolerance:
            return self._stored.get(str(key))
        changed = spare.copy(1 + _ROUNDING * tolerance)
        sensitivity = difference(changed.results(changed.run(answer)), expected)
        if sensitivity is None or sensitivity > tolerance:
            return Verdict('undecided', 'rounding alone changes the expected results as much')
        return Verdict('wrong', f'its results differ by {apart:.1e} of the largest')

    def _time(self, spare: Job, answer: Engine, candidate: Engine) -> Verdict:
        """Return the verdict by the shortest of several calls of each engine, in turns."""
        times: dict[Engine, list[float]] = {answer: [], candidate: []}
        while len(times[answer]) < _CALLS and sum(map(sum, times.values())) < _LONGEST:
            for engine, of_engine in times.items():
                call = functools.partial(spare.copy().run, engine)
                of_engine.append(self._device.seconds(call))
        ratio = min(times[answer]) / min(times[candidate])
        return Verdict('faster' if ratio > 1 else 'slower', f'{ratio:.2f} times as fast')

    def _failed(self, key: Key, error: Exception) -> Verdict:
        """Return the verdict on a candidate that raised an error.

        Raises:
            Exception: the error itself, if it leaves the device unusable.
        """
        why = f'{type(error).__name__}: {" ".join(str(error).split())}'
        try:
            self._device.synchronize()
        except Exception:
            self._decide(key, Verdict('wrong', why))
            raise error from None
        # a launch may not fit because of other processes, or lack memory
        expected = isinstance(error, (ValueError, RuntimeError, MemoryError))
        return Verdict('refused' if expected else 'wrong', why)

    def _decide(self, key: Key, verdict: Verdict) -> None:
        """Apply a verdict from now on."""
        self.verdicts[key] = verdict
        if verdict.kind == 'undecided':
            self._undecided[key] += 1
            if self._undecided[key] < _ATTEMPTS:
                return
        self._chosen[key] = verdict.kind == 'faster'
        if verdict.lasting and self._stored.get(str(key)) != verdict:
            self._file.add({str(key): verdict})
        if verdict.kind == 'wrong':
            warnings.warn(
                f'the persistent engine was tried beside the cupy engine ({key}): {verdict.why}. '
                "With chainer.config.lstm_engine = 'auto' it will not compute such sequences. "
                f'Please report this with the output of: {REPORT}',
                RuntimeWarning,
                stacklevel=2,
            )

    def check_time_out(self, candidate: Candidate) -> None:
        """Choose a candidate that timed out no more.

        Raises:
            RuntimeError: it has timed out in an earlier call, whose results are NaN.
        """
        if not candidate.timed_out():
            return
        served = [key for key, chosen in self._chosen.items() if chosen]  # one of them timed out
        self.verdicts.update(dict.fromkeys(served, _TIMED_OUT))
        self._chosen.update(dict.fromkeys(served, False))
        self._file.add({str(key): _TIMED_OUT for key in served})
        raise RuntimeError(
            'a persistent LSTM kernel timed out waiting for its other blocks; its results are NaN '
            "(chainer.config.lstm_engine = 'auto' goes on without it). Please report this with the "
            f'output of: {REPORT}'
        )


def difference(found: Sequence[Any], expected: Sequence[Any]) -> Optional[float]:
    """Return the largest difference of arrays relative to the largest number of each.

    Infinity if only ``found`` has numbers that are not finite; None if ``expected`` has some, or
    its first array is all 0, which proves nothing.
    """
    worst, scales = 0.0, [float(abs(e).max()) for e in expected]
    if scales[0] == 0 or not all(map(math.isfinite, scales)):
        return None
    for a, e, scale in zip(found, expected, scales):
        apart = float(abs(a - e).max()) / (scale or 1)
        worst = max(worst, apart if math.isfinite(apart) else math.inf)
    return worst


def _sum_of_rows(x: Any) -> Array:
    return x.sum(axis=0)


def _copy(layer: Layer) -> Layer:
    """Return a layer with copies of the arrays that a run writes."""
    kept = {name: rows.copy() for name, rows in layer.kept.items()}
    last = None if layer.last is None else _copies(layer.last)
    states, m = _copies(layer.states), _copy_of(layer.m)
    return dataclasses.replace(layer, states=states, m=m, kept=kept, last=last)


def _copies(state: Any) -> Any:
    return state._make(map(_copy_of, state))


def _copy_of(x: Optional[Array]) -> Optional[Array]:
    return None if x is None else x.copy()
