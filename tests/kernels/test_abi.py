"""The kernels of the library have the arguments in ``kernels.boundary``, and its cells are those of
``cells``; other libraries are refused.
"""

import ctypes.util
import re
import struct

import pytest

from chainer_lstm import cells
from chainer_lstm.cells import COMPILED
from chainer_lstm.kernels import boundary, cell_kernels, native
from tests.kernels import cases
from tests.support.interpreter import answer

FORWARD = boundary.KERNELS['lstm_forward_0'].text


def test_tables_are_those_of_the_library():
    cases.native_engine('baseline')
    library = native.library()
    for name, kernel in boundary.KERNELS.items():
        assert library.chainer_lstm_arguments(name.encode()).decode() == kernel.text
    for cell in COMPILED.values():
        text = library.chainer_lstm_cell(cell.name.encode()).decode()
        assert text == cell_kernels.description(cell)
    for name in (b'lstm', b'lstm_forward_1', b'lstm_forward', b''):
        assert library.chainer_lstm_arguments(name) is None
    assert library.chainer_lstm_cell(b'gru') is None


def test_declarations():
    assert FORWARD == (
        'isize batch, units; Numbers<Cell> numbers; const T *xw, *hu, *b; '
        'Weights<Cell, const T> products; Noise<Cell, const T> noise; '
        'States<Cell, const T> before; T* gates; States<Cell, T> now;'
    )


def test_arguments_follow_from_declarations():
    """Sizes, constness and strides, and where the arrays lie: zeros for those not taken."""
    kernel = boundary.KERNELS['peephole_forward_1']
    assert kernel.sizes == ('batch', 'units')
    assert [(x.name, x.written) for x in kernel.arguments] == [
        ('p_o', False), ('c', False), ('gates', True), ('h', True)
    ]  # fmt: skip
    words = [*struct.unpack('16q', kernel.layout.pack(2, 3, 4, 5, 6, 7))]
    assert words == [2, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 5, 0, 6, 0, 7]
    kernel = boundary.KERNELS['lstm_variant_forward_0']
    assert kernel.sizes == ('batch', 'units', 'kept_c', 'kept_h', 'clip', 'slope')
    assert kernel.layout.format.startswith('nndddd')
    assert {'P_i', 'P_f', 'P_o', 'kept_c', 'kept_h', 'hu', 'b', 'h_prev'} == {
        x.name for x in kernel.arguments if x.optional
    }
    kernel = boundary.KERNELS['lstm_sequence_backward']
    strides = {x.name: x.strides for x in kernel.arguments}
    assert strides == {**dict.fromkeys(strides, 0), 'gh': 1, 'gc': 1}
    assert [x.name for x in kernel.arguments if x.integers] == ['start', 'n']
    assert boundary.KERNELS['matmul'].layout.format == 'nnnPnnPnnPP'


def test_description():
    assert cell_kernels.description(cells.peephole) == (
        'gates a, i, f, o; states c, h; weights U, P_i, P_f, P_o; noise ; numbers ; '
        'stage 7 1 1 0 0 1 -1 0 1 0 1 0 2 0 2 0; stage 8 1 2 0 3 0 3 0'
    )
    assert cell_kernels.description(cells.COMPILED['coupled_lstm_variant']) == (
        'gates a, f, o; states c, h; weights U, P_f, P_o; noise kept_c, kept_h; '
        'numbers clip, slope; stage 7 3 3 0 0 1 -1 0 1 0 1 1 2 0 2 2'
    )


FUNCTIONS = (
    'PyInit__native',
    'chainer_lstm_arguments',
    'chainer_lstm_cell',
    'chainer_lstm_set_num_cores',
)


class FakeLibrary:
    """What ``ctypes.CDLL`` gives, of a library with these declarations and cells.

    Args:
        edit: (name, text) -> the text that the library has in place of it, or None.
        functions: which functions the library has.
    """

    def __init__(
        self,
        edit=lambda name, text: text,
        functions=FUNCTIONS,
    ):
        texts = {name: kernel.text for name, kernel in boundary.KERNELS.items()}
        texts.update((cell.name, cell_kernels.description(cell)) for cell in COMPILED.values())

        def text_of(name):
            text = edit(name.decode(), texts[name.decode()])
            return None if text is None else text.encode()

        for function in functions:
            setattr(self, function, lambda name: text_of(name))


def test_the_same_declarations_are_accepted():
    assert native.mismatch(FakeLibrary()) is None


def replaced(wanted, old, new):
    """An edit of the text of one name."""

    def edit(name, text):
        if name != wanted:
            return text
        assert old is None or old in text
        return new if old is None else text.replace(old, new)

    return edit


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('*hu, ', ''),
        ('*hu, *b', '*b, *hu'),
        ('T* gates;', 'const T* gates;'),
        ('const T *xw', 'const float *xw'),
        (', units', ''),
        ('isize batch', 'int batch'),
        ('now;', 'now; T* g;'),
        ('T* gates', 'T** gates'),
        (None, ''),
        (None, None),
        (None, '?!'),
    ],
)
def test_other_declarations_are_refused(old, new):
    error = native.mismatch(FakeLibrary(replaced('lstm_forward_0', old, new)))
    assert 'built from another version of the source (lstm_forward_0 has other arguments)' in error


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('gates a, i, f, o', 'gates i, a, f, o'),
        ('states c, h', 'states h, c'),
        ('P_i, P_f', 'P_f, P_i'),
        ('1 0 1', '1 0 2'),
        (' 2 0 2', ''),
        ('stage 7', 'stage 3'),
        ('stage 8 1 2 0', 'stage 8 1 2 1'),
        (None, None),
    ],
)
def test_other_cells_are_refused(old, new):
    error = native.mismatch(FakeLibrary(replaced('peephole', old, new)))
    assert 'built from another version of the source (the cell peephole is another)' in error


@pytest.mark.parametrize('missing', FUNCTIONS)
def test_a_library_without_a_function_is_refused(missing):
    functions = [name for name in FUNCTIONS if name != missing]
    error = native.mismatch(FakeLibrary(functions=functions))
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
        f'native.library_file = lambda: {ctypes.util.find_library("m")!r}',
        "boundary.KERNELS['exponentials'] = boundary.KERNELS['matmul']",
    ],
    ids=['another library', 'another table'],
)
def test_numpy_computes_instead_of_a_library_that_is_refused(change):
    cases.native_engine('baseline')
    if 'None' in change:
        pytest.skip('this system has no library of the C functions of mathematics')
    assert answer(OTHER_LIBRARY.format(change=change)).splitlines() == [
        'NumpyEngine []',
        "[('RuntimeWarning', True)]",
    ]
