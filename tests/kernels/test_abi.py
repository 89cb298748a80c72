"""The table of kernels' arguments is that of the C++ and CUDA source;
other libraries are refused.
"""

import ctypes.util
import re

import pytest

from chainer_lstm.kernels import boundary, cuda, native, persistent_engine
from tests.kernels import cases
from tests.kernels.test_boundary import SIZES, STAGES, sizes_of
from tests.kernels.test_native import answer


def parameters_of(name):
    """Return name, shape, optional and written of each array, and the names of the numbers."""
    text = re.search(
        rf'__global__ void {name}\((.*?)\) \{{\n', cuda.source('cells.cu'), re.DOTALL
    ).group(1)
    arrays = re.findall(r'(const )?STORED\* (\w+) /\*(\([^)]*\))([^*]*)\*/', text)
    numbers = re.findall(r'index_t (\w+)', text)
    assert text.count('STORED*') == len(arrays)
    sizes = {'B': SIZES['batch'], 'H': SIZES['units'], '4H': 4 * SIZES['units']}
    parsed = [
        (
            array,
            tuple(sizes[axis] for axis in re.findall(r'\w+', shape)),
            'or null' in rest,
            not const,
        )
        for const, array, shape, rest in arrays
    ]
    return parsed, numbers


def test_every_cuda_stage_has_a_row():
    assert re.findall(r'__global__ void (\w+)\(', cuda.source('cells.cu')) == STAGES


@pytest.mark.parametrize('name', STAGES)
def test_table_is_that_of_the_cuda_source(name):
    kernel = boundary.KERNELS[name]
    found = [
        (argument.name, shape, argument.optional, argument.written)
        for argument, (shape, *_) in zip(kernel.arguments, kernel.expected(*sizes_of(kernel)))
    ]
    arrays, numbers = parameters_of(name)
    assert found == arrays
    assert numbers == (['units', 'n'] if 'b' in [array[0] for array in arrays] else ['n'])


def test_table_is_that_of_the_library():
    cases.native_engine('baseline')
    declarations = native.library().chainer_lstm_arguments
    for name, kernel in boundary.KERNELS.items():
        assert boundary.members(declarations(name.encode()).decode()) == kernel.members
    assert declarations(b'product') is None


class FakeLibrary:
    """What ``ctypes.CDLL`` gives, of a library with these declarations."""

    def __init__(self, edit=lambda name, text: text, present=True):
        def declarations(name):
            members = boundary.KERNELS[name.decode()].members
            text = edit(name.decode(), ''.join(f'{member}; ' for member in members))
            return None if text is None else text.encode()

        if present:
            self.chainer_lstm_arguments = declarations


def test_the_same_declarations_are_accepted():
    assert native.mismatch(FakeLibrary()) is None


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('const T *hu; ', ''),
        ('const T *hu; const T *b; ', 'const T *b; const T *hu; '),
        ('T *h;', 'const T *h;'),
        ('const T *xw', 'const float *xw'),
        ('isize units; ', ''),
        ('isize units', 'int units'),
        ('T *h; ', 'T *h; T *g; '),
        ('T *h', 'T **h'),
        (None, ''),
        (None, None),
        (None, '?!'),
        (None, 'isize'),
    ],
)
def test_other_declarations_are_refused(old, new):
    def edit(name, text):
        if name != 'lstm_fwd':
            return text
        assert old is None or old in text
        return new if old is None else text.replace(old, new)

    error = native.mismatch(FakeLibrary(edit))
    assert 'built from another version of the source (lstm_fwd has other arguments)' in error


def test_a_library_without_declarations_is_refused():
    error = native.mismatch(FakeLibrary(present=False))
    assert re.search('built from another version .* pip install --editable', error)


OTHER_LIBRARY = """
import warnings
from chainer_lstm.kernels import boundary, native
{change}
import numpy
from chainer_lstm import kernels
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    print(type(kernels.engine_of(numpy.ones(1))).__name__, native.instruction_sets())
print([(warning.category.__name__, 'NumPy computes' in str(warning.message)) for warning in caught])
"""


@pytest.mark.parametrize(
    'change',
    [
        f'native._file = lambda: {ctypes.util.find_library("m")!r}',
        "boundary.KERNELS['exponentials'] = boundary.Kernel(lambda rows: {})",
    ],
    ids=['another library', 'another table'],
)
def test_numpy_computes_instead_of_a_library_that_is_refused(change):
    cases.native_engine('baseline')
    if 'None' in change:
        pytest.skip('this system has no library of the C functions of mathematics')
    assert answer(OTHER_LIBRARY.format(change=change)).splitlines() == [
        'Engine []',
        "[('RuntimeWarning', True)]",
    ]


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', []),
        ('isize n;', ['isize n']),
        ('isize n, m;', ['isize n', 'isize m']),
        ('const T* a; T *b, *c;', ['const T *a', 'T *b', 'T *c']),
        ('const T *a, *b; isize a_row; ', ['const T *a', 'const T *b', 'isize a_row']),
        ('const index64 *start,  *n;', ['const index64 *start', 'const index64 *n']),
        ('T * a;', ['T *a']),
        ('T a[4]; isize n', ['T a[4]', 'isize n']),
    ],
)
def test_members(text, expected):
    assert boundary.members(text) == expected


def test_struct_of_the_persistent_kernels():
    """Names, order and sizes of the members that Python fills are those of struct Job."""
    body = re.search(r'struct Job \{(.*?)\n\};', cuda.source('persistent.cuh'), re.DOTALL).group(1)
    declarations = re.sub(r'//.*', '', body).split(';')
    found = []
    for declaration in filter(str.strip, declarations):
        kind, names = re.fullmatch(
            r'\s*((?:const )?(?:long long|\w+)\*?) (.*)', declaration
        ).groups()
        code = 'u8' if kind.endswith('*') else {'int': 'i4', 'long long': 'i8'}[kind]
        found += [(name.strip(), code) for name in names.split(',')]
    assert found == persistent_engine._JOB
    for direction, kernel in boundary.PERSISTENT.items():
        for argument in kernel.arguments:
            assert (argument.name, 'u8') in found, direction
