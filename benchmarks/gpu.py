#!/usr/bin/env python3
"""Measures the GPU engines on this machine beside torch, then tests them,
in less than eight minutes.

The layer and torch's nn.LSTM are given the same numbers, in float32 without and with TF32 on both
sides; a difference is an error.  They take turns, then host and device are timed apart.  Then whole
updates of the PTB example's model are compared in the same way.  The recurrence alone is timed
beside a copy and a large product on the same GPU.  At last the tests that need a GPU run (where
pytest is installed).

    gpu.py                    everything
    gpu.py --only benchmark   without the tests; or: --only tests
    gpu.py --quick            small shapes, one turn: whether it works

It needs CuPy and a GPU, and torch for the comparison.  The folder --out gets gpu.json, which is
written after each case, gpu.txt and tests.txt.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

sys.path.insert(
    0, str(pathlib.Path(__file__).resolve().parents[1])
)  # the package need not be installed

import gpu_contestants  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import arguments
import chainer
import gpu_report
import numpy
import report
import turns
from gpu_contestants import Case, Shape

from chainer_lstm.command_line import Parser

ROOT = pathlib.Path(__file__).resolve().parents[1]
CASES = [
    Case(Shape(20, 35, 650, 2), False, 1.5),
    Case(Shape(20, 20, 200, 2), False, 2.0),
    Case(Shape(32, 35, 256, 1), False, 2.0),
    Case(Shape(64, 100, 512, 1), True, 2.0),
    Case(Shape(64, 100, 1024, 1), False, 1.0),
]
QUICK_CASES = [Case(Shape(4, 6, 16, 2), False, 1.0), Case(Shape(5, 7, 24, 1), True, 1.0)]
UPDATES = [
    (Shape(20, 20, 200, 2), 0.0),
    (Shape(20, 35, 650, 2), 0.5),
]  # the PTB example's models and their dropout
QUICK_UPDATES = [(Shape(3, 4, 8, 2), 0.5)]
TOLERANCE = {
    'highest': 1e-4,
    'high': 1e-2,
}  # the largest difference from torch, relative to the largest value
TEST_SECONDS = 300
CALLS = 16  # of which host and device times are the medians
LONGEST_WAIT = 1.0  # seconds that the device waits so that calls are queued before the first begins
_WAIT = r"""
extern "C" __global__ void wait(long long nanoseconds) {
    long long now, end;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(end));
    end += nanoseconds;
    do
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    while (now < end);
}"""


class Gpu:
    """The current CUDA device, its name for torch, and the engines and precisions
    that are timed on it.
    """

    torch_name = 'cuda'
    engines = (('auto', 'highest'), ('auto', 'high'), ('auto', 'medium'), ('cupy', 'highest'))

    def __init__(self) -> None:
        """Raises an ImportError without CuPy, and what CUDA reports without a GPU."""
        self.xp = importlib.import_module('cupy')
        self.xp.zeros(1).sum().item()

    def facts(self) -> dict[str, Any]:
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self.xp.cuda.Device().id)
        return {
            'gpu': properties['name'].decode(),
            'multiprocessors': properties['multiProcessorCount'],
            'capability': f'{properties["major"]}.{properties["minor"]}',
            'cupy': self.xp.__version__,
            'driver': runtime.driverGetVersion(),
            'runtime': runtime.runtimeGetVersion(),
        }

    def synchronize(self) -> None:
        self.xp.cuda.Device().synchronize()

    def time(self, call: Callable[[], Any], seconds: float) -> float:
        """Seconds a call, of calls one after the other for so long,
        after one that is not counted.
        """
        call()  # compiles kernels, loads libraries
        calls, spent = 1, self._spent(call, 1)
        while spent < seconds:
            calls = min(max(2 * calls, int(1.1 * calls * seconds / spent)), 10_000 * calls)
            spent = self._spent(call, calls)
        return spent / calls

    def _spent(self, call: Callable[[], Any], calls: int) -> float:
        self.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        self.synchronize()
        return time.perf_counter() - start

    def split(
        self, call: Callable[[], Any], before: Callable[[], Any] = lambda: None
    ) -> dict[str, float]:
        """Return the seconds of a call on the host and on the device,
        each without waiting for the other.

        The calls are queued behind a kernel that waits, for else a device that is faster than the
        host would be timed with the gaps between its kernels.  ``before`` each call, something is
        done that is not timed.
        """
        before()
        call()
        calls, wait = CALLS, 2 * CALLS * (self._spent(before, 1) + self._spent(call, 1))
        while True:
            events, host = self._queue(call, before, calls, min(wait, LONGEST_WAIT))
            queued_in_time = not events[0].done
            self.synchronize()
            if queued_in_time or calls == 1:
                break
            calls //= 2  # the queue was full, and the host waited for the device
        elapsed = self.xp.cuda.get_elapsed_time
        device = [elapsed(*pair) / 1e3 for pair in zip(events[::2], events[1::2])]
        return {'host': statistics.median(host), 'device': statistics.median(device)}

    def _queue(
        self, call: Callable[[], Any], before: Callable[[], Any], calls: int, wait: float
    ) -> tuple[list[Any], list[float]]:
        """-> events before and after each call, and the seconds that it took the host"""
        events = [self.xp.cuda.Event() for _ in range(2 * calls)]
        host = []
        self._waiting((1,), (1,), (int(wait * 1e9),))
        for start, end in zip(events[::2], events[1::2]):
            before()
            start.record()
            begin = time.perf_counter()
            call()
            host.append(time.perf_counter() - begin)
            end.record()
        return events, host

    @functools.cached_property
    def _waiting(self) -> Any:
        return self.xp.RawKernel(_WAIT, 'wait')


def parse(argv: Any) -> argparse.Namespace:
    p = Parser(__doc__)
    p.add_argument('--only', choices=['tests', 'benchmark'], help='(default: both)')
    p.add_argument('--quick', action='store_true', help='small shapes, one turn')
    p.add_argument(
        '--out', type=pathlib.Path, default='result', metavar='FOLDER', help='(default: result)'
    )
    args = p.parse_args(argv)
    args.cases, args.updates, args.runs, args.seconds = (
        (QUICK_CASES, QUICK_UPDATES, 1, 0) if args.quick else (CASES, UPDATES, 5, 0.1)
    )
    arguments.make_folder(p, args.out)
    return args


def run_tests(log: pathlib.Path) -> dict[str, Any]:
    """Runs the tests marked ``gpu``; their output is in the log, also when they take too long."""
    if importlib.util.find_spec('pytest') is None:
        return {'passed': None, 'summary': 'left out: pytest is not installed'}
    command = [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', '-p', 'no:cacheprovider']
    with log.open('wb') as file:
        try:
            status = subprocess.run(
                command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, timeout=TEST_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            return {'passed': False, 'summary': f'not finished after {TEST_SECONDS} seconds'}
    output = log.read_text(encoding='utf-8', errors='replace')
    if status:
        print(output)
    lines = output.strip().splitlines()
    return {'passed': status == 0, 'summary': lines[-1] if lines else 'no output'}


def ceilings(device: Any, seconds: float, n: int) -> dict[str, float]:
    """Bytes a second of a copy, and operations a second of a product (n, n) by (n, n),
    without and with TF32.
    """
    # of random numbers: products of zeros or ones take less power, and so less time
    x = device.xp.asarray(numpy.random.RandomState(0).randn(n, 4 * n).astype('f'))
    y = device.xp.empty_like(x)
    found = {'copy': 2 * x.nbytes / device.time(lambda: device.xp.copyto(y, x), seconds)}
    square = x[:, :n].copy()
    for precision in TOLERANCE:
        engine = gpu_contestants.kernels.engine_of(square, 'auto', precision)
        found[precision] = (
            2 * n**3 / device.time(lambda e=engine: e.matmul(square, square), seconds)
        )
    return {**found, 'medium': found['high']}


def compare(
    device: Any,
    precision: str,
    make_sides: list[Callable[[], Any]],
    modes: Iterable[str],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Ours and torch's: how far apart, then seconds of each mode, turn by turn,
    and apart on host and device.
    """
    sides = []
    for make in make_sides:
        with contextlib.suppress(ImportError):  # there is no torch
            sides.append(make())
    found: dict[str, Any] = {'precision': precision, 'agrees': True, 'times': {}, 'split': {}}
    if len(sides) > 1:
        results = []
        for side in sides:
            side.take_turn()
            results.append(side.results())
        actual, expected = results
        found['difference'] = max(
            turns.difference(actual[name], expected[name]) for name in expected
        )
        found['agrees'] = found['difference'] <= TOLERANCE[precision]
    for mode in modes:
        times: dict[str, list[float]] = {side.name: [] for side in sides}
        for _ in range(args.runs):
            for side in sides:
                side.take_turn()
                times[side.name].append(device.time(getattr(side, mode), args.seconds))
        found['times'][mode] = {name: statistics.median(runs) for name, runs in times.items()}
        found['split'][mode] = {}
        for side in sides:
            side.take_turn()
            found['split'][mode][side.name] = device.split(getattr(side, mode))
    return found


