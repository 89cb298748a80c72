"""Settings that links refuse when they are used, initializers of gates, files of other links."""

import chainer
import pytest

from chainer_lstm import functions, initializers, links
from tests.support.arrays import zeros
from tests.support.files import with_state
from tests.support.links import INPUT, STATEFUL, UNITS

X = zeros(2, INPUT)
CALLABLE = 'expected forget_bias_init to be None, a number, an array or a callable'


@STATEFUL
@pytest.mark.parametrize(
    ('entry', 'value', 'why'),
    (
        ('lstm_engine', 'abacus', ': there is no such engine'),
        ('lstm_engine', None, ': there is no such engine'),
        ('lstm_engine', 'cupy', ': it cannot compute numpy arrays'),
        ('lstm_engine', 'persistent', ': it cannot'),
        ('lstm_matmul_precision', 'low', ''),
        ('lstm_matmul_precision', None, ''),
    ),
)
def test_setting(refuses, name, entry, value, why):
    link = with_state(getattr(links, name)(INPUT, UNITS))
    message = f'expected chainer.config.{entry} to be one of .*, got {value!r}{why}'
    with chainer.using_config(entry, value):
        refuses(lambda: link(X), ValueError, message, link)


def test_engine_of_a_sequence(refuses):
    state, weights = zeros(1, 2, 4), [(zeros(16, INPUT), zeros(16), zeros(16, 4))]
    with chainer.using_config('lstm_engine', 'cupy'):
        refuses(
            lambda: functions.lstm_sequence(state, state, X[None], weights),
            ValueError,
            'it cannot compute numpy arrays',
        )


@pytest.mark.parametrize('value', ['1', [1]])
def test_forget_bias(refuses, value):
    with chainer.using_config('lstm_forget_bias', value):
        refuses(lambda: links.LSTM(2, 3), TypeError, CALLABLE)


@pytest.mark.parametrize('value', [None, 5, 'LeCunNormal', [1]])
def test_initializer_per_gate(refuses, value):
    message = 'expected a callable initializer, got '
    refuses(lambda: initializers.PerGate(value), TypeError, message)


@pytest.mark.parametrize('shape', [(), (4,), (5, 2)])
def test_array_for_an_initializer_per_gate(refuses, shape):
    initializer = initializers.PerGate(chainer.initializers.LeCunNormal())
    message = r'expected an array of 2 axes, the first that of 4 gates \(4H\), got \('
    refuses(lambda: initializer(zeros(*shape)), ValueError, message)


@pytest.mark.parametrize('value', ['1', [1], {}])
def test_bias_of_gates(refuses, value):
    refuses(lambda: initializers.GateBias(0, value), TypeError, CALLABLE)


@pytest.mark.parametrize('shape', [(), (5,)])
def test_array_for_a_bias_of_gates(refuses, shape):
    initializer = initializers.GateBias(1)
    refuses(lambda: initializer(zeros(*shape)), ValueError, 'expected an array of 1 axes')


def test_bias_of_another_length(refuses):
    initializer = initializers.GateBias(zeros(3))
    refuses(lambda: initializer(zeros(16)), ValueError, 'broadcast')


@pytest.mark.parametrize(
    ('name', 'units', 'error', 'message'),
    [
        ('LSTM', UNITS + 1, ValueError, r'lateral/W: expected shape \(16, 4\), got \(20, 5\)'),
        ('StatefulPeepholeLSTM', UNITS, KeyError, 'peep_f/W is not in the npz file'),
    ],
    ids=['of other units', 'of a link with less'],
)
def test_npz_file(refuses, name, units, error, message):
    chainer.serializers.save_npz('other.npz', links.LSTM(INPUT, units))
    link = getattr(links, name)(INPUT, UNITS)
    refuses(lambda: chainer.serializers.load_npz('other.npz', link), error, message, link)
