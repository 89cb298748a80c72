"""``links.SequenceLSTM`` of other cells, against loops in float64."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check

from tests.cells import zoneout
from tests.links.cell_cases import CELLS, X, expected, full, make, states
from tests.links.sequence_cases import BATCH, LAYERS, MASKS, TIME
from tests.support.arrays import assert_close, gradients, uniform
from tests.support.engines import CPU_ENGINES
from tests.support.links import UNITS

pytestmark = pytest.mark.pairwise

SHAPES = pytest.mark.parametrize(('n_layers', 'bidirectional'), LAYERS.values(), ids=LAYERS)
GIVEN = pytest.mark.parametrize('given', MASKS.values(), ids=MASKS)


@pytest.fixture(params=CELLS)
def cell(request):
    with chainer.using_config('train', 'evaluation' not in request.param):
        yield CELLS[request.param]


# Values and gradients


@SHAPES
@GIVEN
def test_equals_the_loop(cell, given, n_layers, bidirectional):
    link = full(cell, n_layers=n_layers, bidirectional=bidirectional)
    x, state = X(), states(cell, n_layers * (1 + bidirectional))
    assert_close(link(x, state, **given), expected(link, x, state, **given))
    zeros = [numpy.zeros_like(s) for s in state]
    assert_close(link(x, **given), expected(link, x, zeros, **given))


@SHAPES
@GIVEN
def test_last_output(cell, given, n_layers, bidirectional):
    """Of the last valid step, in the reverse direction of the first: h of the last layer."""
    link = make(cell, n_layers=n_layers, bidirectional=bidirectional, return_state=True)
    y, *state = link(X(), states(cell, n_layers * (1 + bidirectional)), **given)
    h = F.reshape(state[-1], (-1, BATCH, state[-1].shape[-1]))
    assert_close([y], [F.concat(F.separate(h[-link.directions :]), axis=1)])


@pytest.mark.parametrize('name', ['no mask', 'lengths', 'lengths 0', 'holes'])
@pytest.mark.parametrize(
    ('n_layers', 'bidirectional'), [(1, False), (2, True)], ids=['one layer', 'a stack']
)
def test_finite_differences(cell, name, n_layers, bidirectional):
    link = full(cell, n_layers=n_layers, bidirectional=bidirectional)
    inputs = X(), *states(cell, n_layers * (1 + bidirectional))

    def run(x, *state):
        return tuple(F.sin(y) for y in link(x, state[: len(cell.states)], **MASKS[name]))

    gys = [uniform(y.shape, seed=9) for y in run(*inputs)]
    # with nothing but masked steps the weights have no gradient, which is not checked
    params = [] if name == 'lengths 0' else list(link.params())
    gradient_check.check_backward(
        run, inputs, gys, params, dtype='d', eps=1e-4, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize('name', ['no mask', 'holes'])
def test_double_backprop(cell, name):
    link = full(cell, n_layers=2, bidirectional=True)
    inputs = X(), *states(cell, 4)

    def run(x, *state):
        return link(x, state, **MASKS[name])

    gradient_check.check_double_backward(
        run,
        inputs,
        [uniform(y.shape) for y in run(*inputs)],
        [uniform(v.shape, seed=7) for v in inputs],
        dtype='d',
        eps=1e-4,
        atol=1e-5,
        rtol=1e-4,
    )


@GIVEN
def test_gradients_do_not_depend_on_how_they_are_made(cell, given):
    link = full(cell, n_layers=2, bidirectional=True)
    x, *state = inputs = [chainer.Variable(v) for v in (X(), *states(cell, 4))]
    outputs, inputs = link(x, state, **given), [*inputs, *link.params()]
    once = gradients(outputs, inputs)
    assert_close(gradients(outputs, inputs), once)
    assert_close(gradients(outputs, inputs, 2)[: len(once)], once)


@GIVEN
def test_time_first(cell, given):
    link = full(cell, n_layers=2, bidirectional=True)
    y, *state = link(X(), states(cell, 4), **given)
    link.batch_first = False
    swapped, *again = link(X().swapaxes(0, 1), states(cell, 4), **given)
    assert_close([F.transpose(swapped, (1, 0, 2)), *again], [y, *state])


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('name', ['no mask', 'holes'])
def test_dtypes(cell, dtype, name):
    link = full(cell, n_layers=2, bidirectional=True, dtype=dtype)
    x, state = X(dtype), states(cell, 4, dtype)
    outputs = link(x, state, **MASKS[name])
    assert_close(outputs, [y.astype(dtype) for y in expected(link, x, state, **MASKS[name])])
    assert {g.dtype for g in gradients(outputs, list(link.params()))} == {numpy.dtype(dtype)}


@pytest.mark.parametrize('dtype', 'ed')
def test_to_another_dtype(cell, dtype):
    """As programs do it, by casting the arrays of all parameters."""
    link = full(cell, n_layers=2, dtype='f', learn_initial_state=True)
    for param in link.params():
        param.array = param.array.astype(dtype)
        param.cleargrad()
    outputs = link(X(dtype))
    zeros = [numpy.zeros_like(s) for s in states(cell, 2)]
    assert_close(outputs, [y.astype(dtype) for y in expected(link, X(dtype), zeros)])
    sum(F.sum(y) for y in outputs).backward()
    assert {param.grad.dtype for param in link.params()} == {numpy.dtype(dtype)}


@pytest.mark.parametrize('engine', CPU_ENGINES)
def test_engines(cell, engine):
    link, given = full(cell, n_layers=2, bidirectional=True), (X(), states(cell, 4))
    with chainer.using_config('lstm_engine', engine):
        assert_close(link(*given, **MASKS['holes']), expected(link, *given, **MASKS['holes']))


@pytest.mark.parametrize('given', [{}, {'lengths': [0] * BATCH}])
def test_no_steps(cell, given):
    link, state = full(cell, n_layers=2, bidirectional=True), states(cell, 4)
    y = numpy.zeros((BATCH, 0, 2 * cell.width('h', UNITS)))
    assert_close(link(X()[:, :0], state, **given), [y, *state])


def test_empty_batch(cell):
    y, *state = full(cell, bidirectional=True)(X()[:0], lengths=[])
    assert y.shape == (0, TIME, 2 * cell.width('h', UNITS))
    assert [s.shape for s in state] == [(2, 0, cell.width(s, UNITS)) for s in cell.states]


# Dropout and noise


@pytest.mark.parametrize('given', [{}, {'lengths': [3, 1, 0, 5]}])
def test_dropout_between_layers_in_training_only(cell, given):
    link = make(cell, n_layers=2, dropout=0.5)
    with chainer.using_config('train', True):
        assert numpy.abs((link(X(), **given) - link(X(), **given)).array).max() > 1e-3
    with chainer.using_config('train', False):
        first = link(X(), **given)
        link.dropout = 0
        assert_close([link(X(), **given)], [first])


@GIVEN
def test_noise_is_drawn_once(given):
    link = full(zoneout, n_layers=2, bidirectional=True, dropout=0.5)
    x, *state = inputs = [chainer.Variable(v) for v in (X(), *states(zoneout, 4))]
    outputs, inputs = link(x, state, **given), [*inputs, *link.params()]
    drawn = numpy.random.get_state()[2]
    once = gradients(outputs, inputs)
    assert_close(gradients(outputs, inputs), once)
    assert_close(gradients(outputs, inputs, 2)[: len(once)], once)
    assert numpy.random.get_state()[2] == drawn


def test_noise_in_training_only():
    link = make(zoneout)
    assert numpy.abs((link(X()) - link(X())).array).max() > 1e-3
    drawn = numpy.random.get_state()[2]
    with chainer.using_config('train', False):
        assert_close([link(X())], [link(X())])
    assert numpy.random.get_state()[2] == drawn