def recurrence(
    device: Any, case: Case, engine: str, precision: str, limits: dict[str, float]
) -> list[dict[str, Any]]:
    """Of both ways, microseconds a step, bytes and operations a second and their share
    of the limit.
    """
    found = []
    measured = gpu_contestants.Recurrence(device, case, engine, precision)
    product = device.split(measured.product)
    forward = device.split(measured.forward)
    of_ways = {
        'forward': {part: forward[part] - product[part] for part in forward},
        'backward': device.split(measured.backward, measured.restore),
    }
    for way, times in of_ways.items():
        rates = measured.bytes[way] / times['device'], measured.operations / times['device']
        found.append(
            {
                'engine': engine,
                'precision': precision,
                'way': way,
                'microseconds a step': times['device'] / case.shape.time * 1e6,
                'microseconds of the host': times['host'] * 1e6,
                'bytes a second': rates[0],
                'of copy': rates[0] / limits['copy'],
                'operations a second': rates[1],
                'of product': rates[1] / limits[precision],
            }
        )
    return found


def attempt(entry: dict[str, Any], key: str, call: Callable[..., Any], *args: Any) -> None:
    """Appends what a call returns to the list entry[key];
    or its error to entry['errors'], and goes on.
    """
    try:
        found = call(*args)
    except Exception as error:  # whatever CuPy, CUDA, torch or the engine reports
        traceback.print_exc()
        entry['errors'].append(f'{entry["name"]}, {key}: {type(error).__name__}: {error}')
    else:
        entry[key] += found if isinstance(found, list) else [found]


