"""Against Chainer's, values and gradients of both orders, with every engine there is."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer.utils import type_check

from chainer_lstm.functions import linear
from chainer_lstm.functions.linear import Linear
from chainer_lstm.kernels import ENGINES, engine_of
from tests.support.arrays import LAYOUTS, assert_close, gradients, uniform, uniforms, variables

SHAPES = [(6, 3), (4, 3), (4,)]


def results(function, inputs, order=1):
    inputs = variables(inputs)
    y = function(*inputs)
    return [y, *gradients([y], inputs, order)]


@pytest.fixture(params=[name for name in ENGINES if name not in ('cupy', 'persistent')])
def _engine(request):
    with chainer.using_config('lstm_engine', request.param):
        try:
            engine_of(numpy.zeros(1, 'f'), request.param)
        except ValueError as error:
            pytest.skip(str(error))
        yield


@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize('dtype', ['f', 'd'])
@pytest.mark.parametrize('order', [1, 2])
def test_values_and_gradients_of_chainer(dtype, order):
    inputs = uniforms(SHAPES, dtype)
    assert_close(results(linear, inputs, order), results(F.linear, inputs, order))


@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize('layout', LAYOUTS)
def test_memory_orders(layout):
    x, W, b = uniforms(SHAPES)
    moved = [LAYOUTS[layout](numpy, a) for a in (x, W)]
    assert_close(results(linear, [*moved, b]), results(F.linear, [x, W, b]))


@pytest.mark.usefixtures('_engine')
def test_no_rows():
    inputs = [numpy.zeros((0, 3)), *uniforms(SHAPES)[1:]]
    assert_close(results(linear, inputs), results(F.linear, inputs))


@pytest.mark.parametrize('wanted', [[0], [1], [2], [2, 0]])
def test_gradients_by_some_inputs(wanted):
    found = []
    for function in (linear, F.linear):
        inputs = variables(uniforms(SHAPES))
        found.append(chainer.grad([F.sum(function(*inputs) ** 2)], [inputs[i] for i in wanted]))
    assert_close(*found)


@pytest.mark.parametrize(
    ('inputs', 'options'),
    [
        (uniforms(SHAPES, 'e'), {}),
        (uniforms(SHAPES[:2], 'f'), {}),
        (uniforms([(2, 3, 3), *SHAPES[1:]], 'f'), {'n_batch_axes': 2}),
        ([uniform((6, 3), 'f'), uniform((4, 3), 'd', seed=1), uniform((4,), 'f', seed=2)], {}),
    ],
    ids=['float16', 'no bias', 'more axes', 'two dtypes'],
)
def test_what_goes_to_chainer(inputs, options):
    found = [function(*inputs, **options) for function in (linear, F.linear)]
    assert_close(*[[y] for y in found])
    assert type(found[0].creator) is type(found[1].creator)


def test_second_gradients_where_one_input_is_made_of_another():
    found = []
    for function in (linear, F.linear):
        W, b = variables(uniforms([(3, 3), (3,)]))
        outputs = [function(function(W, W, b), W, b)]
        found.append(gradients(outputs, [W, b], 2))
    assert_close(*found)


def test_another_byte_order_is_refused_by_chainer():
    with pytest.raises(ValueError, match='right datatype'):
        linear(*(x.astype('>f4') for x in uniforms(SHAPES)))


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
@pytest.mark.parametrize('order', [1, 2])
def test_on_a_gpu(cupy, dtype, order):
    inputs = uniforms(SHAPES, dtype, cupy)
    found = results(linear, inputs, order)
    assert_close(found, results(F.linear, inputs, order))
    assert type(found[0].creator) is Linear


@pytest.mark.gpu
def test_precision_on_a_gpu(cupy):
    x, W, b = uniforms([(64, 512), (128, 512), (128,)], 'f', cupy)
    exact = x.astype('d') @ W.astype('d').T + b
    errors = []
    for precision in ('highest', 'high'):
        with chainer.using_config('lstm_matmul_precision', precision):
            errors.append(float(abs(linear(x, W, b).array - exact).max()))
    assert errors[0] < 1e-4 and errors[1] < 0.1


def test_shapes_that_do_not_fit():
    with pytest.raises(type_check.InvalidType, match=r'x.shape\[1\] == W.shape\[1\]'):
        linear(*uniforms([(6, 2), *SHAPES[1:]]))


@pytest.mark.parametrize('engine', ['numpy', 'auto'])
@pytest.mark.parametrize(
    'W, b',
    [
        ((4, 2), ()),
        ((4, 2), (1,)),
        ((4, 2), (1, 4)),
        ((4, 2), (3, 4)),
        ((4, 2), (5,)),
        ((2,), (4,)),
        ((2,), (2,)),
    ],
)
def test_shapes_without_type_checks(engine, W, b):
    with (
        chainer.using_config('type_check', False),
        chainer.using_config('lstm_engine', engine),
        pytest.raises(ValueError, match=r'expected W \(O, I\) and b \(O,\)'),
    ):
        linear(*(numpy.ones(shape, 'f') for shape in ((3, 2), W, b)))
