"""A process for each family of contestants:
one computes, the others are blocked on their pipes meanwhile.

In one process, or without the blocking, the threads of one side's BLAS or
OpenMP would spin for a while after each call and take cores from the other.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import statistics
import time
import traceback
import tracemalloc
from collections.abc import Callable
from typing import Any, Optional
from unittest import mock

import contestants  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import chainer
import numpy
import report

import chainer_lstm.links
from chainer_lstm import kernels


class Worker:
    """A process with contestants in it."""

    def __init__(self, classes: tuple[type, ...], threads: Optional[int] = None) -> None:
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, classes), daemon=True)
        given = {} if threads is None else {'OMP_NUM_THREADS': str(threads)}
        # Ctrl-C reaches every process of the terminal; this one alone is to act on it
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with mock.patch.dict(os.environ, given):
                self._process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        self.pid = self._process.pid

    def call(self, method: str, *args: Any) -> Any:
        """Runs a method of ``Family`` over there.

        Raises:
            ImportError: a library is missing there.
            RuntimeError: anything else went wrong there; the text is its traceback.
        """
        try:
            self._pipe.send((method, args))
            error, result = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RuntimeError(
                f'a process that measures ended with status {self._process.exitcode} in {method}; '
                'was there too little memory?'
            ) from None
        if error is not None:
            raise error(result)
        return result

    def close(self) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _serve(pipe: multiprocessing.connection.Connection, classes: tuple[type, ...]) -> None:
    family = Family(classes)
    while True:
        try:
            method, args = pipe.recv()
        except EOFError:  # the main process is gone
            return
        try:
            answer = None, getattr(family, method)(*args)
        except (ImportError, ValueError) as error:
            answer = type(error), str(error)
        except Exception:
            answer = RuntimeError, traceback.format_exc()
        pipe.send(answer)


def start(
    stack: contextlib.ExitStack, families: dict[str, tuple[type, ...]], engine: str
) -> tuple[dict[str, Worker], dict[str, Any]]:
    """The workers by the names of their contestants,
    and the facts of each family whose library is installed.

    'chainer_lstm' computes with this engine.  All get as many threads as the native engine takes,
    or a multiple of them where the first class of a family has ``times_threads``.
    """
    workers, facts = {}, {}
    threads = report.threads()
    for name, classes in families.items():
        times = getattr(classes[0], 'times_threads', 1)
        worker = Worker(classes, None if threads is None else threads * times)
        stack.callback(worker.close)
        try:
            facts[name] = worker.call('facts', engine if name == 'chainer_lstm' else None)
        except ImportError as error:
            print(f'{name} is left out: {error}')
            continue
        workers.update((kind.name, worker) for kind in classes)
    return workers, facts


class Family:
    """The contestants of one process, and what the main process can ask of them."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        self._classes = classes
        self._contestants: dict[str, Any] = {}

    def facts(self, engine: Optional[str]) -> dict[str, Any]:
        """Versions and thread pools; from now on this package computes with this engine.

        Others get None: the native engine also changes how its process keeps freed memory, from
        which they would gain.

        Raises:
            ImportError: the library is not installed.
            ValueError: the engine cannot be had.
        """
        if engine is not None:
            chainer.global_config.lstm_engine = engine
            kernels.engine_of(numpy.ones(1), engine)
        facts = {'numpy': numpy.__version__, **self._classes[0].versions()}
        try:
            from threadpoolctl import threadpool_info
        except ImportError:
            return facts
        return {
            **facts,
            'pools': [
                {key: pool.get(key) for key in ('internal_api', 'version', 'num_threads')}
                for pool in threadpool_info()
            ],
        }

    def prepare(self, shape: Any) -> None:
        self._contestants.clear()  # before the next ones are made
        self._contestants.update((kind.name, kind(shape)) for kind in self._classes)

    def results(self, name: str, mode: str) -> dict[str, numpy.ndarray]:
        return self._contestants[name].results(mode)

    def time(self, name: str, mode: str, seconds: float) -> float:
        """Seconds a call; mode is the name of a method of the contestant, such as 'train'."""
        return _timed(getattr(self._contestants[name], mode), seconds)

    def memory(self, shape: contestants.Shape) -> dict[str, Any]:
        """Bytes that training one layer with forward_sequence takes at its peak,
        and that it cannot do without.

        These are x, y, the gates, the cells and the gradients of x, y, W, b and U; the weights
        count in neither.
        """
        values, lstm = contestants.inputs(shape), chainer_lstm.links.LSTM(shape.units, shape.units)
        _train_once(lstm, values)
        lstm.reset_state()
        lstm.cleargrads()
        gc.collect()
        tracemalloc.start()
        try:
            _train_once(lstm, values)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        tokens, n = shape.batch * shape.time, shape.units
        needed = values.itemsize * (tokens * n * (2 + 4 + 1 + 2) + 4 * n * (n + 1 + n))
        return {'peak': peak, 'needed': needed, 'ratio': peak / needed}


def _train_once(lstm: chainer_lstm.links.LSTM, values: numpy.ndarray) -> None:
    x = chainer.Variable(values.copy())
    y = lstm.forward_sequence(x)
    y.grad = numpy.ones_like(y.array)
    y.backward()


def _timed(call: Callable[[], Any], seconds: float) -> float:
    """The median of the calls that fit in these seconds, at least one;
    what a call returns is freed in its time.
    """
    gc.collect()
    times: list[float] = []
    while not times or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
