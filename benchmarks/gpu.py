#!/usr/bin/env python3
"""Compare the speed of the GPU engines with torch on this machine, then test them, in nine minutes.

The layer and torch's nn.LSTM are given the same numbers, in float32 without and with TF32 on both
sides; a difference is an error.  They take turns, then host and device are timed separately.  Whole
updates of the PTB example's model are compared in the same way.  The recurrence alone is timed, on
every grid of blocks that fits too, and the time of a word from block to block.  At last the tests
that need a GPU run (where pytest is installed).

    gpu.py                          everything but the training
    gpu.py --only layers updates    some parts
    gpu.py --only train --data DIR  the example's medium model to its perplexity
    gpu.py --quick                  small shapes, one turn: a test whether it runs
    gpu.py --quick --device cpu     the same without a GPU; the figures mean nothing

It needs CuPy and a GPU, and torch for the comparison.  Each case is measured in a separate process,
so that an error, a broken device or a hang ends only that case.  The folder --out gets
gpu.json and gpu.txt, written after each case, log.txt, clocks.csv and the results of the tests as
junit-*.xml.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

sys.path.insert(
    0, str(pathlib.Path(__file__).resolve().parents[1])
)  # the package need not be installed

import gpu_tasks  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import gpu_report
import numpy
import report
from gpu_device import DEVICES

from chainer_lstm.command_line import Parser

ROOT = gpu_tasks.ROOT
PARTS = ('facts', 'layers', 'updates', 'hops', 'grids', 'tests', 'train')
CUDA_PARTS = ('hops', 'grids')
LEAST_SECONDS = 5.0  # with less time left, no part is started
_TESTS = {
    'kernels': [
        f'tests/kernels/test_{name}.py' for name in ('persistent_gpu', 'function_kernels', 'gpu')
    ],
    'rest': ['tests', '--sample', '10', '--ignore=tests/kernels'],
}
_CLOCKS = 'timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu'


class Task(NamedTuple):
    """The part that one process measures.

    Attributes:
        part: one of ``PARTS``.
        name: the name in the output.
        command: the command of the process.
        seconds: the time after which it is ended.
    """

    part: str
    name: str
    command: list[str]
    seconds: float


class Ending(NamedTuple):
    """The end of a process: 'ok' or the error, and the seconds that it ran."""

    status: str
    seconds: float


def parse(argv: Any) -> argparse.Namespace:
    p = Parser(__doc__)
    p.add_argument('--only', choices=PARTS, nargs='+', metavar='PART', help=' '.join(PARTS))
    p.add_argument('--minutes', type=float, default=9, metavar='N', help='in all (default: 9)')
    p.add_argument('--quick', action='store_true', help='small shapes, one turn')
    p.add_argument('--device', choices=DEVICES, default='gpu', help='(default: gpu)')
    p.add_argument('--data', default='ptb', help='of --only train: see train_ptb.py')
    p.add_argument(
        '--out', type=pathlib.Path, default='result', metavar='FOLDER', help='(default: result)'
    )
    p.add_argument('--task', nargs=3, help=argparse.SUPPRESS)  # part, number, scratch: a process
    args = p.parse_args(argv)
    if not args.minutes > 0:
        p.error(f'argument --minutes: expected a number above 0, got {args.minutes}')
    args.only = ['facts', *(args.only or [part for part in PARTS if part != 'train'])]
    if pathlib.Path(args.data).is_dir():
        args.data = str(pathlib.Path(args.data).resolve())
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        p.error(f'argument --out: {error.strerror}: {args.out}')
    args.out = args.out.resolve()  # processes start in the folder of the project
    return args


def tasks(args: argparse.Namespace, scratch: pathlib.Path) -> Iterator[Task]:
    """Yield the processes of a run, in turn: figures first, tests last."""
    of = gpu_tasks.Run(None, args.quick, print, scratch, args.data)
    cases, updates = map(str, gpu_tasks.cases(of)), map(str, gpu_tasks.updates(of))
    measured = [
        ('facts', 'ceilings', 60),
        *[('layers', name, 90) for name in cases],
        *[('updates', name, 90) for name in updates],
        ('hops', 'block to block', 45),
        ('grids', 'every grid', 120),
        ('train', 'PTB medium', 3600),
    ]
    numbers = dict.fromkeys(PARTS, 0)
    own = [sys.executable, str(pathlib.Path(__file__).resolve())]
    options = ['--out', str(args.out), '--device', args.device, '--data', args.data]
    options += ['--quick'] if args.quick else []
    for part, name, seconds in measured:
        number, numbers[part] = numbers[part], numbers[part] + 1
        if part in args.only and (args.device == 'gpu' or part not in CUDA_PARTS):
            command = [*own, *options, '--task', part, str(number), str(scratch)]
            yield Task(part, name, command, seconds)
    if 'tests' in args.only and importlib.util.find_spec('pytest') is not None:
        pytest = [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', '-p', 'no:cacheprovider']
        pytest.append('--continue-on-collection-errors')
        for name, files in _TESTS.items():
            junit = f'--junitxml={(args.out / f"junit-{name}.xml").resolve()}'
            yield Task('tests', name, [*pytest, junit, *files], 300)


def start(command: list[str], seconds: float, log: pathlib.Path, **environment: str) -> Ending:
    """Run a process for at most some seconds; append its output to a file."""
    begin = time.monotonic()
    with log.open('ab') as file:
        file.write(f'\n== {" ".join(command)}\n'.encode())
        file.flush()
        try:
            code = subprocess.run(
                command,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                env={**os.environ, 'PYTHONUNBUFFERED': '1', **environment},
            ).returncode
            status = 'ok' if code == 0 else f'ended with status {code}'
        except subprocess.TimeoutExpired:
            status = f'not finished after {seconds:.0f} seconds'
    return Ending(status, time.monotonic() - begin)


@contextlib.contextmanager
def sampled_clocks(path: pathlib.Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Write clocks and power into a file; yield a function that returns those since its last call.

    Without nvidia-smi it returns nothing.
    """
    command = ['nvidia-smi', f'--query-gpu={_CLOCKS}', '--format=csv,noheader,nounits', '-lms=250']
    if shutil.which(command[0]) is None:
        yield dict
        return
    file = path.open('wb')
    process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
    seen = 0

    def since() -> dict[str, Any]:
        nonlocal seen
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
        found, seen = lines[seen:], len(lines)
        return gpu_report.clocks(found)

    try:
        yield since
    finally:
        process.terminate()
        process.wait()
        file.close()


