"""Hints below the errors of old programs: each error is the one that the library raises."""

import ast
import os
import re
import subprocess
import sys
import textwrap

import numpy
import pytest

from chainer_lstm.script import hints, own_code
from chainer_lstm.script.options import Options
from tests.support import ROOT
from tests.support.engines import no_gpu

PYTHON = sys.version_info[:2]
NUMPY = tuple(int(part) for part in numpy.__version__.split('.')[:2])

CHAINER = """
import chainer, numpy as np
import chainer.functions as F, chainer.links as L
from chainer import cuda, optimizers
x = np.ones((2, 3), 'f')
"""

# part of the hint -> programs that meet it;
# a condition is (the version that is there, the oldest, the newest)
PROGRAMS = {
    '--numpy1': [
        ('import numpy as np\nfloat(np.ones(1))', (NUMPY, (2, 4))),
        ('import numpy as np, math\nmath.exp(np.ones((1, 1)))', (NUMPY, (2, 4))),
        ('import numpy as np\n"%d" % np.ones(1)', (NUMPY, (2, 4))),
        ('import numpy as np\nnp.zeros(3)[0] = np.ones(1)', (NUMPY, (2, 4))),
        *(
            'import numpy as np\nnp.' + name
            for name in ('float', 'int', 'object', 'str', 'complex')
        ),
        *(
            (f'import numpy as np\nnp.{name}', (NUMPY, (2, 0)))
            for name in (
                'float_',
                'NaN',
                'Inf',
                'infty',
                'product',
                'cumproduct',
                'sometrue',
                'sctypes',
                'unicode_',
                'asfarray',
                'mat',
                'string_',
                'round_',
                'msort',
                'ComplexWarning',
                'cast',
                'int0',
            )
        ),
        ('import numpy as np\nnp.in1d', (NUMPY, (2, 4))),
        ('import numpy as np\nnp.row_stack', (NUMPY, (2, 5))),
        ('import numpy as np\nnp.bool', (NUMPY, (1, 24), (1, 26))),
        'import numpy as np\nnp.asscalar',
        'from numpy import float',
        'from numpy import asscalar, zeros',
    ],
    'dtype=object': [
        'import numpy as np\nnp.array([[1], [2, 3]])',
        'import numpy as np\nfrom matplotlib import figure\n'
        'figure.Figure().subplots().plot([1, 2], [np.float32(0), np.ones((1, 1))])',
    ],
    'tobytes()': [('import numpy as np\nnp.ones(1).tostring()', (NUMPY, (2, 3)))],
    'a[index] = value': [('import numpy as np\nnp.ones(1).itemset(0, 1)', (NUMPY, (2, 0)))],
    'np.ptp(a)': [('import numpy as np\nnp.ones(1).ptp()', (NUMPY, (2, 0)))],
    'np.frombuffer': [('import numpy as np\nnp.fromstring(b"abcd", "b")', (NUMPY, (2, 3)))],
    'allow_pickle=True': [
        """
        import io, numpy as np
        file = io.BytesIO()
        np.save(file, np.array([{}], object))
        file.seek(0)
        np.load(file)"""
    ],
    "install 'numpy<2'": [
        (CHAINER + 'L.Linear(3, 4)(x * np.sqrt(np.float64(2)))', (NUMPY, (2, 0))),
        CHAINER + 'F.concat((x, x.astype("d")))',
    ],
    'Python 2': [
        "print 'a'",
        'print x, y',
        "exec 'a'",
        ('try: pass\nexcept E, e: pass', (PYTHON, (3, 10), (3, 13))),
        'x = 0777',
        ('def f(a, (b, c)): pass', (PYTHON, (3, 11))),
        ('lambda (a, b): a', (PYTHON, (3, 11))),
        'x = 10L',
        'x = `1`',
        '1 <> 2',
        "x = ur'a'",
        "raise ValueError, 'no'",
        'if 1:\n        a = 1\n\tb = 2',
        'import sys\nprint >>sys.stderr, "a"',
        'xrange(3)',
        'unicode(3)',
        'raw_input()',
        'long(3)',
        'reduce(max, [1])',
        'import cPickle as pickle',
        'import urllib2',
        'from StringIO import StringIO',
        'import Queue',
        'from itertools import izip',
        'from urllib import urlretrieve',
        '{}.iteritems()',
        "{}.has_key('a')",
        'import itertools\nitertools.imap',
        'import urllib\nurllib.urlopen',
        'import urllib\nurllib.quote',
        'iter([]).next()',
        '(x for x in []).next()',
        'map(abs, [1])[0]',
        '{}.keys()[0]',
        'len(filter(None, []))',
    ],
    'write // for /': [
        'range(6 / 2)',
        '[0] * (6 / 2)',
        '[1, 2][2 / 2]',
        '(1, 2)[2 / 2]',
        '[1, 2][:2 / 2]',
        ('"ab"[2 / 2]', (PYTHON, (3, 11))),
        *(
            CHAINER + line
            for line in (
                'np.zeros(6 / 2)',
                'np.zeros((6 / 2, 1))',
                'x.reshape(6 / 2, 2)',
                'x[2 / 2]',
                'x[:, :2 / 2]',
                'x[0][np.arange(2) / 2]',
                'np.random.randint(3, size=4 / 2)',
                'np.eye(4 / 2)',
                'L.Linear(4 / 2, 3)',
                'L.EmbedID(4 / 2, 3)',
                'F.reshape(x, (6 / 2, 2))',
                'import chainer_lstm.links as L; L.LSTM(3, 4 / 2)',
            )
        ),
    ],
    'time.perf_counter()': ['import time\ntime.clock()', 'from time import clock'],
    "encoding='latin1'": [
        r"""
        import pickle
        pickle.loads(b"S'\\xe9'\n.")"""
    ],
    "open(name, 'rb')": [
        """
        import pickle, tempfile
        with tempfile.NamedTemporaryFile() as file:
            file.write(pickle.dumps([]))
            file.flush()
            with open(file.name, encoding='utf-8') as text:
                pickle.load(text)"""
    ],
    "open(name, 'wb')": [
        """
        import os, pickle
        with open(os.devnull, 'w') as file:
            pickle.dump([], file)"""
    ],
    '--v1': [
        CHAINER + line
        for line in (
            'F.dropout(x, train=True)',
            'chainer.Variable(x, volatile=True)',
            "chainer.Variable(x, volatile='on')",
            'L.BatchNormalization(3)(x, test=True)',
            'F.relu(x, use_cudnn=False)',
            'F.dropout(x, 0.5, True)',
            'L.Linear(3, 4, wscale=1)',
            'L.Convolution2D(1, 2, 3, wscale=2)',
            'L.Linear(3, 4, bias=0)',
            'F.batch_normalization(x, x[0], x[0], use_cudnn=False)',
            'L.NStepLSTM(1, 2, 3, .5, use_cudnn=True)',
            'chainer.FunctionSet(a=1)',
            'chainer.Flag',
            'F.Linear(3, 4)',
            'F.EmbedID(3, 4)',
            'optimizers.SGD().zero_grads()',
            'optimizers.SGD().clip_grads(1)',
            'optimizers.SGD().weight_decay(1)',
            'chainer.Variable(x).volatile',
            'optimizers.SGD().setup(list(L.Linear(3, 4).params()))',
            'cuda.init(0)',
            'from chainer import FunctionSet, Variable',
            'from chainer.functions import Linear, relu',
            'from chainer.cuda import init',
            'L.NStepLSTM(1, 8, 8, 0., False)',
            'L.GRU(3, 4)(x, x)',
            'F.LSTM()',
            'F.ReLU',
            'from chainer.training import extensions\n'
            'extensions.snapshot_object(1, "a", trigger=(1, "epoch"))',
            'from chainer.training import extensions\nextensions.snapshot(trigger=(1, "epoch"))',
            *(
                'class Old(chainer.Function):\n'
                f'    def check_type_forward(self, in_types): {asked}.eval()\n'
                'Old()(x)'
                for asked in ('in_types.size()', 'in_types[0].shape', 'in_types[0].dtype')
            ),
        )
    ],
    '--cpu': [
        CHAINER + line
        for line in (
            'cuda.get_device_from_id(0).use()',
            'cuda.check_cuda_available()',
            "chainer.get_device('@cupy:0').use()",
            'L.Linear(3, 4).to_gpu()',
            'cuda.to_gpu(x)',
            'cuda.cupy.zeros(3)',
            'import cupy; cupy.zeros(3)',
            'chainer.dataset.concat_examples([x], device=0)',
            'import cupy.no_such_module',
        )
    ],
    'Image.LANCZOS': ['from PIL import Image\nImage.ANTIALIAS', 'from PIL.Image import ANTIALIAS'],
    'delete the call': [
        'from matplotlib import pyplot\npyplot.hold(True)',
        'from pylab import hold',
    ],
}
CASES = [
    (part, *(program if isinstance(program, tuple) else (program, None)))
    for part, programs in PROGRAMS.items()
    for program in programs
]


