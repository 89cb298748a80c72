#!/usr/bin/env python3
"""Tests and measures the GPU engines on this machine, in less than eight minutes, and compares them with torch.

First the tests that need a GPU run (where pytest is installed).  Then ours and torch's nn.LSTM are given the same
numbers, in float32 without and with TF32 on both sides, and what differs is an error and is not timed.  Then they take
turns.  At last our recurrence alone is timed, beside a copy and a large product on the same GPU.

    gpu.py                    everything
    gpu.py --only benchmark   without the tests; or: --only tests
    gpu.py --quick            small shapes, one turn: whether it works

It needs CuPy and a GPU, and torch for the comparison.  The folder --out gets gpu.json and gpu.txt.
"""
from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the package need not be installed

import gpu_contestants  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import chainer
import gpu_report
import layers
import numpy
import report
from gpu_contestants import Case
from gpu_contestants import Shape

from chainer_lstm.command_line import Parser

ROOT = pathlib.Path(__file__).resolve().parents[1]
CASES = [Case(Shape(20, 35, 650, 2), False, 1.5), Case(Shape(20, 20, 200, 2), False, 2.0),
         Case(Shape(32, 35, 256, 1), False, 2.0), Case(Shape(64, 100, 512, 1), True, 2.0),
         Case(Shape(64, 100, 1024, 1), False, 1.0)]
QUICK_CASES = [Case(Shape(4, 6, 16, 2), False, 1.0), Case(Shape(5, 7, 24, 1), True, 1.0)]
TOLERANCE = {'highest': 1e-4, 'high': 1e-2}  # the largest difference from torch, relative to the largest value
TEST_SECONDS = 300


class Gpu:
    """The current CUDA device, its name for torch, and the engines and precisions that are timed on it."""

    torch_name = 'cuda'
    engines = (('auto', 'highest'), ('auto', 'high'), ('auto', 'medium'), ('cupy', 'highest'))

    def __init__(self) -> None:
        """Raises an ImportError without CuPy, and what CUDA reports without a GPU."""
        self.xp = importlib.import_module('cupy')
        self.xp.zeros(1).sum().item()

    def facts(self) -> dict[str, Any]:
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self.xp.cuda.Device().id)
        return {'gpu': properties['name'].decode(), 'multiprocessors': properties['multiProcessorCount'],
                'capability': f'{properties["major"]}.{properties["minor"]}', 'cupy': self.xp.__version__,
                'driver': runtime.driverGetVersion(), 'runtime': runtime.runtimeGetVersion()}

    def synchronize(self) -> None:
        self.xp.cuda.Device().synchronize()

    def time(self, call: Callable[[], Any], seconds: float) -> float:
        """Seconds a call, of calls one after the other for so long, after one that is not counted."""
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


def parse(argv: Any) -> argparse.Namespace:
    p = Parser(__doc__)
    p.add_argument('--only', choices=['tests', 'benchmark'], help='(default: both)')
    p.add_argument('--quick', action='store_true', help='small shapes, one turn')
    p.add_argument('--out', type=pathlib.Path, default='result', metavar='FOLDER', help='(default: result)')
    args = p.parse_args(argv)
    args.cases, args.runs, args.seconds = (QUICK_CASES, 1, 0) if args.quick else (CASES, 5, 0.1)
    layers.make_folder(p, args.out)
    return args


