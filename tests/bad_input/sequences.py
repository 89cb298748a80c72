"""Sequences: NStep links, SequenceLSTM, and whole sequences through links with a state."""

import chainer
import numpy
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from tests.bad_input.rows import Row, fresh, zeros
from tests.support.arrays import uniform
from tests.support.links import INPUT, UNITS

N_STEP = (2, INPUT, UNITS, 0.0)


def of_n_step():
    """Sequences and states of NStepLSTM and NStepBiLSTM."""
    xs = [zeros(2, INPUT), zeros(3, INPUT)]
    for name, rows in (('NStepLSTM', 2), ('NStepBiLSTM', 4)):
        right = zeros(rows, 2, UNITS)
        wrong = {
            'xs empty': (
                None,
                None,
                [],
                ValueError,
                'expected at least one sequence in xs, got an empty list',
            ),
            'xs an empty tuple': (None, None, (), ValueError, 'expected at least one sequence'),
            'xs an array': (
                None,
                None,
                zeros(2, 3, INPUT),
                TypeError,
                'expected xs to be a list or tuple .* ndarray',
            ),
            'xs a variable': (
                None,
                None,
                chainer.Variable(xs[0]),
                TypeError,
                'expected xs to be .* got Variable',
            ),
            'xs a generator': (
                None,
                None,
                iter(xs),
                TypeError,
                'expected xs to be a list or tuple',
            ),
            'xs None': (None, None, None, TypeError, 'expected xs to be .* got NoneType'),
            'xs[0] a list': (None, None, [[[0.0, 0.0, 0.0]]], TypeError, 'list'),
            'xs[1] one axis': (
                None,
                None,
                [xs[0], zeros(INPUT)],
                ValueError,
                r'expected xs\[1\] of shape \(length, 3\), got \(3,\)',
            ),
            'xs[0] three axes': (
                None,
                None,
                [zeros(1, 2, INPUT)],
                ValueError,
                r'xs\[0\] .* got \(1, 2, 3\)',
            ),
            'xs[1] other width': (
                None,
                None,
                [xs[0], zeros(2, 4)],
                ValueError,
                r'xs\[1\] .* got \(2, 4\)',
            ),
            'xs[1] of length 0 other width': (
                None,
                None,
                [xs[0], zeros(0, 4)],
                ValueError,
                r'xs\[1\] .* got \(0, 4\)',
            ),
            'xs integers': (None, None, [zeros(2, INPUT, dtype='i')], InvalidType, r'dtype'),
            'xs float64': (
                None,
                None,
                [zeros(2, INPUT, dtype='d')],
                InvalidType,
                r'dtype.*\nActual: .*float64',
            ),
            'xs of two dtypes': (
                None,
                None,
                [xs[0], zeros(2, INPUT, dtype='d')],
                InvalidType,
                r'dtype',
            ),
            'hx other layers': (
                zeros(rows + 1, 2, UNITS),
                None,
                xs,
                ValueError,
                rf'expected hx of shape \({rows}, 2, 4\), got \({rows + 1}, 2, 4\)',
            ),
            'hx one row': (
                zeros(rows, 1, UNITS),
                None,
                xs,
                ValueError,
                rf'hx of shape \({rows}, 2, 4\), got \({rows}, 1, 4\): give one row',
            ),
            'hx no row': (zeros(rows, 0, UNITS), None, xs, ValueError, r'expected hx of .* got'),
            'hx more rows, other units': (
                zeros(rows, 3, UNITS + 1),
                None,
                xs,
                ValueError,
                r'expected hx of shape',
            ),
            'hx more rows, other layers': (
                zeros(rows - 1, 3, UNITS),
                None,
                xs,
                ValueError,
                r'expected hx of shape',
            ),
            'cx one row': (
                None,
                zeros(rows, 1, UNITS),
                xs,
                ValueError,
                r'expected cx of shape .* got',
            ),
            'cx other units': (
                right,
                zeros(rows, 2, UNITS + 1),
                xs,
                ValueError,
                r'expected cx of shape .* got',
            ),
            'hx two axes': (
                zeros(2, UNITS),
                None,
                xs,
                ValueError,
                r'expected hx of shape .* got \(2, 4\)',
            ),
            'hx float64': (zeros(rows, 2, UNITS, dtype='d'), None, xs, InvalidType, 'dtype'),
            'cx integers': (right, zeros(rows, 2, UNITS, dtype='i'), xs, InvalidType, 'dtype'),
            'hx a list': ([[[0.0] * UNITS] * 2] * rows, None, xs, TypeError, 'list'),
        }
        for what, (hx, cx, sequences, error, message) in wrong.items():
            yield (
                f'{name} {what}',
                fresh(name, *N_STEP),
                lambda link, hx=hx, cx=cx, sequences=sequences: link(hx, cx, sequences),
                error,
                message,
            )
        yield (
            f'{name} train',
            fresh(name, *N_STEP),
            lambda link: link(None, None, xs, train=True),
            ValueError,
            'train argument is not supported anymore',
        )
        yield (
            f'{name} unknown keyword',
            fresh(name, *N_STEP),
            lambda link: link(None, None, xs, dropout=0.5),
            TypeError,
            'dropout',
        )
        yield f'{name} xs alone', fresh(name, *N_STEP), lambda link: link(xs), TypeError, 'missing'


