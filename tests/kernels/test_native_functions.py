"""The C++ engine: products, exponentials, normalization, sums and updates."""

import numpy
import pytest

from chainer_lstm import cells
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.engines.types import AdamRates, Part, SgdRates
from tests.kernels import cases
from tests.support.arrays import unaligned

pytestmark = pytest.mark.pairwise
SHAPES = [
    (1, 1, 1), (1, 70, 33), (3, 5, 7), (5, 66, 17), (20, 65, 33), (33, 3, 2), (7, 200, 300),
    (200, 130, 513), (400, 9, 5), (20, 21, 300), (3, 9, 300), (1, 1, 600), (2, 3, 0), (0, 3, 2),
    (2, 0, 3), (2, 70, 300), (96, 70, 300), (97, 9, 300),
]  # fmt: skip


def orders(x):
    """The same matrix, wherever its elements lie; what lies between them is not a number."""
    room = numpy.full((x.shape[0] + 2, 2 * x.shape[1] + 3), numpy.nan, x.dtype)
    part = room[1:-1, 3 : 3 + x.shape[1]]
    every_other = room.copy()[1:-1, 3::2]
    part[...] = x
    every_other[...] = x
    yield from (x, numpy.asfortranarray(x), part, every_other, unaligned(x))


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


@pytest.mark.parametrize('dtype', 'fde')
@pytest.mark.parametrize('shape', [(3, 5), (0, 7), (37, 41), (700, 65), (1, 1100)], ids=str)
def test_orders_of_gates(engine, threads, shape, dtype):
    threads(3)
    numbers = numpy.arange(4 * shape[0] * shape[1]) % 2003
    gates = numbers.reshape(4, *shape).astype(dtype)
    expected = gates.transpose(1, 0, 2).reshape(-1, shape[1])
    for parts in zip(*map(orders, gates)):
        numpy.testing.assert_array_equal(engine.interleaved(parts), expected)
    for x in orders(expected):
        numpy.testing.assert_array_equal(engine.planar(x), gates.reshape(-1, shape[1]))
    mixed = [*gates[:3], gates[3].astype('d')]  # as NumPy joins them
    assert engine.interleaved(mixed).dtype == 'd'
    numpy.testing.assert_array_equal(engine.interleaved(mixed), expected)
    rows = gates[..., 0]
    numpy.testing.assert_array_equal(engine.interleaved([*rows]), expected[:, 0])


def test_matmul_refuses_other_dtypes(engine):
    x = numpy.ones((2, 2), numpy.longdouble)
    with pytest.raises(TypeError, match='expected arrays of float32 or float64, got'):
        engine.matmul(x, x)


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


@pytest.mark.parametrize('dtype', 'fd')
def test_arrays_at_odd_addresses(engine, dtype):
    for call in cases.CALLS:
        inputs = cases.call_inputs(call, dtype, 4, 7)
        odd = {name: None if x is None else unaligned(x) for name, x in inputs.items()}
        found, expected = (cases.run_call(engine, call, each) for each in (odd, inputs))
        cases.assert_close(list(found.values()), list(expected.values()), (0, 0))
    x, W, b = (
        numpy.random.RandomState(k).rand(*shape).astype(dtype)
        for k, shape in enumerate([(4, 7), (7, 7), (7,)])
    )
    cases.assert_close(
        engine.linear(*map(unaligned, (x, W, b))), engine.linear(x, W, b), cases.TOLERANCE[dtype]
    )
    cases.assert_close(
        engine.exponentials(unaligned(x), True), engine.exponentials(x, True), (0, 0)
    )


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


def test_equal_numbers_have_no_gradient_through_their_normalization(engine):
    """Not even what rounding leaves, times the scale of 316."""
    rows, scale = numpy.zeros((9, 4), 'f'), numpy.full(9, 1e-5**-0.5, 'f')
    gy = numpy.random.RandomState(0).uniform(-1, 1, (9, 1)).astype('f').repeat(4, 1)
    gain = numpy.full(4, 0.7, 'f')
    numpy.testing.assert_array_equal(engine.normalize_backward(gy, gain, rows, scale), 0)


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
        (lambda e, x, g: e.sgd(g, x, rates=SgdRates(0.7, 0.1, 0)), 2),
        (lambda e, x, g, v: e.sgd(g, x, v, rates=SgdRates(0.7, 0.1, 0.9)), 3),
        (lambda e, x, g, m, v: e.adam(g, x, m, v, rates=RATES), 4),
        (lambda e, x, g, m, v, most: e.adam(g, x, m, v, most, rates=RATES), 5),
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
