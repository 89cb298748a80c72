"""A float64 array among float32: one message, which argument, both dtypes,
and how to convert it.
"""

import chainer
import numpy
import pytest
from chainer.utils import type_check

from chainer_lstm import functions, links
from tests.support.links import INPUT, UNITS

WIDE, NARROW = numpy.ones((2, INPUT)), numpy.ones((2, INPUT), 'f')


def zeros(*shape):
    return numpy.zeros(shape, 'f')


def second_step(link):
    link(NARROW)
    link(WIDE)


def sequence_weights():
    return [[zeros(4 * UNITS, INPUT), zeros(4 * UNITS), zeros(4 * UNITS, UNITS)]]


def n_step(x, hx=None):
    shapes = [(UNITS, INPUT)] * 4 + [(UNITS, UNITS)] * 4
    functions.n_step_lstm(
        1,
        0.0,
        zeros(1, 2, UNITS) if hx is None else hx,
        zeros(1, 2, UNITS),
        [[zeros(*shape) for shape in shapes]],
        [[zeros(UNITS)] * 8],
        [x],
    )


# the call and the argument to convert
CALLS = {
    'LSTM': (lambda: links.LSTM(INPUT, UNITS)(WIDE), 'x'),
    'LSTM, second step': (lambda: second_step(links.LSTM(INPUT, UNITS)), 'x'),
    'LSTM, size of the input not known': (lambda: links.LSTM(None, UNITS)(WIDE), 'x'),
    'StatelessLSTM': (lambda: links.StatelessLSTM(INPUT, UNITS)(None, None, WIDE), 'x'),
    'StatelessLSTM, c': (
        lambda: links.StatelessLSTM(INPUT, UNITS)(numpy.zeros((2, UNITS)), None, NARROW),
        'c',
    ),
    'StatelessLSTM, h': (
        lambda: links.StatelessLSTM(INPUT, UNITS)(zeros(2, UNITS), numpy.zeros((2, UNITS)), NARROW),
        'h',
    ),
    'StatefulPeepholeLSTM': (lambda: links.StatefulPeepholeLSTM(INPUT, UNITS)(WIDE), 'x'),
    'forward_sequence': (lambda: links.LSTM(INPUT, UNITS).forward_sequence(WIDE[None]), 'x'),
    'forward_sequence, steps': (lambda: links.LSTM(INPUT, UNITS).forward_sequence([WIDE]), 'x'),
    'NStepLSTM': (lambda: links.NStepLSTM(1, INPUT, UNITS, 0.0)(None, None, [WIDE]), r'xs\[0\]'),
    'NStepLSTM, one of two': (
        lambda: links.NStepLSTM(1, INPUT, UNITS, 0.0)(None, None, [NARROW, WIDE]),
        r'xs\[1\]',
    ),
    'NStepBiLSTM, hx': (
        lambda: links.NStepBiLSTM(1, INPUT, UNITS, 0.0)(numpy.zeros((2, 1, UNITS)), None, [NARROW]),
        'hx',
    ),
    'SequenceLSTM': (lambda: links.SequenceLSTM(INPUT, UNITS)(WIDE[None]), 'x'),
    'lstm': (lambda: functions.lstm(zeros(2, UNITS), numpy.zeros((2, 4 * UNITS))), 'x'),
    'lstm_sequence': (
        lambda: functions.lstm_sequence(
            zeros(2, UNITS), zeros(2, UNITS), WIDE[None], sequence_weights()
        ),
        'x',
    ),
    'n_step_lstm': (lambda: n_step(WIDE), 'x'),
    'n_step_lstm, hx': (lambda: n_step(NARROW, numpy.zeros((1, 2, UNITS))), 'hx'),
    'linear': (lambda: functions.linear(WIDE, zeros(UNITS, INPUT), zeros(UNITS)), 'x'),
}


@pytest.mark.parametrize('call', CALLS)
def test_message_names_argument_dtypes_and_conversion(call):
    function, argument = CALLS[call]
    expected = rf"float.. != float.. \({argument}\.astype\('f'\) converts it"
    with pytest.raises(type_check.InvalidType, match=expected) as e:
        function()
    assert {'float32', 'float64'} <= set(str(e.value).replace('(', ' ').split())
    assert 'NumPy 2 keeps float64 scalars' in str(e.value)


def test_initial_state():
    wide = numpy.zeros((2, UNITS))
    with pytest.raises(
        TypeError, match=r"expected c of dtype float32, got float64 \(c\.astype\('f'\) converts it"
    ):
        links.SequenceLSTM(INPUT, UNITS)(NARROW[:, None], (wide, wide))


def test_the_other_way_round():
    with chainer.using_config('dtype', numpy.float64):
        link = links.LSTM(INPUT, UNITS)
    with pytest.raises(
        type_check.InvalidType, match=r"float64 != float32 \(x\.astype\('d'\) converts it\)"
    ):
        link(NARROW)
