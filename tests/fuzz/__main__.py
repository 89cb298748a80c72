"""Draws cases until the time is over; prints the first that fails, made as simple as it can be, and exits with 1."""
import argparse
import collections
import random
import sys
import time
import traceback

from tests.fuzz.case import Case
from tests.fuzz.case import simplest
from tests.fuzz.compare import check
from tests.fuzz.sides import engines
from tests.fuzz.surfaces import SURFACES

DESCRIPTION = """\
Compares the package with Chainer's own code in float64 under random choices:
sizes, ragged lengths, dtypes, memory orders, states and gradients left out,
dropout, configurations, copies and files in the middle of a run.

    python -m tests.fuzz --seconds 60               a minute of everything
    python -m tests.fuzz --only LSTM --seed 7       the same cases of one surface again
    python -m tests.fuzz --engine numpy             one engine

A failure is made as simple as it can be, and printed as three lines of Python
that fail again."""


def main(args=None):
    parser = argparse.ArgumentParser('python -m tests.fuzz', description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=60, help='how long (default: 60)')
    parser.add_argument('--seed', type=int, help='of all cases (default: a fresh one, which is printed)')
    parser.add_argument('--engine', choices=engines(), help='default: all of them, by chance')
    parser.add_argument('--only', choices=SURFACES, metavar='SURFACE', help=f'one of {", ".join(SURFACES)}')
    options = parser.parse_args(args)
    if not options.seconds > 0:
        parser.error(f'argument --seconds: expected a positive number, got {options.seconds}')
    seed = random.SystemRandom().randrange(10 ** 9) if options.seed is None else options.seed
    print(f'seed {seed}', flush=True)
    given = {} if options.engine is None else {'engine': options.engine, 'engine_of_backward': options.engine}
    surfaces = [options.only] if options.only else list(SURFACES)

    counts, refused = collections.Counter(), 0
    begin = shown = time.monotonic()
    while (now := time.monotonic()) < begin + options.seconds:
        number = counts.total()
        surface = surfaces[number % len(surfaces)]
        case = Case(given, random.Random(f'{seed} {number}'))
        counts[surface] += 1
        try:
            refused += not check(surface, case)
        except Exception as error:
            print_failure(surface, case, error, seed, number)
            return 1
        if now > shown + 1:
            shown = now
            print(f'\r{counts.total()} cases, {counts.total() / (now - begin):.0f} a second ', end='', file=sys.stderr,
                  flush=True)
    print(file=sys.stderr)
    width = max(map(len, surfaces))
    for surface in surfaces:
        print(f'{surface:{width}} {counts[surface]:7}')
    print(f'{counts.total()} cases of seed {seed} agree, {refused} of them by the same exception')
    return 0


def failure(surface, case):
    """The exception of a case, or None."""
    try:
        check(surface, case)
    except Exception as error:
        return error
    return None


def print_failure(surface, case, error, seed, number):
    kind = type(error)
    case = simplest(case, lambda simpler: type(failure(surface, simpler)) is kind)
    error = failure(surface, case) or error
    choices = ''.join(f', {name}={value!r}' for name, value in case.asked().items())
    traceback.print_exception(error)
    print(f'\ncase {number} of seed {seed} fails; with fewer choices:\n\n'
          f'from tests.fuzz import run\n'
          f'# {kind.__name__}: {str(error).splitlines()[0] if str(error) else ""}\n'
          f'run({surface!r}{choices})')


if __name__ == '__main__':
    sys.exit(main())
