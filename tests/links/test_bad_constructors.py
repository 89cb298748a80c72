"""What constructors of links refuse."""

import numpy
import pytest

from chainer_lstm import links
from tests.support.arrays import zeros
from tests.support.links import INPUT, UNITS

CONSTRUCTORS = {
    'LSTM in_size': lambda size: links.LSTM(size, UNITS),
    'LSTM out_size': lambda size: links.LSTM(INPUT, size),
    'LSTM alone out_size': lambda size: links.LSTM(size),
    'StatelessLSTM in_size': lambda size: links.StatelessLSTM(size, UNITS),
    'StatelessLSTM out_size': lambda size: links.StatelessLSTM(INPUT, size),
    'StatefulPeepholeLSTM in_size': lambda size: links.StatefulPeepholeLSTM(size, UNITS),
    'StatefulPeepholeLSTM out_size': lambda size: links.StatefulPeepholeLSTM(INPUT, size),
    'NStepLSTM n_layers': lambda size: links.NStepLSTM(size, INPUT, UNITS, 0.0),
    'NStepLSTM in_size': lambda size: links.NStepLSTM(1, size, UNITS, 0.0),
    'NStepLSTM out_size': lambda size: links.NStepLSTM(1, INPUT, size, 0.0),
    'NStepBiLSTM n_layers': lambda size: links.NStepBiLSTM(size, INPUT, UNITS, 0.0),
}
SIZES = {
    '0': (0, ValueError),
    '-1': (-1, ValueError),
    '2.0': (2.0, TypeError),
    'True': (True, TypeError),
    'a string': ('3', TypeError),
    'a list': ([3], TypeError),
    'NumPy bool': (numpy.True_, TypeError),
    'NumPy float': (numpy.float32(3), TypeError),
}
INITIALIZERS = {
    'LSTM': ('lateral_init', 'upward_init', 'bias_init', 'forget_bias_init'),
    'StatelessLSTM': ('lateral_init', 'forget_bias_init'),
    'StatefulPeepholeLSTM': (
        'lateral_init',
        'upward_init',
        'peep_init',
        'bias_init',
        'forget_bias_init',
    ),
    'NStepLSTM': (
        'initialW',
        'initial_bias',
        'forget_bias_init',
        'lateral_init',
        'upward_init',
        'bias_init',
    ),
    'NStepBiLSTM': ('initialW',),
}
SEQUENCE_OPTIONS = {
    'in_size 0': (
        {'in_size': 0},
        ValueError,
        'expected in_size to be a positive integer, got 0',
    ),
    'in_size a float': ({'in_size': 2.0}, TypeError, 'expected in_size'),
    'out_size None': ({'out_size': None}, TypeError, 'expected out_size'),
    'out_size negative': ({'out_size': -1}, ValueError, 'expected out_size .* got -1'),
    'n_layers 0': ({'n_layers': 0}, ValueError, 'expected n_layers .* got 0'),
    'n_layers True': ({'n_layers': True}, TypeError, 'expected n_layers .* got True'),
    'dropout 1': ({'dropout': 1}, ValueError, 'expected dropout .* got 1'),
    'dropout negative': ({'dropout': -0.1}, ValueError, 'expected dropout .* got -0.1'),
    'dropout NaN': ({'dropout': numpy.nan}, ValueError, 'expected dropout .* got nan'),
    'dropout a string': (
        {'dropout': '0'},
        TypeError,
        "expected dropout to be a number, got '0'",
    ),
    'dropout None': ({'dropout': None}, TypeError, 'expected dropout to be a number, got None'),
    'lateral_init a string': ({'lateral_init': 'Normal'}, TypeError, 'expected lateral_init'),
    'upward_init a list': ({'upward_init': [1]}, TypeError, 'expected upward_init'),
    'bias_init a dict': ({'bias_init': {}}, TypeError, 'expected bias_init'),
    'forget_bias_init bytes': (
        {'forget_bias_init': b'1'},
        TypeError,
        'expected forget_bias_init',
    ),
    'unknown keyword': ({'units': 3}, TypeError, 'units'),
}
DROPOUTS = {
    'True': (True, ValueError, 'dropout .* got True'),
    'NumPy True': (numpy.True_, ValueError, 'dropout .* got True'),
    'an array of 1': (numpy.array(1.0), ValueError, 'dropout .* got 1.0'),
    'an array of one axis': (numpy.array([0.5]), TypeError, 'expected dropout to be a number'),
    'an array of a string': (numpy.array('0'), TypeError, 'expected dropout to be a number'),
    'complex': (0.5j, TypeError, 'expected dropout to be a number, got 0.5j'),
}


