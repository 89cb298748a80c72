"""The C++ engine: every kernel with every instruction set of this processor, its threads,
and life without it.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy
import pytest

from chainer_lstm import cells, kernels
from chainer_lstm.kernels import native, sequence
from chainer_lstm.kernels.engines.engine import AdamRates, Part, Shape
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.packing import Rows
from tests.kernels import cases

pytestmark = pytest.mark.pairwise

INSTRUCTION_SETS = ('baseline', 'avx2', 'avx512')
SHAPES = [
    (1, 1, 1), (1, 70, 33), (3, 5, 7), (5, 66, 17), (20, 65, 33), (33, 3, 2), (7, 200, 300),
    (200, 130, 513), (400, 9, 5), (20, 21, 300), (3, 9, 300), (1, 1, 600), (2, 3, 0), (0, 3, 2),
    (2, 0, 3),
]  # fmt: skip
# in several spans of the input's product: more than the threads' rows of tiles, and fewer
MANY = {
    'by rows': ((70,) * 5 + (50, 31, 2), 72),
    'by units': ((4,) * 70 + (2, 2), 5),
    'few rows': ((2,) * 20 + (1,), 2),
    'few steps': ((12,) * 5, 13),
}
LENGTHS = {
    'equal': ((9,) * 6, 9),
    'ragged': ((13, 13, 8, 8, 5, 1, 1), 13),
    'empty sequences': ((4, 4, 2, 1), 6),
}


@pytest.fixture(params=INSTRUCTION_SETS)
def engine(request):
    return cases.native_engine(request.param)


@pytest.fixture
def threads():
    """Sets the number of threads of every job of one test, whatever the job is worth."""
    library = native.library()
    yield library.chainer_lstm_force_threads
    library.chainer_lstm_force_threads(0)


@pytest.mark.parametrize('layout', cases.LAYOUTS)
@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call(engine, call, dtype, layout):
    cases.check_call(engine, numpy, call, dtype, layout)


@pytest.mark.parametrize('shape', [(1, 1), (1, 16), (7, 1), (3, 86), (0, 5)], ids=str)
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_shapes(engine, call, shape):
    cases.check_call(engine, numpy, call, 'f', shape=shape)


@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_in_threads(engine, threads, call):
    threads(3)
    cases.check_call(engine, numpy, call, 'f', shape=(67, 131))


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step(engine, case, dtype):
    cases.check_step(engine, numpy, case, dtype)
    cases.check_step(engine, numpy, case, dtype, B=21, I=37, H=50)
    cases.check_step(engine, numpy, case, dtype, layout='strided')


# so few rows that nothing is packed, and one too many
@pytest.mark.parametrize(
    'sizes', [(2, 33, 50), (20, 310, 304), (33, 310, 304), (20, 330, 20)], ids=str
)
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_in_threads(engine, threads, case, sizes):
    threads(3)
    cases.check_step(engine, numpy, case, 'd', **dict(zip('BIH', sizes)))
    cases.check_step(engine, numpy, case, 'd', none=('gc',), **dict(zip('BIH', sizes)))


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_gradients(engine, case):
    cases.check_step_gradients(engine, numpy, case)


def orders(x):
    """The same matrix, wherever its elements lie; what lies between them is not a number."""
    room = numpy.full((x.shape[0] + 2, 2 * x.shape[1] + 3), numpy.nan, x.dtype)
    part = room[1:-1, 3 : 3 + x.shape[1]]
    every_other = room.copy()[1:-1, 3::2]
    part[...] = x
    every_other[...] = x
    yield from (x, numpy.asfortranarray(x), part, every_other)


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_matmul(engine, shape, dtype):
    M, N, K = shape
    random = numpy.random.RandomState(0)
    a, b = random.uniform(-1, 1, (M, K)).astype(dtype), random.uniform(-1, 1, (K, N)).astype(dtype)
    bias, start = (
        random.uniform(-1, 1, N).astype(dtype),
        random.uniform(-1, 1, (M, N)).astype(dtype),
    )
    exact = a.astype('d') @ b.astype('d')
    tolerance = max(K, 1) * numpy.finfo(dtype).eps
    for x in orders(a):
        for y in orders(b):
            numpy.testing.assert_allclose(engine.matmul(x, y), exact, rtol=0, atol=tolerance)
    y = engine.linear(a, numpy.asfortranarray(b).T, bias)
    numpy.testing.assert_allclose(y, exact + bias, rtol=0, atol=tolerance)
    out = start.copy()
    engine.matmul(a, b, out)
    numpy.testing.assert_allclose(out, exact, rtol=0, atol=tolerance)


def test_matmul_refuses_other_dtypes(engine):
    x = numpy.ones((2, 2), numpy.longdouble)
    with pytest.raises(TypeError, match='expected arrays of float32 or float64, got'):
        engine.matmul(x, x)


def recurrence(engine, batches, reverse, cell, dtype, units=37):
    """Everything that a layer computes from fixed numbers: states, gates, gradients."""
    steps, batch = batches
    random = numpy.random.RandomState(0)

    def draw(*shape, scale=1.0):
        return random.uniform(-scale, scale, shape).astype('f').astype(dtype)

    rows, width, total = Rows(steps, batch, reverse), 11, sum(steps)
    widths = [cell.width(name, units) for name in cell.states]
    x, initial = draw(total, width), cell.State(*(draw(batch, each) for each in widths))
    scale = 2 * units**-0.5
    weights = {n: draw(*shape, scale=scale) for n, shape in cell.shapes(width, units).items()}
    # parts of rows; of c in one direction only
    output = cell.State(*(draw(total, 2 * each)[:, :each] for each in widths))
    if reverse:
        output = cell.State(h=output.h)
    last = cell.State(*(draw(batch, each) for each in widths))
    noise = cases.noise_of(cell, total, batch, units, 'f')
    noise = {name: value.astype(dtype) for name, value in noise.items()}
    job = cell, weights, rows, x, initial, noise
    layer, other = (sequence.layer_of(numpy, *job) for _ in range(2))
    (gates,) = engine.sequence_forward([layer], keep=True)
    engine.sequence_forward([other], keep=False)
    for y, z in zip(layer.states, other.states):
        numpy.testing.assert_array_equal(y, z, err_msg='without keeping the gates')
    results = [*(y.copy() for y in layer.states), gates.copy()]
    gradients = sequence.gradients_of(numpy, layer, output, last)
    (found,) = engine.sequence_backward([layer], [gates], [gradients])
    of_weights = sequence.weight_gradients(engine, layer, gates, gradients.h)
    return [*results, *found, gates, *of_weights.values()]


RECURRENT = {
    **cells.COMPILED,
    'projected': cells.LSTM(outputs=19),
    'widened': cells.LSTM(outputs=43),
    'projected peephole': cells.Peephole(outputs=19),
    'normalized': cells.NORMALIZED,
}


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('cell', RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('batches', LENGTHS.values(), ids=LENGTHS)
def test_recurrence(engine, threads, batches, reverse, cell, dtype, units=37):
    expected = recurrence(NumpyEngine(), batches, reverse, cell, 'd', units)
    first = None
    for count in (1, 2, 5):
        threads(count)
        found = recurrence(engine, batches, reverse, cell, dtype, units)
        tolerance = {'f': 2e-5, 'd': 1e-13}[dtype]
        cases.assert_close(found, expected, (tolerance, tolerance))
        first = first or found
        for x, y in zip(found, first):
            numpy.testing.assert_array_equal(x, y, err_msg=f'{count} threads')


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('cell', RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('batches', MANY.values(), ids=MANY)
def test_recurrence_in_many_threads(engine, threads, batches, reverse, cell, dtype):
    test_recurrence(engine, threads, batches, reverse, cell, dtype, units=70)


def test_recurrence_is_as_exact_as_with_numpy(engine):
    batches = (20,) * 12, 20
    exact, by_numpy, found = (
        recurrence(e, batches, False, cells.lstm, dtype, 120)
        for e, dtype in ((NumpyEngine(), 'd'), (NumpyEngine(), 'f'), (engine, 'f'))
    )
    for x, y, z in zip(exact, by_numpy, found):
        assert numpy.abs(z - x).max() <= 2 * numpy.abs(y - x).max()


@pytest.mark.parametrize('direction', ['forward', 'backward'])
@pytest.mark.parametrize(
    ('cell', 'dtype', 'steps', 'expected'),
    [
        (cells.lstm, 'f', 4, True),
        (cells.lstm, 'd', 4, True),
        (cells.peephole, 'f', 4, True),
        (cells.LSTM(outputs=2), 'f', 4, True),
        (cells.lstm, 'f', 3, False),
        (cells.lstm, 'e', 4, False),
        (cases.CELLS['gru'], 'f', 4, False),
    ],
)
def test_supports(engine, cell, dtype, steps, expected, direction):
    shape = Shape(steps, 2, 3, 1)
    assert engine.supports(cell, numpy.dtype(dtype), shape, direction) == expected


def activated(engine, pre):
    """Return the gates of an LSTM of one unit, of pre-activations (B, 4)."""
    c = numpy.zeros((len(pre), 1), pre.dtype)
    parts = [Part(pre, cells.lstm.gates)]
    state = cells.lstm.State(c)
    return engine.stage_forward(cells.lstm, cells.lstm.stages[0], parts, state)[0]


@pytest.mark.parametrize('dtype', 'fd')
def test_tanh(engine, dtype):
    """Within three units in the last place;
    denormal numbers become zeros of their sign, infinities and NaN stay.
    """
    tiny = numpy.finfo(dtype).tiny
    small = numpy.geomspace(tiny, 1, 2000)
    x = numpy.concatenate(
        [
            numpy.linspace(-30, 30, 20001),
            small,
            -small,
            [0, -0.0, tiny / 4, -tiny / 4, numpy.inf, -numpy.inf, numpy.nan, 700, -700],
        ]
    ).astype(dtype)
    pre = numpy.zeros((len(x), 4), dtype)
    pre[:, 0] = x
    gates = activated(engine, pre)
    expected = numpy.tanh(x.astype(numpy.longdouble)).astype(dtype)
    expected[numpy.abs(expected) < tiny] *= 0
    spacing = numpy.spacing(numpy.abs(numpy.where(numpy.isnan(expected), 1, expected)))
    numpy.testing.assert_array_equal(numpy.isnan(gates[:, 0]), numpy.isnan(x))
    assert numpy.nanmax(numpy.abs(gates[:, 0] - expected) / spacing) <= 3
    numpy.testing.assert_array_equal(numpy.signbit(gates[:-3, 0]), numpy.signbit(x[:-3]))


@pytest.mark.parametrize('dtype', 'fd')
def test_sigmoid(engine, dtype):
    """Within three units in the last place, or zero; NaN stays NaN."""
    x = numpy.concatenate(
        [numpy.linspace(-60, 60, 20001), [0, -0.0, numpy.nan, 700, numpy.inf, -numpy.inf, -1000]]
    )
    pre = numpy.zeros((len(x), 4), dtype)
    pre[:, 1:] = x[:, None]
    gates = activated(engine, pre)
    expected = 1 / (1 + numpy.exp(-pre[:-2].astype(numpy.longdouble)))
    for g in (1, 2, 3):
        found, exact = gates[:-2, g], expected[:, g].astype(dtype)
        numpy.testing.assert_array_equal(numpy.isnan(found), numpy.isnan(x[:-2]))
        spacing = numpy.spacing(numpy.where(numpy.isnan(exact), 1, exact))
        assert numpy.nanmax(numpy.abs(found - expected[:, g]) / spacing) <= 3
        assert (gates[-2:, g] == 0).all()


def anywhere(x):
    """The same array at an odd address."""
    there = numpy.empty(x.nbytes + 1, numpy.uint8)[1:].view(x.dtype).reshape(x.shape)
    there[...] = x
    return there


@pytest.mark.parametrize('dtype', 'fd')
def test_arrays_at_odd_addresses(engine, dtype):
    for call in cases.CALLS:
        inputs = cases.call_inputs(call, dtype, 4, 7)
        odd = {name: None if x is None else anywhere(x) for name, x in inputs.items()}
        found, expected = (cases.run_call(engine, call, each) for each in (odd, inputs))
        cases.assert_close(list(found.values()), list(expected.values()), (0, 0))
    x, W, b = (
        numpy.random.RandomState(k).rand(*shape).astype(dtype)
        for k, shape in enumerate([(4, 7), (7, 7), (7,)])
    )
    cases.assert_close(
        engine.linear(*map(anywhere, (x, W, b))), engine.linear(x, W, b), cases.TOLERANCE[dtype]
    )
    cases.assert_close(engine.exponentials(anywhere(x), True), engine.exponentials(x, True), (0, 0))


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('shape', [(1, 1), (3, 16), (0, 5), (50, 1001)], ids=str)
def test_exponentials(engine, threads, shape, dtype):
    """Within three units in the last place, 0 below the normal numbers,
    with any number of threads.
    """
    limits = numpy.finfo(dtype)
    x = numpy.linspace(-1.2 * numpy.log(limits.max), 80, shape[0] * shape[1] * 3, dtype=dtype)
    x = numpy.random.RandomState(0).permutation(x).reshape(shape[0], 3 * shape[1])[:, ::3]
    expected = numpy.exp((x - x.max(axis=1, keepdims=True)).astype(numpy.longdouble))
    for count in 1, 3:
        threads(count)
        y, maxima, sums = engine.exponentials(x, True)
        numpy.testing.assert_allclose(
            y, expected.astype(dtype), rtol=3 * limits.eps, atol=2 * limits.tiny
        )
        numpy.testing.assert_array_equal(maxima, x.max(axis=1))
        numpy.testing.assert_allclose(
            sums, expected.sum(axis=1).astype(dtype), rtol=10 * limits.eps
        )
        nothing, *others = engine.exponentials(x, False)
        assert nothing is None
        numpy.testing.assert_array_equal(others, [maxima, sums])


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('shape', [(1, 1), (3, 16), (0, 5), (50, 1001)], ids=str)
def test_normalization(engine, threads, shape, dtype):
    """As of NumPy, with any number of threads; means far from 0 are no loss."""
    random, tolerance = numpy.random.RandomState(0), {'f': 3e-5, 'd': 1e-12}[dtype]
    x, gy = (random.uniform(-1, 1, (2, *shape)) + [[[4]], [[0]]]).astype(dtype)
    gain, b = random.uniform(-1, 1, (2, shape[1])).astype(dtype)
    for bias in (b, None):
        expected = NumpyEngine().normalize(x.astype('d'), gain, bias, 1e-5)
        gx = NumpyEngine().normalize_backward(gy.astype('d'), gain, *expected[1:])
        for count in 1, 3:
            threads(count)
            found = engine.normalize(x.copy(), gain, bias, 1e-5)
            cases.assert_close(found, expected, (tolerance, tolerance))
            found = engine.normalize_backward(gy, gain, *found[1:])
            cases.assert_close([found], [gx], (tolerance, 10 * tolerance))


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('size', [0, 1, 17, 5000, 70001])
def test_sum_of_squares(engine, threads, size, dtype):
    """With any number of threads, the same bits."""
    x = numpy.random.RandomState(0).normal(1, 1, size).astype(dtype)
    found = set()
    for count in 1, 3:
        threads(count)
        found.add(engine.sum_of_squares(x))
    tolerance = {'f': 2e-6, 'd': 1e-14}[dtype]
    numpy.testing.assert_allclose(found.pop(), (x.astype('d') ** 2).sum(), rtol=tolerance)
    assert not found


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('shape', [(0, 3, 2), (5, 0, 2), (400, 37, 9)], ids=str)
def test_sums_by_class(engine, threads, shape, dtype):
    """The bits of NumPy's sums, with any number of threads; other classes are left out."""
    rows, columns, classes = shape
    random = numpy.random.RandomState(0)
    x, of = random.normal(size=(rows, columns)).astype(dtype), random.randint(-1, classes + 1, rows)
    expected = NumpyEngine().sums_by_class(of, x, classes)
    for count in 1, 3:
        threads(count)
        numpy.testing.assert_array_equal(engine.sums_by_class(of, x, classes), expected)


