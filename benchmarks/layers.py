#!/usr/bin/env python3
"""Measures LSTM layers on this machine:
ours, Chainer's and torch's, training and inference, float32 on the CPU.

First all are given the same weights and inputs, and their outputs and
gradients are compared: what differs by more than 1e-4 is an error, and is not
timed.  Then they take turns, each in a process of its own.  Leave the machine
alone meanwhile: a busy core changes the ratios too.

    layers.py                                 the usual shapes, about six minutes on two cores
    layers.py --shapes 20/35/650/2 --runs 9   one shape: batch 20, 35 steps, 650 units, 2 layers
    layers.py --peers torch                   without Chainer
    layers.py --engine numpy                  ours without the native engine
    layers.py --quick                         seconds: whether it works; the times tell nothing

torch is no dependency: it takes part where it is installed.  The folder --out
gets layers.json and, where matplotlib is installed, the chart layers.png.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import numpy
import report
from contestants import ENGINES, FAMILIES, Shape
from worker import Worker, start

from chainer_lstm.command_line import Parser

SHAPES = [
    Shape(20, 35, 200, 2),
    Shape(20, 35, 650, 2),
    Shape(32, 35, 256, 1),
    Shape(64, 100, 512, 1),
    Shape(1, 35, 650, 2),
    Shape(20, 35, 1500, 2),
]
QUICK_SHAPES = [Shape(4, 6, 16, 2), Shape(1, 5, 32, 1)]
RAGGED = Shape(
    20, 35, 650, 2
)  # for sequences of different lengths; the first shape where this is not asked for
LAST = Shape(32, 1000, 128, 1)  # for a loss on the last output only
LAST_PAIR = ('ours forward_sequence', 'torch LSTM')
REFERENCES = (
    'chainer NStepLSTM',
    'torch LSTM',
    'ours NStepLSTM',
)  # the first that takes part is the one
TOLERANCE = 1e-4
MAX = sys.float_info.max
TURN = 0.1  # seconds: a turn repeats short calls for so long
# seconds between turns: OpenBLAS's threads spin for up to a tenth, and slow down who comes next
SETTLE = 0.2
BUDGET = 8  # seconds of one contestant, mode and shape: no further turn after it


def shape(text: str) -> Shape:
    try:
        sizes = [int(size) for size in text.split('/')]
        if len(sizes) != len(Shape._fields) or min(sizes) < 1:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'expected batch/time/units/layers, four numbers from 1 such as 20/35/650/2, got {text}'
        ) from None
    return Shape(*sizes)


def peers(text: str) -> list[str]:
    names = [] if text == 'none' else text.split(',')
    if not {*names} <= {'chainer', 'torch'}:
        raise argparse.ArgumentTypeError(
            f'expected chainer, torch, chainer,torch or none, got {text}'
        )
    return names


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number from 1, got {text}')
    return int(text)


def parser() -> Parser:
    p = Parser(__doc__)
    p.add_argument(
        '--shapes',
        type=shape,
        nargs='+',
        metavar='B/T/H/LAYERS',
        help=f'batch, time, units and layers (default: {" ".join(map(str, SHAPES))})',
    )
    p.add_argument(
        '--runs',
        type=count,
        metavar='N',
        help=f'turns of each; slow ones stop after {BUDGET} seconds (default: 5)',
    )
    p.add_argument(
        '--peers',
        type=peers,
        default='chainer,torch',
        help='chainer, torch, both or none (default: both)',
    )
    p.add_argument(
        '--engine', choices=('auto', *ENGINES), default='auto', help='of ours (default: auto)'
    )
    p.add_argument(
        '--out', type=pathlib.Path, default='result', metavar='FOLDER', help='(default: result)'
    )
    p.add_argument(
        '--quick', action='store_true', help='tiny shapes unless --shapes, one turn unless --runs'
    )
    return p


def parse(argv: Any) -> argparse.Namespace:
    p = parser()
    args = p.parse_args(argv)
    args.shapes = list(dict.fromkeys(args.shapes or (QUICK_SHAPES if args.quick else SHAPES)))
    args.runs = args.runs or (1 if args.quick else 5)
    args.seconds = 0 if args.quick else TURN
    make_folder(p, args.out)
    return args


def make_folder(p: Parser, out: pathlib.Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        p.error(f'argument --out: {error.strerror}: {out}')


def check(workers: dict[str, Worker], results: str = 'results') -> dict[str, dict[str, Any]]:
    """How far each contestant is from the reference,
    by the largest difference relative to the largest value.
    """
    reference = next(name for name in (*REFERENCES, *workers) if name in workers)
    expected = workers[reference].call(results, reference)
    found = {}
    for name, worker in workers.items():
        actual = expected if name == reference else worker.call(results, name)
        differences = {key: difference(actual[key], expected[key]) for key in expected}
        where = max(differences, key=differences.__getitem__)
        found[name] = {
            'reference': reference,
            'difference': differences[where],
            'where': where,
            'agrees': differences[where] <= TOLERANCE,
        }
    return found


def difference(actual: numpy.ndarray, expected: numpy.ndarray) -> float:
    """At most MAX, which stands for other shapes and for what is not a number."""
    if actual.shape != expected.shape:
        return MAX
    with numpy.errstate(all='ignore'):
        found = abs(actual - expected).max() / (abs(expected).max() or 1)
    return float(found) if numpy.isfinite(found) else MAX


def take_turns(
    workers: dict[str, Worker], mode: str, runs: int, seconds: float
) -> dict[str, dict[str, Any]]:
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


def measure(at: Shape, workers: dict[str, Worker], args: argparse.Namespace) -> dict[str, Any]:
    """Everything about one shape; contestants that fail the comparison are not timed."""
    print(f'{at}: comparing', end='', flush=True)
    for worker in {*workers.values()}:
        worker.call('prepare', at)
    parity = check(workers)
    agreeing = {name: worker for name, worker in workers.items() if parity[name]['agrees']}
    worst = max((parity[name]['difference'] for name in agreeing), default=0)
    print(f' (at most {worst:.0e} apart)', end='', flush=True)
    times, ratios = {}, {}
    for mode, title in report.MODES.items():
        print(f', {title} ', end='', flush=True)
        times[mode] = found = take_turns(agreeing, mode, args.runs, args.seconds)
        ratios[mode] = {
            ours: found[ours]['median'] / found[peer]['median']
            for ours, peer in report.PAIRS
            if {ours, peer} <= {*found}
        }
    print(', memory')
    memory = workers['ours forward_sequence'].call('memory', at)
    return {
        'name': str(at),
        'shape': at._asdict(),
        'parity': parity,
        'times': times,
        'ratios': ratios,
        'memory': memory,
    }


def measure_last(at: Shape, workers: dict[str, Worker], args: argparse.Namespace) -> dict[str, Any]:
    """Training with a loss on the last output only, compared and timed as ``measure`` does."""
    pair = {name: workers[name] for name in LAST_PAIR if name in workers}
    for worker in pair.values():
        worker.call('prepare_last', at)
    parity = check(pair, 'last_results')
    agreeing = {name: worker for name, worker in pair.items() if parity[name]['agrees']}
    times = take_turns(agreeing, 'train_last', args.runs, args.seconds)
    ours, peer = LAST_PAIR
    ratio = times[ours]['median'] / times[peer]['median'] if {*LAST_PAIR} <= {*times} else None
    return {
        'name': f'{at}, the last output',
        'shape': at._asdict(),
        'parity': parity,
        'times': times,
        'ratio': ratio,
    }


def write(results: dict[str, Any], out: pathlib.Path) -> None:
    (out / 'layers.json').write_text(json.dumps(results, indent=1), encoding='utf-8')
    try:
        report.chart(results, out / 'layers.png')
    except ImportError as error:
        print(f'no chart: {error}')


def run(args: argparse.Namespace) -> int:
    """-> the exit status"""
    machine = report.machine()
    print(
        f'{machine["cpu"]}, {machine["cores usable"] or machine["cores"]} cores, '
        f'load {machine["load before"]}'
    )
    with contextlib.ExitStack() as stack:
        found, facts = start(
            stack, {name: FAMILIES[name] for name in ('ours', *args.peers)}, args.engine
        )
        workers = {
            name: found[name] for pair in report.PAIRS for name in pair if name in found
        }  # in turn
        shapes = [measure(at, workers, args) for at in args.shapes]
        print('sequences of different lengths')
        ragged = workers['ours NStepLSTM'].call(
            'ragged', RAGGED if RAGGED in args.shapes else args.shapes[0], args.runs, args.seconds
        )
        print('loss on the last output only ', end='', flush=True)
        last = measure_last(args.shapes[0] if args.quick else LAST, workers, args)
        print()
    results = {
        'machine': machine,
        'families': facts,
        'shapes': shapes,
        'ragged': ragged,
        'last': last,
        'options': {
            'engine': args.engine,
            'runs': args.runs,
            'quick': args.quick,
            'seconds of a turn': args.seconds,
        },
    }
    print(f'\n{report.tables(results)}')
    write(results, args.out)
    wrong = [
        f'{entry["name"]}: {name} and {found["reference"]} differ by {found["difference"]:.1e} in '
        f'{found["where"]}'
        for entry in (*shapes, last)
        for name, found in entry['parity'].items()
        if not found['agrees']
    ]
    for line in wrong:
        print(f'error: {line}; not timed', file=sys.stderr)
    return 1 if wrong else 0


def main(argv: Any = None) -> int:
    args = parse(argv)
    try:
        return run(args)
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        return 130
    except (RuntimeError, ValueError, OSError) as error:
        print(f'\nerror: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
