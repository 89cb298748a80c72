"""The choice between two engines for whole sequences, by measuring.

The first sequence of a kind is computed by the engine that is known to be right, and these results
are the answer.  The candidate computes copies of the same sequence; where its results agree and it
takes less time, it computes all later sequences of this kind.  Knows nothing of CuPy.
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
from chainer_lstm.kernels.engines.engine import Engine, Gradients, Layer, Shape
from chainer_lstm.kernels.engines.verdicts import Verdict, VerdictFile

# The largest difference, relative to the largest number of an array: some ten times that of a
# candidate without fault.
TOLERANCE = {'highest': 3e-4, 'high': 1e-2, 'medium': 5e-2}
_ROUNDING = 0.1  # of the tolerance: by so much inputs are changed to see how sensitive results are
_CALLS = 3  # that are timed, of each engine
_LONGEST = 1.0  # seconds of timed calls, after which no more are made
_ATTEMPTS = 3  # without a verdict, after which a kind is left to the engine known to be right
_ROWS, _STEPS = 8, 16  # batches are rounded up to multiples; as many steps or more are one kind
_TIMED_OUT = Verdict('wrong', 'it timed out waiting for its other blocks')
REPORT = 'python -c "import chainer_lstm; chainer_lstm.show_config()"'


class Candidate(Engine, Protocol):
    """An engine whose kernels may time out."""

    def timed_out(self) -> bool:
        """Return whether kernels that have ended did so since the last call."""
        ...


class Device(Protocol):
    """Where trials are made."""

    def capturing(self) -> bool:
        """Return whether calls are recorded for later, and nothing can be waited for."""
        ...

    def synchronize(self) -> None:
        """Wait until everything is computed.

        Raises:
            Exception: a kernel failed; if it raises again, nothing more can be computed.
        """
        ...

    def seconds(self, call: Callable[[], Any]) -> float:
        """Return the time of a call."""
        ...


class Key(NamedTuple):
    """A kind of sequences.  Lengths are no part of it: they differ from batch to batch.

    Attributes:
        direction: 'forward' or 'backward'.
        cell: its name.
        dtype: of the arrays, ``dtype.char``.
        precision: of float32 products.
        units: H.
        batch: rounded up to a multiple of 8, the rows that a block of the kernel takes at a time.
        steps: rounded down to a power of two, 16 for all from there on.
        jobs: layers side by side.
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
        """Return the arrays that engines have to agree on, of what ``run`` returned."""
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
        """Return the arrays that engines have to agree on, of what ``run`` returned."""
        of_biases = [
            given.of_weights['b'] if 'b' in given.of_weights else _sum_of_rows(gpre)
            for given, gpre in zip(self.gradients, self.gates)
        ]
        return [*self.gates, *(gradient for state in states for gradient in state), *of_biases]


Job = Union[Forward, Backward]


def key_of(job: Job, precision: str) -> Key:
    """Return the kind of sequences that a job is of."""
    layer = job.layers[0]
    rows, h = layer.rows, layer.states[-1]
    return Key(
        job.direction,
        layer.cell.name,
        h.dtype.char,
        precision,
        h.shape[1],
        -(-rows.batch // _ROWS) * _ROWS,
        min(1 << len(rows.steps).bit_length() - 1, _STEPS) if rows.steps else 0,
        len(job.layers),
    )


class Trials:
    """The trials on one device, and what is chosen there.  Threads may share them.

    Args:
        device: the device.
        file: the verdicts of other processes.  One in favour of the candidate is checked once in
            this process, without timing: a launch that fits there may not fit here.
    """

    def __init__(self, device: Device, file: VerdictFile) -> None:
        self.verdicts: dict[Key, Verdict] = {}  # of this process
        self._device = device
        self._file = file
        self._stored: dict[str, Verdict] = file.read()
        self._chosen: dict[Key, bool] = {}  # whether the candidate computes such sequences
        self._undecided: collections.Counter[Key] = collections.Counter()
        self._lock = threading.Lock()  # one trial at a time, for the sake of their times

    def run(self, key: Key, job: Job, answer: Engine, candidate: Candidate) -> Any:
        """Return what ``job.run`` returns, of the engine chosen for the key.

        Args:
            key: of the job.
            job: what is to be computed.
            answer: the engine that is known to be right.
            candidate: the engine that is tried.

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
        """Compute a sequence of an unknown kind by the engine known to be right; try the other."""
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
        """Return the verdict on a candidate, of copies of a job and the results expected."""
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
        """Return the verdict by results alone, or None where times have to tell."""
        apart = difference(found, expected)
        if apart is None:
            return Verdict('undecided', 'the expected results are 0 or not finite')
        # steps round to float16 where a kernel for all of them may not
        tolerance = TOLERANCE['medium' if key.dtype == 'e' else key.precision]
        if apart <= tolerance:
            return self._stored.get(str(key))
        changed = spare.copy(1 + _ROUNDING * tolerance)
        sensitivity = difference(changed.results(changed.run(answer)), expected)
        if sensitivity is None or sensitivity > tolerance:
            return Verdict('undecided', 'rounding alone changes the expected results as much')
        return Verdict('wrong', f'its results differ by {apart:.1e} of the largest')

    def _time(self, spare: Job, answer: Engine, candidate: Engine) -> Verdict:
        """Return the verdict by the shortest of some calls of each engine, in turns."""
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
            Exception: the error, where it leaves a device on which nothing can be computed.
        """
        why = f'{type(error).__name__}: {" ".join(str(error).split())}'
        try:
            self._device.synchronize()
        except Exception:
            self._decide(key, Verdict('wrong', why))
            raise error from None
        # a launch that does not fit here, such as beside other processes, or lacks memory
        expected = isinstance(error, (ValueError, RuntimeError, MemoryError))
        return Verdict('refused' if expected else 'wrong', why)

    def _decide(self, key: Key, verdict: Verdict) -> None:
        """Take a verdict into account from now on."""
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
        served = [key for key, chosen in self._chosen.items() if chosen]  # one of them did
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

    Infinity where only ``found`` has numbers that are not finite; None where ``expected`` has, or
    its first array is 0, by which nothing is proven.
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
    """Return a layer with arrays of its own, of those that are written."""
    kept = {name: rows.copy() for name, rows in layer.kept.items()}
    last = None if layer.last is None else _copies(layer.last)
    states, m = _copies(layer.states), _copy_of(layer.m)
    return dataclasses.replace(layer, states=states, m=m, kept=kept, last=last)


def _copies(state: Any) -> Any:
    return state._make(map(_copy_of, state))


def _copy_of(x: Optional[Array]) -> Optional[Array]:
    return None if x is None else x.copy()
