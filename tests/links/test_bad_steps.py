"""What steps of links, and their states, refuse."""

import chainer
import pytest
from chainer import initializers
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from tests.links.lstm_cases import step
from tests.support.arrays import zeros
from tests.support.files import with_state
from tests.support.links import INPUT, STATEFUL, UNITS

X = zeros(2, INPUT)
LINKS = [
    (name, state)
    for name in ('LSTM', 'StatefulPeepholeLSTM', 'StatelessLSTM')
    for state in ('fresh', 'deferred', 'with state')
    if (name, state) != ('StatelessLSTM', 'with state')
]
WRONG_X = {
    'a list': ([[0.0, 0.0, 0.0]], TypeError, r'list'),
    'None': (None, TypeError, r'expected x to be an array or a variable, got NoneType'),
    'a number': (1.0, TypeError, r'float'),
    'without data': (
        chainer.Variable(),
        TypeError,
        r'expected x .* got a variable without data',
    ),
    'no axis': (zeros(), InvalidType, r'x\.ndim >= 2.*\nActual: 0 \(shape \(\)\)'),
    'one axis': (zeros(INPUT), InvalidType, r'x\.ndim >= 2.*\nActual: 1 \(shape \(3,\)\)'),
    'integers': (
        zeros(2, INPUT, dtype='i'),
        InvalidType,
        r'x\.dtype\.kind == f\nActual: i \(int32\)',
    ),
    'booleans': (
        zeros(2, INPUT, dtype='?'),
        InvalidType,
        r'x\.dtype\.kind == f\nActual: b \(bool\)',
    ),
    'complex': (
        zeros(2, INPUT, dtype='F'),
        InvalidType,
        r'x\.dtype\.kind == f\nActual: c \(complex64\)',
    ),
    'objects': (
        zeros(2, INPUT, dtype='O'),
        InvalidType,
        r'x\.dtype\.kind == f\nActual: O \(object\)',
    ),
    'no columns': (zeros(2, 0), (InvalidType, ValueError), None),
}
WRONG_WIDTH = {
    'other width': (
        zeros(2, INPUT + 1),
        InvalidType,
        r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 3',
    ),
    'one column': (zeros(2, 1), InvalidType, r'x\.shape\[1\] == W\.shape\[1\]\nActual: 1 != 3'),
    'other width, three axes': (
        zeros(2, 2, 2),
        InvalidType,
        r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 3',
    ),
    'other width, no rows': (
        zeros(0, INPUT + 1),
        InvalidType,
        r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 3',
    ),
}
C = zeros(2, UNITS)
WRONG_STATES = {
    'c a list': ([[0.0] * UNITS], C, TypeError, r'list'),
    'h a number': (C, 0.0, TypeError, r'float'),
    'c without data': (
        chainer.Variable(),
        C,
        TypeError,
        r'expected c .* got a variable without data',
    ),
    'c integers': (
        zeros(2, UNITS, dtype='i'),
        C,
        TypeError,
        r'expected c of a float dtype, got int32',
    ),
    'h integers': (
        C,
        zeros(2, UNITS, dtype='i'),
        TypeError,
        r'expected h of a float dtype, got int32',
    ),
    'c other width': (
        zeros(2, 3),
        C,
        ValueError,
        r'expected c of shape \(batch, 4\), got \(2, 3\)',
    ),
    'h one axis': (
        C,
        zeros(UNITS),
        ValueError,
        r'expected h of shape \(batch, 4\), got \(4,\)',
    ),
    'rows differ': (
        C,
        zeros(3, UNITS),
        ValueError,
        r'expected c and h of one shape, got \(2, 4\) and \(3, 4\)',
    ),
}
WRONG_SAVED_STATES = {
    'None': (None, TypeError, 'expected a dictionary of c and h, got NoneType'),
    'a list': ([], TypeError, 'expected a dictionary of c and h, got list'),
    'other key': (
        {'c': zeros(2, UNITS), 'x': zeros(2)},
        KeyError,
        r"x: expected c and h, got \['c', 'x'\]",
    ),
    'of None': ({'c': None}, TypeError, 'expected c to be an array or a variable, got NoneType'),
    'of strings': (
        {'c': 'a', 'h': 'b'},
        TypeError,
        'expected c to be an array or a variable, got str',
    ),
    'other width': (
        {'c': zeros(2, 5), 'h': zeros(2, 5)},
        ValueError,
        r'expected c of shape .*, got \(2, 5',
    ),
    'other rows': (
        {'c': zeros(2, UNITS), 'h': zeros(3, UNITS)},
        ValueError,
        'expected c and h of one shape',
    ),
    'integers': (
        {'h': zeros(2, UNITS, dtype='i')},
        TypeError,
        'expected h of a float dtype, got int32',
    ),
}


def new(name, state):
    link = getattr(links, name)(None if state == 'deferred' else INPUT, UNITS)
    return with_state(link) if state == 'with state' else link


@pytest.mark.parametrize(('name', 'state'), LINKS)
@pytest.mark.parametrize(('x', 'error', 'message'), WRONG_X.values(), ids=WRONG_X)
def test_x(refuses, name, state, x, error, message):
    link = new(name, state)
    refuses(lambda: step(link, x), error, message, link)


@pytest.mark.parametrize(('name', 'state'), LINKS)
@pytest.mark.parametrize('dtype', 'ed')
def test_x_of_another_dtype(refuses, name, state, dtype):
    link, message = new(name, state), r'dtype == .*\nActual: .*float'
    draws = state == 'deferred'
    refuses(lambda: step(link, X.astype(dtype)), InvalidType, message, link, draws)


