"""Against Chainer's, values and gradients of both orders."""

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm.functions import softmax_cross_entropy
from chainer_lstm.functions.cross_entropy import SoftmaxCrossEntropy
from tests.kernels import cuda_on_cpu, fibres
from tests.support.arrays import assert_close, uniform

IGNORED = numpy.array([2, -1, 0, 4, -1, 2], 'i')  # -1: ignored by default
OPTIONS = [
    {},
    {'normalize': False},
    {'ignore_label': 2},
    {'reduce': 'no'},
    {'reduce': 'no', 'ignore_label': 4},
]


@pytest.fixture(
    params=['auto', 'cuda on cpu', 1, 7, 2**18],
    ids=lambda n: n if isinstance(n, str) else f'numpy, blocks of {n}',
)
def _engines(request, monkeypatch):
    if request.param == 'cuda on cpu':
        if fibres.missing() or cuda_on_cpu.missing():
            pytest.skip(fibres.missing() or cuda_on_cpu.missing())
        engine = fibres.engine(monkeypatch)
        monkeypatch.setattr('chainer_lstm.functions.cross_entropy.engine_of', lambda x: engine)
    if isinstance(request.param, str):
        yield
        return
    monkeypatch.setattr('chainer_lstm.kernels.engines.numpy._BLOCK', request.param)
    with chainer.using_config('lstm_engine', 'numpy'):
        yield


def targets(ignore_label=-1, **_):
    return numpy.where(IGNORED == -1, ignore_label, IGNORED).astype('i')


def results(function, x, t, **options):
    """Loss and gradient by x."""
    x = chainer.Variable(x)
    loss = function(x, t, **options)
    loss.grad = uniform(loss.shape, loss.dtype, loss.xp, seed=3)
    loss.backward()
    return loss, x.grad_var


@pytest.mark.usefixtures('_engines')
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('dtype', ['f', 'd'])
def test_loss_and_gradient_of_chainer(options, dtype):
    x = uniform((6, 5), dtype) * 5
    t = targets(**options)
    assert_close(
        results(softmax_cross_entropy, x, t, **options),
        results(F.softmax_cross_entropy, x, t, **options),
    )


@pytest.mark.gpu
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
@pytest.mark.parametrize('index', ['i', 'q'])
def test_on_a_gpu(cupy, index, dtype, options):
    x = uniform((6, 5), dtype, cupy)
    t = cupy.asarray(targets(**options).astype(index))
    found = results(softmax_cross_entropy, x, t, **options)
    assert_close(found, results(F.softmax_cross_entropy, x, t, **options))
    assert type(found[0].creator) is SoftmaxCrossEntropy


@pytest.mark.gpu
def test_classes_that_are_not_there_on_a_gpu(cupy):
    x, t = uniform((2, 5), 'f', cupy), cupy.array([5, 1], 'i')
    loss, gx = results(softmax_cross_entropy, x, t, reduce='no')
    assert cupy.isnan(loss.array).tolist() == [True, False]
    assert cupy.isnan(gx.array).any(axis=1).tolist() == [True, False]
    with chainer.using_config('debug', True), pytest.raises(ValueError, match='Each label'):
        softmax_cross_entropy(x, t)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_second_gradient_of_chainer(xp, options):
    found = []
    for function, double in (
        (softmax_cross_entropy, {}),
        (F.softmax_cross_entropy, {'enable_double_backprop': True}),
    ):
        x = chainer.Variable(uniform((6, 5), xp=xp))
        loss = function(x, xp.asarray(targets(**options)), **options, **double)
        (gx,) = chainer.grad(
            [F.sum(loss * uniform(loss.shape, xp=xp, seed=2))], [x], enable_double_backprop=True
        )
        (ggx,) = chainer.grad([F.sum(gx**2)], [x])
        found.append([loss, gx, ggx])
    assert_close(*found)


@pytest.mark.parametrize(
    ('x', 't', 'options'),
    [
        (uniform((6, 5), 'e'), IGNORED, {}),
        (uniform((6, 5), 'f'), IGNORED, {'class_weight': numpy.arange(5, dtype='f')}),
        (uniform((2, 5, 3), 'f'), IGNORED.reshape(2, 3), {}),
        (uniform((6, 5), 'f'), abs(uniform((6, 5), 'f', seed=1)), {}),
    ],
    ids=['float16', 'class weights', 'more axes', 'soft targets'],
)
def test_what_goes_to_chainer(x, t, options):
    assert_close(
        results(softmax_cross_entropy, x, t, **options),
        results(F.softmax_cross_entropy, x, t, **options),
    )


@pytest.mark.parametrize(
    't', [IGNORED * 0 - 1, IGNORED.astype(numpy.int64)], ids=['all ignored', 'int64']
)
def test_targets(t):
    x = uniform((6, 5), 'f')
    assert_close(results(softmax_cross_entropy, x, t), results(F.softmax_cross_entropy, x, t))


@pytest.mark.usefixtures('_engines')
@pytest.mark.parametrize('_engines', ['auto', 7], indirect=True)  # CuPy has no such arrays
def test_scores_in_the_other_byte_order():
    x = uniform((6, 5), 'f')  # Chainer's fails there
    found = results(softmax_cross_entropy, x.astype(x.dtype.newbyteorder()), IGNORED)
    assert_close([F.cast(y, 'f') for y in found], results(F.softmax_cross_entropy, x, IGNORED))


def test_no_rows():
    loss, gx = results(
        softmax_cross_entropy, numpy.zeros((0, 5), 'f'), IGNORED[:0]
    )  # Chainer's backward fails
    assert (float(loss.array), gx.shape) == (0, (0, 5))


def test_scores_beyond_the_range_of_exp():
    x = numpy.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4]], 'f')
    loss, gx = results(softmax_cross_entropy, x, numpy.array([2, 0], 'i'), reduce='no')
    assert_close([loss], [chainer.Variable(numpy.array([2e4, numpy.log(3)], 'f'))])
    assert numpy.isfinite(gx.array).all()


def test_a_second_backward_adds_the_same():
    x = chainer.Variable(uniform((6, 5)))
    loss = softmax_cross_entropy(x, IGNORED)
    loss.backward()
    once = x.grad.copy()
    loss.backward()
    numpy.testing.assert_allclose(x.grad, 2 * once)


def test_scores_are_left_alone():
    x = uniform((6, 5))
    before = x.copy()
    results(softmax_cross_entropy, x, IGNORED)
    numpy.testing.assert_array_equal(x, before)


@pytest.mark.usefixtures('_engines')
def test_without_backprop():
    x = uniform((6, 5), 'f')
    with chainer.no_backprop_mode():
        assert_close([softmax_cross_entropy(x, IGNORED)], [F.softmax_cross_entropy(x, IGNORED)])
