"""Contestants are compared, then take turns."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy
from worker import Worker

# the first that takes part is the one that the others are compared with
REFERENCES = ('chainer NStepLSTM', 'torch LSTM', 'NStepLSTM')
TOLERANCE = 1e-4
MAX = sys.float_info.max
TURN = 0.1  # seconds: a turn repeats short calls for so long
# seconds between turns: OpenBLAS's threads spin for up to a tenth, and slow down the next process
SETTLE = 0.2
BUDGET = 8  # seconds of one contestant, mode and case: no further turn after it


def check(workers: dict[str, Worker], modes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return how far each contestant is from the reference, by the largest difference relative to
    the largest value.
    """
    reference = next(name for name in (*REFERENCES, *workers) if name in workers)
    found = {name: {'reference': reference, 'difference': 0.0, 'where': ''} for name in workers}
    for mode in modes:
        expected = workers[reference].call('results', reference, mode)
        for name, worker in workers.items():
            if name == reference:
                continue
            actual = worker.call('results', name, mode)
            for key, value in expected.items():
                apart = difference(actual[key], value)
                if apart > found[name]['difference']:
                    found[name].update(difference=apart, where=f'{mode}, {key}')
    for each in found.values():
        each['agrees'] = each['difference'] <= TOLERANCE
    return found


def difference(actual: numpy.ndarray, expected: numpy.ndarray) -> float:
    """At most MAX, which stands for other shapes and for what is not a number."""
    if actual.shape != expected.shape:
        return MAX
    with numpy.errstate(all='ignore'):
        found = abs(actual - expected).max() / (abs(expected).max() or 1)
    return float(found) if numpy.isfinite(found) else MAX


def disagreements(name: str, parity: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each contestant that is wrong in a case."""
    return [
        f'{name}: {contestant} and {found["reference"]} differ by {found["difference"]:.1e} in '
        f'{found["where"]}; not timed'
        for contestant, found in parity.items()
        if not found['agrees']
    ]


def take_turns(
    workers: dict[str, Worker], mode: str, runs: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Return the seconds of a call of each: median, least, most and those of each turn."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(runs):
        print('.', end='', flush=True)
        for name, worker in workers.items():
            if sum(times[name]) < BUDGET:
                time.sleep(SETTLE)
                times[name].append(worker.call('time', name, mode, seconds))
    return {
        name: {
            'median': statistics.median(values),
            'min': min(values),
            'max': max(values),
            'runs': values,
        }
        for name, values in times.items()
    }
