"""The CUDA kernels of functions, on the CPU and on a GPU, against NumPy in float64."""

import types

import numpy
import pytest
from chainer.backends.cuda import to_cpu

from chainer_lstm import kernels
from chainer_lstm.kernels import captured, cuda
from chainer_lstm.kernels.engines.cupy_functions import Mask
from chainer_lstm.kernels.engines.numpy import numpy_engine
from chainer_lstm.kernels.engines.types import Losses
from tests.kernels import cuda_on_cpu, fibres
from tests.support.arrays import uniform

TOLERANCE = {'e': 2e-3, 'f': 2e-6, 'd': 1e-14}
KEY = 5


@pytest.fixture
def on_cpu(monkeypatch):
    """Fails the test if something was written outside of an array."""
    for missing in (fibres.missing(), cuda_on_cpu.missing()):
        if missing:
            pytest.skip(missing)
    engine = fibres.engine(monkeypatch)
    yield engine
    engine.xp.check_guards()


@pytest.fixture(params=['on the CPU', pytest.param('cupy', marks=pytest.mark.gpu)])
def engine(request):
    if request.param == 'cupy':
        xp = request.getfixturevalue('cupy')
        return kernels.engine_of(xp.zeros(1, 'f'), 'cupy')
    return request.getfixturevalue('on_cpu')


def given(engine, *arrays):
    return [engine.xp.array(x) for x in arrays]


def brought(arrays):
    return [to_cpu(x) for x in arrays]


def close(actual, expected):
    actual, expected = to_cpu(actual), numpy.asarray(expected)
    tolerance = TOLERANCE[actual.dtype.char]
    assert actual.shape == expected.shape
    numpy.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('shape', [(1, 1), (3, 40), (33, 31), (70, 65)])
@pytest.mark.parametrize('dtype', 'efd')
def test_column_sums(engine, dtype, shape):
    x = uniform(shape, dtype)
    sums = engine.column_sums(*given(engine, x))
    assert sums.dtype == dtype
    close(sums, x.astype('d').sum(axis=0))


LOSSES = {
    'mean': Losses(-1, True, True),
    'mean of all rows': Losses(-1, True, False),
    'class 2 ignored': Losses(2, True, True),
    'each row': Losses(-1, False, True),
}


def cross_entropy(e, x, t, losses, gy):
    loss, kept = e.cross_entropy(x, t, losses, True)
    return loss, e.cross_entropy_gradient(x, t, losses, gy, kept)


@pytest.mark.parametrize('index', ['i', 'q'])
@pytest.mark.parametrize('losses', LOSSES)
@pytest.mark.parametrize('classes', [3, 300, 2500])
@pytest.mark.parametrize('dtype', 'efd')
def test_cross_entropy(engine, dtype, classes, losses, index):
    losses = LOSSES[losses]
    x = (uniform((7, classes)) * 9).astype(dtype)
    t = numpy.array([2, -1, 0, classes - 1, 1, 2, -1], index)
    if losses.ignore_label == 2:
        t[t < 0] = 1
    gy = uniform(() if losses.mean else (7,), dtype, seed=2)
    found = cross_entropy(engine, *given(engine, x, t), losses, *given(engine, gy))
    wide = [a.astype('d') for a in (x, gy)]
    expected = cross_entropy(numpy_engine, wide[0], t, losses, wide[1])
    for actual, y in zip(found, expected):
        assert actual.dtype == dtype
        close(actual, y)


def test_cross_entropy_of_scores_beyond_the_range_of_exp(engine):
    x = numpy.array([[1e4, 0, -1e4], [-1e38, -1e38, -1e38], [-numpy.inf, 0, 0]], 'f')
    t = numpy.array([2, 0, 1], 'i')
    gy = numpy.ones(3, 'f')
    found = cross_entropy(engine, *given(engine, x, t), LOSSES['each row'], *given(engine, gy))
    close(found[0], [2e4, numpy.log(3), numpy.log(2)])
    close(found[1], [[1, 0, -1], [-2 / 3, 1 / 3, 1 / 3], [0, -0.5, 0.5]])


@pytest.mark.parametrize('wrong', [-2, 5, 2**31 - 1, -(2**31)])
def test_classes_that_are_not_there(engine, wrong):
    x, t = uniform((2, 5), 'f'), numpy.array([wrong, 3], 'i')
    arrays = given(engine, x, t), given(engine, numpy.ones(2, 'f'))
    loss, gx = brought(cross_entropy(engine, *arrays[0], LOSSES['each row'], *arrays[1]))
    assert numpy.isnan(loss[0]) and numpy.isnan(gx[0]).all()
    assert numpy.isfinite(loss[1]) and numpy.isfinite(gx[1]).all()


