"""Steps of links with and without a state."""

import chainer
from chainer import initializers
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from tests.bad_input.rows import Row, deferred, fresh, started, zeros
from tests.support.links import INPUT, UNITS


def fails(array):
    array[...] = 1
    raise ValueError('this initializer fails')


def of_inputs():
    """What is no batch of inputs, to every link that takes one, with a state, without,
    and before its first input.
    """
    wrong = {
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
        'float64': (zeros(2, INPUT, dtype='d'), InvalidType, r'dtype == .*\nActual: .*float'),
        'float16': (zeros(2, INPUT, dtype='e'), InvalidType, r'dtype == .*\nActual: .*float'),
        'no columns': (zeros(2, 0), (InvalidType, ValueError), None),
    }
    wrong_width = {
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
    for name in ('LSTM', 'StatefulPeepholeLSTM', 'StatelessLSTM'):
        makers = {'': fresh(name), ' deferred': deferred(name)}
        if name != 'StatelessLSTM':
            makers[' with state'] = started(name)
        for state, make in makers.items():
            for what, (x, error, message) in {
                **wrong,
                **({} if state == ' deferred' else wrong_width),
            }.items():
                yield (
                    f'{name}{state}, x {what}',
                    make,
                    lambda link, x=x: (
                        link(None, None, x) if isinstance(link, links.StatelessLSTM) else link(x)
                    ),
                    error,
                    message,
                    state == ' deferred' and what in ('float64', 'float16'),
                )


def of_states():
    """What is no state, to both links with one and from Stateless's arguments."""
    c = zeros(2, UNITS)
    wrong = {
        'c a list': ([[0.0] * UNITS], c, TypeError, r'list'),
        'h a number': (c, 0.0, TypeError, r'float'),
        'c without data': (
            chainer.Variable(),
            c,
            TypeError,
            r'expected c .* got a variable without data',
        ),
        'c integers': (
            zeros(2, UNITS, dtype='i'),
            c,
            TypeError,
            r'expected c of a float dtype, got int32',
        ),
        'h integers': (
            c,
            zeros(2, UNITS, dtype='i'),
            TypeError,
            r'expected h of a float dtype, got int32',
        ),
        'c other width': (
            zeros(2, 3),
            c,
            ValueError,
            r'expected c of shape \(batch, 4\), got \(2, 3\)',
        ),
        'h one axis': (
            c,
            zeros(UNITS),
            ValueError,
            r'expected h of shape \(batch, 4\), got \(4,\)',
        ),
        'rows differ': (
            c,
            zeros(3, UNITS),
            ValueError,
            r'expected c and h of one shape, got \(2, 4\) and \(3, 4\)',
        ),
    }
    for name in ('LSTM', 'StatefulPeepholeLSTM'):
        for what, (c_new, h_new, error, message) in wrong.items():
            for state, make in (('', fresh(name)), (' with state', started(name))):
                yield (
                    f'{name}{state} set_state {what}',
                    make,
                    lambda link, c=c_new, h=h_new: link.set_state(c, h),
                    error,
                    message,
                )


def with_float64_state(name, in_size):
    link = getattr(links, name)(in_size, UNITS)
    link.set_state(zeros(2, UNITS, dtype='d'), zeros(2, UNITS, dtype='d'))
    return link


X = zeros(2, INPUT)
ROWS = [
    Row(*row)
    for row in [
        *of_inputs(),
        *of_states(),
        *(
            (
                f'{name} larger batch',
                started(name),
                lambda link: link(zeros(3, INPUT)),
                TypeError,
                'The batch size of x must be equal to or less than .* Expected at most 2, got 3',
            )
            for name in ('LSTM', 'StatefulPeepholeLSTM')
        ),
        *(
            (
                f'{name} deferred, {argument} fails',
                deferred(name, **{argument: fails}),
                lambda link: (
                    link(None, None, X) if isinstance(link, links.StatelessLSTM) else link(X)
                ),
                ValueError,
                'this initializer fails',
                True,
            )
            for name, argument in (
                ('LSTM', 'upward_init'),
                ('LSTM', 'lateral_init'),
                ('LSTM', 'bias_init'),
                ('StatelessLSTM', 'upward_init'),
                ('StatefulPeepholeLSTM', 'upward_init'),
            )
        ),
        (
            'LSTM deferred, Orthogonal does not fit',
            deferred('LSTM', upward_init=initializers.Orthogonal(mode='projection')),
            lambda link: link(X),
            ValueError,
            'Cannot make orthogonal projection',
            True,
        ),
        *(
            (
                f'StatelessLSTM deferred, {name}',
                deferred('StatelessLSTM'),
                lambda link, c=c, h=h: link(c, h, X),
                InvalidType,
                None,
                True,
            )
            for name, c, h in (
                ('c other width', zeros(2, 3), None),
                ('h other batch', None, zeros(3, UNITS)),
                ('c float64', zeros(2, UNITS, dtype='d'), None),
            )
        ),
        ('LSTM two inputs', started('LSTM'), lambda link: link(X, X), TypeError, None),
        (
            'StatelessLSTM c fewer rows',
            fresh('StatelessLSTM'),
            lambda link: link(zeros(1, UNITS), None, X),
            InvalidType,
            r'x\.shape\[0\] <= c\.shape\[0\]\nActual: 2 > 1',
        ),
        (
            'StatelessLSTM c other width',
            fresh('StatelessLSTM'),
            lambda link: link(zeros(2, 3), None, X),
            InvalidType,
            '16',
        ),
        (
            'StatelessLSTM c float64',
            fresh('StatelessLSTM'),
            lambda link: link(zeros(2, UNITS, dtype='d'), None, X),
            InvalidType,
            r'c\.dtype == x\.dtype\nActual: float64 != float32',
        ),
        (
            'StatelessLSTM c a list',
            fresh('StatelessLSTM'),
            lambda link: link([[0.0] * UNITS] * 2, None, X),
            TypeError,
            'list',
        ),
        (
            'StatelessLSTM h other batch',
            fresh('StatelessLSTM'),
            lambda link: link(None, zeros(3, UNITS), X),
            InvalidType,
            r'h\.shape\[0\] == x\.shape\[0\]\nActual: 3 != 2',
        ),
        (
            'StatelessLSTM h other width',
            fresh('StatelessLSTM'),
            lambda link: link(None, zeros(2, 5), X),
            InvalidType,
            r'h\.shape\[1\] == c\.shape\[1\]\nActual: 5 != 4',
        ),
        (
            'StatelessLSTM h one axis',
            fresh('StatelessLSTM'),
            lambda link: link(None, zeros(UNITS), X),
            InvalidType,
            r'h\.ndim == 2',
        ),
        (
            'StatelessLSTM x alone',
            fresh('StatelessLSTM'),
            lambda link: link(X),
            TypeError,
            'missing',
        ),
        (
            'LSTM repeat with unknown mode',
            started('LSTM'),
            lambda link: link.repeat(2, 'again'),
            ValueError,
            'again',
        ),
        (
            'LSTM copy with unknown mode',
            started('LSTM'),
            lambda link: link.copy('again'),
            ValueError,
            'again',
        ),
        *(
            (
                f'{name} load_state {what}',
                started(name),
                lambda link, state=state: link.load_state(state),
                error,
                message,
            )
            for name in ('LSTM', 'StatefulPeepholeLSTM')
            for what, state, error, message in (
                ('None', None, TypeError, 'expected a dictionary of c and h, got NoneType'),
                ('a list', [], TypeError, 'expected a dictionary of c and h, got list'),
                (
                    'other key',
                    {'c': zeros(2, UNITS), 'x': zeros(2)},
                    KeyError,
                    r"x: expected c and h, got \['c', 'x'\]",
                ),
                (
                    'of None',
                    {'c': None},
                    TypeError,
                    'expected c to be an array or a variable, got NoneType',
                ),
                (
                    'of strings',
                    {'c': 'a', 'h': 'b'},
                    TypeError,
                    'expected c to be an array or a variable, got str',
                ),
                (
                    'other width',
                    {'c': zeros(2, 5), 'h': zeros(2, 5)},
                    ValueError,
                    r'expected c of shape .*, got \(2, 5',
                ),
                (
                    'other rows',
                    {'c': zeros(2, UNITS), 'h': zeros(3, UNITS)},
                    ValueError,
                    'expected c and h of one shape',
                ),
                (
                    'integers',
                    {'h': zeros(2, UNITS, dtype='i')},
                    TypeError,
                    'expected h of a float dtype, got int32',
                ),
            )
        ),
        *(
            (
                f'{name} state of float64',
                lambda name=name, in_size=in_size: with_float64_state(name, in_size),
                lambda link: link(X),
                InvalidType,
                r'dtype == x\.dtype\nActual: float64 != float32',
            )
            for name, in_size in (('LSTM', INPUT), ('StatefulPeepholeLSTM', INPUT))
        ),
        *(
            (
                f'{name} deferred, state of float64',
                lambda name=name: with_float64_state(name, None),
                lambda link: link(X),
                InvalidType,
                r'dtype == x\.dtype\nActual: float64 != float32',
                True,
            )
            for name in ('LSTM', 'StatefulPeepholeLSTM')
        ),
    ]
]
