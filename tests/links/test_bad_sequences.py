"""What ``SequenceLSTM`` and ``forward_sequence`` refuse."""

import chainer
import numpy
import pytest
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from tests.support.arrays import uniform, zeros
from tests.support.links import INPUT, STATEFUL, UNITS

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
WRONG_STEPS = {
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


@pytest.fixture
def stateful():
    link = links.SequenceLSTM(INPUT, UNITS, bidirectional=True, stateful=True)
    link(uniform(X, 'f'))
    return link


@pytest.mark.parametrize(('args', 'options', 'error', 'message'), CALLS.values(), ids=CALLS)
def test_call_of_sequence_lstm(refuses, stateful, args, options, error, message):
    refuses(lambda: stateful(*args, **options), error, message, stateful)


@pytest.mark.parametrize(('state', 'error', 'message'), STATES.values(), ids=STATES)
def test_set_state_of_sequence_lstm(refuses, stateful, state, error, message):
    refuses(lambda: stateful.set_state(*state), error, message, stateful)


def test_load_state_of_c_alone(refuses, stateful):
    state, message = {'c': stateful.c.array}, 'expected h to be an array'
    refuses(lambda: stateful.load_state(state), TypeError, message, stateful)


def test_set_state_without_stateful(refuses):
    link, state = links.SequenceLSTM(INPUT, UNITS), zeros(1, BATCH, UNITS)
    refuses(lambda: link.set_state(state, state), ValueError, 'stateful=True', link)


def test_one_sequence_too_wide_with_time_first(refuses):
    link = links.SequenceLSTM(INPUT, UNITS, batch_first=False)
    message = r'x of shape \(time, batch, 3\), got \(5, 1, 4\)'
    refuses(lambda: link(zeros(TIME, BATCH)), ValueError, message, link)


def with_zeros(name, in_size):
    link = getattr(links, name)(in_size, UNITS)
    link.set_state(zeros(2, UNITS), zeros(2, UNITS))
    return link


@STATEFUL
@pytest.mark.parametrize('in_size', [INPUT, None])
@pytest.mark.parametrize(('xs', 'error', 'message'), WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_forward_sequence(refuses, name, in_size, xs, error, message):
    link = with_zeros(name, in_size)
    refuses(lambda: link.forward_sequence(xs), error, message, link, draws=in_size is None)


@STATEFUL
def test_forward_sequence_of_another_width(refuses, name):
    link, message = with_zeros(name, INPUT), r'expected weights\[0\]\[0\] of shape'
    refuses(lambda: link.forward_sequence([zeros(2, INPUT + 1)]), ValueError, message, link)
