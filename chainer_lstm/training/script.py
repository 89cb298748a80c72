"""Shared code of the example scripts: options, seeds, result files, errors and signals."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import pathlib
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Optional

import chainer
import numpy

from chainer_lstm import gpu
from chainer_lstm.command_line import Parser
from chainer_lstm.datasets.download import DownloadError
from chainer_lstm.files import written

# errors of the input or the machine, which are reported in one line, without a traceback
ERRORS = (OSError, ValueError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile)

_INTERVAL = 0.2  # seconds between updates of the progress line


def number(kind: type, low: float, high: float = math.inf) -> Callable[[str], Any]:
    """Return an argparse type: a number in [low, high)."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not low <= value < high:
            raise argparse.ArgumentTypeError(
                f'expected a number from {low} up to {high}, got {text}'
            )
        return value

    parse.__name__ = kind.__name__
    return parse


def positive(text: str) -> float:
    """Return a positive finite number: an argparse type of norms, since a norm of 0 clips to 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'expected a finite number above 0, got {text}')
    return value


def parser(doc: Optional[str], out: str = 'result') -> argparse.ArgumentParser:
    """Return a parser with the options of every training script:
    --seed, --device, --gpu, --out, --test.
    """
    p = Parser(doc)
    p.add_argument(
        '--seed', type=number(int, 0, 2**32), default=0, help='of everything random (default: 0)'
    )
    add_device(p)
    p.add_argument(
        '--out',
        '-o',
        type=pathlib.Path,
        default=out,
        help=f'folder for the results (default: {out})',
    )
    p.add_argument(
        '--test', action='store_true', help='a few seconds only, to see that everything works'
    )
    return p


def add_device(p: argparse.ArgumentParser) -> None:
    """Add --device, and --gpu as in Chainer's examples."""
    p.add_argument(
        '--device', '-d', default='-1', help='-1: CPU; N or @cupy:N: GPU N (default: -1)'
    )
    p.add_argument(
        '--gpu', '-g', dest='device', nargs='?', const='0', help='the same; without a number, GPU 0'
    )


def get_device(name: str) -> chainer.backend.Device:
    """Return a device by the value of --device or --gpu.

    Raises:
        ValueError, RuntimeError: there is no such device, or CuPy or a driver is missing.
    """
    index = name.removeprefix('@cupy:')
    if index.isdecimal():
        _check_gpu(int(index))
    try:
        return chainer.get_device(name)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f'expected --device to be -1, N or @cupy:N, got {name!r}: {message(error)}'
        ) from error


def _check_gpu(index: int) -> None:
    """Raise a short error for a missing GPU or CuPy; Chainer's lists files and an address."""
    missing = gpu.missing()
    if missing is not None:
        remedy = "pip install 'chainer-lstm[cuda13]', or [cuda12] for an older driver"
        if missing.startswith('no GPU'):
            remedy = "look after NVIDIA's driver"
        raise RuntimeError(
            f'--gpu {index}: expected a GPU that CuPy can use, got none '
            f'({missing}); {remedy}, or leave --gpu out'
        )
    count = gpu.number()
    if index >= count:
        raise ValueError(f'--gpu {index}: expected a number below {count}, got {index}')


def start(args: argparse.Namespace) -> chainer.backend.Device:
    """Make the folder --out, use the device, and seed its generator and NumPy's."""
    device = get_device(args.device)
    device.use()
    args.out.mkdir(parents=True, exist_ok=True)
    numpy.random.seed(args.seed)
    if device.xp is not numpy:
        device.xp.random.seed(args.seed)
    return device


@contextlib.contextmanager
def alternatives(text: str) -> Iterator[None]:
    """Append alternatives to the error of a failed download.

    Args:
        text: options, each with what it does.

    Raises:
        DownloadError: a file could not be downloaded.
    """
    try:
        yield
    except DownloadError as error:
        raise DownloadError(f'{error}; to do without it: {text}') from error


def message(error: BaseException) -> str:
    """Return the message of an error in one line."""
    text: object = error
    if isinstance(error, KeyError) and error.args:
        text = error.args[0]  # str() would quote it
    return ' '.join(str(text).split()) or type(error).__name__


