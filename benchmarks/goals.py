#!/usr/bin/env python3
"""Compare the speed of this package on the CPU with torch, onnxruntime and OpenBLAS, and show which
goals are met on this machine.

Each row is a way of using an LSTM: steps, sequences, ragged batches, whole updates, products,
threads.  First the results of the contestants are compared in each case; one that differs by more
than 1e-4 is an error, and is not timed.  Then they take turns, each library in a separate process,
with as many threads as the native engine uses.  Run nothing else meanwhile: turns that other
processes disturb are repeated, but not for ever.

    goals.py                          all rows, about ten minutes on two cores
    goals.py --rows steps threads     some rows; --help lists all
    goals.py --runs 11                more turns, steadier medians
    goals.py --quick                  one minute: a test whether it runs; the figures mean nothing

The extra "bench" installs onnx and onnxruntime; torch has to be installed separately.  A goal whose
peer is not installed is not measured.

A figure is the median of the turns' ratios: "times as fast" as the fastest of the peers, or "times
as long" as another way of doing the same.  The mean over the cases is geometric.  The table is
Markdown; the folder --out gets goals.json and, where matplotlib is installed, the chart
goals.png.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import sys
from typing import Any

import arguments
import report
from turns import TURN, check, disagreements, report_errors, take_turns
from ways import WAYS, Goal, Way
from worker import Worker, start

from chainer_lstm.command_line import Parser


def row_names(text: str) -> list[str]:
    """Return the names of the rows that begin with a text."""
    names = [name for name in WAYS if name.startswith(text)]
    if not text or not names:
        raise argparse.ArgumentTypeError(f'expected names of {", ".join(WAYS)}, got {text}')
    return names


def parse(argv: Any) -> argparse.Namespace:
    p = Parser(__doc__)
    p.add_argument(
        '--rows',
        type=row_names,
        nargs='+',
        default=[list(WAYS)],
        metavar='NAME',
        help=f'names or how they begin: {", ".join(WAYS)} (default: all)',
    )
    p.add_argument('--runs', type=arguments.count, metavar='N', help='turns of each (default: 5)')
    arguments.add_out(p)
    p.add_argument('--quick', action='store_true', help='tiny shapes, one turn unless --runs')
    args = p.parse_args(argv)
    args.rows = list(dict.fromkeys(name for names in args.rows for name in names))
    args.runs = args.runs or (1 if args.quick else 5)
    args.seconds = 0 if args.quick else TURN
    arguments.make_folder(p, args.out)
    return args


def families(row: Way) -> dict[str, tuple[type, ...]]:
    """Return the contestants of a row by the process that they share."""
    found: dict[str, tuple[type, ...]] = {}
    for kind in (row.measured, *(peer for goal in row.goals for peer in goal.peers)):
        found[kind.family] = (*found.get(kind.family, ()), kind)
    return found


def measure_case(
    case: Any, mode: str, workers: dict[str, Worker], args: argparse.Namespace
) -> dict[str, Any]:
    """Return how far apart the contestants are, and the times of those that agree."""
    print(f'  {case}: comparing', end='', flush=True)
    for worker in {*workers.values()}:
        worker.call('prepare', case)
    parity = check(workers, [mode])
    agreeing = {name: worker for name, worker in workers.items() if parity[name]['agrees']}
    print(', timing ', end='', flush=True)
    times = take_turns(agreeing, mode, args.runs, args.seconds)
    medians = (f'{name} {found["median"] * 1e3:.3g} ms' for name, found in times.items())
    print(f' {", ".join(medians)}')
    return {'name': str(case), 'case': case._asdict(), 'parity': parity, 'times': times}


def judge(row: Way, goal: Goal, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a goal; none if a contestant has no time in a case."""
    found = {
        'figure': goal.title,
        'peers': ' or '.join(peer.name for peer in goal.peers),
        'bar': goal.bar,
        'higher': goal.is_higher_better,
        'bounds': {'mean': goal.mean, 'worst': goal.worst},
        'figures': {},
        'met': None,
    }
    names = [row.measured.name, *(peer.name for peer in goal.peers)]
    for case, entry in zip(row.cases, entries):
        if not {*names} <= {*entry['times']}:
            return found
        measured, *peers = (entry['times'][name]['runs'] for name in names)
        found['figures'][entry['name']] = goal.of(case, measured, peers)
    return {**found, **goal.summary(list(found['figures'].values()))}


def measure(
    name: str, row: Way, missing: set[str], args: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the results of a row and the facts of its libraries; add to ``missing``."""
    print(name)
    wanted = {key: kinds for key, kinds in families(row).items() if key not in missing}
    with contextlib.ExitStack() as stack:
        workers, facts = start(stack, wanted, 'native')
        missing.update(wanted.keys() - facts.keys())
        entries = [measure_case(case, row.mode, workers, args) for case in row.cases]
    goals = [judge(row, goal, entries) for goal in row.goals]
    for goal, found in zip(row.goals, goals):
        print(f'  {goal.title}; goal {goal.bounds}: {verdict(found)}')
    return {'mode': row.mode, 'cases': entries, 'goals': goals}, facts


def verdict(found: dict[str, Any]) -> str:
    """Return mean, worst and all figures of a goal, and whether it is met."""
    if found['met'] is None:
        return 'not measured'
    met = 'met' if found['met'] else '**missed**'
    figures = [f'{x:.2f}' for x in found['figures'].values()]
    if len(figures) == 1:
        return f'{figures[0]}: {met}'
    return f'{found["mean"]:.2f}, worst {found["worst"]:.2f} ({" ".join(figures)}): {met}'


def table(results: dict[str, Any]) -> str:
    """Return the goals as Markdown, with a column for this processor."""
    lines = [
        f'| | cases | figure | goal | {report.processor(results["machine"])} |',
        '|---|---|---|---|---|',
    ]
    for name, entry in results['rows'].items():
        cases = ', '.join(each['name'] for each in entry['cases'])
        for goal, found in zip(WAYS[name].goals, entry['goals']):
            lines.append(f'| {name} | {cases} | {goal.title} | {goal.bounds} | {verdict(found)} |')
    return '\n'.join(lines)


def draw(results: dict[str, Any], path: pathlib.Path) -> None:
    try:
        report.chart(results, path)
    except ImportError as error:
        print(f'no chart: {error}')


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; return status 1 if results differ; missed goals do not count."""
    results: dict[str, Any] = {
        'machine': report.machine(),
        'families': {},
        'options': {'runs': args.runs, 'quick': args.quick, 'seconds of a turn': args.seconds},
        'rows': {},
    }
    print(report.details(results['machine']))
    missing: set[str] = set()
    for name in args.rows:
        row = WAYS[name]
        if args.quick:
            row = row._replace(cases=tuple(case.tiny() for case in row.cases[:1]))
        results['rows'][name], facts = measure(name, row, missing, args)
        results['families'].update(facts)
        (args.out / 'goals.json').write_text(json.dumps(results, indent=1), encoding='utf-8')
    print(f'\n{table(results)}')
    draw(results, args.out / 'goals.png')
    wrong = [
        line
        for name, row in results['rows'].items()
        for entry in row['cases']
        for line in disagreements(f'{name}, {entry["name"]}', entry['parity'])
    ]
    return report_errors(wrong)


def main(argv: Any = None) -> int:
    return arguments.exit_status(run, parse(argv))


if __name__ == '__main__':
    sys.exit(main())