BATCH, TIME = 4, 5
X = (BATCH, TIME, INPUT)
STATE = (2, BATCH, UNITS)
CALLS = {
    'x None': ((None,), {}, TypeError, 'expected x to be an array or a variable, got NoneType'),
    'x without data': ((chainer.Variable(),), {}, TypeError, 'got a variable without data'),
    'x a list': (([[[0.0, 0.0, 0.0]]],), {}, TypeError, 'list'),
    'x of one axis': ((zeros(INPUT),), {}, ValueError, r'\(batch, time, 3\), got \(3,\)'),
    'one sequence too wide': (
        (zeros(5, 4),),
        {},
        ValueError,
        r'\(batch, time, 3\), got \(1, 5, 4\)',
    ),
    'x of four axes': ((zeros(BATCH, TIME, INPUT, 1),), {}, ValueError, r'got \(4, 5, 3, 1\)'),
    'x too wide': (
        (zeros(BATCH, TIME, 4),),
        {},
        ValueError,
        r'\(batch, time, 3\), got \(4, 5, 4\)',
    ),
    'x without inputs': (
        (zeros(BATCH, TIME, 0),),
        {},
        ValueError,
        r'\(batch, time, 3\), got \(4, 5, 0\)',
    ),
    'x integers': (
        (zeros(*X, dtype='i'),),
        {},
        TypeError,
        'expected x of a float dtype, got int32',
    ),
    'x complex': (
        (zeros(*X, dtype='D'),),
        {},
        TypeError,
        'expected x of a float dtype, got complex128',
    ),
    'x of another float dtype': ((zeros(*X, dtype='d'),), {}, InvalidType, 'float64'),
    'another batch than the kept state': (
        (zeros(3, TIME, INPUT),),
        {},
        ValueError,
        r'expected a batch of 4, .*got 3',
    ),
    'state an array': ((zeros(*X), zeros(2, *STATE)), {}, ValueError, 'pair .*got ndarray'),
    'state of one': ((zeros(*X), (zeros(*STATE),)), {}, ValueError, 'pair .*got 1 items'),
    'state of three': ((zeros(*X), [zeros(*STATE)] * 3), {}, ValueError, 'pair .*got 3 items'),
    'state with None': (
        (zeros(*X), (zeros(*STATE), None)),
        {},
        TypeError,
        'expected h .* got NoneType',
    ),
    'state of a list': ((zeros(*X), ([[0.0]], zeros(*STATE))), {}, TypeError, 'list'),
    'c of two axes': (
        (zeros(*X), (zeros(BATCH, UNITS), zeros(*STATE))),
        {},
        ValueError,
        r'expected c of shape \(2, 4, 4\), got \(4, 4\)',
    ),
    'c of one layer': (
        (zeros(*X), (zeros(1, BATCH, UNITS), zeros(*STATE))),
        {},
        ValueError,
        r'got \(1, 4, 4\)',
    ),
    'h of another batch': (
        (zeros(*X), (zeros(*STATE), zeros(2, 5, UNITS))),
        {},
        ValueError,
        r'expected h of shape \(2, 4, 4\), got \(2, 5, 4\)',
    ),
    'h of other units': (
        (zeros(*X), (zeros(*STATE), zeros(2, BATCH, 3))),
        {},
        ValueError,
        r'got \(2, 4, 3\)',
    ),
    'h of another dtype': (
        (zeros(*X), (zeros(*STATE), zeros(*STATE, dtype='d'))),
        {},
        TypeError,
        'expected h of dtype float32, got float64',
    ),
    'c of integers': (
        (zeros(*X), (zeros(*STATE, dtype='i'), zeros(*STATE))),
        {},
        TypeError,
        'expected c of dtype float32, got int32',
    ),
    'lengths and mask': (
        (zeros(*X),),
        {'lengths': [1] * 4, 'mask': zeros(4, 5)},
        ValueError,
        'got both',
    ),
    'lengths floats': (
        (zeros(*X),),
        {'lengths': [1.0, 2.0, 3.0, 4.0]},
        TypeError,
        'integers, got float64',
    ),
    'lengths booleans': ((zeros(*X),), {'lengths': [True] * 4}, TypeError, 'integers, got bool'),
    'lengths strings': ((zeros(*X),), {'lengths': ['1'] * 4}, TypeError, 'integers, got <U1'),
    'lengths a number': ((zeros(*X),), {'lengths': 3}, ValueError, r'shape \(4,\), got \(\)'),
    'lengths too few': (
        (zeros(*X),),
        {'lengths': [1, 2, 3]},
        ValueError,
        r'shape \(4,\), got \(3,\)',
    ),
    'lengths of two axes': (
        (zeros(*X),),
        {'lengths': [[1]] * 4},
        ValueError,
        r'shape \(4,\), got \(4, 1\)',
    ),
    'lengths negative': (
        (zeros(*X),),
        {'lengths': [1, 2, -1, 4]},
        ValueError,
        r'0 to 5, got \[1, 2, -1, 4\]',
    ),
    'lengths too long': (
        (zeros(*X),),
        {'lengths': [1, 2, 6, 4]},
        ValueError,
        r'0 to 5, got \[1, 2, 6, 4\]',
    ),
    'mask of time first': (
        (zeros(*X),),
        {'mask': zeros(5, 4)},
        ValueError,
        r'expected mask of shape \(4, 5\) or \(4, 5, 1\), got \(5, 4\)',
    ),
    'mask as wide as x': ((zeros(*X),), {'mask': zeros(*X)}, ValueError, r'got \(4, 5, 3\)'),
    'mask of one axis': ((zeros(*X),), {'mask': zeros(5)}, ValueError, r'got \(5,\)'),
    'mask of 2': (
        (zeros(*X),),
        {'mask': zeros(4, 5, dtype='i') + 2},
        ValueError,
        'of 0 and 1, got 2',
    ),
    'mask of -1': ((zeros(*X),), {'mask': zeros(4, 5) - 1}, ValueError, 'of 0 and 1, got -1'),
    'mask of halves': (
        (zeros(*X),),
        {'mask': zeros(4, 5, 1) + 0.5},
        ValueError,
        'of 0 and 1, got 0.5',
    ),
    'mask of NaN': (
        (zeros(*X),),
        {'mask': zeros(4, 5) + numpy.nan},
        ValueError,
        'of 0 and 1, got nan',
    ),
    'mask of strings': ((zeros(*X),), {'mask': zeros(4, 5, dtype='U1')}, TypeError, 'got <U1'),
    'mask as third argument': ((zeros(*X), None, zeros(4, 5)), {}, TypeError, 'positional'),
}
STATES = {
    'rows differ': (
        (zeros(*STATE), zeros(2, 5, UNITS)),
        ValueError,
        r'one shape, got \(2, 4, 4\) and \(2, 5, 4\)',
    ),
    'other units': (
        (zeros(*STATE), zeros(2, BATCH, 3)),
        ValueError,
        r'h of shape \(2, batch, 4\), got \(2, 4, 3\)',
    ),
    'two axes': (
        (zeros(BATCH, UNITS), zeros(BATCH, UNITS)),
        ValueError,
        r'\(2, batch, 4\), got \(4, 4\)',
    ),
    'None': ((None, None), TypeError, 'expected c to be an array or a variable, got NoneType'),
    'lists': (([0.0], [0.0]), TypeError, 'expected c to be an array or a variable, got list'),
    'integers': (
        (zeros(*STATE), zeros(*STATE, dtype='i')),
        TypeError,
        'expected h of dtype float, got int32',
    ),
}


