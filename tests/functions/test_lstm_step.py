"""``lstm_step`` and ``peephole_lstm_step``: one node, against the reference loop and against
Chainer's functions.
"""

import functools
from types import SimpleNamespace

import chainer
import numpy
import pytest
from chainer import gradient_check
from chainer.backends import cuda
from chainer.utils import type_check

from chainer_lstm import functions
from tests.support import composed, reference
from tests.support.arrays import LAYOUTS, assert_close, gradients, uniforms, variables, weighted_sum

pytestmark = pytest.mark.pairwise

INPUT, UNITS = 3, 4
# rows of c, rows of x
BATCHES = {
    'same batch': (3, 3),
    'shrinking batch': (4, 2),
    'batch 0': (3, 0),
    'no rows at all': (0, 0),
}
OUTPUTS = {'c and h': (0, 1), 'gh none': (0,), 'gc none': (1,)}


STEPS = [
    SimpleNamespace(
        name='lstm',
        function=functions.lstm_step,
        reference=reference.lstm_step,
        composed=composed.lstm_step,
        peepholes=0,
    ),
    SimpleNamespace(
        name='peephole',
        function=functions.peephole_lstm_step,
        reference=reference.peephole_step,
        composed=composed.peephole_lstm_step,
        peepholes=3,
    ),
]


@pytest.fixture(params=STEPS, ids=lambda step: step.name)
def step(request):
    return request.param


@pytest.fixture(params=BATCHES.values(), ids=BATCHES.keys())
def shapes(request, step):
    return shapes_of(step, *request.param)


def shapes_of(step, rows, batch):
    """c, h, x, W, b, U and the peepholes."""
    return [
        (rows, UNITS),
        (batch, UNITS),
        (batch, INPUT),
        (4 * UNITS, INPUT),
        (4 * UNITS,),
        (4 * UNITS, UNITS),
        *[(UNITS, UNITS)] * step.peepholes,
    ]


def without_h(function):
    """The function of all its arguments but h and U, which is a first step."""

    def first_step(c, x, W, b, *peepholes):
        return function(c, None, x, W, b, None, *peepholes)

    return first_step


def first_step_arrays(arrays):
    c, _, x, W, b, _, *peepholes = arrays
    return [c, x, W, b, *peepholes]


def outputs_and_gradients(function, arrays, outputs=(0, 1), order=1):
    inputs = variables(arrays)
    ys = function(*inputs)
    ys = [ys[k] for k in outputs]
    return [*ys, *gradients(ys, inputs, order)]


@pytest.mark.parametrize('dtype', 'efd')
def test_forward_equals_reference(xp, step, shapes, dtype):
    expected = step.reference(*uniforms(shapes, dtype))
    assert_close(step.function(*uniforms(shapes, dtype, xp)), [y.astype(dtype) for y in expected])


def test_forward_h_none(xp, step, shapes):
    c, _, x, W, b, U, *peepholes = uniforms(shapes)
    expected = step.reference(c, None, x, W, b, U, *peepholes)
    arrays = (None if y is None else xp.asarray(y) for y in (c, None, x, W, b, U, *peepholes))
    assert_close(step.function(*arrays), expected)


@pytest.mark.parametrize('outputs', OUTPUTS.values(), ids=OUTPUTS.keys())
@pytest.mark.parametrize('order', [1, 2])
@pytest.mark.parametrize('dtype', 'fd')
def test_gradients_equal_chainer(xp, step, shapes, dtype, order, outputs):
    arrays = uniforms(shapes, dtype, xp)
    expected = outputs_and_gradients(step.composed, arrays, outputs, order)
    assert_close(outputs_and_gradients(step.function, arrays, outputs, order), expected)


@pytest.mark.parametrize('order', [1, 2])
def test_gradients_h_none_equal_chainer(xp, step, order):
    arrays = first_step_arrays(uniforms(shapes_of(step, 4, 2), xp=xp))
    expected = outputs_and_gradients(without_h(step.composed), arrays, order=order)
    assert_close(outputs_and_gradients(without_h(step.function), arrays, order=order), expected)


def _with_last(function, last, *arrays):
    return function(*arrays, last)


