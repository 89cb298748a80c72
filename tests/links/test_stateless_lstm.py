"""``links.StatelessLSTM`` beside ``chainer.links.StatelessLSTM``;
its constructor and copies are in ``test_lstm``.
"""

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm import links
from tests.support import reference
from tests.support.arrays import DTYPES, assert_close, gradients, uniforms, variables
from tests.support.links import INPUT, UNITS, pair

pytestmark = pytest.mark.pairwise

# rows of c, rows of h, shape of x
SHAPES = {
    'same batch': (3, 3, (3, INPUT)),
    'first step': (None, None, (3, INPUT)),
    'c none': (None, 3, (3, INPUT)),
    'h none': (3, None, (3, INPUT)),
    'more rows of c': (4, 2, (2, INPUT)),
    'more rows of c, h none': (4, None, (2, INPUT)),
    'one row of x': (4, 3, (1, INPUT)),
    'one row of h': (3, 1, (3, INPUT)),
    'batch 0': (3, 0, (0, INPUT)),
    'no rows at all': (0, 0, (0, INPUT)),
    'x of three axes': (2, 2, (2, 1, INPUT)),
    'x of four axes': (None, None, (2, INPUT, 1, 1)),
}


def arrays_of(shapes, dtype='f', xp=numpy):
    """c, h, x, each an array or None."""
    c, h, x = shapes
    arrays = uniforms([(c or 0, UNITS), (h or 0, UNITS), x], dtype, xp)
    return [None if rows is None else array for rows, array in zip(shapes, arrays)]


def outputs_and_gradients(link, arrays, order=1):
    c, h, x = (None if array is None else chainer.Variable(array) for array in arrays)
    outputs = link(c, h, x)
    assert isinstance(outputs, tuple)
    return [
        *outputs,
        *gradients(outputs, [v for v in (c, h, x, *link.params()) if v is not None], order),
    ]


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def shapes(request):
    return request.param


@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_step_equals_chainer(xp, shapes, dtype):
    with chainer.using_config('dtype', dtype):
        theirs, ours = pair('StatelessLSTM', INPUT, UNITS, xp=xp)
        arrays = arrays_of(shapes, chainer.get_dtype(), xp)
        expected = outputs_and_gradients(theirs, arrays)
        assert_close(outputs_and_gradients(ours, arrays), expected)


def test_second_gradients_equal_chainer(xp, shapes):
    with chainer.using_config('dtype', numpy.float64):
        theirs, ours = pair('StatelessLSTM', INPUT, UNITS, xp=xp)
        arrays = arrays_of(shapes, 'd', xp)
        expected = outputs_and_gradients(theirs, arrays, order=2)
        assert_close(outputs_and_gradients(ours, arrays, order=2), expected)


def test_step_equals_reference(shapes):
    with chainer.using_config('dtype', numpy.float64):
        link = pair('StatelessLSTM', INPUT, UNITS)[1]
    c, h, x = arrays_of(shapes, 'd')
    expected = reference.lstm_step(
        numpy.zeros((len(x), UNITS)) if c is None else c,
        h,
        x.reshape(len(x), INPUT),
        link.upward.W.array,
        link.upward.b.array,
        link.lateral.W.array,
    )
    assert_close(link(c, h, x), expected)


@pytest.mark.parametrize('x', [(3, INPUT), (2, 2, 2), (0, INPUT)], ids=str)
@pytest.mark.parametrize('sizes', [(UNITS,), (None, UNITS)], ids=['out_size alone', 'in_size None'])
def test_deferred_link_takes_the_size_of_its_first_input(sizes, x):
    link = links.StatelessLSTM(*sizes)
    c, h = link(None, None, uniforms([x], 'f')[0])
    assert c.shape == h.shape == (x[0], UNITS)
    assert link.upward.W.shape == (4 * UNITS, int(numpy.prod(x[1:])))
    assert link.upward.W.array.any() and link.lateral.W.array.any()


def test_steps_in_a_loop_equal_chainer():
    """Sequences sorted by length, c carried whole."""
    both = pair('StatelessLSTM', INPUT, UNITS)
    results = []
    for link in both:
        xs = variables(uniforms([(batch, INPUT) for batch in (4, 4, 2, 1)], 'f'))
        c = h = None
        outputs = []
        for x in xs:
            c, h = link(c, None if h is None else h[: len(x)], x)
            outputs += [c, h]
        results.append([*outputs, *gradients(outputs, [*link.params(), *xs])])
    assert_close(results[1], results[0])


def test_no_state_is_kept():
    link = links.StatelessLSTM(INPUT, UNITS)
    arrays = arrays_of(SHAPES['same batch'])
    before = set(vars(link))
    first = link(*arrays)
    assert set(vars(link)) == before
    assert_close(link(*arrays), first)


def test_a_step_is_one_node():
    link = links.StatelessLSTM(INPUT, UNITS)
    c, _ = link(*arrays_of(SHAPES['same batch']))
    assert c.creator.label == 'LSTMStep'


def test_replaced_child_is_used():
    theirs, ours = pair('StatelessLSTM', INPUT, UNITS)
    calls = []

    class Negative(chainer.links.Linear):
        def forward(self, x):
            calls.append(x)
            return -super().forward(x)

    arrays = arrays_of(SHAPES['more rows of c'])
    results = []
    for link in (theirs, ours):
        numpy.random.seed(3)
        link.lateral = Negative(UNITS, 4 * UNITS, nobias=True)
        results.append(outputs_and_gradients(link, arrays))
    assert_close(results[1], results[0])
    assert len(calls) == 2


def test_no_backprop_mode(shapes):
    link = links.StatelessLSTM(INPUT, UNITS)
    arrays = arrays_of(shapes)
    expected = link(*arrays)
    with chainer.no_backprop_mode():
        actual = link(*arrays)
    assert_close(actual, expected)
    assert all(y.creator is None for y in actual)


def test_gradient_of_h_alone(shapes):
    theirs, ours = pair('StatelessLSTM', INPUT, UNITS)
    results = []
    for link in (theirs, ours):
        link.cleargrads()
        _, h = link(*arrays_of(shapes))
        F.sum(h).backward()
        results.append([p.grad for p in link.params()])
    assert_close(results[1], results[0])
