"""Runs an unmodified Chainer script on today's stack, with this package's LSTM family in Chainer's place."""
from __future__ import annotations

import argparse
import importlib.util
import math
import os
import pkgutil
import runpy
import sys
import types
from typing import Any
from typing import Optional

from chainer_lstm.command_line import Parser

USAGE = '%(prog)s [-h] [--engine NAME] [--forget-bias VALUE] (script.py | -m module) [arguments ...]'


def main(argv: list[str]) -> None:
    """Runs the script or module that the arguments name as ``python`` does: ``__main__``, argv, path, exit status.

    Raises:
        SystemExit: as the script's; 2 for wrong arguments of our own.
    """
    own, arguments = _split(argv)
    parser = Parser(__doc__, prog='python -m chainer_lstm', usage=USAGE)
    parser.add_argument('--engine', default='auto', metavar='NAME', help='chainer.config.lstm_engine (default: auto)')
    parser.add_argument('--forget-bias', type=float, default=1, metavar='VALUE',
                        help='default of forget_bias_init: 0 as in Chainer v1 (default: 1)')
    parser.add_argument('-m', dest='module', help='run a module instead of a script')
    parser.add_argument('script', nargs='?')
    args = parser.parse_args(own)
    if (args.script is None) == (args.module is None):
        parser.error('expected a script or -m and a module')
    if args.script is not None and not os.path.exists(args.script):
        parser.error(f'expected a script, but there is no file {args.script!r}')
    if args.script is not None and not _has_main(args.script):
        parser.error(f'expected a script, but there is no __main__.py in {args.script!r}')
    if args.module is not None and not _can_be_run(args.module):
        parser.error(f'expected a module, but there is no {args.module!r} to run')
    if not math.isfinite(args.forget_bias):
        parser.error(f'expected --forget-bias to be a finite number, got {args.forget_bias}')
    _install(parser, args)
    sys.excepthook = _without_our_frames(sys.excepthook)
    if args.module is not None:
        sys.argv[:] = [args.module, *arguments]
        runpy.run_module(args.module, run_name='__main__', alter_sys=True)
    else:
        sys.argv[:] = [args.script, *arguments]
        if not getattr(sys.flags, 'safe_path', False):
            sys.path[0] = os.path.dirname(os.path.realpath(args.script))
        runpy.run_path(args.script, run_name='__main__')


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Our arguments, the script or module included, and those after it, which are not ours to read."""
    k = 0
    while k < len(argv):
        if argv[k] in ('--engine', '--forget-bias'):
            k += 2
        elif argv[k].startswith('-m'):
            k += 2 if argv[k] == '-m' else 1
            break
        elif argv[k].startswith('-'):
            k += 1
        else:
            k += 1
            break
    return argv[:k], argv[k:]


def _has_main(script: str) -> bool:
    """Whether it is a file, or a folder or an archive with one to run."""
    importer = pkgutil.get_importer(script)
    return importer is None or importer.find_spec('__main__') is not None


def _can_be_run(module: str) -> bool:
    if not module or module.startswith('.'):
        return False
    try:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f'{module}.__main__')
        return spec is not None
    except ModuleNotFoundError:  # of the package it should be in
        return False


def _install(parser: Parser, args: argparse.Namespace) -> None:
    import chainer

    import chainer_lstm
    from chainer_lstm.kernels.engine import ENGINES

    if args.engine not in ('auto', *ENGINES):
        parser.error(f'expected --engine to be one of {("auto", *ENGINES)}, got {args.engine!r}')
    chainer_lstm.install()
    chainer.global_config.lstm_engine = args.engine
    chainer.global_config.lstm_forget_bias = args.forget_bias


def _without_our_frames(hook: Any) -> Any:
    """An ``excepthook`` that shows tracebacks from the script on, as where Python runs it."""
    ours = {__file__, runpy.__file__, runpy.run_path.__code__.co_filename}

    def excepthook(kind: type[BaseException], error: BaseException, trace: Optional[types.TracebackType]) -> None:
        while trace is not None and trace.tb_frame.f_code.co_filename in ours:
            trace = trace.tb_next
        hook(kind, error.with_traceback(trace), trace)

    return excepthook


if __name__ == '__main__':
    main(sys.argv[1:])