RATES = AdamRates(0.7, 0.1, 0.01, 1e-8, 1e-2, 0.01, 0.02, 0.99, 0.8)


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize(
    ('call', 'arrays'),
    [
        (lambda e, x, g: e.sgd(x, g, None, 0.7, 0.1, 0), 2),
        (lambda e, x, g, v: e.sgd(x, g, v, 0.7, 0.1, 0.9), 3),
        (lambda e, x, g, m, v: e.adam(x, g, m, v, None, RATES), 4),
        (lambda e, x, g, m, v, most: e.adam(x, g, m, v, most, RATES), 5),
    ],
    ids=['sgd', 'momentum', 'adam', 'adam with the largest v'],
)
@pytest.mark.parametrize('shape', [(0,), (3, 5), (90, 501)], ids=str)
def test_updates(engine, threads, call, arrays, shape, dtype):
    """Two of them as of NumPy in float64, with any number of threads; gradients stay scaled."""
    random = numpy.random.RandomState(0)
    given = [abs(random.normal(size=shape)).astype(dtype) for _ in range(arrays)]
    expected = [x.astype('d') for x in given]
    for _ in range(2):
        call(NumpyEngine(), *expected)
    tolerance = {'f': 2e-6, 'd': 4e-15}[dtype]
    for count in 1, 3:
        threads(count)
        found = [x.copy() for x in given]
        for _ in range(2):
            call(engine, *found)
        cases.assert_close(found, expected, (tolerance, tolerance))


