"""The parts of gpu.py, each in a separate process that saves after every figure."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import pathlib
import runpy
import statistics
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import gpu_contestants  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import gpu_probes
import numpy
from gpu_contestants import Case, Shape

from chainer_lstm.kernels.engines.trial import difference

ROOT = pathlib.Path(__file__).resolve().parents[1]
CASES = [
    Case(Shape(20, 35, 650, 2), False, 1.5),
    Case(Shape(20, 20, 200, 2), False, 2.0),
    Case(Shape(32, 35, 256, 1), False, 2.0),
    Case(Shape(64, 100, 512, 1), True, 2.0),
    Case(Shape(64, 100, 1024, 1), False, 1.0),
]
QUICK_CASES = [Case(Shape(4, 6, 16, 2), False, 1.0), Case(Shape(5, 7, 24, 1), True, 1.0)]


class Updates(NamedTuple):
    """Whole updates of the PTB example's model.

    Attributes:
        shape: the shape of a chunk of truncated BPTT.
        dropout: the ratio of dropout.
        target: the speed relative to torch that is to be reached.
    """

    shape: Shape
    dropout: float
    target: float

    def __str__(self) -> str:
        return f'PTB {self.shape}'


UPDATES = [Updates(Shape(20, 20, 200, 2), 0.0, 2.0), Updates(Shape(20, 35, 650, 2), 0.5, 1.5)]
QUICK_UPDATES = [Updates(Shape(3, 4, 8, 2), 0.5, 1.0)]
# the largest difference from torch, relative to the largest value
TOLERANCE = {'highest': 1e-4, 'high': 1e-2}
MODES = ('train', 'infer')


class Run(NamedTuple):
    """The settings of a measurement.

    Attributes:
        device: the GPU.
        quick: whether shapes are small, with one turn.
        save: a function that is called with all results so far.
        scratch: a folder for temporary files.
        data: the folder with the language model's text.
    """

    device: Any
    quick: bool
    save: Callable[[dict[str, Any]], None]
    scratch: pathlib.Path
    data: str

    @property
    def turns(self) -> int:
        return 1 if self.quick else 5

    @property
    def seconds(self) -> float:
        """Return the seconds of a turn."""
        return 0 if self.quick else 0.1

    def attempt(
        self, entry: dict[str, Any], key: str, call: Callable[..., Any], *args: Any
    ) -> None:
        """Append what a call returns to the list entry[key], or its error to entry['errors']."""
        try:
            found = call(*args)
        except Exception as error:  # whatever CuPy, CUDA, torch or the engine reports
            traceback.print_exc()
            entry['errors'].append(f'{entry["name"]}, {key}: {type(error).__name__}: {error}')
        else:
            entry[key] += found if isinstance(found, list) else [found]
        self.save(entry)


def cases(run: Run) -> list[Case]:
    return QUICK_CASES if run.quick else CASES


def updates(run: Run) -> list[Updates]:
    return QUICK_UPDATES if run.quick else UPDATES


def ceilings(run: Run, number: int = 0) -> None:
    """Measure the bytes a second of a copy and the operations a second of a product, with TF32 too.

    The product is (n, n) by (n, n).
    """
    device, n = run.device, 64 if run.quick else 4096
    found: dict[str, Any] = {'facts': device.facts(), 'errors': []}
    run.save(found)
    # random numbers: products of zeros or ones take less power, and so less time
    x = device.xp.asarray(numpy.random.RandomState(0).randn(n, 4 * n).astype('f'))
    y = device.xp.empty_like(x)
    found['copy'] = 2 * x.nbytes / device.time(lambda: device.xp.copyto(y, x), run.seconds)
    square = x[:, :n].copy()
    for precision in TOLERANCE:
        engine = gpu_contestants.kernels.engine_of(square, 'auto', precision)
        seconds = device.time(lambda e=engine: e.matmul(square, square), run.seconds)
        found[precision] = 2 * n**3 / seconds
    found['medium'] = found['high']
    run.save(found)


def layers(run: Run, number: int) -> None:
    """Compare a case with torch, and measure its recurrences alone and the kernels of both."""
    case = cases(run)[number]
    entry = {
        'name': str(case),
        'target': case.target,
        'lengths': case.lengths,
        **{key: [] for key in ('comparisons', 'recurrences', 'profiles', 'kernels', 'errors')},
    }
    with gpu_probes.Kernels() as kernels:
        for precision in TOLERANCE:
            sides = [
                functools.partial(side, run.device, case, precision)
                for side in (gpu_contestants.Ours, gpu_contestants.Torch)
            ]
            run.attempt(entry, 'comparisons', compare, run, precision, sides, MODES)
        for engine, precision in run.device.engines:
            run.attempt(entry, 'recurrences', recurrence, run.device, case, engine, precision)
        if run.device.torch_name == 'cuda':
            run.attempt(entry, 'kernels', kernels.attributes, run.device.xp)
            run.attempt(entry, 'profiles', profiles, run, sides)
    save_verdicts(run, entry)


def whole_updates(run: Run, number: int) -> None:
    """Compare whole updates of a language model with torch, and list the kernels of both."""
    of = updates(run)[number]
    entry = {
        'name': str(of),
        'target': of.target,
        'comparisons': [],
        'profiles': [],
        'errors': [],
    }
    on_gpu = run.device.torch_name == 'cuda'
    for precision in TOLERANCE:
        sides = [
            functools.partial(side, run.device, of.shape, of.dropout, precision)
            for side in (gpu_contestants.OurUpdates, gpu_contestants.TorchUpdates)
        ]
        run.attempt(entry, 'comparisons', compare, run, precision, sides, ('train',))
        if on_gpu:
            replays = functools.partial(gpu_contestants.OurReplays, *sides[0].args)
            both = [replays, sides[1]]
            run.attempt(
                entry, 'comparisons', compare, run, precision, both, ('train',), ' by a graph'
            )
    if on_gpu:
        run.attempt(entry, 'profiles', profiles, run, sides)
    save_verdicts(run, entry)


def save_verdicts(run: Run, entry: dict[str, Any]) -> None:
    """Add the engines that 'auto' has chosen."""
    if run.device.torch_name == 'cuda':
        from chainer_lstm.kernels.engines import auto

        found = auto.verdicts(run.device.xp.cuda.Device().id)
        entry['verdicts'] = {key: str(verdict) for key, verdict in found.items()}
    run.save(entry)


def made(make_sides: Iterable[Callable[[], Any]]) -> list[Any]:
    """Return the contestants, without torch if it is not installed."""
    sides = []
    for make in make_sides:
        with contextlib.suppress(ImportError):
            sides.append(make())
    return sides


def compare(
    run: Run,
    precision: str,
    make_sides: list[Callable[[], Any]],
    modes: Iterable[str],
    by: str = '',
) -> dict[str, Any]:
    """Return the difference between the contestants and the seconds of each mode.

    They are timed turn by turn, then separately on host and device.  ``by`` describes how this
    package computes.
    """
    device, sides = run.device, made(make_sides)
    found: dict[str, Any] = {'precision': precision, 'by': by, 'agrees': True}
    found.update(times={}, split={})
    results = []
    for side in sides:
        side.take_turn()
        results.append(side.results())
    if len(sides) > 1:
        actual, expected = results
        found['difference'] = max([_difference(actual[name], expected[name]) for name in expected])
        found['agrees'] = found['difference'] <= TOLERANCE[precision]
    for mode in modes:
        times: dict[str, list[float]] = {side.name: [] for side in sides}
        for _ in range(run.turns):
            for side in sides:
                side.take_turn()
                times[side.name].append(device.time(getattr(side, mode), run.seconds))
        found['times'][mode] = {name: statistics.median(turns) for name, turns in times.items()}
        found['split'][mode] = {}
        for side in sides:
            side.take_turn()
            found['split'][mode][side.name] = device.split(getattr(side, mode))
    return found


def _difference(actual: numpy.ndarray, expected: numpy.ndarray) -> float:
    """Return the largest difference; for NaN the largest float, because JSON has no NaN."""
    found = difference([actual], [expected])
    return min(numpy.inf if found is None else found, sys.float_info.max)


def profiles(run: Run, make_sides: list[Callable[[], Any]]) -> list[dict[str, Any]]:
    """Return the kernels of a training call of each contestant; none without torch."""
    if importlib.util.find_spec('torch') is None:
        return []
    found = []
    for side in made(make_sides):
        side.take_turn()
        found.append({'side': side.name, 'kernels': gpu_probes.profile(run.device, side.train)})
    return found


def recurrence(device: Any, case: Case, engine: str, precision: str) -> list[dict[str, Any]]:
    """Return microseconds a step, and bytes and operations a second, forward and backward."""
    found = []
    measured = gpu_contestants.Recurrence(device, case, engine, precision)
    product = device.split(measured.product)
    forward = device.split(measured.forward)
    of_ways = {
        'forward': {part: forward[part] - product[part] for part in forward},
        'backward': device.split(measured.backward, measured.restore),
    }
    for way, times in of_ways.items():
        found.append(
            {
                'engine': engine,
                'precision': precision,
                'way': way,
                'microseconds a step': times['device'] / case.shape.time * 1e6,
                'microseconds of the host': times['host'] * 1e6,
                'bytes a second': measured.bytes[way] / times['device'],
                'operations a second': measured.operations / times['device'],
            }
        )
    return found


def grids(run: Run, number: int = 0) -> None:
    """Measure the microseconds a step of every grid of the persistent kernels that fits."""
    found: dict[str, Any] = {'name': 'grids', 'times': [], 'errors': []}
    for case in cases(run):
        for precision in TOLERANCE:
            for direction in ('fwd', 'bwd'):
                of = case.shape.units, precision, case.shape.batch
                for grid, taken in gpu_probes.grids(run.device.xp, direction, *of):
                    run.attempt(found, 'times', _time_of_grid, run.device, case, grid, taken)


def _time_of_grid(device: Any, case: Case, grid: Any, taken: bool) -> dict[str, Any]:
    kernel = grid.kernel
    with gpu_probes.planned(grid):
        measured = gpu_contestants.Recurrence(device, case, 'persistent', kernel.precision)
        if kernel.direction == 'fwd':
            seconds = device.split(measured.forward)['device']
        else:
            seconds = device.split(measured.backward, measured.restore)['device']
    return {
        'case': str(case),
        'precision': kernel.precision,
        'direction': kernel.direction,
        'grid': f'{kernel.blocks} x {grid.rows}, split {kernel.split}',
        'groups': grid.groups,
        'taken': taken,
        'microseconds a step': seconds / case.shape.time * 1e6,
    }


def hops(run: Run, number: int = 0) -> None:
    """Measure the time of a word from block to block."""
    found: dict[str, Any] = {'name': 'hops', 'rounds': [], 'errors': []}
    run.attempt(found, 'rounds', lambda: list(gpu_probes.hops(run.device)))


def train(run: Run, number: int = 0) -> None:
    """Train the PTB example's medium model; its log stays in the scratch folder."""
    sys.argv = ['train_ptb.py', '--data', run.data, '--out', str(run.scratch / 'train')]
    quick = ['--test', '--preset', 'small', '--epoch', '20', '--bproplen', '5']
    sys.argv += quick if run.quick else ['--preset', 'medium']
    sys.argv += ['--gpu', '0', '--graph'] if run.device.torch_name == 'cuda' else []
    with gpu_contestants.chainer.using_config('lstm_matmul_precision', 'high'):
        runpy.run_path(str(ROOT / 'examples' / 'ptb' / 'train_ptb.py'), run_name='__main__')


MEASURES: dict[str, Callable[[Run, int], None]] = {
    'facts': ceilings,
    'layers': layers,
    'updates': whole_updates,
    'hops': hops,
    'grids': grids,
    'train': train,
}
