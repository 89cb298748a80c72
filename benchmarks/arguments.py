"""Arguments that the command lines share."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable

from contestants import Shape

from chainer_lstm.command_line import Parser


def shape(text: str) -> Shape:
    try:
        sizes = [int(size) for size in text.split('/')]
        if len(sizes) != 4 or min(sizes) < 1:
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


def add_out(p: Parser) -> None:
    p.add_argument(
        '--out', type=pathlib.Path, default='result', metavar='FOLDER', help='(default: result)'
    )


def make_folder(p: Parser, out: pathlib.Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        p.error(f'argument --out: {error.strerror}: {out}')


def exit_status(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a benchmark; return its exit status, and show expected errors in one line."""
    try:
        return run(args)
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        return 130
    except (RuntimeError, ValueError, OSError) as error:
        print(f'\nerror: {error}', file=sys.stderr)
        return 1
