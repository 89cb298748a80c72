"""Arrays of another shape put in the place of weights, states and inputs.

None of them reaches a kernel, neither before a call nor between forward and backward.  Chainer's
checks of types find them or, where these are switched off (``chainer.config.type_check``,
``CHAINER_TYPE_CHECK=0``), the engine, with NumPy's kind of error.
"""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer.utils import type_check

import chainer_lstm.functions
import chainer_lstm.links
from tests.kernels import cases
from tests.support.arrays import uniform, uniforms, variables
from tests.support.links import INPUT, UNITS, pair

pytestmark = pytest.mark.pairwise

ROWS = 5
ERRORS = (ValueError, type_check.InvalidType)
LINKS = (
    'LSTM',
    'StatelessLSTM',
    'StatefulPeepholeLSTM',
    'NStepLSTM',
    'NStepBiLSTM',
    'SequenceLSTM',
)
# a kernel that read so far beyond a small array would leave the memory of the process
LARGE = 3000


@pytest.fixture(params=['numpy', 'native'], autouse=True)
def engine(request):
    if request.param == 'native':
        cases.native_engine('baseline')
    with chainer.using_config('lstm_engine', request.param):
        yield request.param


@pytest.fixture(params=[True, False], ids=['types checked', 'types not checked'])
def _type_check(request):
    with chainer.using_config('type_check', request.param):
        yield


def others(shape):
    """Shapes with one row, column or axis more or less, of length 1, and transposed."""
    found = {shape[::-1], (*shape, 1), (1, *shape), shape[1:], (0,), ()}
    for axis, length in enumerate(shape):
        found |= {
            (*shape[:axis], other, *shape[axis + 1 :]) for other in (0, 1, length - 1, length + 1)
        }
    return sorted(found - {shape})


def links(name):
    """A link of the package and Chainer's, with the same numbers."""
    if name == 'SequenceLSTM':
        return chainer_lstm.links.SequenceLSTM(
            INPUT, UNITS, n_layers=2, return_sequences=True
        ), None
    sizes = (2, INPUT, UNITS, 0.0) if name.startswith('NStep') else (INPUT, UNITS)
    return pair(name, *sizes)[::-1]


def call(link, rows=ROWS):
    """Outputs of two steps, or of a sequence of two."""
    if isinstance(link, chainer.ChainList):
        hy, cy, ys = link(None, None, [uniform((2, INPUT), 'f')] * rows)
        return [hy, cy, *ys]
    if isinstance(link, chainer_lstm.links.SequenceLSTM):
        return [link(uniform((rows, 2, INPUT), 'f'))]
    x = uniform((rows, INPUT), 'f')
    if isinstance(link, chainer.links.StatelessLSTM):
        return list(link(*link(None, None, x), x))
    link.reset_state()
    return [link(x), link(x), link.c]


def parameters(name):
    return [path for path, _ in links(name)[0].namedparams()]


@pytest.mark.usefixtures('_type_check')
@pytest.mark.parametrize(
    ('name', 'path'), [(name, path) for name in LINKS for path in parameters(name)], ids=str
)
def test_a_replaced_weight(name, path, engine):
    """Is an error, or where NumPy broadcasts it and Chainer computes with it, Chainer's numbers."""
    link, chainers = links(name)
    for shape in others(dict(link.namedparams())[path].shape):
        link, chainers = links(name)
        array = uniform(shape, 'f', seed=3)
        dict(link.namedparams())[path].array = array
        try:
            found = call(link)
        except ERRORS:
            continue
        assert engine == 'numpy', shape
        assert not chainer.config.type_check, shape
        dict(chainers.namedparams())[path].array = array
        for actual, expected in zip(found, call(chainers)):
            numpy.testing.assert_allclose(
                actual.array, expected.array, rtol=1e-5, atol=1e-6, err_msg=str(shape)
            )


@pytest.mark.usefixtures('_type_check')
@pytest.mark.parametrize('name', LINKS)
def test_all_weights_of_another_size(name):
    """As if the arrays of a link with more or fewer units, or inputs, were put into this one."""
    sizes = {
        'more units': (INPUT, 3 * UNITS),
        'fewer units': (INPUT, UNITS - 1),
        'more inputs': (INPUT + 1, UNITS),
    }
    for inputs, units in sizes.values():
        link, _ = links(name)
        if name == 'SequenceLSTM':
            other = chainer_lstm.links.SequenceLSTM(inputs, units, n_layers=2)
        else:
            layers = (2,) if name.startswith('NStep') else ()
            other = getattr(chainer_lstm.links, name)(
                *layers, inputs, units, *((0.0,) if layers else ())
            )
        for param, new in zip(link.params(), other.params()):
            param.array = new.array
        with pytest.raises(ERRORS):
            for _ in range(3):
                call(link)