def find(text, tmp_path, options=None, name='old.py'):
    """The error of a program and its hint."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    try:
        exec(own_code.compiled(path.read_bytes(), str(path)), {'__name__': '__main__'})
    except Exception as error:
        return error, hints.find(error, options or Options())
    raise AssertionError('the program does not fail')


def is_raised(part, condition):
    if part == '--cpu' and no_gpu() is None:
        return False
    version, oldest, newest = (*(condition or (NUMPY, NUMPY)), (99, 0))[:3]
    return oldest <= version <= newest


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('part, program, condition', CASES)
def test_hint(tmp_path, part, program, condition):
    if not is_raised(part, condition):
        pytest.skip(f'no error with NumPy {NUMPY}, Python {PYTHON} and a GPU: {no_gpu() is None}')
    error, hint = find(program, tmp_path)
    assert hint is not None and part in hint, repr(error)
    assert '\n' not in hint


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_every_hint_is_of_an_error_that_a_library_raises(tmp_path, monkeypatch):
    """In the words that it has today."""
    for hint in hints.HINTS:
        monkeypatch.setattr(hints, 'HINTS', (hint,))
        cases = [case for case in CASES if case[0] in hint.text]
        assert any(
            not is_raised(part, condition) or find(program, tmp_path)[1]
            for part, program, condition in cases
        ), hint


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
    'program',
    [
        'float("a")',
        '[1]["a"]',
        'range("a")',
        '[0] * "a"',
        'import numpy\nnumpy.no_such_name',
        'undefined',
        'x = (',
        'x = 1 1',
        'import no_such_module',
        'def softmax_of_mine(x): pass\nsoftmax_of_mine(1, train=True)',
        'class Net: pass\nNet().weight_decay',
        'def dropout(x): pass\ndropout(1, train=True)',
        'object().no_such_name',
        CHAINER + 'class M(chainer.Chain):\n    def forward(self, x): pass\nM()(1, train=True)',
        'def f():\n    def relu(x): pass\n    relu(1, True)\nf()',
        'class Net:\n    def __call__(self, x): pass\nNet()(1, test=True)',
        '[].no_such_method',
        '{}["a"]',
        '1 / 0',
        CHAINER + 'L.Linear(3, 4, no_such_argument=1)',
        CHAINER + 'L.Linear(4, 4)(x)',
        'def f(x): pass\nf(1, 2)',
        'import numpy as np\nfloat(np.array(["a"]).reshape(()))',
        CHAINER + 'chainer.no_such_name',
    ],
)
def test_no_hint(tmp_path, program):
    error, hint = find(program, tmp_path)
    assert hint is None, repr(error)


@pytest.mark.parametrize('program', ['print 1', 'import numpy\nnumpy.float', '{}.iteritems()'])
def test_no_hint_for_installed_libraries(tmp_path, program):
    assert find(program, tmp_path)[1] is not None
    assert find(program, tmp_path, name='site-packages/old.py')[1] is None


def test_no_hint_for_an_option_that_is_used(tmp_path):
    program = CHAINER + 'F.dropout(x, train=True)'
    assert '--v1' in find(program, tmp_path)[1]
    assert find(program, tmp_path, Options(v1=True))[1] is None


def test_hint_names_the_file_that_is_python_2(run, tmp_path):
    (tmp_path / 'scripts').mkdir()
    (tmp_path / 'scripts' / 'net.py').write_text("print 'a'\n")
    script = run('import net')
    assert script.returncode == 1
    *_, error, hint = script.stderr.splitlines()
    assert error.startswith('SyntaxError') and hint.startswith('Hint: ')
    assert re.search(r' (\S+) rewrites it', hint)[1] == str(tmp_path / 'scripts' / 'net.py')


def test_hint_is_below_the_traceback_of_errors_that_are_not_caught(run):
    script = run("""
        import numpy, sys
        try:
            numpy.int
        except AttributeError:
            sys.stderr.write('caught\\n')
        numpy.float
    """)
    assert script.returncode == 1
    lines = script.stderr.splitlines()
    assert lines[0] == 'caught' and '--numpy1' in lines[-1]
    assert script.stderr.count('Hint: ') == 1


@pytest.mark.slow
def test_hint_where_cupy_fails_to_import(run, tmp_path):
    pytest.importorskip('cupy', reason='CuPy is not installed', exc_type=ImportError)
    (tmp_path / 'scripts').mkdir()
    for folder in (tmp_path, tmp_path / 'scripts'):  # first for Chainer, then for the script
        (folder / 'cupy_backends.py').write_text(
            'raise ImportError("libcudart.so: cannot open shared object file")'
        )
    script = run('import cupy')
    assert 'Failed to import CuPy' in script.stderr and '--cpu' in script.stderr.splitlines()[-1]
    assert run('import cupy', before=['--cpu']).stderr == ''


def test_python_2_is_rewritten_by_what_the_hint_says(tmp_path):
    """Where lib2to3 is part of Python; from 3.13 the hint names a package of the same."""
    if PYTHON >= (3, 13):
        pytest.skip('Python 3.13 removed lib2to3')
    hint = find("print 'a'", tmp_path)[1]
    module, options = re.search(r'python -m (\w+) (-w) ', hint).groups()
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', module, options, 'old.py'],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert ast.unparse(ast.parse((tmp_path / 'old.py').read_text())) == "print('a')"
