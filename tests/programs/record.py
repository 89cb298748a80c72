"""Runs programs with a genuine Chainer of their time and writes what they print into files
beside them.

Without programs: those whose file says that it was recorded with the interpreter's version of
Chainer.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys

from tests.programs.output import run

HERE = pathlib.Path(__file__).parent
VERSIONS = """
import platform, sys
import chainer, numpy
if 'chainer_lstm' in sys.modules:
    sys.exit('expected a genuine Chainer, got one with chainer_lstm')
print('Chainer %s, Python %s, NumPy %s' % (
    chainer.__version__, platform.python_version(), numpy.__version__))
"""


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog='python -m tests.programs.record', description=__doc__)
    parser.add_argument(
        '--python', required=True, metavar='INTERPRETER', help='one that imports a genuine Chainer'
    )
    parser.add_argument(
        'programs', nargs='*', type=pathlib.Path, metavar='PROGRAM', help='such as v3/seq2seq.py'
    )
    args = parser.parse_args(argv)
    try:
        versions = run([args.python, '-c', VERSIONS], PYTHONPATH='')[0].strip()
        programs = [HERE / program for program in args.programs] or _recorded_with(
            versions.split(',')[0]
        )
        if not programs:
            parser.error(f'no program is recorded with {versions}: expected names of programs')
        for program in programs:
            output, _ = run([args.python, str(program)], PYTHONPATH='')
            program.with_suffix('.txt').write_text(f'{versions}\n\n{output}')
            print(program.relative_to(HERE), 'with', versions)
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        parser.error(str(error).strip().splitlines()[-1])


def _recorded_with(chainer: str) -> list[pathlib.Path]:
    recordings = sorted(HERE.glob('v*/*.txt'))
    return [
        path.with_suffix('.py') for path in recordings if path.read_text().startswith(f'{chainer},')
    ]


if __name__ == '__main__':
    main(sys.argv[1:])
