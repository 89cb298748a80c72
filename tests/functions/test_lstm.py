"""``functions.lstm`` against the reference loop, finite differences and Chainer's own function."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check
from chainer.utils import type_check
from hypothesis import given, settings, strategies

from chainer_lstm import functions
from tests.support import reference
from tests.support.arrays import LAYOUTS, assert_close, gradients, uniform, uniforms, variables

pytestmark = pytest.mark.pairwise

# rows of c, rows of x, axes after the units
SIZES = {
    'same batch': (3, 3, ()),
    'one row': (1, 1, ()),
    'shrinking batch': (4, 2, ()),
    'batch 0': (3, 0, ()),
    'no rows at all': (0, 0, ()),
    'ndim 3': (3, 3, (2,)),
    'ndim 4': (2, 2, (2, 3)),
    'ndim 4, shrinking batch': (3, 1, (1, 2)),
    'ndim 3, batch 0': (3, 0, (2,)),
}
UNITS = 5


@pytest.fixture(params=SIZES.values(), ids=SIZES.keys())
def shapes(request):
    """Those of c and x."""
    rows, batch, rest = request.param
    return (rows, UNITS, *rest), (batch, 4 * UNITS, *rest)


def outputs_and_gradients(function, arrays, outputs=(0, 1), order=1):
    """The chosen outputs and their gradients by the inputs."""
    inputs = variables(arrays)
    ys = function(*inputs)
    ys = [ys[k] for k in outputs]
    return [*ys, *gradients(ys, inputs, order)]


@pytest.mark.parametrize('dtype', 'efd')
def test_forward_equals_reference(xp, shapes, dtype):
    c, x = uniforms(shapes, dtype, xp)
    expected = reference.lstm(*uniforms(shapes, dtype))
    assert_close(functions.lstm(c, x), [y.astype(dtype) for y in expected])


@given(
    rows=strategies.integers(0, 4),
    fewer=strategies.integers(0, 4),
    units=strategies.integers(1, 6),
    scale=strategies.sampled_from([0.1, 1, 10, 1000]),
    seed=strategies.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_forward_any_shape_and_scale(rows, fewer, units, scale, seed):
    batch = max(rows - fewer, 0)
    c, x = scale * uniform((rows, units), seed=seed), scale * uniform((batch, 4 * units), seed=seed)
    with numpy.errstate(over='ignore'):  # the reference's exp
        expected = reference.lstm(c, x)
    assert_close(functions.lstm(c, x), expected)


@pytest.mark.parametrize('outputs', [(0, 1), (0,), (1,)], ids=['c and h', 'gh none', 'gc none'])
@pytest.mark.parametrize('order', [1, 2])
@pytest.mark.parametrize('dtype', 'efd')
def test_gradients_equal_chainer(xp, shapes, dtype, order, outputs):
    arrays = uniforms(shapes, dtype, xp)
    expected = outputs_and_gradients(F.lstm, arrays, outputs, order)
    assert_close(outputs_and_gradients(functions.lstm, arrays, outputs, order), expected)


@pytest.mark.parametrize('outputs', [(0, 1), (0,), (1,)], ids=['c and h', 'gh none', 'gc none'])
def test_backward_finite_differences(xp, shapes, outputs):
    def function(c, x):
        ys = functions.lstm(c, x)
        return tuple(ys[k] for k in outputs)

    arrays = tuple(uniforms(shapes, xp=xp))
    ys = function(*arrays)
    gys = tuple(uniforms([y.shape for y in ys], xp=xp))
    gradient_check.check_backward(function, arrays, gys, dtype='d', atol=1e-6, rtol=1e-6)
    gradient_check.check_double_backward(
        function, arrays, gys, arrays, dtype='d', atol=1e-5, rtol=1e-5
    )


def test_backward_is_the_same_when_differentiable(xp, shapes):
    """Gradients on arrays and gradients on variables are computed in two ways."""
    arrays = uniforms(shapes, xp=xp)
    once = outputs_and_gradients(functions.lstm, arrays)
    assert_close(outputs_and_gradients(functions.lstm, arrays, order=2)[: len(once)], once)


def test_float16_no_worse_than_chainer(xp):
    """Each output, computed in float32 and rounded once,
    is as near to the exact one as Chainer's is.
    """
    c, x = uniforms([(40, 32), (40, 128)], 'e')
    exact = reference.lstm(c, 4 * x)
    arrays = xp.asarray(c), xp.asarray(4 * x)
    for ours, theirs, right in zip(functions.lstm(*arrays), F.lstm(*arrays), exact):
        error, chainers = (
            abs(chainer.backends.cuda.to_cpu(y.array).astype('d') - right) for y in (ours, theirs)
        )
        assert (error <= chainers + 1e-6).all()
        assert error.mean() < chainers.mean()


def test_float16_gradients_no_worse_than_chainer(xp):
    shapes = [(40, 32), (40, 128)]
    exact = outputs_and_gradients(F.lstm, [x.astype('d') for x in uniforms(shapes, 'e')])
    arrays = uniforms(shapes, 'e', xp)
    ours, theirs = (outputs_and_gradients(lstm, arrays) for lstm in (functions.lstm, F.lstm))
    for got, chainers, right in list(zip(ours, theirs, exact))[2:]:
        error, allowed = (
            abs(chainer.backends.cuda.to_cpu(g.array) - right.array).mean() for g in (got, chainers)
        )
        assert error <= allowed


@pytest.mark.parametrize('layout', LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize('rest', [(), (2, 3)], ids=['ndim 2', 'ndim 4'])
@pytest.mark.parametrize('order', [1, 2])
def test_non_contiguous_inputs_and_gradients(xp, layout, rest, order):
    def run(c, x, gh):
        inputs = variables((c, x))
        c, h = functions.lstm(*inputs)
        grads = chainer.grad([h], inputs, [chainer.Variable(gh)], enable_double_backprop=order > 1)
        return [c, h, *grads, *(gradients(grads, inputs) if order > 1 else ())]

    arrays = uniforms([(4, UNITS, *rest), (3, 4 * UNITS, *rest), (3, UNITS, *rest)], xp=xp)
    assert_close(run(*(layout(xp, x) for x in arrays)), run(*arrays))


def test_read_only_inputs_and_gradients(shapes):
    arrays = uniforms(shapes)
    expected = outputs_and_gradients(functions.lstm, arrays)
    for x in arrays:
        x.flags.writeable = False
    assert_close(outputs_and_gradients(functions.lstm, arrays), expected)
    inputs = variables(arrays)
    c, h = functions.lstm(*inputs)
    for y in (c, h):
        y.grad = uniform(y.shape)
        y.grad.flags.writeable = False
    chainer.backward([c, h])
    assert all(x.grad is not None for x in inputs)


def test_inputs_are_not_changed(xp, shapes):
    arrays = uniforms(shapes, xp=xp)
    outputs_and_gradients(functions.lstm, arrays, order=2)
    assert_close(arrays, uniforms(shapes))


def test_outputs_share_no_memory_with_inputs(shapes):
    c_prev, x = uniforms(shapes)
    for y in functions.lstm(c_prev, x):
        assert not numpy.shares_memory(y.array, c_prev)
        assert not numpy.shares_memory(y.array, x)


@pytest.mark.parametrize('wanted', [0, 1], ids=['c', 'x'])
def test_gradient_by_one_input(shapes, wanted):
    arrays = uniforms(shapes)
    expected = outputs_and_gradients(functions.lstm, arrays)[2 + wanted]
    inputs = variables(arrays)
    assert_close(gradients(functions.lstm(*inputs), [inputs[wanted]]), [expected])


@pytest.mark.parametrize('wrap', [chainer.Variable, lambda x: x], ids=['variables', 'arrays'])
def test_no_backprop_mode(shapes, wrap):
    with chainer.no_backprop_mode():
        outputs = functions.lstm(*(wrap(x) for x in uniforms(shapes)))
    assert all(y.creator is None for y in outputs)
    assert_close(outputs, reference.lstm(*uniforms(shapes)))


@pytest.mark.parametrize(
    'c, x, message',
    [
        (((3, 5), 'f'), ((4, 20), 'f'), r'x\.shape\[0\] <= c\.shape\[0\]\nActual: 4 > 3'),
        (((3, 5), 'f'), ((3, 19), 'f'), r'x\.shape\[1\] == .*\nActual: 19 != 20'),
        (((3, 5), 'f'), ((3, 5), 'f'), r'x\.shape\[1\] == .*\nActual: 5 != 20'),
        (((3, 5), 'f'), ((3, 20, 1), 'f'), r'ndim == .*ndim'),
        (((3, 5, 1), 'f'), ((3, 20), 'f'), r'ndim == .*ndim'),
        (((3,), 'f'), ((12,), 'f'), r'c\.ndim >= 2'),
        (((3, 5), 'f'), ((3, 20), 'd'), r'x\.dtype == c\.dtype\nActual: float64 != float32'),
        (((3, 5), 'e'), ((3, 20), 'f'), r'x\.dtype == c\.dtype\nActual: float32 != float16'),
        (((3, 5), 'i'), ((3, 20), 'i'), r'c\.dtype\.kind == f\nActual: i != f'),
        (((3, 5, 2), 'f'), ((3, 20, 3), 'f'), r'x\.shape\[2\] == c\.shape\[2\]\nActual: 3 != 2'),
        (((3, 5, 2), 'f'), ((3, 19, 2), 'f'), r'x\.shape\[1\] == .*\nActual: 19 != 20'),
        (((3, 5, 2), 'f'), ((4, 20, 2), 'f'), r'x\.shape\[0\] <= c\.shape\[0\]\nActual: 4 > 3'),
        (((3, 5, 2), 'f'), ((3, 20, 2), 'd'), r'x\.dtype == c\.dtype\nActual: float64 != float32'),
    ],
)
def test_invalid_type(c, x, message):
    arrays = numpy.zeros(*c), numpy.zeros(*x)
    with pytest.raises((type_check.InvalidType, IndexError)):  # IndexError: Chainer, for one axis
        F.lstm(*arrays)
    with pytest.raises(type_check.InvalidType, match=message):
        functions.lstm(*arrays)
