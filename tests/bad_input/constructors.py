"""Constructors."""

import numpy

from chainer_lstm import links
from tests.bad_input.rows import Row, nothing, zeros
from tests.support.links import INPUT, UNITS


def of_sizes():
    """Sizes that are none, of every constructor."""
    wrong = {
        '0': (0, ValueError),
        '-1': (-1, ValueError),
        '2.0': (2.0, TypeError),
        'True': (True, TypeError),
        'a string': ('3', TypeError),
        'a list': ([3], TypeError),
        'NumPy bool': (numpy.True_, TypeError),
        'NumPy float': (numpy.float32(3), TypeError),
    }
    constructors = {
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
    for what, constructor in constructors.items():
        for name, (size, error) in wrong.items():
            yield (
                f'{what} {name}',
                nothing,
                lambda _, new=constructor, size=size: new(size),
                error,
                rf'^expected {what.split()[-1]} to be a positive integer, got ',
            )


def of_initializers():
    """Initializers that are none, of every constructor."""
    wrong = {'a string': 'LeCunNormal', 'bytes': b'0', 'a list': [0.1], 'a dict': {}}
    arguments = {
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
    for link, names in arguments.items():
        sizes = (1, INPUT, UNITS, 0.0) if link.startswith('NStep') else (INPUT, UNITS)
        for argument in names:
            for name, value in wrong.items():
                yield (
                    f'{link} {argument} {name}',
                    nothing,
                    lambda _, link=link, sizes=sizes, given={argument: value}: getattr(links, link)(
                        *sizes, **given
                    ),
                    TypeError,
                    rf'^expected {argument} to be None, a number, an array or a callable, got ',
                )


def of_sequence_lstm():
    """Options of SequenceLSTM."""
    wrong = {
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
    for name, (options, error, message) in wrong.items():
        given = {'in_size': INPUT, 'out_size': UNITS, **options}
        yield (
            f'SequenceLSTM {name}',
            nothing,
            lambda _, given=given: links.SequenceLSTM(**given),
            error,
            message,
        )


def of_dropouts():
    """Dropouts of NStep links of two layers that are none."""
    wrong = {
        'True': (True, ValueError, 'dropout .* got True'),
        'NumPy True': (numpy.True_, ValueError, 'dropout .* got True'),
        'an array of 1': (numpy.array(1.0), ValueError, 'dropout .* got 1.0'),
        'an array of one axis': (numpy.array([0.5]), TypeError, 'expected dropout to be a number'),
        'an array of a string': (numpy.array('0'), TypeError, 'expected dropout to be a number'),
        'complex': (0.5j, TypeError, 'expected dropout to be a number, got 0.5j'),
    }
    for link in ('NStepLSTM', 'NStepBiLSTM'):
        for name, (value, error, message) in wrong.items():
            yield (
                f'{link} dropout {name}',
                nothing,
                lambda _, link=link, value=value: getattr(links, link)(2, INPUT, UNITS, value),
                error,
                message,
            )


ROWS = [
    Row(*row)
    for row in [
        *of_dropouts(),
        *of_sequence_lstm(),
        *of_sizes(),
        *of_initializers(),
        (
            'LSTM no size at all',
            nothing,
            lambda _: links.LSTM(None),
            TypeError,
            'expected out_size',
        ),
        (
            'LSTM both sizes None',
            nothing,
            lambda _: links.LSTM(None, None),
            TypeError,
            'expected out_size',
        ),
        (
            'LSTM bias of another length',
            nothing,
            lambda _: links.LSTM(INPUT, UNITS, bias_init=zeros(UNITS + 1)),
            ValueError,
            'broadcast',
            True,
        ),
        (
            'LSTM lateral of another shape',
            nothing,
            lambda _: links.LSTM(INPUT, UNITS, lateral_init=zeros(2, 3)),
            ValueError,
            'broadcast',
            True,
        ),
        (
            'LSTM unknown keyword',
            nothing,
            lambda _: links.LSTM(INPUT, UNITS, dropout=0.5),
            TypeError,
            'dropout',
        ),
        (
            'StatefulPeepholeLSTM no out_size',
            nothing,
            lambda _: links.StatefulPeepholeLSTM(INPUT),
            TypeError,
            'out_size',
        ),
        (
            'StatefulPeepholeLSTM out_size None',
            nothing,
            lambda _: links.StatefulPeepholeLSTM(INPUT, None),
            TypeError,
            'expected out_size',
        ),
        (
            'NStepLSTM dropout negative',
            nothing,
            lambda _: links.NStepLSTM(2, INPUT, UNITS, -0.1),
            ValueError,
            'expected dropout to be at least 0 and less than 1, got -0.1',
        ),
        (
            'NStepLSTM dropout 1',
            nothing,
            lambda _: links.NStepLSTM(2, INPUT, UNITS, 1),
            ValueError,
            'dropout .* got 1',
        ),
        (
            'NStepLSTM dropout NaN',
            nothing,
            lambda _: links.NStepLSTM(2, INPUT, UNITS, numpy.nan),
            ValueError,
            'dropout .* got nan',
        ),
        (
            'NStepLSTM dropout a string',
            nothing,
            lambda _: links.NStepLSTM(2, INPUT, UNITS, '0'),
            TypeError,
            "expected dropout to be a number, got '0'",
        ),
        (
            'NStepLSTM dropout None',
            nothing,
            lambda _: links.NStepLSTM(2, INPUT, UNITS, None),
            TypeError,
            'expected dropout to be a number, got None',
        ),
        (
            'NStepLSTM no dropout',
            nothing,
            lambda _: links.NStepLSTM(1, INPUT, UNITS),
            TypeError,
            'dropout',
        ),
        (
            'NStepLSTM use_cudnn',
            nothing,
            lambda _: links.NStepLSTM(1, INPUT, UNITS, 0.0, use_cudnn=True),
            ValueError,
            'use_cudnn argument is not supported anymore',
        ),
        (
            'NStepLSTM made with an unknown keyword',
            nothing,
            lambda _: links.NStepLSTM(1, INPUT, UNITS, 0.0, bias=1),
            TypeError,
            'bias',
        ),
    ]
]