def run_task(args: argparse.Namespace) -> int:
    """Measure one part in this process; the results up to an error are in the file."""
    part, number, scratch = args.task
    file = args.out / 'part.json'

    def save(found: dict[str, Any]) -> None:
        file.write_text(json.dumps(found), encoding='utf-8')

    try:
        device = DEVICES[args.device]()
    except Exception as error:  # whatever CuPy or CUDA reports
        reason, *_ = str(error).splitlines() or [repr(error)]
        save({'missing': f'gpu.py needs an NVIDIA GPU and CuPy: {reason}', 'errors': []})
        return 2
    run = gpu_tasks.Run(device, args.quick, save, pathlib.Path(scratch), args.data)
    gpu_tasks.MEASURES[part](run, int(number))
    return 0


def found_by(task: Task, out: pathlib.Path, scratch: pathlib.Path) -> dict[str, Any]:
    """Return the results that a process has written, and remove their file."""
    file = out / 'part.json'
    try:
        found = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        found = {'errors': []}
    file.unlink(missing_ok=True)
    if task.part == 'train':
        found['epochs'] = gpu_report.epochs(scratch / 'train' / 'log')
    return found


def main(argv: Any = None, start: Callable[..., Ending] = start) -> int:
    args = parse(argv)
    if args.task:
        return run_task(args)
    end = time.monotonic() + 60 * args.minutes
    results: dict[str, Any] = {
        'machine': {**report.machine(), 'numpy': numpy.__version__},
        'tasks': [],
        **{part: [] for part in PARTS},
    }
    log = args.out / 'log.txt'
    log.write_bytes(b'')
    with (
        tempfile.TemporaryDirectory() as folder,
        sampled_clocks(args.out / 'clocks.csv') as clocks,
    ):
        scratch = pathlib.Path(folder)
        for task in tasks(args, scratch):
            left = end - time.monotonic()
            if left < LEAST_SECONDS:
                ending = Ending('left out: no time', 0)
            else:
                seconds = min(task.seconds, left)
                ending = start(task.command, seconds, log, CHAINER_LSTM_CACHE_DIR=folder)
            found = found_by(task, args.out, scratch)
            if 'missing' in found:
                print(found['missing'], file=sys.stderr)
                return 2
            results[task.part].append({**found, 'name': task.name, 'status': ending.status})
            results['tasks'].append(
                {'part': task.part, 'name': task.name, **ending._asdict(), 'clocks': clocks()}
            )
            print(f'{task.part}, {task.name}: {ending.status}, {ending.seconds:.0f} s', flush=True)
            write(args.out, results)
    print(f'\n{gpu_report.text(results)}\nresults are in {args.out / "gpu.json"}')
    for line in results['wrong']:
        print(f'wrong: {line}', file=sys.stderr)
    return 1 if results['wrong'] else 0


def write(out: pathlib.Path, results: dict[str, Any]) -> None:
    results['wrong'], results['missed'] = gpu_report.wrong(results), gpu_report.missed(results)
    (out / 'gpu.json').write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    (out / 'gpu.txt').write_text(gpu_report.text(results) + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(main())