@pytest.mark.parametrize('name', ['NStepLSTM', 'NStepBiLSTM'])
def test_a_replaced_weight_of_n_step_is_named(name):
    """With what was expected and what came."""
    link, _ = links(name)
    for kind in ('ws', 'bs'):
        for k, layer in enumerate(getattr(link, kind)):
            for j, param in enumerate(layer):
                right = param.array
                for shape in others(right.shape):
                    param.array = uniform(shape, 'f')
                    first = (kind, k, j) == ('ws', 0, 0)  # the width of the input is read from it
                    message = (
                        'expected (ws|xs)'
                        if first
                        else (rf'expected {kind}\[{k}\]\[{j}\] of shape .*, got .*')
                    )
                    with pytest.raises(ValueError, match=message):
                        call(link)
                param.array = right
    assert len(call(link)) == 2 + ROWS


def inputs_of(function):
    """Arrays by name for a function, and the outputs of a call with them."""
    shapes = {
        'c': (ROWS, UNITS),
        'h': (ROWS, UNITS),
        'x': (ROWS, INPUT),
        'W': (4 * UNITS, INPUT),
        'b': (4 * UNITS,),
        'U': (4 * UNITS, UNITS),
        'P_i': (UNITS, UNITS),
        'P_f': (UNITS, UNITS),
        'P_o': (UNITS, UNITS),
    }
    if function == 'lstm':
        return {'c': (ROWS, UNITS), 'x': (ROWS, 4 * UNITS)}
    if function == 'linear':
        return {'x': (ROWS, INPUT), 'W': (UNITS, INPUT), 'b': (UNITS,)}
    if function == 'lstm_step':
        return {name: shape for name, shape in shapes.items() if not name.startswith('P')}
    if function == 'peephole_lstm_step':
        return shapes
    layer = {name: shape for name, shape in shapes.items() if name in 'WbU'}
    return {'hx': (1, ROWS, UNITS), 'cx': (1, ROWS, UNITS), 'xs': (3, ROWS, INPUT), **layer}


FUNCTIONS = ('lstm', 'linear', 'lstm_step', 'peephole_lstm_step', 'lstm_sequence')


def run(function, inputs):
    if function == 'lstm_sequence':
        hx, cx, xs, *weights = inputs.values()
        return chainer_lstm.functions.lstm_sequence(hx, cx, xs, [weights])
    found = getattr(chainer_lstm.functions, function)(*inputs.values())
    return found if isinstance(found, tuple) else (found,)


def given(function):
    shapes = inputs_of(function)
    return dict(zip(shapes, variables(uniforms(shapes.values(), 'f'))))


@pytest.mark.parametrize('function', FUNCTIONS)
def test_types_that_are_not_checked(function, engine):
    """Wrong shapes are a ValueError, except where NumPy's engine broadcasts as Chainer does."""
    with chainer.using_config('type_check', False):
        for name, right in inputs_of(function).items():
            for shape in others(right):
                wrong = {**given(function), name: chainer.Variable(uniform(shape, 'f'))}
                to_chainer = function == 'linear' and name == 'x' and len(shape) != 2
                if (
                    is_fine(function, name, shape, right)
                    or to_chainer
                    or (engine == 'numpy' and (1 in shape or len(shape) < len(right)))
                ):
                    call_or_refuse(function, wrong)
                    continue
                with pytest.raises(ValueError):
                    run(function, wrong)
                    pytest.fail(f'{name} of shape {shape} was computed with')


def is_fine(function, name, shape, right):
    """Whether the shape is allowed: states may have more rows than x."""
    ends = len(shape) == len(right) and shape[-1] == right[-1]
    if function == 'lstm_sequence':
        return name == 'xs' and ends
    if name == 'c' or (function == 'lstm' and name == 'x'):
        return ends and (shape[0] > right[0]) == (name == 'c')
    return function == 'linear' and name == 'x' and ends