@pytest.mark.filterwarnings('ignore:invalid value encountered in subtract')
def test_exponentials_of_what_is_not_finite(engine):
    random, values = (
        numpy.random.RandomState(0),
        [-numpy.inf, -numpy.inf, numpy.inf, numpy.nan, 1, 700],
    )
    x = numpy.array(
        [
            [-numpy.inf] * 40,
            [numpy.inf] * 40,
            *random.choice(values[:2] + values[4:], (10, 40)),
            *random.choice(values, (10, 40)),
        ],
        'f',
    )
    (y, _, sums), (expected, _, their_sums) = (
        e.exponentials(x, True) for e in (engine, NumpyEngine())
    )
    numpy.testing.assert_allclose(sums, their_sums, rtol=1e-6)
    finite = numpy.isfinite(sums)
    assert finite.any()
    numpy.testing.assert_allclose(y[finite], expected[finite], rtol=1e-6)


def test_empty_arrays_lie_anywhere():
    engine = cases.native_engine('baseline')
    empty = numpy.zeros(9, 'u1')[1:].view('f')[:0].reshape(0, 3)
    assert empty.ctypes.data % empty.itemsize
    assert engine.matmul(empty, numpy.ones((3, 2), 'f')).shape == (0, 2)
    assert engine.linear(empty, numpy.ones((2, 3), 'f')).shape == (0, 2)