@pytest.mark.parametrize('outputs', OUTPUTS.values(), ids=OUTPUTS.keys())
@pytest.mark.parametrize('h', [True, False], ids=['h', 'h none'])
def test_backward_finite_differences(xp, step, shapes, outputs, h):
    def function(*arrays):
        ys = (step.function if h else without_h(step.function))(*arrays)
        return tuple(ys[k] for k in outputs)

    arrays = uniforms(shapes, xp=xp)
    arrays = tuple(arrays if h else first_step_arrays(arrays))
    if step.peepholes and outputs == (0,):  # c is no function of P_o
        *arrays, P_o = arrays
        function = functools.partial(_with_last, function, P_o)
    gys = tuple(uniforms([y.shape for y in function(*arrays)], xp=xp))
    gradient_check.check_backward(function, arrays, gys, dtype='d', atol=1e-5, rtol=1e-5)
    gradient_check.check_double_backward(
        function, arrays, gys, arrays, dtype='d', atol=1e-4, rtol=1e-4
    )


def test_backward_is_the_same_when_differentiable(xp, step, shapes):
    arrays = uniforms(shapes, xp=xp)
    once = outputs_and_gradients(step.function, arrays)
    assert_close(outputs_and_gradients(step.function, arrays, order=2)[: len(once)], once)


class CalledFunctions(chainer.FunctionHook):
    """The names of the functions that compute forward."""

    name = 'CalledFunctions'

    def __init__(self):
        self.called = set()

    def forward_preprocess(self, function, in_data):
        self.called.add(function.label)


@pytest.mark.parametrize('again', [False, True], ids=['once', 'to be differentiated again'])
def test_backward_computes_the_step_anew_only_to_be_differentiated_again(step, again):
    inputs = variables(uniforms(shapes_of(step, 3, 3)))
    loss = weighted_sum(step.function(*inputs))
    with CalledFunctions() as hook:
        loss.backward(enable_double_backprop=again)
    assert ('Tanh' in hook.called) == again


def test_float16_is_not_rounded_between_the_halves_of_a_peephole_step():
    """A gradient of o that is denormal in float16 reaches the weights, of float32, with the
    exactness of float32.
    """
    shapes = [(3, UNITS), (3, INPUT), (4 * UNITS, INPUT), (4 * UNITS,), *[(UNITS, UNITS)] * 3]
    arrays = uniforms(shapes, 'e')
    arrays[2] = arrays[2].astype('f')
    found = []
    for function, dtype in (
        (functions.peephole_lstm_step, None),
        (composed.peephole_lstm_step, 'd'),
    ):
        c, x, W, b, *peepholes = variables([array.astype(dtype or array.dtype) for array in arrays])
        _, h = function(c, None, x, W, b, None, *peepholes)
        (gW,) = chainer.grad(
            [h], [W], [chainer.Variable(numpy.full(h.shape, 2e-6, 'e').astype(h.dtype))]
        )
        found.append(gW.array[3::4])  # of o
    numpy.testing.assert_allclose(*found, rtol=5e-3)


def test_float16_no_worse_than_chainer(xp, step):
    """On average over outputs and gradients; of a single one, of 16 numbers, it would be a matter
    of chance.
    """
    shapes = shapes_of(step, 40, 40)
    exact = outputs_and_gradients(step.composed, [x.astype('d') for x in uniforms(shapes, 'e')])
    arrays = uniforms(shapes, 'e', xp)
    ours, theirs = (
        outputs_and_gradients(function, arrays) for function in (step.function, step.composed)
    )
    assert {x.dtype.char for x in ours} == {'e'}
    errors, allowed = (
        [abs(cuda.to_cpu(y.array) - right.array).mean() for y, right in zip(ys, exact)]
        for ys in (ours, theirs)
    )
    assert numpy.divide(errors, allowed).mean() <= 1