def of_sequence_lstm():
    def make():
        link = links.SequenceLSTM(INPUT, UNITS, bidirectional=True, stateful=True)
        link(uniform(X, 'f'))
        return link

    for name, (args, kwargs, error, message) in CALLS.items():
        yield (
            f'SequenceLSTM {name}',
            make,
            lambda link, args=args, kwargs=kwargs: link(*args, **kwargs),
            error,
            message,
        )
    for name, (state, error, message) in STATES.items():
        yield (
            f'SequenceLSTM set_state {name}',
            make,
            lambda link, state=state: link.set_state(*state),
            error,
            message,
        )
    yield (
        'SequenceLSTM load_state of c alone',
        make,
        lambda link: link.load_state({'c': link.c.array}),
        TypeError,
        'expected h to be an array',
    )
    yield (
        'SequenceLSTM set_state without stateful',
        fresh('SequenceLSTM'),
        lambda link: link.set_state(zeros(1, BATCH, UNITS), zeros(1, BATCH, UNITS)),
        ValueError,
        'stateful=True',
    )
    yield (
        'SequenceLSTM one sequence too wide, time first',
        fresh('SequenceLSTM', batch_first=False),
        lambda link: link(zeros(TIME, BATCH)),
        ValueError,
        r'x of shape \(time, batch, 3\), got \(5, 1, 4\)',
    )


