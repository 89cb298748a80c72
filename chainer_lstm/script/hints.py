"""Hints below the traceback of an error that stops an old program on today's libraries."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

from chainer_lstm.script import own_code
from chainer_lstm.script.options import Options

# where an error comes from: a line of the program, with NumPy's below it, or what that line calls
# or asks of Chainer
PROGRAM = 'program'
CHAINER = 'chainer'


class Hint(NamedTuple):
    """A kind of error, and the advice for it."""

    place: str
    pattern: str  # of the text of _text, from its start; a name that numpy1 gives is (?P<numpy1>)
    text: str  # {file} is the file that is to be changed
    option: Optional[str] = None  # of Options: no hint where it is used already


_2TO3 = (
    'this is Python 2: '
    + (
        'python -m lib2to3 -w {file}'
        if sys.version_info < (3, 13)
        else 'pip install fissix, and python -m fissix -w {file}'
    )
    + ' rewrites it for Python 3'
)
_DIVISION = 'if it is a quotient of integers: Python 2 rounded it down; write // for /'
_NO_INTEGER = (
    r"TypeError: (?:'float' object cannot be interpreted as an integer|can't multiply sequence by "
    r"non-int of type 'float'|slice indices must be integers|\w+ indices must be integers.*float|"
    r"expected .*integer.*, got '?\d+\.\d)|IndexError: (?:only integers, slices|arrays used as "
    r'indices must be of integer)'
)
_ITEM = (
    'since NumPy 2.4 an array of shape (1,) is no number: write x.item(), use the option '
    "--numpy1, or install 'numpy<2.4'"
)
_V1 = 'this is of Chainer v1: use the option --v1'
_GPU = (
    "there is no GPU that CuPy can use: use the option --cpu, or install CuPy and CUDA's "
    "libraries: pip install 'chainer-lstm[cuda13]'"
)
_V1_ARGUMENTS = 'bias|deterministic|test|train|trigger|use_cudnn|volatile|wscale'
_V1_METHODS = (
    'accumulate_grads|clip_grads|compute_grads_norm|start_finetuning|weight_decay|zero_grads'
)

HINTS = (
    # NumPy
    Hint(PROGRAM, r'TypeError: only 0-dimensional arrays can be converted to Python scalars', _ITEM,
         'numpy1'),
    Hint(PROGRAM, r'TypeError: %\w format: a real number is required, not numpy\.ndarray', _ITEM,
         'numpy1'),
    Hint(PROGRAM, r'ValueError: setting an array element with a sequence\.$',
         f'if the array has one element: {_ITEM}', 'numpy1'),
    Hint(PROGRAM,
         r'ValueError: setting an array element with a sequence\. The requested array '
         r'has an inhomogeneous shape',
         'since NumPy 1.24 rows of different lengths make no array by themselves: write '
         'np.array(rows, dtype=object), or x.item() where a number is in an array'),
    Hint(PROGRAM, r"AttributeError: (?:module 'numpy' has no attribute '|`np\.)(?P<numpy1>\w+)",
         'NumPy 1 had it: use the option --numpy1, or change the name', 'numpy1'),
    Hint(PROGRAM, r"AttributeError: (?:'numpy\.ndarray' object has no attribute '|`)itemset\b",
         'write a[index] = value'),
    Hint(PROGRAM, r"AttributeError: (?:'numpy\.ndarray' object has no attribute '|`)ptp\b",
         'write np.ptp(a)'),
    Hint(PROGRAM, r"AttributeError: 'numpy\.ndarray' object has no attribute 'tostring'",
         'write tobytes()'),
    Hint(PROGRAM, r'ValueError: The binary mode of fromstring is removed',
         'write np.frombuffer(data, dtype).copy()'),
    Hint(PROGRAM, r'ValueError: Object arrays cannot be loaded when allow_pickle=False',
         'if you trust the file: np.load(file, allow_pickle=True)'),
    Hint(CHAINER, r'InvalidType:(?s:.)*\nActual: (?:float32 != float64|float64 != float32)',
         "an array is float64: write x.astype('f'); since NumPy 2 a float64 scalar, as np.sqrt(2) "
         "is, makes float32 arrays float64 too: write float(scalar), or install 'numpy<2'"),
    # Python 2
    Hint(PROGRAM, r'SyntaxError: Missing parentheses in call to', _2TO3),
    Hint(PROGRAM, r'SyntaxError: multiple exception types must be parenthesized', _2TO3),
    Hint(PROGRAM, r'SyntaxError: leading zeros in decimal integer literals', _2TO3),
    Hint(PROGRAM,
         r'SyntaxError: (?:Function|Lambda expression) parameters cannot be '
         r'parenthesized', _2TO3),
    Hint(PROGRAM, r'SyntaxError: invalid decimal literal\n.*\b\d+[lL]\b', _2TO3),
    Hint(PROGRAM, r'SyntaxError: invalid syntax\n.*(?:`.+`|<>|\bur[\'"]|^\s*raise \w+, )', _2TO3),
    Hint(PROGRAM, r'TabError: ',
         'this is Python 2, where a tab is 8 columns: expand -i -t 8 {file} prints it with spaces'),
    Hint(PROGRAM,
         r'TypeError: unsupported operand type\(s\) for >>: '
         r"'builtin_function_or_method'", _2TO3),
    Hint(PROGRAM,
         r"NameError: name '(?:basestring|cmp|execfile|file|long|raw_input|reduce|reload|"
         r"unichr|unicode|xrange)' is not defined", _2TO3),
    Hint(PROGRAM,
         r"ModuleNotFoundError: No module named '(?:ConfigParser|HTMLParser|Queue|"
         r"StringIO|Tkinter|cPickle|cStringIO|commands|httplib|urllib2|urlparse)'", _2TO3),
    Hint(PROGRAM, r"AttributeError: 'dict' object has no attribute '(?:has_key|iter\w+)'", _2TO3),
    Hint(PROGRAM, r"AttributeError: module 'itertools' has no attribute 'i\w+'", _2TO3),
    Hint(PROGRAM, r"AttributeError: module 'urllib' has no attribute '(?:url\w+|quote|unquote)'",
         _2TO3),
    Hint(PROGRAM,
         r"AttributeError: '\w*(?:generator|iterator|reader)' object has no attribute "
         r"'next'", _2TO3),
    Hint(PROGRAM, r"TypeError: '(?:map|zip|filter|dict_\w+)' object is not subscriptable", _2TO3),
    Hint(PROGRAM, r"TypeError: object of type '(?:map|zip|filter)' has no len\(\)", _2TO3),
    *(Hint(place, _NO_INTEGER, _DIVISION) for place in (PROGRAM, CHAINER)),
    Hint(PROGRAM, r"AttributeError: module 'time' has no attribute 'clock'",
         'write time.perf_counter()'),
    # files
    Hint(PROGRAM, r"UnicodeDecodeError: 'ascii' codec can't decode byte",
         "if Python 2 wrote the pickle: pickle.load(file, encoding='latin1')"),
    Hint(PROGRAM, r"UnicodeDecodeError: 'utf-8' codec can't decode byte 0x80 in position 0",
         "if it is a pickle: open(name, 'rb')"),
    Hint(PROGRAM, r'TypeError: write\(\) argument must be str, not bytes',
         "if it is a pickle: open(name, 'wb')"),
    # Chainer v1
    Hint(CHAINER, rf'ValueError: (?:{_V1_ARGUMENTS}) argument is not supported anymore', _V1, 'v1'),
    Hint(CHAINER,
         r'TypeError: .* got (?:an )?unexpected keyword argument(?:\(s\))? '
         rf"'(?:{_V1_ARGUMENTS})'", _V1, 'v1'),
    Hint(CHAINER, r'TypeError: [\w.]+\(\) takes .*positional arguments? but \d+ were given',
         'Chainer v1 had more arguments: if the program is for v1, use the option --v1', 'v1'),
    Hint(PROGRAM,
         r"AttributeError: module 'chainer' has no attribute "
         r"'(?:FunctionSet|Flag|ON|OFF|AUTO)'", _V1, 'v1'),
    # the links and function objects that were there
    Hint(PROGRAM, r"AttributeError: module 'chainer\.functions' has no attribute '[A-Z]", _V1,
         'v1'),
    Hint(CHAINER, rf"AttributeError: '\w+' object has no attribute '(?:{_V1_METHODS}|volatile)'",
         _V1, 'v1'),
    Hint(CHAINER, r'TypeError: optimization target must be a link', _V1, 'v1'),
    Hint(CHAINER, r'ValueError: Invalid argument\. The length of GRU\.forward must be 1', _V1,
         'v1'),
    Hint(PROGRAM, r"AttributeError: module 'chainer\.backends\.cuda' has no attribute 'init'", _V1,
         'v1'),
    Hint(PROGRAM, r"AttributeError: '(?:int|tuple|numpy\.dtype.*)' object has no attribute 'eval'",
         _V1, 'v1'),
    # GPU
    Hint(CHAINER, r'RuntimeError: CUDA environment is not correctly set up', _GPU, 'cpu'),
    Hint(PROGRAM,
         r"(?:ModuleNotFound|Import)Error: (?:No module named 'cupy|import of cupy halted|"
         r'\s*=+\s+Failed to import CuPy)', _GPU, 'cpu'),
    Hint(PROGRAM, r'AttributeError: cuda\.cupy ', _GPU, 'cpu'),
    Hint(PROGRAM, r'CUDARuntimeError: cudaError(?:NoDevice|InsufficientDriver)', _GPU, 'cpu'),
    # others
    Hint(PROGRAM, r"AttributeError: module 'PIL\.Image' has no attribute 'ANTIALIAS'",
         'write Image.LANCZOS'),
    Hint(PROGRAM, r"AttributeError: module '(?:matplotlib\.pyplot|pylab)' has no attribute 'hold'",
         'delete the call: plots are added to each other'),
)  # fmt: skip

_CHAINER = ('chainer', 'chainer_lstm')
# packages whose frames below a line of the program do not tell the cause of the error
_TRANSPARENT = ('numpy', 'cupy', 'importlib', 'codecs', 'PIL', 'matplotlib')

# frames of what runs the program, before its first one
_HERE = os.path.dirname(__file__)
_RUNNERS = (
    os.path.join(_HERE, ''),
    os.path.join(os.path.dirname(_HERE), '__main__.py'),
    '<frozen ',
    runpy.run_path.__code__.co_filename,
    importlib.util.find_spec.__code__.co_filename,
)


def excepthook(hook: Callable[..., Any], options: Options) -> Callable[..., None]:
    """Return an ``excepthook`` that shows the program's frames only, and a hint below them."""

    def show(
        kind: type[BaseException], error: BaseException, trace: Optional[types.TracebackType]
    ) -> None:
        # none is left of a SyntaxError in the script itself, which is shown without one
        shown = _from_program(trace)
        if shown is None and not isinstance(error, SyntaxError):
            shown = trace
        hook(kind, error.with_traceback(shown), shown)
        text = find(error, options)
        if text is not None:
            print(f'Hint: {text}', file=sys.stderr)

    return show