def test_no_function_of_the_c_library_is_called_for_each_number():
    cases.native_engine('baseline')
    names = native.library_file().read_bytes()
    assert b'memcpy' in names  # the names are there to be read
    assert not any(
        function in names for function in (b'tanhf', b'expf', b'expm1', b'tanh\0', b'exp\0')
    )


@pytest.mark.slow
def test_every_header_compiles_alone():
    if shutil.which('g++') is None:
        pytest.skip('there is no g++')
    for header in pathlib.Path(native.__file__).parent.glob('*.hpp'):
        subprocess.run(
            ['g++', '-std=c++17', '-fsyntax-only', '-Wno-psabi', '-x', 'c++', '-'],
            input=f'#include "{header}"\n',
            text=True,
            check=True,
        )


def test_nan_and_infinity_go_where_they_go_with_numpy(engine):
    inputs = cases.call_inputs(cases.CALLS[0], 'f', 6, 5)
    inputs['xw'][0, 0] = numpy.nan
    inputs['xw'][1, 5] = numpy.inf
    inputs['c'][2, 3] = numpy.nan
    inputs['c'][3, 1] = -numpy.inf
    found, expected = (cases.run_call(e, cases.CALLS[0], inputs) for e in (engine, NumpyEngine()))
    cases.assert_close(list(found.values()), list(expected.values()), cases.TOLERANCE['f'])