def run_tests() -> dict[str, Any]:
    """Runs the tests marked ``gpu``."""
    if importlib.util.find_spec('pytest') is None:
        return {'passed': None, 'summary': 'left out: pytest is not installed'}
    command = [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', '-p', 'no:cacheprovider']
    try:
        done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return {'passed': False, 'summary': f'not finished after {TEST_SECONDS} seconds'}
    if done.returncode:
        print(done.stdout)
    lines = done.stdout.strip().splitlines()
    return {'passed': done.returncode == 0, 'summary': lines[-1] if lines else 'no output'}


def ceilings(device: Any, seconds: float, n: int) -> dict[str, float]:
    """Bytes a second of a copy, and operations a second of a product (n, n) by (n, n), without and with TF32."""
    x, y = device.xp.ones((n, 4 * n), 'f'), device.xp.empty((n, 4 * n), 'f')
    found = {'copy': 2 * x.nbytes / device.time(lambda: device.xp.copyto(y, x), seconds)}
    square = device.xp.ones((n, n), 'f')
    for precision in TOLERANCE:
        engine = gpu_contestants.kernels.engine_of(square, 'auto', precision)
        found[precision] = 2 * n ** 3 / device.time(lambda e=engine: e.matmul(square, square), seconds)
    return {**found, 'medium': found['high']}


def compare(device: Any, case: Case, precision: str, args: argparse.Namespace) -> dict[str, Any]:
    """Ours and torch's: how far apart, then seconds of training and inference, turn by turn."""
    ours = gpu_contestants.Ours(device, case, precision)
    found: dict[str, Any] = {'precision': precision, 'agrees': True, 'times': {}}
    try:
        sides: list[Any] = [ours, gpu_contestants.Torch(device, case, precision)]
    except ImportError:
        sides = [ours]
    else:
        for side in sides:
            side.take_turn()
        actual, expected = (side.results() for side in sides)
        found['difference'] = max(layers.difference(actual[name], expected[name]) for name in expected)
        found['agrees'] = found['difference'] <= TOLERANCE[precision]
    for mode in report.MODES if found['agrees'] else ():
        times: dict[str, list[float]] = {side.name: [] for side in sides}
        for _ in range(args.runs):
            for side in sides:
                side.take_turn()
                times[side.name].append(device.time(getattr(side, mode), args.seconds))
        found['times'][mode] = {name: statistics.median(runs) for name, runs in times.items()}
    return found


def recurrences(device: Any, case: Case, limits: dict[str, float], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Of each engine and precision, microseconds a step, bytes and operations a second and their share of the limit."""
    found = []
    for engine, precision in device.engines:
        recurrence = gpu_contestants.Recurrence(device, case, engine, precision)
        for way in ('forward', 'backward'):
            call = getattr(recurrence, way)
            recurrence.forward()
            seconds = statistics.median(device.time(call, args.seconds) for _ in range(args.runs))
            rates = recurrence.bytes[way] / seconds, recurrence.operations / seconds
            found.append({'engine': engine, 'precision': precision, 'way': way,
                          'microseconds a step': seconds / case.shape.time * 1e6,
                          'bytes a second': rates[0], 'of copy': rates[0] / limits['copy'],
                          'operations a second': rates[1], 'of product': rates[1] / limits[precision]})
    return found


def benchmark(device: Any, args: argparse.Namespace) -> dict[str, Any]:
    limits = ceilings(device, args.seconds, 64 if args.quick else 4096)
    results: dict[str, Any] = {'ceilings': limits, 'cases': []}
    for case in args.cases:
        print(f'{case} …', flush=True)
        comparisons = [compare(device, case, precision, args) for precision in TOLERANCE]
        results['cases'].append({
            'name': str(case), 'target': case.target, 'lengths': case.lengths, 'comparisons': comparisons,
            'recurrences': recurrences(device, case, limits, args)})
    return results


def main(argv: Any = None, make_device: Callable[[], Any] = Gpu) -> int:
    args = parse(argv)
    try:
        device = make_device()
    except Exception as error:  # whatever CuPy or CUDA reports
        reason, *_ = str(error).splitlines() or [repr(error)]
        print(f'gpu.py needs an NVIDIA GPU and CuPy: {reason}', file=sys.stderr)
        return 2
    results: dict[str, Any] = {'machine': {**report.machine(), **device.facts(), 'numpy': numpy.__version__}}
    if args.only != 'benchmark':
        print('tests …', flush=True)
        results['tests'] = run_tests()
        print(results['tests']['summary'])
    if args.only != 'tests':
        with chainer.using_config('lstm_matmul_precision', 'highest'):  # which the contestants change
            results.update(benchmark(device, args))
        text = gpu_report.tables(results)
        print(f'\n{text}\n')
        (args.out / 'gpu.txt').write_text(text + '\n', encoding='utf-8')
    results['wrong'], results['missed'] = gpu_report.wrong(results), gpu_report.missed(results)
    (args.out / 'gpu.json').write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    for line in results['missed']:
        print(f'missed: {line}')
    for line in results['wrong']:
        print(f'wrong: {line}', file=sys.stderr)
    print(f'results are in {args.out / "gpu.json"}')
    return 1 if results['wrong'] else 0


if __name__ == '__main__':
    sys.exit(main())