@pytest.mark.parametrize('constructor', CONSTRUCTORS)
@pytest.mark.parametrize(('size', 'error'), SIZES.values(), ids=SIZES)
def test_size(refuses, constructor, size, error):
    message = rf'^expected {constructor.split()[-1]} to be a positive integer, got '
    refuses(lambda: CONSTRUCTORS[constructor](size), error, message)


@pytest.mark.parametrize(
    ('link', 'argument'), [(link, name) for link, names in INITIALIZERS.items() for name in names]
)
@pytest.mark.parametrize(
    'value', ['LeCunNormal', b'0', [0.1], {}], ids=['str', 'bytes', 'list', 'dict']
)
def test_initializer(refuses, link, argument, value):
    sizes = (1, INPUT, UNITS, 0.0) if link.startswith('NStep') else (INPUT, UNITS)
    message = rf'^expected {argument} to be None, a number, an array or a callable, got '
    refuses(lambda: getattr(links, link)(*sizes, **{argument: value}), TypeError, message)


@pytest.mark.parametrize(
    ('options', 'error', 'message'), SEQUENCE_OPTIONS.values(), ids=SEQUENCE_OPTIONS
)
def test_option_of_sequence_lstm(refuses, options, error, message):
    given = {'in_size': INPUT, 'out_size': UNITS, **options}
    refuses(lambda: links.SequenceLSTM(**given), error, message)


@pytest.mark.parametrize('link', ['NStepLSTM', 'NStepBiLSTM'])
@pytest.mark.parametrize(('dropout', 'error', 'message'), DROPOUTS.values(), ids=DROPOUTS)
def test_dropout(refuses, link, dropout, error, message):
    refuses(lambda: getattr(links, link)(2, INPUT, UNITS, dropout), error, message)


@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        pytest.param(
            lambda: links.LSTM(None), TypeError, 'expected out_size', id='LSTM no size at all'
        ),
        pytest.param(
            lambda: links.LSTM(None, None),
            TypeError,
            'expected out_size',
            id='LSTM both sizes None',
        ),
        pytest.param(
            lambda: links.LSTM(INPUT, UNITS, dropout=0.5),
            TypeError,
            'dropout',
            id='LSTM unknown keyword',
        ),
        pytest.param(
            lambda: links.StatefulPeepholeLSTM(INPUT),
            TypeError,
            'out_size',
            id='StatefulPeepholeLSTM no out_size',
        ),
        pytest.param(
            lambda: links.StatefulPeepholeLSTM(INPUT, None),
            TypeError,
            'expected out_size',
            id='StatefulPeepholeLSTM out_size None',
        ),
        pytest.param(
            lambda: links.NStepLSTM(2, INPUT, UNITS, -0.1),
            ValueError,
            'expected dropout to be at least 0 and less than 1, got -0.1',
            id='NStepLSTM dropout negative',
        ),
        pytest.param(
            lambda: links.NStepLSTM(2, INPUT, UNITS, 1),
            ValueError,
            'dropout .* got 1',
            id='NStepLSTM dropout 1',
        ),
        pytest.param(
            lambda: links.NStepLSTM(2, INPUT, UNITS, numpy.nan),
            ValueError,
            'dropout .* got nan',
            id='NStepLSTM dropout NaN',
        ),
        pytest.param(
            lambda: links.NStepLSTM(2, INPUT, UNITS, '0'),
            TypeError,
            "expected dropout to be a number, got '0'",
            id='NStepLSTM dropout a string',
        ),
        pytest.param(
            lambda: links.NStepLSTM(2, INPUT, UNITS, None),
            TypeError,
            'expected dropout to be a number, got None',
            id='NStepLSTM dropout None',
        ),
        pytest.param(
            lambda: links.NStepLSTM(1, INPUT, UNITS),
            TypeError,
            'dropout',
            id='NStepLSTM no dropout',
        ),
        pytest.param(
            lambda: links.NStepLSTM(1, INPUT, UNITS, 0.0, use_cudnn=True),
            ValueError,
            'use_cudnn argument is not supported anymore',
            id='NStepLSTM use_cudnn',
        ),
        pytest.param(
            lambda: links.NStepLSTM(1, INPUT, UNITS, 0.0, bias=1),
            TypeError,
            'bias',
            id='NStepLSTM made with an unknown keyword',
        ),
    ],
)
def test_arguments(refuses, call, error, message):
    refuses(call, error, message)


@pytest.mark.parametrize(
    'options', [{'bias_init': zeros(UNITS + 1)}, {'lateral_init': zeros(2, 3)}], ids=list
)
def test_array_of_another_shape(refuses, options):
    refuses(lambda: links.LSTM(INPUT, UNITS, **options), ValueError, 'broadcast', draws=True)