def benchmark(device: Any, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields all that was found, after each case."""
    limits = ceilings(device, args.seconds, 64 if args.quick else 4096)
    results: dict[str, Any] = {'ceilings': limits, 'cases': [], 'updates': []}
    for case in args.cases:
        print(f'{case} …', flush=True)
        entry = {
            'name': str(case),
            'target': case.target,
            'lengths': case.lengths,
            'comparisons': [],
            'recurrences': [],
            'errors': [],
        }
        results['cases'].append(entry)
        for precision in TOLERANCE:
            sides = [
                functools.partial(side, device, case, precision)
                for side in (gpu_contestants.Ours, gpu_contestants.Torch)
            ]
            attempt(entry, 'comparisons', compare, device, precision, sides, report.MODES, args)
        for engine, precision in device.engines:
            attempt(entry, 'recurrences', recurrence, device, case, engine, precision, limits)
        yield results
    for shape, dropout in args.updates:
        print(f'updates of {shape} …', flush=True)
        entry = {'name': f'PTB {shape}', 'target': 1.0, 'comparisons': [], 'errors': []}
        results['updates'].append(entry)
        for precision in TOLERANCE:
            sides = [
                functools.partial(side, device, shape, dropout, precision)
                for side in (gpu_contestants.OurUpdates, gpu_contestants.TorchUpdates)
            ]
            attempt(entry, 'comparisons', compare, device, precision, sides, ('train',), args)
        yield results


def main(argv: Any = None, make_device: Callable[[], Any] = Gpu) -> int:
    args = parse(argv)
    try:
        device = make_device()
    except Exception as error:  # whatever CuPy or CUDA reports
        reason, *_ = str(error).splitlines() or [repr(error)]
        print(f'gpu.py needs an NVIDIA GPU and CuPy: {reason}', file=sys.stderr)
        return 2
    results: dict[str, Any] = {
        'machine': {**report.machine(), **device.facts(), 'numpy': numpy.__version__}
    }
    if args.only != 'tests':
        with chainer.using_config(
            'lstm_matmul_precision', 'highest'
        ):  # which the contestants change
            for found in benchmark(device, args):
                write(args.out, {**results, **found})
        results.update(found)
        text = gpu_report.tables(results)
        print(f'\n{text}\n')
        (args.out / 'gpu.txt').write_text(text + '\n', encoding='utf-8')
    if args.only != 'benchmark':
        print('tests …', flush=True)
        results['tests'] = run_tests(args.out / 'tests.txt')
        print(results['tests']['summary'])
    results['wrong'], results['missed'] = gpu_report.wrong(results), gpu_report.missed(results)
    write(args.out, results)
    for line in results['missed']:
        print(f'missed: {line}')
    for line in results['wrong']:
        print(f'wrong: {line}', file=sys.stderr)
    print(f'results are in {args.out / "gpu.json"}')
    return 1 if results['wrong'] else 0


def write(out: pathlib.Path, results: dict[str, Any]) -> None:
    (out / 'gpu.json').write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(main())
