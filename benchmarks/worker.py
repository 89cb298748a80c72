"""A process for each family of contestants, of which one computes at a time.

The others are blocked on their pipes meanwhile.  In one process, or without the blocking, the
threads of one library's BLAS or OpenMP would spin for a while after each call and take cores from
the next one.
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
        self._pipe, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, classes), daemon=True)
        given = {} if threads is None else {'OMP_NUM_THREADS': str(threads)}
        # Ctrl-C reaches every process of the terminal, but only this one may act on it
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with mock.patch.dict(os.environ, given):
                self._process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        child.close()
        self.pid = self._process.pid

    def call(self, method: str, *args: Any) -> Any:
        """Run a method of ``Family`` in the process.

        Raises:
            ImportError: a library is not installed.
            RuntimeError: any other error in the process; the text is its traceback.
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
    """Return the workers by the names of their contestants, and the facts of each family.

    A family whose library is not installed has none.  'chainer_lstm' computes with the given
    engine.  All get as many threads as the native engine uses, times ``times_threads`` if the first
    class of a family has it.
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
    """The contestants of one process, and the methods that the main process calls."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        self._classes = classes
        self._contestants: dict[str, Any] = {}

    def facts(self, engine: Optional[str]) -> dict[str, Any]:
        """Return versions and thread pools; set the engine of this package.

        For other libraries the engine is None: the native engine also changes how its process keeps
        freed memory, from which they would gain.

        Raises:
            ImportError: the library is not installed.
            ValueError: the engine is not available.
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
        """Return the seconds of a call; mode is the name of a method, such as 'train'."""
        return _timed(getattr(self._contestants[name], mode), seconds)

    def memory(self, shape: contestants.Shape) -> dict[str, Any]:
        """Return the peak bytes of training one layer with forward_sequence, and the needed bytes.

        The layer needs x, y, the gates, the cells and the gradients of x, y, W, b and U.  The
        weights do not count.
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
    """Return the median of the calls that fit in some seconds, at least one.

    Freeing the result belongs to the time of a call.
    """
    gc.collect()
    times: list[float] = []
    while not times or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