@pytest.mark.parametrize(('name', 'state'), [row for row in LINKS if row[1] != 'deferred'])
@pytest.mark.parametrize(('x', 'error', 'message'), WRONG_WIDTH.values(), ids=WRONG_WIDTH)
def test_x_of_another_width(refuses, name, state, x, error, message):
    link = new(name, state)
    refuses(lambda: step(link, x), error, message, link)


@STATEFUL
@pytest.mark.parametrize('state', ['fresh', 'with state'])
@pytest.mark.parametrize(('c', 'h', 'error', 'message'), WRONG_STATES.values(), ids=WRONG_STATES)
def test_set_state(refuses, name, state, c, h, error, message):
    link = new(name, state)
    refuses(lambda: link.set_state(c, h), error, message, link)


@STATEFUL
@pytest.mark.parametrize(
    ('state', 'error', 'message'), WRONG_SAVED_STATES.values(), ids=WRONG_SAVED_STATES
)
def test_load_state(refuses, name, state, error, message):
    link = new(name, 'with state')
    refuses(lambda: link.load_state(state), error, message, link)


@STATEFUL
@pytest.mark.parametrize('in_size', [INPUT, None])
def test_state_of_another_dtype(refuses, name, in_size):
    link, c = getattr(links, name)(in_size, UNITS), zeros(2, UNITS, dtype='d')
    link.set_state(c, c)
    message = r'dtype == x\.dtype\nActual: float64 != float32'
    refuses(lambda: link(X), InvalidType, message, link, draws=in_size is None)


@STATEFUL
def test_larger_batch(refuses, name):
    link = new(name, 'with state')
    message = 'The batch size of x must be equal to or less than .* Expected at most 2, got 3'
    refuses(lambda: link(zeros(3, INPUT)), TypeError, message, link)


def fails(array):
    array[...] = 1
    raise ValueError('this initializer fails')


@pytest.mark.parametrize(
    ('name', 'argument'),
    (
        ('LSTM', 'upward_init'),
        ('LSTM', 'lateral_init'),
        ('LSTM', 'bias_init'),
        ('StatelessLSTM', 'upward_init'),
        ('StatefulPeepholeLSTM', 'upward_init'),
    ),
)
def test_initializer_that_fails(refuses, name, argument):
    link = getattr(links, name)(None, UNITS, **{argument: fails})
    refuses(lambda: step(link, X), ValueError, 'this initializer fails', link, draws=True)


def test_initializer_that_does_not_fit(refuses):
    link = links.LSTM(None, UNITS, upward_init=initializers.Orthogonal(mode='projection'))
    refuses(lambda: link(X), ValueError, 'Cannot make orthogonal projection', link, draws=True)


@pytest.mark.parametrize(
    ('c', 'h'),
    [(zeros(2, 3), None), (None, zeros(3, UNITS)), (zeros(2, UNITS, dtype='d'), None)],
    ids=['c of other width', 'h of another batch', 'c of float64'],
)
def test_state_of_a_deferred_stateless_link(refuses, c, h):
    link = links.StatelessLSTM(None, UNITS)
    refuses(lambda: link(c, h, X), InvalidType, None, link, draws=True)


@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        pytest.param(
            lambda link: link(zeros(1, UNITS), None, X),
            InvalidType,
            r'x\.shape\[0\] <= c\.shape\[0\]\nActual: 2 > 1',
            id='c fewer rows',
        ),
        pytest.param(
            lambda link: link(zeros(2, 3), None, X), InvalidType, '16', id='c other width'
        ),
        pytest.param(
            lambda link: link(zeros(2, UNITS, dtype='d'), None, X),
            InvalidType,
            r'c\.dtype == x\.dtype\nActual: float64 != float32',
            id='c float64',
        ),
        pytest.param(
            lambda link: link([[0.0] * UNITS] * 2, None, X), TypeError, 'list', id='c a list'
        ),
        pytest.param(
            lambda link: link(None, zeros(3, UNITS), X),
            InvalidType,
            r'h\.shape\[0\] == x\.shape\[0\]\nActual: 3 != 2',
            id='h other batch',
        ),
        pytest.param(
            lambda link: link(None, zeros(2, 5), X),
            InvalidType,
            r'h\.shape\[1\] == c\.shape\[1\]\nActual: 5 != 4',
            id='h other width',
        ),
        pytest.param(
            lambda link: link(None, zeros(UNITS), X), InvalidType, r'h\.ndim == 2', id='h one axis'
        ),
        pytest.param(lambda link: link(X), TypeError, 'missing', id='x alone'),
    ],
)
def test_state_of_a_stateless_link(refuses, call, error, message):
    link = links.StatelessLSTM(INPUT, UNITS)
    refuses(lambda: call(link), error, message, link)


@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        pytest.param(lambda link: link(X, X), TypeError, None, id='two inputs'),
        pytest.param(
            lambda link: link.repeat(2, 'again'), ValueError, 'again', id='repeat with unknown mode'
        ),
        pytest.param(
            lambda link: link.copy('again'), ValueError, 'again', id='copy with unknown mode'
        ),
    ],
)
def test_arguments(refuses, call, error, message):
    link = new('LSTM', 'with state')
    refuses(lambda: call(link), error, message, link)
