"""The array code of each cell, as the NumPy engine runs it, against loops in float64."""

import numpy
import pytest

from chainer_lstm import cells, kernels
from chainer_lstm.cells import LSTM, Cell, Product, is_compiled, sigmoid
from chainer_lstm.functions.node import widened
from chainer_lstm.kernels import layout, products
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.engines.types import Part, Shape
from tests.cells import CELLS, coupled, gru, zoneout
from tests.cells.zoneout import Zoneout
from tests.kernels import cases
from tests.support import reference as loops

pytestmark = pytest.mark.pairwise

H = 4


def test_sigmoid():
    x = numpy.linspace(-30, 30, 101)
    numpy.testing.assert_allclose(sigmoid(numpy, x), loops.sigmoid(x), rtol=0, atol=1e-15)


@pytest.mark.parametrize('dtype', 'efd')
def test_sigmoid_does_not_overflow(dtype):
    x = numpy.array([-6e4, 6e4], dtype)
    y = sigmoid(numpy, x)
    assert y.dtype == dtype
    numpy.testing.assert_array_equal(y, [0, 1])


@pytest.mark.parametrize('shape', [(H,), (H, 3), (H, 3, 2)])
def test_layouts_convert_into_each_other(shape):
    gates = list(numpy.random.RandomState(0).uniform(size=(4, *shape)))  # a, i, f, o
    orders = {
        layout.INTERLEAVED: numpy.array([gates[row % 4][row // 4] for row in range(4 * H)]),
        layout.PLANAR: numpy.array([gates[row // H][row % H] for row in range(4 * H)]),
        layout.N_STEP: [gates['aifo'.index(gate)] for gate in 'ifao'],
    }
    for source, x in orders.items():
        for target, expected in orders.items():
            numpy.testing.assert_array_equal(layout.convert(numpy, x, source, target), expected)


@pytest.mark.parametrize('wanted', ['abc', 'a', 'c', 'ab', 'ca'])
def test_columns_of_some_gates(wanted):
    x = numpy.arange(2 * 3 * H).reshape(2, 3 * H)
    expected = numpy.stack([x[:, 'abc'.index(gate) :: 3] for gate in wanted], axis=2)
    found = products.columns(x, 'abc', wanted)
    numpy.testing.assert_array_equal(found, expected.reshape(2, -1))


def test_gates_are_the_sums_of_their_parts():
    x, h, p, b = (
        numpy.random.RandomState(k).uniform(size=shape)
        for k, shape in enumerate([(2, 4 * H), (2, 4 * H), (2, H), (4 * H,)])
    )
    aifo = tuple('aifo')
    parts = [Part(x, aifo), Part(h, aifo), Part(p, ('i',)), Part(b, aifo)]
    found = products.gates_of(cells.lstm, parts)
    for g, name in enumerate('aifo'):
        expected = (x + h + b)[:, g::4] + (p if name == 'i' else 0)
        numpy.testing.assert_array_equal(getattr(found, name), expected)


def test_gates_without_a_part():
    with pytest.raises(ValueError, match="parts of all gates of gru, got none of {'m'}"):
        products.gates_of(gru, [Part(numpy.ones((2, 3 * H)), gru.inputs)])


def test_parts_of_different_widths():
    parts = [Part(numpy.ones((2, width)), cells.lstm.gates) for width in (4 * H, 4)]
    with pytest.raises(ValueError, match=r'of one width, got .* \(2, 16\) and \(2, 4\)'):
        products.gates_of(cells.lstm, parts)


def test_cells_are_compared_by_class_and_sizes():
    assert cells.LSTM() == cells.lstm != cells.peephole
    assert Zoneout(0.3) == zoneout != Zoneout(0.4)
    assert hash(Zoneout(0.3)) == hash(zoneout)


@pytest.mark.parametrize(
    ('cell', 'weights', 'shapes'),
    [
        (cells.lstm, 'W b U', [(16, 3), (16,), (16, 4)]),
        (cells.peephole, 'W b U P_i P_f P_o', [(16, 3), (16,), (16, 4), *[(4, 4)] * 3]),
        (coupled, 'W b U', [(12, 3), (12,), (12, 4)]),
        (gru, 'W b U d', [(12, 3), (12,), (12, 4), (12,)]),
    ],
    ids=lambda value: getattr(value, 'name', None),
)
def test_weights_by_name_and_shape(cell, weights, shapes):
    assert cell.weights == tuple(weights.split())
    assert list(cell.shapes(3, 4).items()) == list(zip(weights.split(), shapes))


def test_a_cell_without_forward():
    class Empty(Cell):
        name, gates, products = 'empty', ('a',), ()

    with pytest.raises(NotImplementedError):
        Empty().forward(numpy, None, None)


@pytest.mark.parametrize(
    'dtypes, expected',
    [
        ('e', 'f'),
        ('f', 'f'),
        ('d', 'd'),
        ('ee', 'f'),
        ('ef', 'f'),
        ('fd', 'd'),
        ('ed', 'd'),
    ],
)
def test_wide_dtype(dtypes, expected):
    engine = NumpyEngine()
    assert engine.wide_dtype(*dtypes) == expected
    wide = list(widened(engine, [*(numpy.zeros(2, dtype) for dtype in dtypes), None]))
    assert wide.pop() is None
    assert [x.dtype.char for x in wide] == [expected] * len(dtypes)


def test_wide_does_not_copy():
    x = numpy.zeros(2, 'f')
    y, z = widened(NumpyEngine(), [x, numpy.zeros(2, 'e')])
    assert y is x
    assert z.dtype == 'f'


def test_engine_of_numpy():
    assert type(kernels.engine_of(numpy.zeros(1), 'numpy')) is NumpyEngine


@pytest.mark.parametrize('none', cases.NO_GRADIENT, ids=str)
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_dtypes(case, dtype, none):
    cases.check_step(NumpyEngine(), numpy, case, dtype, none)


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_stage_dtypes(call, dtype):
    cases.check_call(NumpyEngine(), numpy, call, dtype)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_empty_batch(case):
    cases.check_step(NumpyEngine(), numpy, case, 'f', B=0, I=2, H=3)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_gradients(case):
    cases.check_step_gradients(NumpyEngine(), numpy, case)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_forward(case):
    inputs, _ = cases.step_inputs(case, 'd', B=3, I=2, H=H)
    cell = CELLS[case.cell]
    shapes = cell.shapes(2, H)
    given = [inputs.get(name) for name in cell.states]
    weights = [inputs.get(name, numpy.zeros(shapes[name])) for name in cell.weights]
    noise = cases.noise_of(cell, 3, 3, H, 'd')
    more = {'noise': noise} if noise else {}
    expected = loops.step_of(cell)(*given, inputs['x'], *weights, **more)
    found = cases.run_step(NumpyEngine(), case, inputs)
    cases.assert_close(found, expected, (1e-13, 1e-13))


class Louder(LSTM):
    """A subclass is another cell, also under the same name."""

    def forward(self, xp, gates, before):
        gates, new = super().forward(xp, gates, before)
        return gates, new._replace(h=2 * new.h)


@pytest.mark.parametrize('instruction_set', ['baseline', 'avx2', 'avx512'])
def test_a_subclass_of_a_compiled_cell_is_computed_by_its_own_code(instruction_set):
    engine, louder = cases.native_engine(instruction_set), Louder()
    assert is_compiled(LSTM()) and not is_compiled(louder)
    assert not engine.supports(louder, 'f', Shape(9, 2, 4, 1), 'forward')
    inputs, _ = cases.step_inputs(cases.StepCase('lstm', False), 'd', B=2, I=3, H=H)
    state = louder.State(inputs['c'], inputs['h'])
    _, found = engine.step_forward(louder, louder.stages[0], inputs['x'], state, inputs)
    expected = loops.lstm_step(*(inputs[name] for name in ('c', 'h', 'x', 'W', 'b', 'U')))
    cases.assert_close(found, (expected[0], 2 * expected[1]), (1e-13, 1e-13))


def test_states_of_other_names():
    with pytest.raises(TypeError, match=r"states \('c', 'h'\) or \('h',\), got \('s',\)"):

        class Other(Cell):
            name, gates, states, products = 'other', ('a',), ('s',), ()


WRONG_NAMES = {
    'inputs': ({'inputs': ('a', 'q')}, r"expected inputs to be of \('a', 'f'\), got \('a', 'q'\)"),
    'reads': ({'reads': ('s',)}, r"expected reads to be of \('c', 'h'\), got \('s',\)"),
    'needs': ({'needs': ('s',)}, 'expected needs to be of'),
    'gates of a product': ({'products': (Product('U', 'h', ('i',)),)}, r"got \('i',\)"),
    'state of a product': ({'products': (Product('U', 's', ('a',)),)}, r"got \('s',\)"),
}


@pytest.mark.parametrize('wrong', WRONG_NAMES)
def test_names_that_a_cell_has_not(wrong):
    fields, message = WRONG_NAMES[wrong]
    with pytest.raises(TypeError, match=message):
        type('Wrong', (Cell,), {'name': 'wrong', 'gates': ('a', 'f'), **fields})


def test_weights_of_one_name():
    class Twice(Cell):
        name, gates = 'twice', ('a',)
        products = (Product('U', 'h', ('a',)), Product('U', 'c', ('a',)))

    with pytest.raises(ValueError, match='expected weights of different names'):
        Twice().weights  # noqa: B018


def test_attributes_that_are_no_fields():
    class Sized(LSTM):
        def __init__(self):
            self.ratio = 0.5

    with pytest.raises(AttributeError, match='expected ratio to be a field of a frozen dataclass'):
        Sized()


RETURNED = {
    'too few gates': lambda gates, new: (gates[:3], new),
    'gates of another shape': lambda gates, new: ((*gates[:3], gates[3][:1]), new),
    'a state of another shape': lambda gates, new: (gates, new._replace(h=new.h[:, :1])),
    'no h': lambda gates, new: (gates, new._replace(h=None)),
}


@pytest.mark.parametrize('change', RETURNED.values(), ids=RETURNED)
def test_what_forward_must_return(change):
    class Wrong(LSTM):
        name = 'wrong'

        def forward(self, xp, gates, before):
            return change(*super().forward(xp, gates, before))

    inputs, _ = cases.step_inputs(cases.StepCase('lstm', False), 'd', B=2, I=3, H=H)
    cell = Wrong()
    state = cell.State(inputs['c'], inputs['h'])
    with pytest.raises(ValueError, match=r'wrong: forward: expected (a, i, f, o|c, h) of shape'):
        NumpyEngine().step_forward(cell, cell.stages[0], inputs['x'], state, inputs)