def main(
    p: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], after_interrupt: str = ''
) -> None:
    """Run a script; an error or a signal ends it with one line instead of a traceback.

    ``ERRORS``, those of the input or the machine, exit with status 2, Ctrl-C with 130, as usual in
    shells.

    Args:
        p: the parser of the options, --device among them.
        run: the script, a function of the options.
        after_interrupt: a hint for the user after Ctrl-C, with options in braces.
    """
    args = p.parse_args()
    try:
        get_device(args.device)  # before anything is downloaded or written
        run(args)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
        hint = after_interrupt or (
            'what was learned so far is in {out}' if isinstance(error, Stopped) else ''
        )
        p.exit(128 + number, f'\n{_ENDED[number]}{hint and "; "}{hint.format(**vars(args))}\n')
    except ERRORS as error:
        p.exit(2, f'{p.prog}: error: {message(error)}\n')


class Stopped(KeyboardInterrupt):
    """A loop ended cleanly after a signal.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


_ENDED: dict[int, str] = {signal.SIGINT: 'interrupted', signal.SIGTERM: 'terminated'}


class Signals:
    """Record Ctrl-C and SIGTERM inside of a block, so that a loop can end with whole results.

    A second signal has its usual effect at once.

    Attributes:
        number: of the signal received, or 0.
    """

    number = 0

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._note) for number in _ENDED}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.number = number
        self.__exit__()

    def raise_noted(self) -> None:
        """Raise ``Stopped`` if a signal was received.

        Raises:
            Stopped: a signal was received.
        """
        if self.number:
            raise Stopped(self.number)


def progress(items: Iterable, total: int, signals: Signals) -> Iterator:
    """Yield the items until a signal is received; on a terminal, show a progress line."""
    shown = 0.0
    with signals:
        for k, item in enumerate(items):
            yield item
            if sys.stderr.isatty() and (k + 1 == total or time.monotonic() - shown > _INTERVAL):
                shown = time.monotonic()
                done = 20 * (k + 1) // total
                # short, with the cursor at its beginning, so that the next output overwrites it
                end = '\r\033[K' if k + 1 == total else '\r'
                line = f'[{"#" * done:.<20}] {k + 1}/{total}'
                print(line, end=end, file=sys.stderr, flush=True)
            if signals.number:
                break


def save_results(out: pathlib.Path, args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Write the options and the results to results.json."""
    options = {
        name: value if isinstance(value, (int, float, type(None))) else str(value)
        for name, value in vars(args).items()
    }
    with written(out / 'results.json') as path:
        path.write_text(
            json.dumps({'options': options, **results}, indent=1) + '\n', encoding='utf-8'
        )


def save_plot(
    path: pathlib.Path,
    curves: dict[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    log: bool = False,
    top: Optional[float] = None,
    steps: Optional[dict[str, Sequence[float]]] = None,
    mark: Optional[tuple[float, str]] = None,
) -> None:
    """Draw curves into a PNG; without matplotlib, print that it is missing.

    Args:
        path: the file.
        curves: the values of each curve, by its name.
        xlabel, ylabel: the names of the axes.
        log: whether the values are drawn on a logarithmic scale.
        top: the end of a linear axis that begins at 0.
        steps: where the values of each curve are.  Default: at 1, 2, ….
        mark: where a vertical line is drawn, and its label.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogFormatter
    except ImportError:
        print(f'no {path.name}: it needs matplotlib (pip install matplotlib)')
        return
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    for name, values in curves.items():
        axes.plot(steps[name] if steps else range(1, len(values) + 1), values, label=name)
    if mark is not None:
        axes.axvline(mark[0], color='C3', linewidth=1, label=mark[1])
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale='log' if log else 'linear')
    if log:  # 200 instead of 2 x 10²
        axes.yaxis.set_major_formatter('{x:g}')
        axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
    if top is not None:
        axes.set_ylim(0, top)
    axes.grid(alpha=0.3)
    if len(curves) > 1 or mark is not None:
        axes.legend()
    figure.savefig(path, dpi=100)