@pytest.mark.parametrize('losses', LOSSES)
def test_cross_entropy_where_all_rows_are_ignored(engine, losses):
    losses = LOSSES[losses]
    x, t = uniform((4, 5), 'f'), numpy.full(4, losses.ignore_label, 'i')
    gy = numpy.ones(() if losses.mean else 4, 'f')
    found = cross_entropy(engine, *given(engine, x, t), losses, *given(engine, gy))
    loss, gx = brought(found)
    assert not loss.any() and not gx.any()


@pytest.mark.parametrize('losses', LOSSES)
def test_cross_entropy_without_rows(engine, losses):
    losses = LOSSES[losses]
    x, t, gy = numpy.zeros((0, 5), 'f'), numpy.zeros(0, 'i'), numpy.zeros(0, 'f')
    loss, gx = cross_entropy(engine, *given(engine, x, t), losses, *given(engine, gy))
    assert loss.shape == (() if losses.mean else (0,)) and not loss.any()
    assert gx.shape == (0, 5)


def philox(counters, key):
    """Random numbers of 32 bits, four for each counter, by Salmon et al. 2011, section 4."""
    c = [counters & 0xFFFFFFFF, counters >> 32, counters * 0, counters * 0]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        low = key & 0xFFFFFFFF, key >> 32
        c = [b >> 32 ^ c[1] ^ low[0], b & 0xFFFFFFFF, a >> 32 ^ c[3] ^ low[1], a & 0xFFFFFFFF]
        key = (low[0] + 0x9E3779B9 & 0xFFFFFFFF) | (low[1] + 0xBB67AE85 & 0xFFFFFFFF) << 32
    return c


