"""Draws cases until the time is over;
the first that fails is made simple and printed, and the exit status is 1.
"""

import argparse
import collections
import os
import random
import sys
import time
import traceback

from tests.fuzz.case import Case, simplest
from tests.fuzz.compare import check
from tests.fuzz.crash import print_reproducer, watch
from tests.fuzz.sides import engines
from tests.fuzz.surfaces import SURFACES
from tests.fuzz.unusual import UNUSUAL

DESCRIPTION = """\
Compares the package with Chainer's own code in float64, and the functions with
loops, too, under random choices: sizes, ragged lengths, dtypes, memory orders,
states and gradients left out, dropout, engines, configurations, and what is
done with a link between two calls. Every second case has something unusual:
gradients and arrays that do not fit, arrays replaced after forward, tiny numbers.

    python -m tests.fuzz --seconds 60         a minute of everything
    python -m tests.fuzz --seed 7             the same cases again, as far as the time goes
    python -m tests.fuzz --only LSTM          one surface
    python -m tests.fuzz --engine numpy       one engine
    python -m tests.fuzz --unusual nothing    only what scripts do on purpose

A case that fails is made as simple as it can be, and printed as three lines of
Python that fail again: paste them into a Python started in this folder. So is a
case that ends the process, because all of them run in a child process."""


def main(args=None, notes=None):
    """Run cases in this process; ``notes`` are told each of them before it runs."""
    options = parse(args)
    seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    print(f'seed {seed}', flush=True)
    given = {}
    if options.engine is not None:
        given['engine'] = options.engine
        given['engine_of_backward'] = options.engine
    if options.unusual is not None:
        given['unusual'] = options.unusual
    surfaces = [options.only] if options.only else list(SURFACES)
    counts, refused = collections.Counter(), 0
    begin = shown = time.monotonic()
    while time.monotonic() < begin + options.seconds:
        number = counts.total()
        surface = surfaces[number % len(surfaces)]
        rng = random.Random(f'{seed} {number}')
        if notes is None:
            case = Case(given, rng)
        else:
            notes.begin(surface, f'case {number} of seed {seed}')
            case = Case(given, rng, notes.add)
        counts[surface] += 1
        try:
            refused += not check(surface, case)
        except Exception as error:
            print_failure(surface, case, error, f'case {number} of seed {seed}')
            return 1
        if (now := time.monotonic()) > shown + 1:  # after the case, which may have been a long one
            shown = now
            show(f'{counts.total()} cases, {counts.total() / (now - begin):.0f} a second')
    show('')
    width = max(map(len, surfaces))
    for surface in surfaces:
        print(f'{surface:{width}} {counts[surface]:7}')
    print(
        f'{counts.total()} cases of seed {seed} agree, {refused} of them by raising the same '
        'exception, because the package refuses what does not fit, or because float16 overflows'
    )
    return 0


def parse(args):
    parser = argparse.ArgumentParser(
        'python -m tests.fuzz',
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--seconds', type=float, default=60, help='how long (default: 60)')
    parser.add_argument(
        '--seed', type=int, help='of all cases (default: a fresh one, which is printed)'
    )
    parser.add_argument('--engine', choices=engines(), help='default: all of them, by chance')
    parser.add_argument(
        '--only', choices=SURFACES, metavar='SURFACE', help=f'one of {", ".join(SURFACES)}'
    )
    parser.add_argument(
        '--unusual', choices=UNUSUAL, metavar='USE', help=f'one of {", ".join(UNUSUAL)}'
    )
    options = parser.parse_args(args)
    if not options.seconds > 0:
        parser.error(f'argument --seconds: expected a positive number, got {options.seconds}')
    return options


def print_failure(surface, case, error, name):
    show(f'{name} fails; making it simpler')

    def fails(simpler):
        nonlocal error
        try:
            check(surface, simpler)
        except Exception as its:
            if type(its) is type(error):
                error = its
                return True
        return False

    simpler = simplest(case, fails)
    show('')
    traceback.print_exception(error)
    message = next(iter(str(error).strip().splitlines()), '')
    print_reproducer(surface, simpler, name, f'{type(error).__name__}: {message}')


def show(progress):
    """In the place of the progress before it."""
    print(f'\r{progress:78}' if progress else f'\r{"":78}\r', end='', file=sys.stderr, flush=True)


if __name__ == '__main__':
    sys.exit(watch(lambda notes: main(notes=notes)) if hasattr(os, 'fork') else main())
