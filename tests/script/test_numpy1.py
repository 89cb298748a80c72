"""``--numpy1``: NumPy 1's names and conversions in the program's own files."""

import sys
import warnings

import numpy
import pytest

from chainer_lstm.script import numpy1

pytestmark = pytest.mark.slow  # a process or more for each test

# program -> what it prints with NumPy 1
CONVERSIONS = {
    'print(float(np.ones(1)), int(np.ones((1, 1))), complex(np.ones(1)))': '1.0 1 (1+0j)',
    (
        'print(float("3"), int("11", 2), int("1", base=2), float(), '
        'isinstance(1., float), np.dtype(float))'
    ): '3.0 3 1 0.0 True float64',
    'print("%f %d %5.1f" % (np.ones(1), np.ones((1, 1)), 2))': '1.000000 1   2.0',
    'print("%d" % np.ones(1, "i"), "%x" % np.full(1, 17))': '1 11',
    (
        'print("%s %r" % (np.ones(1), np.ones(1)), "%s" % [np.ones(1)], "%%", "%(a)d" % {"a": 3})'
    ): '[1.] array([1.]) [array([1.])] %% 3',
    'print("%(a)s %(a).1f %(b)s" % {"a": np.ones(1), "b": "c"})': '[1.] 1.0 c',
    (
        'print(np.float(np.ones(1)), np.int(np.ones((1, 1))), np.complex(1, np.ones(1)))'
    ): '1.0 1 (1+1j)',
    (
        'import math as m\nprint(m.sqrt(np.full(1, 4.)), m.atan2(np.zeros(1), np.ones((1, 1))))'
    ): '2.0 0.0',
    'from math import sqrt as root\nprint(root(np.full(1, 4.)))': '2.0',
    (
        'a = np.zeros(3)\n'
        'a[0] = np.ones(1)\n'
        'a[1] += np.ones((1, 1))[0]\n'
        'a[1:] = np.ones(1)\n'
        'print(a)'
    ): '[1. 1. 1.]',
    (
        'a = np.zeros((2, 2))\na[0, 1], a[1, 0] = np.ones(1), 2\nprint(a.tolist())'
    ): '[[0.0, 1.0], [2.0, 0.0]]',
    'a = np.zeros(2, object)\na[0] = np.ones(1)\nprint(a)': '[array([1.]) 0]',
    (
        'a = {}\na[0] = np.ones(1)\nb = [0]\nb[0] = np.ones(1)\nprint(a, b)'
    ): '{0: array([1.])} [array([1.])]',
    (
        'class A:\n'
        '    def __init__(self):\n'
        '        self.__x = float(np.ones(1))\n'
        '    x = property(lambda self: self.__x)\n'
        'print(A().x)'
    ): '1.0',
    'def int(x):\n    return x\nprint(int(3), int(np.ones(1)))': '3 [1.]',
    'def f(float):\n    return float(np.ones(1))\nprint(f(repr))': 'array([1.])',
    'complex = lambda *xs: xs\nprint(complex(np.ones(1)), float(np.ones(1)))': '(array([1.]),) 1.0',
    'from __future__ import print_function\nprint(float(np.ones(1)))': '1.0',
}


@pytest.mark.parametrize('program', CONVERSIONS)
def test_conversions(run, program):
    first = [line for line in program.splitlines() if '__future__' in line]
    rest = [line for line in program.splitlines() if '__future__' not in line]
    script = run('\n'.join([*first, 'import numpy as np', *rest]), before=['--numpy1'])
    assert (script.stdout, script.stderr) == (CONVERSIONS[program] + '\n', '')


@pytest.mark.parametrize(
    'program, message',
    [
        ('float(np.ones(2))', 'TypeError: only '),
        ('np.zeros(3)[0] = np.ones(2)', 'ValueError: setting an array element'),
        ('float("x")', "ValueError: could not convert string to float: 'x'"),
        ('"%d" % "a"', 'TypeError: %d format: a '),
        ('np.no_such_name', 'AttributeError: module'),
    ],
)
def test_errors_are_still_errors(run, program, message):
    script = run(f'import numpy as np\n{program}', before=['--numpy1'])
    assert script.returncode == 1
    assert 'script.py", line 2, in <module>' in script.stderr
    assert any(line.startswith(message) for line in script.stderr.splitlines())
    assert 'Hint' not in script.stderr


def test_names(run):
    """Every one gives something, and what NumPy 1 gave where that is a name of NumPy 2 or
    of Python.
    """
    script = run(
        f"""
        import numpy as np
        for name in {sorted(numpy1.NAMES)}:
            getattr(np, name)
        print(np.zeros(2, np.float).dtype, np.int is int, np.object is object, np.str is str,
              np.NaN, np.Inf, np.NINF)
        print(np.product([2, 3]), np.cumproduct([2, 3]), np.alltrue([1]), np.sometrue([0]),
              np.rank(np.ones((2, 2))))
        print(np.in1d([[1, 2]], [2]), np.row_stack([[1], [2]]).shape, np.asscalar(np.ones(1)),
              np.trapz([1, 2]))
        print(np.msort(np.array([[2, 1], [0, 3]])).tolist(), np.asfarray([1]).dtype,
              np.asfarray([1], 'f').dtype)
        print(np.float32 in np.sctypes['float'], np.float_ is np.float64,
              np.obj2sctype('f') is np.float32)
        print(np.cast['f'](1).dtype)
        from numpy import float as number, product
        print(number is float, product([2]), hasattr(np, 'no_such_name'))
    """,
        before=['--numpy1'],
        python=['-W', 'ignore'],
    )
    assert script.stderr == ''
    assert script.stdout.splitlines() == [
        'float64 True True True nan inf -inf',
        '6 [2 6] True False 2',
        '[False  True] (2, 1) 1.0 1.5',
        '[[0, 1], [2, 3]] float64 float32',
        'True True True',
        'float32',
        'True 2 False',
    ]


@pytest.mark.slow
def test_libraries_are_left_alone(run, tmp_path):
    """And so are the files of the program in ``__pycache__``,
    where a run without the option finds them.
    """
    library = """
def ask():
    import numpy
    try:
        return float(numpy.ones(1)), hasattr(numpy, 'float')
    except TypeError as error:
        return type(error).__name__, hasattr(numpy, 'float')
"""
    for name in ('scripts/own.py', 'site-packages/library.py'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(library)
    text = """
        import sys
        sys.path.append('site-packages')
        import library, own
        print(library.ask(), own.ask())
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            plain = (float(numpy.ones(1)), False)
        except TypeError:
            plain = ('TypeError', False)
    for before, expected in (([], plain), (['--numpy1'], (1.0, True)), ([], plain)):
        script = run(text, before=before, python=['-W', 'ignore'])
        assert (script.stdout, script.stderr) == (f'{plain} {expected}\n', '')


def test_a_program_starts_without_it(run):
    script = run(
        'import sys\n'
        "print([name for name in sys.modules if 'numpy1' in name or 'script.cpu' in name])"
    )
    assert script.stdout == '[]\n'
    assert 'chainer_lstm.script.numpy1' in sys.modules  # the name is right