def find(error: BaseException, options: Options) -> Optional[str]:
    """Return the hint for an error that the program did not catch, or None."""
    text = _text(error)
    place = _place(error)
    for hint in HINTS:
        used = hint.option is not None and getattr(options, hint.option)
        match = re.match(hint.pattern, text, re.MULTILINE)
        if hint.place == place and not used and match is not None and _is_known(match):
            return hint.text.replace('{file}', _file(error))
    return None


def _is_known(match: re.Match) -> bool:
    """Return whether the option --numpy1 gives the name that a pattern has found, if any."""
    name = match.groupdict().get('numpy1')
    if name is None:
        return True
    from chainer_lstm.script import numpy1

    return name in numpy1.NAMES


def _text(error: BaseException) -> str:
    """Return type and message; for a missing name of an import, those of a missing attribute."""
    if isinstance(error, SyntaxError):
        return f'{type(error).__name__}: {error.msg}\n{error.text}'
    cuda = sys.modules.get('chainer.backends.cuda')
    if isinstance(error, AttributeError) and error.obj is getattr(cuda, 'cupy', error):
        return f'AttributeError: cuda.cupy has no {error.name}'  # object() stands for no CuPy
    missing = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error))
    if isinstance(error, ImportError) and missing is not None:
        return f"AttributeError: module '{missing[2]}' has no attribute '{missing[1]}'"
    return f'{type(error).__name__}: {error}'


