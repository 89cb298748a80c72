"""``functions.tree_lstm`` and ``slstm`` beside Chainer's, and against a loop in float64."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check
from chainer.utils.type_check import InvalidType

from chainer_lstm import functions
from tests.support import reference
from tests.support.arrays import assert_close, gradients, uniform, uniforms
from tests.support.engines import CPU_ENGINES

B, H = 3, 4
SHAPES = {
    'slstm': [(B, H)] * 2 + [(B, 4 * H)] * 2,
    'tree_lstm': [(B, H)] * 2 + [(B, 5 * H)],
    'tree_lstm 1': [(B, H), (B, 4 * H)],
    'tree_lstm 3': [(B, H)] * 3 + [(B, 6 * H)],
}
NAMES = pytest.mark.parametrize('name', SHAPES)

# of Chainer 7.8.1 and NumPy 1.23: c, h of ``numbers``
RECORDED = {
    'slstm': (
        [(1, 2)] * 2 + [(1, 8)] * 2,
        [[0.28647053241729736, 0.044941246509552]],
        [[0.1703822761774063, 0.007714880630373955]],
    ),
    'tree_lstm': (
        [(1, 2)] * 2 + [(1, 10)],
        [[-0.05017295107245445, -0.08940692245960236]],
        [[-0.03443736582994461, -0.06138303875923157]],
    ),
}


def call(name, module=functions):
    return getattr(module, name.split()[0])


def arrays(name, dtype='d', rest=(), xp=numpy):
    return uniforms([(*shape, *rest) for shape in SHAPES[name]], dtype, xp)


def loop(name, cs, xs):
    """c, h of one number a unit."""
    if name != 'slstm':
        a, i, o, *fs = numpy.split(xs[0], 3 + len(cs), axis=1)
        summands = [(a, i)]
    else:
        (a1, i1, f1, o1), (a2, i2, f2, o2) = ([x[:, g::4] for g in range(4)] for x in xs)
        o, fs, summands = o1 + o2, [f1, f2], [(a1, i1), (a2, i2)]
    c = sum(reference.sigmoid(f) * c for f, c in zip(fs, cs))
    c = c + sum(numpy.tanh(a) * reference.sigmoid(i) for a, i in summands)
    return c, reference.sigmoid(o) * numpy.tanh(c)


@NAMES
@pytest.mark.parametrize('dtype', 'efd')
def test_equals_a_loop(xp, name, dtype):
    given = arrays(name, dtype, xp=xp)
    wide = [chainer.backends.cuda.to_cpu(x).astype('d') for x in given]
    count = -2 if name == 'slstm' else -1
    expected = loop(name, wide[:count], wide[count:])
    assert_close(call(name)(*given), [x.astype(dtype) for x in expected])


@pytest.mark.parametrize('name', RECORDED)
def test_equals_recorded_numbers(name):
    shapes, c, h = RECORDED[name]
    given = [uniform(shape, 'f', seed=k + 1) for k, shape in enumerate(shapes)]
    assert_close(call(name)(*given), numpy.array([c, h], 'f'))


@NAMES
@pytest.mark.parametrize('dtype', 'efd')
def test_gradients_equal_chainer(xp, name, dtype):
    results = []
    for module in (F, functions):
        given = [chainer.Variable(x) for x in arrays(name, dtype, xp=xp)]
        results.append(gradients(call(name, module)(*given), given))
    assert_close(*results)


@NAMES
@pytest.mark.parametrize('rest', [(), (2,), (3, 2)], ids=str)
@pytest.mark.parametrize('engine', CPU_ENGINES)
def test_gradients_of_both_orders(name, rest, engine):
    given = arrays(name, rest=rest)
    of_outputs = [uniform(given[0].shape, seed=k + 20) for k in range(2)]
    of_inputs = [uniform(x.shape, seed=k + 30) for k, x in enumerate(given)]
    with chainer.using_config('lstm_engine', engine):
        gradient_check.check_backward(call(name), given, of_outputs, dtype='d', atol=1e-6)
        gradient_check.check_double_backward(
            call(name), given, of_outputs, of_inputs, dtype='d', atol=1e-6
        )


@NAMES
@pytest.mark.parametrize('wanted', [0, 1], ids=['c alone', 'h alone'])
def test_gradient_of_one_output(name, wanted):
    results = []
    for double in (False, True):
        given = [chainer.Variable(x) for x in arrays(name)]
        y = call(name)(*given)[wanted]
        results.append(chainer.grad([F.sum(y * y)], given, enable_double_backprop=double))
    assert_close(*results)


def test_images_equal_rows():
    """Axes after the units are more rows."""
    c1, c2, x1, x2 = arrays('slstm', rest=(2,))
    c, h = functions.slstm(c1, c2, x1, x2)
    for k in range(2):
        expected = functions.slstm(*(v[:, :, k] for v in (c1, c2, x1, x2)))
        assert_close([c[:, :, k], h[:, :, k]], expected)


@NAMES
def test_inputs_are_not_changed_and_outputs_are_new(name):
    given = arrays(name)
    before = [x.copy() for x in given]
    variables = [chainer.Variable(x) for x in given]
    outputs = call(name)(*variables)
    outputs[1].grad = numpy.ones((B, H))
    outputs[1].backward(retain_grad=True)
    assert_close(given, before)
    again = call(name)(*given)
    assert not any(numpy.shares_memory(y.array, x) for y in again for x in given)


@NAMES
@pytest.mark.parametrize('check', [True, False])
def test_wrong_shapes(name, check):
    error = InvalidType if check else ValueError
    for k, (rows, width) in enumerate(SHAPES[name]):
        for shape in ((1, width), (rows + 1, width), (rows, width + 1), (rows, width, 1), (rows,)):
            given = arrays(name)
            given[k] = numpy.zeros(shape)
            with chainer.using_config('type_check', check), pytest.raises(error):
                call(name)(*given)


@NAMES
def test_wrong_dtypes_and_things(name):
    for k in range(len(SHAPES[name])):
        given = arrays(name)
        for wrong, error in (('f', InvalidType), ('i', InvalidType)):
            with pytest.raises(error):
                call(name)(*given[:k], given[k].astype(wrong), *given[k + 1 :])
        with pytest.raises(TypeError, match='expected .* to be an array or a variable'):
            call(name)(*given[:k], None, *given[k + 1 :])


def test_tree_lstm_needs_a_child():
    for given in ((), (numpy.zeros((2, 4), 'f'),)):
        with pytest.raises(InvalidType, match='size'):
            functions.tree_lstm(*given)


def test_replaced_array_is_refused():
    c = chainer.Variable(numpy.zeros((B, H)))
    y, _ = functions.tree_lstm(c, numpy.zeros((B, 4 * H)))
    c.array = numpy.zeros((1, H))
    with pytest.raises(ValueError, match=r'c1: expected the array of forward'):
        F.sum(y).backward()