def call_or_refuse(function, inputs):
    """Compute outputs and gradients of both orders; only the usual errors may be raised."""
    try:
        outputs = run(function, inputs)
        loss = sum(F.sum(y) for y in outputs)
        for double in False, True:
            chainer.grad([loss], list(inputs.values()), enable_double_backprop=double)
    except (
        *ERRORS,
        IndexError,
    ):  # IndexError: of Chainer's own linear, which gets inputs of other axes
        assert chainer.config.lstm_engine


@pytest.mark.usefixtures('_type_check')
@pytest.mark.parametrize('double', [False, True], ids=['gradients', 'second gradients'])
@pytest.mark.parametrize('function', FUNCTIONS)
def test_replaced_between_forward_and_backward(function, double):
    for name, right in inputs_of(function).items():
        for shape in others(right):
            inputs = given(function)
            outputs = run(function, inputs)
            right_array, inputs[name].array = inputs[name].array, uniform(shape, 'f')
            name_in_function = {
                'lstm_sequence': {
                    'xs': 'x',
                    'W': r'weights\[0\]\[0\]',
                    'b': r'weights\[0\]\[1\]',
                    'U': r'weights\[0\]\[2\]',
                }
            }.get(function, {}).get(name, name)
            for y in outputs[name == 'P_o' :]:  # c is no function of P_o
                with pytest.raises(
                    ValueError,
                    match=f'{name_in_function}: expected the array of forward, of shape .* '
                    'replaced since|Shapes of inputs and gradients',
                ):
                    chainer.grad(
                        [y],
                        list(inputs.values()),
                        [chainer.Variable(numpy.ones_like(y.array))],
                        enable_double_backprop=double,
                    )
            inputs[name].array = right_array
            assert all(
                g is not None
                for g in chainer.grad(
                    list(outputs),
                    list(inputs.values()),
                    [chainer.Variable(numpy.ones_like(y.array)) for y in outputs],
                )
            )


@pytest.mark.parametrize('name', LINKS)
def test_weights_replaced_between_forward_and_backward(name):
    for path in parameters(name):
        for shape in others(dict(links(name)[0].namedparams())[path].shape):
            link, _ = links(name)
            outputs = call(link)
            dict(link.namedparams())[path].array = uniform(shape, 'f')
            link.cleargrads()
            with pytest.raises(ERRORS):
                sum(F.sum(y) for y in outputs).backward()


@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('rows', [LARGE, ROWS])
def test_states_replaced_between_forward_and_backward(name, rows):
    """The state that a step began with, and that it ended with."""
    for which in ('c', 'h'):
        for when in range(2):
            for shape in others((rows, UNITS)):
                link, _ = links(name)
                x = chainer.Variable(uniform((rows, INPUT), 'f'))
                link(x)
                states = [getattr(link, which)]
                y = link(x)
                states.append(getattr(link, which))
                states[when].array = uniform(shape, 'f')
                link.cleargrads()
                try:
                    loss = F.sum(y * y) + F.sum(link.c)
                    loss.backward()
                except ERRORS:
                    continue
                assert (which, when) == ('h', 1), (
                    shape
                )  # which is y: nothing is computed from it again


@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
def test_states_replaced_between_steps(name):
    for which in ('c', 'h'):
        for shape in others((ROWS, UNITS)):
            link, _ = links(name)
            x = uniform((ROWS, INPUT), 'f')
            link(x)
            getattr(link, which).array = uniform(shape, 'f')
            if shape == (ROWS + 1, UNITS):  # more rows than x has are carried
                link(x)
                continue
            with pytest.raises((*ERRORS, TypeError)):
                link(x)


def test_targets_replaced_between_forward_and_backward():
    for double in False, True:
        for which, right in enumerate([(ROWS, UNITS), (ROWS,)]):
            for shape in others(right):
                given = [
                    chainer.Variable(uniform((ROWS, UNITS), 'f')),
                    chainer.Variable(numpy.zeros(ROWS, 'i'), requires_grad=False),
                ]
                loss = chainer_lstm.functions.softmax_cross_entropy(*given, reduce='no')
                given[which].array = numpy.zeros(shape, given[which].dtype)
                with pytest.raises(ValueError, match='expected the array of forward'):
                    chainer.grad(
                        [loss],
                        given[:1],
                        [chainer.Variable(numpy.ones(ROWS, 'f'))],
                        enable_double_backprop=double,
                    )