def _from_program(trace: Optional[types.TracebackType]) -> Optional[types.TracebackType]:
    """Return the traceback from the program's first frame on."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_RUNNERS):
        trace = trace.tb_next
    return trace


def _place(error: BaseException) -> Optional[str]:
    """Return where an error comes from: PROGRAM, CHAINER or, for other libraries, None."""
    if isinstance(error, SyntaxError):
        return PROGRAM if own_code.is_own(error.filename or '<string>') else None
    names = []  # top-level package of each frame, '' for the program's own
    for frame, _ in traceback.walk_tb(error.__traceback__):
        own = own_code.is_own(frame.f_code.co_filename)
        names.append('' if own else frame.f_globals.get('__name__', '?').partition('.')[0])
    while names and names[-1] in _TRANSPARENT:
        names.pop()
    if _refused_by_own_code(error):
        return PROGRAM
    place = CHAINER if _is_about_chainer(error) else PROGRAM
    while names and names[-1] in _CHAINER:
        names.pop()
        place = CHAINER
    return place if names and names[-1] == '' else None


def _is_about_chainer(error: BaseException) -> bool:
    """Return whether a function of Chainer got wrong arguments, or an object has no attribute."""
    if isinstance(error, AttributeError):
        return type(error.obj).__module__.partition('.')[0] in _CHAINER
    called = _called(error)
    return called is not None and any(
        hasattr(sys.modules.get(module), called)
        for module in (
            'chainer',
            'chainer.functions',
            'chainer.links',
            'chainer.optimizers',
            'chainer.links.rnn.n_step_rnn',
            'chainer.training.extensions',
        )
    )


def _called(error: BaseException) -> Optional[str]:
    """Return the name of the function or class that got wrong arguments, or None."""
    found = re.match(r'(\w+)(?:\.\w+)?\(\) ', str(error))
    return found[1] if isinstance(error, TypeError) and found is not None else None


def _refused_by_own_code(error: BaseException) -> bool:
    """Return whether a function or class of the program got wrong arguments."""
    name = _called(error)
    if name is None:
        return False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        value = {**frame.f_globals, **frame.f_locals}.get(name)
        for each in (value, *(vars(value).values() if isinstance(value, type) else ())):
            code = getattr(each, '__code__', None)
            if code is not None and own_code.is_own(code.co_filename):
                return True
    return False


def _file(error: BaseException) -> str:
    """Return the file that is to be changed."""
    if isinstance(error, SyntaxError):
        return error.filename or ''
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((file for file in reversed(files) if own_code.is_own(file)), '')
