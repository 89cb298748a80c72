#!/usr/bin/env python3
"""Compare the speed of LSTM layers of this package, of Chainer and of torch: training and
inference, float32 on the CPU.

First all are given the same weights and inputs, and their outputs and
gradients are compared: a difference of more than 1e-4 is an error, and is not
timed.  Then they take turns, each in a separate process.  Run nothing else
meanwhile: a busy core changes the ratios too.

    layers.py                                 the usual shapes, about six minutes on two cores
    layers.py --shapes 20/35/650/2 --runs 9   one shape: batch 20, 35 steps, 650 units, 2 layers
    layers.py --peers torch                   without Chainer
    layers.py --engine numpy                  the links without the native engine
    layers.py --quick                         seconds: a test whether it runs; times mean nothing

torch takes part if it is installed.  The folder --out gets layers.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any

import arguments
import report
from contestants import ChainerNStep, ChainerSteps, OurNStep, OurSequence, OurSteps, Shape
from peers import TorchLSTM
from turns import BUDGET, TURN, check, disagreements, report_errors, take_turns
from worker import Worker, start

from chainer_lstm.command_line import Parser

ENGINES = ('auto', 'numpy', 'native')
FAMILIES = {
    'chainer_lstm': (OurNStep, OurSequence, OurSteps),
    'chainer': (ChainerNStep, ChainerSteps),
    'torch': (TorchLSTM,),
}
SHAPES = [
    Shape(20, 35, 200, 2),
    Shape(20, 35, 650, 2),
    Shape(32, 35, 256, 1),
    Shape(64, 100, 512, 1),
    Shape(1, 35, 650, 2),
    Shape(20, 35, 1500, 2),
]
QUICK_SHAPES = [Shape(4, 6, 16, 2), Shape(1, 5, 32, 1)]


def parser() -> Parser:
    p = Parser(__doc__)
    p.add_argument(
        '--shapes',
        type=arguments.shape,
        nargs='+',
        metavar='B/T/H/LAYERS',
        help=f'batch, time, units and layers (default: {" ".join(map(str, SHAPES))})',
    )
    p.add_argument(
        '--runs',
        type=arguments.count,
        metavar='N',
        help=f'turns of each; slow ones stop after {BUDGET} seconds (default: 5)',
    )
    p.add_argument(
        '--peers',
        type=arguments.peers,
        default='chainer,torch',
        help='chainer, torch, chainer,torch or none (default: chainer,torch)',
    )
    p.add_argument(
        '--engine',
        choices=ENGINES,
        default='auto',
        help='of this package (default: auto)',
    )
    arguments.add_out(p)
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
    arguments.make_folder(p, args.out)
    return args


def measure(at: Shape, workers: dict[str, Worker], args: argparse.Namespace) -> dict[str, Any]:
    """Return the results of one shape; contestants that fail the comparison are not timed."""
    print(f'{at}: comparing', end='', flush=True)
    for worker in {*workers.values()}:
        worker.call('prepare', at)
    parity = check(workers, report.MODES)
    agreeing = {name: worker for name, worker in workers.items() if parity[name]['agrees']}
    worst = max((parity[name]['difference'] for name in agreeing), default=0)
    print(f' (at most {worst:.0e} apart)', end='', flush=True)
    times, ratios = {}, {}
    for mode, title in report.MODES.items():
        print(f', {title} ', end='', flush=True)
        times[mode] = found = take_turns(agreeing, mode, args.runs, args.seconds)
        ratios[mode] = {
            measured: found[measured]['median'] / found[peer]['median']
            for measured, peer in report.PAIRS
            if {measured, peer} <= {*found}
        }
    print(', memory')
    memory = workers['forward_sequence'].call('memory', at)
    return {
        'name': str(at),
        'shape': at._asdict(),
        'parity': parity,
        'times': times,
        'ratios': ratios,
        'memory': memory,
    }


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; return its exit status."""
    machine = report.machine()
    print(report.details(machine))
    with contextlib.ExitStack() as stack:
        found, facts = start(
            stack, {name: FAMILIES[name] for name in ('chainer_lstm', *args.peers)}, args.engine
        )
        workers = {
            name: found[name] for pair in report.PAIRS for name in pair if name in found
        }  # in turn
        shapes = [measure(at, workers, args) for at in args.shapes]
    results = {
        'machine': machine,
        'families': facts,
        'shapes': shapes,
        'options': {
            'engine': args.engine,
            'runs': args.runs,
            'quick': args.quick,
            'seconds of a turn': args.seconds,
        },
    }
    print(f'\n{report.tables(results)}')
    (args.out / 'layers.json').write_text(json.dumps(results, indent=1), encoding='utf-8')
    wrong = [line for entry in shapes for line in disagreements(entry['name'], entry['parity'])]
    return report_errors(wrong)


def main(argv: Any = None) -> int:
    return arguments.exit_status(run, parse(argv))


if __name__ == '__main__':
    sys.exit(main())