@pytest.mark.parametrize('order', [1, 2])
@pytest.mark.parametrize(
    'dtypes', ['ef', 'ed', 'fe', 'fd', 'de', 'df'], ids=lambda dtypes: ' '.join(dtypes)
)
def test_matrices_of_another_dtype(xp, step, dtypes, order):
    """Outputs have the dtype of x, gradients that of their input, as Chainer's Linear has it."""

    def arrays(xp=numpy):
        outer, inner = dtypes
        return [
            x.astype(inner if k == 3 or k >= 5 else outer)
            for k, x in enumerate(uniforms(shapes_of(step, 4, 3), 'e', xp))
        ]

    expected = outputs_and_gradients(step.composed, [x.astype('d') for x in arrays()], order=order)
    actual = outputs_and_gradients(step.function, arrays(xp), order=order)
    chainers = outputs_and_gradients(step.composed, arrays(xp), order=order)
    assert [x.dtype for x in actual] == [x.dtype for x in chainers]
    for a, e in zip(actual, expected):
        tolerance = 2e-5 if 'e' not in dtypes else 1e-2
        numpy.testing.assert_allclose(cuda.to_cpu(a.array), e.array, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('layout', LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize('order', [1, 2])
def test_non_contiguous_inputs(xp, step, layout, order):
    arrays = uniforms(shapes_of(step, 4, 3), xp=xp)
    placed = [layout(xp, x) if x.ndim > 1 else x.repeat(2)[::2] for x in arrays]
    expected = outputs_and_gradients(step.function, arrays, order=order)
    assert_close(outputs_and_gradients(step.function, placed, order=order), expected)


def test_read_only_inputs(step, shapes):
    arrays = uniforms(shapes)
    expected = outputs_and_gradients(step.function, arrays, order=2)
    for x in arrays:
        x.flags.writeable = False
    assert_close(outputs_and_gradients(step.function, arrays, order=2), expected)


def test_inputs_are_not_changed(xp, step, shapes):
    arrays = uniforms(shapes, xp=xp)
    outputs_and_gradients(step.function, arrays, order=2)
    assert_close(arrays, uniforms(shapes))


def test_gradient_by_each_input_alone(step):
    arrays = uniforms(shapes_of(step, 4, 3))
    expected = outputs_and_gradients(step.function, arrays)[2:]
    for k, gradient in enumerate(expected):
        inputs = variables(arrays)
        assert_close(gradients(step.function(*inputs), [inputs[k]]), [gradient])


def test_inputs_that_require_no_gradient(step):
    arrays = uniforms(shapes_of(step, 4, 3))
    expected = outputs_and_gradients(step.function, arrays)[2:]
    inputs = [x if k % 2 else chainer.Variable(x) for k, x in enumerate(arrays)]
    weighted_sum(step.function(*inputs)).backward()
    assert_close([x.grad for x in inputs[::2]], expected[::2])


def test_batch_0_gives_zero_gradients_of_weights(step):
    arrays = uniforms(shapes_of(step, 3, 0))
    _, _, _, *by_inputs = outputs_and_gradients(step.function, arrays)
    for x, gradient in zip(arrays[3:], by_inputs[2:]):
        numpy.testing.assert_array_equal(gradient.array, numpy.zeros_like(x))


def test_no_backprop_mode(step):
    arrays = uniforms(shapes_of(step, 4, 3))
    with chainer.no_backprop_mode():
        outputs = step.function(*variables(arrays))
    assert all(y.creator is None for y in outputs)
    assert_close(outputs, step.reference(*arrays))


# position of the argument, its shape and dtype, message
INVALID = {
    'c more than two axes': (0, (3, UNITS, 1), 'f', r'c\.ndim == 2'),
    'c one axis': (0, (UNITS,), 'f', r'c\.ndim == 2'),
    'c other width': (0, (3, UNITS + 1), 'f', r'W\.shape\[0\] == '),
    'c fewer rows': (0, (2, UNITS), 'f', r'x\.shape\[0\] <= c\.shape\[0\]\nActual: 3 > 2'),
    'c other dtype': (0, (3, UNITS), 'd', r'c\.dtype == x\.dtype\nActual: float64 != float32'),
    'h other width': (1, (3, UNITS - 1), 'f', r'h\.shape\[1\] == c\.shape\[1\]\nActual: 3 != 4'),
    'h other batch': (1, (2, UNITS), 'f', r'h\.shape\[0\] == x\.shape\[0\]\nActual: 2 != 3'),
    'h one row': (1, (1, UNITS), 'f', r'h\.shape\[0\] == x\.shape\[0\]\nActual: 1 != 3'),
    'h other dtype': (1, (3, UNITS), 'e', r'h\.dtype == x\.dtype\nActual: float16 != float32'),
    'h one axis': (1, (UNITS,), 'f', r'h\.ndim == 2'),
    'x other width': (2, (3, INPUT + 1), 'f', r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 3'),
    'x one axis': (2, (INPUT,), 'f', r'x\.ndim == 2'),
    'x three axes': (2, (3, INPUT, 1), 'f', r'x\.ndim == 2'),
    'x of integers': (2, (3, INPUT), 'i', r'x\.dtype\.kind == f'),
    'W other height': (3, (3 * UNITS, INPUT), 'f', r'W\.shape\[0\] == '),
    'W of integers': (3, (4 * UNITS, INPUT), 'i', r'W\.dtype\.kind == f'),
    'W one axis': (3, (4 * UNITS,), 'f', r'W\.ndim == 2'),
    'b too short': (4, (UNITS,), 'f', r'b\.shape\[0\] == W\.shape\[0\]\nActual: 4 != 16'),
    'b one element': (4, (1,), 'f', r'b\.shape\[0\] == W\.shape\[0\]\nActual: 1 != 16'),
    'b two axes': (4, (1, 4 * UNITS), 'f', r'b\.ndim == 1'),
    'b other dtype': (4, (4 * UNITS,), 'd', r'b\.dtype == x\.dtype\nActual: float64 != float32'),
    'U transposed': (
        5,
        (UNITS, 4 * UNITS),
        'f',
        r'U\.shape\[0\] == W\.shape\[0\]\nActual: 4 != 16',
    ),
    'U other width': (5, (4 * UNITS, 1), 'f', r'U\.shape\[1\] == c\.shape\[1\]\nActual: 1 != 4'),
    'U of integers': (5, (4 * UNITS, UNITS), 'i', r'U\.dtype\.kind == f'),
}
INVALID_PEEPHOLE = {
    'P_i one column': (6, (UNITS, 1), 'f', r'P_i\.shape\[1\] == c\.shape\[1\]\nActual: 1 != 4'),
    'P_f a vector': (7, (UNITS,), 'f', r'P_f\.ndim == 2'),
    'P_f one row': (7, (1, UNITS), 'f', r'P_f\.shape\[0\] == c\.shape\[1\]\nActual: 1 != 4'),
    'P_o of integers': (8, (UNITS, UNITS), 'i', r'P_o\.dtype\.kind == f'),
}


@pytest.mark.parametrize(
    'step, position, shape, dtype, message',
    [
        *(
            pytest.param(step, *row, id=f'{step.name}: {name}')
            for step in STEPS
            for name, row in INVALID.items()
        ),
        *(
            pytest.param(STEPS[1], *row, id=f'peephole: {name}')
            for name, row in INVALID_PEEPHOLE.items()
        ),
    ],
)
def test_invalid_type(step, position, shape, dtype, message):
    arrays = uniforms(shapes_of(step, 3, 3), 'f')
    arrays[position] = numpy.zeros(shape, dtype)
    with pytest.raises(type_check.InvalidType, match=message):
        step.function(*arrays)


@pytest.mark.parametrize(
    'name, shape',
    [
        ('c', (1, UNITS)),
        ('c', (UNITS,)),
        ('h', (UNITS,)),
        ('x', (1, INPUT)),
        ('x', (INPUT,)),
        ('x', (4, INPUT)),
        ('W', (INPUT,)),
        ('b', ()),
        ('U', (UNITS,)),
    ],
)
def test_shapes_without_type_checks(step, name, shape):
    """NumPy would broadcast them to numbers of other shapes."""
    arrays = uniforms(shapes_of(step, 3, 3), 'f')
    position = ('c', 'h', 'x', 'W', 'b', 'U').index(name)
    arrays[position] = numpy.resize(arrays[position], shape)
    with (
        chainer.using_config('type_check', False),
        chainer.using_config('lstm_engine', 'numpy'),
        pytest.raises(ValueError, match='expected'),
    ):
        step.function(*arrays)


@pytest.mark.parametrize(
    'c, x',
    [((2, 2), (2, 4)), ((1, 1), (2, 4)), ((1,), (1, 4)), ((1, 1), (4,)), ((1, 1), (1, 4, 1))],
)
def test_shapes_of_lstm_without_type_checks(c, x):
    arrays = uniforms([c, x], 'f')
    with (
        chainer.using_config('type_check', False),
        chainer.using_config('lstm_engine', 'numpy'),
        pytest.raises(ValueError, match='expected'),
    ):
        functions.lstm(*arrays)