def test_two_python_threads_compute_what_one_does():
    engine = cases.native_engine(native.instruction_sets()[0] if native.library() else 'baseline')
    expected = recurrence(engine, LENGTHS['ragged'], False, cells.lstm, 'f', 90)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(
            lambda _: recurrence(engine, LENGTHS['ragged'], False, cells.lstm, 'f', 90), range(40)
        ):
            for x, y in zip(found, expected):
                numpy.testing.assert_array_equal(x, y)


def answer(code, **env):
    """What a fresh interpreter prints."""
    env = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    done = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_threadpoolctl_limits_the_threads():
    threadpoolctl = pytest.importorskip('threadpoolctl')
    cases.native_engine('baseline')
    library = native.library()
    before = library.chainer_lstm_get_num_threads()
    assert any(pool['user_api'] == 'chainer_lstm' for pool in threadpoolctl.threadpool_info())
    with threadpoolctl.threadpool_limits(1):
        assert library.chainer_lstm_get_num_threads() == 1
    assert library.chainer_lstm_get_num_threads() == before


def test_the_best_instruction_set_is_chosen():
    cases.native_engine('baseline')
    assert kernels.engine_of(numpy.ones(1)).instruction_set == native.instruction_sets()[0]
    assert native.instruction_sets()[-1] == 'baseline'


WITHOUT = """
from chainer_lstm.kernels import native
native.library_file = lambda: {file}
import numpy
from chainer_lstm import kernels
print(type(kernels.engine_of(numpy.ones(1))).__name__, native.instruction_sets())
try:
    kernels.engine_of(numpy.ones(1), 'native')
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ('file', 'reason'),
    [
        ('None', 'not built: '),
        (
            '__import__("pathlib").Path(__import__("chainer_lstm").__file__)',
            'not loaded: .*invalid ELF header',
        ),
    ],
    ids=['not built', 'cannot be loaded'],
)
def test_without_the_library_numpy_computes(file, reason):
    first, second = answer(WITHOUT.format(file=file)).splitlines()
    assert first == 'NumpyEngine []'
    assert re.search(f"got 'native': it was {reason}", second)


def test_dtypes_that_it_cannot_compute_are_left_to_numpy():
    assert type(kernels.engine_of(numpy.ones(1, numpy.longdouble))) is NumpyEngine
    if native.library() is not None:
        with pytest.raises(ValueError, match='it computes float16, float32 and float64'):
            kernels.engine_of(numpy.ones(1, numpy.longdouble), 'native')