def of_forward_sequence():
    """A link with a state of two rows."""
    wrong = {
        'empty list': ([], ValueError, 'at least one time step'),
        'growing': (
            [zeros(1, INPUT), zeros(2, INPUT)],
            ValueError,
            r'do not grow in time .* got \[1, 2\]',
        ),
        'larger than the state': (
            [zeros(3, INPUT)],
            TypeError,
            'The batch size of x must be equal to or less',
        ),
        'array larger than the state': (
            zeros(2, 3, INPUT),
            TypeError,
            'The batch size of x must be equal to or less',
        ),
        'two axes': (
            zeros(2, INPUT),
            ValueError,
            r'expected xs of shape \(time, batch, inputs\) or a list',
        ),
        'other width': ([zeros(2, INPUT + 1)], ValueError, r'expected weights\[0\]\[0\] of shape'),
        'widths differ': ([zeros(2, INPUT), zeros(2, 1)], ValueError, r'expected xs\[1\] of shape'),
        'integers': (zeros(2, 2, INPUT, dtype='i'), InvalidType, r'i \(int32\)'),
        'float64': (zeros(2, 2, INPUT, dtype='d'), InvalidType, 'dtype'),
        'one axis in a step': ([zeros(2, INPUT), zeros(2)], InvalidType, 'x.ndim >= 2'),
        'a number': (3, TypeError, 'expected xs to be an array or a variable, got int'),
        'None': (None, TypeError, 'expected xs to be an array or a variable, got NoneType'),
        'None in a list': (
            [zeros(2, INPUT), None],
            TypeError,
            'expected x to be an array or a variable, got NoneType',
        ),
        'list of lists': ([[0.0]], TypeError, 'expected x to be an array or a variable, got list'),
    }
    for name in ('LSTM', 'StatefulPeepholeLSTM'):
        for in_size in (INPUT, None):

            def make(name=name, in_size=in_size):
                link = getattr(links, name)(in_size, UNITS)
                link.set_state(zeros(2, UNITS), zeros(2, UNITS))
                return link

            for what, (xs, error, message) in wrong.items():
                if in_size or what != 'other width':  # there is no width yet
                    yield (
                        f'{name}{"" if in_size else " deferred"} forward_sequence {what}',
                        make,
                        lambda link, xs=xs: link.forward_sequence(xs),
                        error,
                        message,
                        in_size is None,
                    )


ROWS = [Row(*row) for row in (*of_n_step(), *of_sequence_lstm(), *of_forward_sequence())]
