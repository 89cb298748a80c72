"""Against Chainer's, values and gradients of both orders."""

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm.functions import softmax_cross_entropy
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
    params=['auto', 1, 7, 2**18], ids=lambda n: n if n == 'auto' else f'numpy, blocks of {n}'
)
def _engines(request, monkeypatch):
    if request.param == 'auto':
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
def test_on_a_gpu(cupy):
    x = uniform((6, 5), 'f', cupy)
    assert_close(
        results(softmax_cross_entropy, x, cupy.asarray(IGNORED)),
        results(F.softmax_cross_entropy, x, cupy.asarray(IGNORED)),
    )


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_second_gradient_of_chainer(options):
    found = []
    for function, double in (
        (softmax_cross_entropy, {}),
        (F.softmax_cross_entropy, {'enable_double_backprop': True}),
    ):
        x = chainer.Variable(uniform((6, 5)))
        loss = function(x, targets(**options), **options, **double)
        (gx,) = chainer.grad(
            [F.sum(loss * uniform(loss.shape, seed=2))], [x], enable_double_backprop=True
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
