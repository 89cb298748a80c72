"""Compare the results of contestants, then time them in turns."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy
from worker import Worker

# the first contestant in this order that takes part is the reference for the others
REFERENCES = ('chainer NStepLSTM', 'torch LSTM', 'NStepLSTM')
TOLERANCE = 1e-4
MAX = sys.float_info.max
TURN = 0.1  # seconds for which a turn repeats short calls
# seconds between turns: OpenBLAS's threads spin for up to a tenth, and slow down the next process
SETTLE = 0.2
BUSY = 0.3  # cores: half of a process that competes with two threads
BUDGET = 8  # seconds of one contestant, mode and case: no further turn after it


def check(workers: dict[str, Worker], modes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return each contestant's largest difference from the reference, relative to the values."""
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
    """Return the largest difference; MAX for other shapes and for NaN."""
    if actual.shape != expected.shape:
        return MAX
    with numpy.errstate(all='ignore'):
        found = abs(actual - expected).max() / (abs(expected).max() or 1)
    return float(found) if numpy.isfinite(found) else MAX


def disagreements(name: str, parity: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each contestant with a wrong result in a case."""
    return [
        f'{name}: {contestant} and {found["reference"]} differ by {found["difference"]:.1e} in '
        f'{found["where"]}; not timed'
        for contestant, found in parity.items()
        if not found['agrees']
    ]


def report_errors(lines: list[str]) -> int:
    """Print what ``disagreements`` found; return the exit status."""
    for line in lines:
        print(f'error: {line}', file=sys.stderr)
    return 1 if lines else 0


def take_turns(
    workers: dict[str, Worker], mode: str, runs: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Return the seconds of a call of each: median, least, most and of each turn.

    Rounds of turns in which other processes had more than ``BUSY`` cores are repeated, at most as
    many as ``runs``; the least disturbed ones count.
    """
    rounds: list[tuple[float, dict[str, float]]] = []
    spent = dict.fromkeys(workers, 0.0)
    while len(rounds) < 2 * runs and sum(load < BUSY for load, _ in rounds) < runs:
        print('.', end='', flush=True)
        times, loads = {}, [0.0]
        for name, worker in workers.items():
            if spent[name] < BUDGET:
                time.sleep(SETTLE)
                times[name], load = _turn(worker, name, mode, seconds)
                loads.append(load)
                spent[name] += times[name]
        rounds.append((max(loads), times))
    bound = sorted(load for load, _ in rounds)[runs - 1]
    kept = [each for each in rounds if each[0] <= bound][:runs]
    if bound > BUSY:
        print(f' (other processes had {bound:.1f} cores) ', end='')
    found = {}
    for name in workers:
        # slow contestants are only in the first rounds
        values = _times(name, kept) or _times(name, rounds)
        found[name] = {
            'median': statistics.median(values),
            'min': min(values),
            'max': max(values),
            'runs': values,
        }
    return found


def _times(name: str, rounds: list[tuple[float, dict[str, float]]]) -> list[float]:
    return [times[name] for _, times in rounds if name in times]


def _turn(worker: Worker, name: str, mode: str, seconds: float) -> tuple[float, float]:
    """Return the seconds of a call, and how many cores other processes had meanwhile."""
    start, before = time.perf_counter(), _others(worker)
    found = worker.call('time', name, mode, seconds)
    others = _others(worker) - before
    return found, others / max(time.perf_counter() - start, TURN)


def _others(worker: Worker) -> float:
    """Return the CPU time of all other processes, in seconds; 0 if the system does not tell."""
    try:
        with open('/proc/stat') as file:
            user, nice, system, _, _, *more = map(int, file.readline().split()[1:9])
        with open(f'/proc/{worker.pid}/stat') as file:
            own = file.read().rpartition(')')[2].split()[11:13]
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + sum(more) - sum(map(int, own))) / os.sysconf('SC_CLK_TCK')