def test_philox():
    """Known answers of Random123."""
    assert philox(0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize('key', [0, KEY, 2**53 - 1])
@pytest.mark.parametrize('ratio', [0.0, 0.25, 0.5, 0.999])
@pytest.mark.parametrize('dtype', 'efd')
def test_dropout(engine, dtype, ratio, key):
    x = uniform((37, 41), dtype)
    y = engine.dropout(*given(engine, x), Mask(ratio, key))
    quarter = -(-x.size // 4)
    words = [word for part in zip(*(philox(k, key) for k in range(quarter))) for word in part]
    kept = numpy.array(words[: x.size]).reshape(x.shape) >= ratio * 2**32
    assert y.dtype == dtype
    close(y, x.astype('d') * kept / (1 - ratio))


def test_share_of_dropped_numbers(engine):
    ones = numpy.ones(40_000, 'f')
    masks = brought(engine.dropout(*given(engine, ones), Mask(0.3, key)) for key in (KEY, 6))
    for mask in masks:
        assert abs((mask == 0).mean() - 0.3) < 4 * (0.3 * 0.7 / ones.size) ** 0.5
    assert abs(numpy.corrcoef(*masks)[0, 1]) < 4 / ones.size**0.5


def test_key_in_memory(engine):
    """The kernel reads it where the replays of a graph write it."""
    (x,) = given(engine, numpy.ones((5, 7), 'f'))
    (key,) = given(engine, numpy.array([2.0**53 - 1]))
    found = engine.dropout(x, Mask(0.5, 3, engine._address(key)))
    expected = engine.dropout(x, Mask(0.5, 2**53 - 1))
    numpy.testing.assert_array_equal(*brought((found, expected)))


def test_inputs_that_are_not_contiguous(engine):
    x, ids = uniform((6, 5), 'f'), numpy.arange(6, dtype='i') % 5
    moved, strided = given(engine, x.T), given(engine, ids.repeat(2))[0][::2]
    mask = Mask(0.5, KEY)
    for call in (
        lambda x, t: engine.column_sums(x),
        lambda x, t: engine.dropout(x, mask),
        lambda x, t: engine.embedding_gradient(t, x, 5, None),
        lambda x, t: engine.cross_entropy(x, t, LOSSES['mean'], False)[0],
    ):
        numpy.testing.assert_array_equal(
            *brought((call(moved[0].T, strided), call(*given(engine, x, ids))))
        )


def test_dropout_in_place(engine):
    (x,) = given(engine, uniform((5, 7), 'f'))
    mask = Mask(0.5, KEY)
    expected = engine.dropout(x, mask)
    assert engine.dropout(x, mask, x) is x
    numpy.testing.assert_array_equal(*brought((x, expected)))
    with pytest.raises(ValueError, match='expected y, which is written into, to be C-contiguous'):
        engine.dropout(x, mask, x.T.copy().T)


def test_masks_are_drawn_from_the_seed_of_cupy(on_cpu):
    engine, sizes = on_cpu, []
    state = types.SimpleNamespace(_get_seed=lambda size: sizes.append(size) or 2**53 + len(sizes))
    engine.xp.random = types.SimpleNamespace(get_random_state=lambda: state)
    assert engine.draw_mask((3, 4), numpy.dtype('f'), 0.5) == Mask(0.5, 1)
    inputs = captured.Inputs(numpy_as_cupy())
    with captured.capturing(inputs):
        masks = [engine.draw_mask((3, 4), numpy.dtype('f'), 0.5) for _ in range(2)]
    assert sizes == [12]  # others are drawn before each replay
    first = inputs.numbers.ctypes.data
    assert masks == [Mask(0.5, 0, first, inputs), Mask(0.5, 0, first + 8, inputs)]
    assert [*inputs.values()[:3]] == [2, 3, 0] and [*inputs.values()[:2]] == [4, 5]


def numpy_as_cupy():
    """NumPy whose arrays say where they lie as CuPy's do."""

    class Zeros(numpy.ndarray):
        @property
        def data(self):
            return types.SimpleNamespace(ptr=self.ctypes.data)

    return types.SimpleNamespace(zeros=lambda *args: numpy.zeros(*args).view(Zeros))


@pytest.mark.parametrize('label', [None, 1, -1])
@pytest.mark.parametrize('classes', [3, 2100])  # few, whose rows several warps add up, and many
@pytest.mark.parametrize('columns', [1, 33, 300])
@pytest.mark.parametrize(('dtype', 'index'), ['ei', 'fi', 'fq', 'dq'])
def test_embedding_gradient(engine, monkeypatch, dtype, index, columns, classes, label):
    if classes > 3:
        monkeypatch.setattr('chainer_lstm.kernels.engines.cupy_functions._FEW_WARPS', 0)
        classes = 11  # no more: a fibre for each lane
    ids = numpy.random.RandomState(0).randint(-classes, classes, 170).astype(index)
    gy = uniform((170, columns), dtype)
    gW = engine.embedding_gradient(*given(engine, ids, gy), classes, label)
    expected = numpy.zeros((classes, columns))
    for k, row in zip(ids, gy):
        if k != label:
            expected[k] += row
    assert gW.dtype == dtype
    close(gW, expected)


@pytest.mark.parametrize('index', 'iq')
def test_ids_that_are_not_there(engine, index):
    ids = numpy.array([3, -4, numpy.iinfo(index).min, numpy.iinfo(index).max, 0], index)
    gW = engine.embedding_gradient(*given(engine, ids, numpy.ones((5, 2), 'f')), 3, None)
    numpy.testing.assert_array_equal(to_cpu(gW), [[1, 1], [0, 0], [0, 0]])


def test_no_ids(engine):
    ids, gy = numpy.zeros(0, 'i'), numpy.zeros((0, 2), 'f')
    assert not engine.embedding_gradient(*given(engine, ids, gy), 3, None).any()


@pytest.mark.parametrize(
    ('name', 'old', 'new'),
    [
        ('cross_entropy', '__syncthreads();', ''),
        ('cross_entropy', 'sum * exp(most - both)', 'sum'),
        ('cross_entropy', 'own.sum *= exp(own.most - most);', ''),
        ('cross_entropy', 'a.given > 1 ? row : 0', '0'),
        ('column_sums', '__syncthreads();', ''),
        ('column_sums', 'row += warps', 'row += warps + 1'),
        ('embedding_gradient', '__syncthreads();', ''),
        ('embedding_gradient', ' && takes_own', ''),
        ('embedding_gradient', ' && takes_from_last', ''),
        ('embedding_gradient', 'found &= found - 1;', 'found = 0;'),
        ('dropout', 'round < ROUNDS', 'round < ROUNDS - 1'),
    ],
)
@pytest.mark.usefixtures('on_cpu')
def test_mutant(monkeypatch, name, old, new):
    """An edited source gives other results."""
    assert old in cuda.function(name, 'd', 4)[0], 'the source has changed'
    mutant = fibres.engine(monkeypatch, edit=lambda text: text.replace(old, new), seed=3)
    with pytest.raises((AssertionError, fibres.Failure)):
        if name == 'column_sums':
            test_column_sums(mutant, 'd', (70, 65))
        elif name == 'dropout':
            test_dropout(mutant, 'd', 0.5, KEY)
        elif name == 'embedding_gradient':
            for label in (1, -1):
                test_embedding_gradient(mutant, monkeypatch, 'd', 'q', 33, 3, label)
        else:
            for losses in ('mean', 'each row'):
                test_cross_entropy(mutant, 'd', 2500, losses, 'i')
