"""Run an old Chainer program as it is, on the installed Python, NumPy and CuPy.

Arguments after the script or module are the program's.  Errors that come from changes of the
libraries are shown with a hint.
"""

from __future__ import annotations

import math
import sys

from chainer_lstm.command_line import Parser
from chainer_lstm.compat import worker
from chainer_lstm.script import hints, options, run

USAGE = '%(prog)s [options] (script.py | folder | archive.zip | -m module | -) [arguments ...]'
EXAMPLES = """\
examples:
  python -m chainer_lstm train.py --epoch 2      # a program of Chainer v2 to v7
  python -m chainer_lstm --v1 train_ptb.py       # one of Chainer v1
  python -m chainer_lstm --cpu train.py --gpu 0  # on a machine without a GPU
  python -m chainer_lstm -m package.train        # as python -m package.train
"""


def main(argv: list[str]) -> None:
    """Run the script or module that the arguments name as ``python`` does.

    Raises:
        SystemExit: the program's exit, or status 2 for wrong arguments of this command.
    """
    own, arguments = _split(argv)
    parser = _parser()
    args = parser.parse_args(own)
    if (args.script is None) == (args.module is None):
        parser.error('expected a script or -m and a module')
    if args.forget_bias is not None and not math.isfinite(args.forget_bias):
        parser.error(f'expected --forget-bias to be a finite number, got {args.forget_bias}')
    chosen = options.Options(args.engine, args.forget_bias, args.v1, args.cpu, args.numpy1)
    sys.excepthook = hints.excepthook(sys.excepthook, chosen)
    try:
        if args.script is not None:
            run.check_script(args.script)
        options.apply(chosen)
        worker.inherit(options.apply, chosen)
        if args.script is not None:
            program = run.script(args.script, arguments)
        else:
            program = run.module(args.module, arguments)
    except (options.OptionError, run.NotFoundError) as error:
        parser.error(str(error))
    run.run(*program)


def _parser() -> Parser:
    parser = Parser(__doc__, prog='python -m chainer_lstm', usage=USAGE, epilog=EXAMPLES)
    parser.add_argument(
        '--v1',
        action='store_true',
        help="Chainer v1's names, arguments and defaults: FunctionSet, train=, volatile=, wscale=",
    )
    parser.add_argument(
        '--cpu',
        action='store_true',
        help="compute on the CPU what the program asks of a GPU: devices, to_gpu and CuPy's "
        'functions stand for NumPy',
    )
    parser.add_argument(
        '--numpy1',
        action='store_true',
        help="NumPy 1's names (np.float, np.product) and conversions (float() of an array of one "
        "element) in the program's own files; its type promotion needs numpy<2",
    )
    parser.add_argument(
        '--forget-bias',
        type=float,
        metavar='VALUE',
        help='default of forget_bias_init of LSTM links: 0 as in Chainer v1, 1 as in v2 to v7',
    )
    parser.add_argument(
        '--engine',
        default='auto',
        metavar='NAME',
        help='what computes the LSTMs, chainer.config.lstm_engine (default: auto)',
    )
    parser.add_argument('-m', dest='module', help='run a module instead of a script')
    parser.add_argument('script', nargs='?', help='file, folder or zip archive; - for stdin')
    return parser


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments up to the script or module, and the program's own after it."""
    k = 0
    while k < len(argv):
        if argv[k] in ('--engine', '--forget-bias'):
            k += 2
        elif argv[k].startswith('-m'):
            k += 2 if argv[k] == '-m' else 1
            break
        elif argv[k].startswith('-') and argv[k] != '-':
            k += 1
        else:
            k += 1
            break
    return argv[:k], argv[k:]
