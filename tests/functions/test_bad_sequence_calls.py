"""What functions of sequences refuse."""

import numpy
import pytest
from chainer.utils.type_check import InvalidType

from chainer_lstm import functions
from tests.functions.bad_cases import EMPTY, LIST, NONE, one_wrong
from tests.support.arrays import zeros
from tests.support.links import INPUT, UNITS

SQUARE = zeros(UNITS, UNITS)
CALLS = {
    'lstm_sequence': (
        {
            'hx': zeros(1, 2, 3),
            'cx': zeros(1, 2, 3),
            'xs': zeros(4, 2, 5),
            'weights': [(zeros(12, 5), zeros(12), zeros(12, 3))],
        },
        {
            'hx': [
                NONE,
                LIST,
                EMPTY,
                (zeros(2, 3), ValueError, r'of shape \(1, at least 2, 3\), got \(2, 3\)'),
                (zeros(2, 2, 3), ValueError, r'got \(2, 2, 3\)'),
                (zeros(1, 1, 3), ValueError, r'got \(1, 1, 3\)'),
                (zeros(1, 3, 3), ValueError, 'expected hx and cx of one shape'),
                (
                    zeros(1, 2, 3, dtype='d'),
                    InvalidType,
                    r'hx\.dtype == x\.dtype\nActual: float64 != float32',
                ),
            ],
            'cx': [
                NONE,
                (zeros(1, 2, 4), ValueError, r'got \(1, 2, 4\)'),
                (zeros(1, 2, 3, dtype='i'), InvalidType, 'dtype'),
            ],
            'xs': [
                NONE,
                EMPTY,
                ([], ValueError, 'at least one time step in xs, got an empty list'),
                ('x', TypeError, 'got str'),
                ((), ValueError, 'at least one time step'),
                (iter([zeros(2, 5)]), TypeError, 'got list_iterator'),
                ([[1.0]], TypeError, r'expected xs\[0\] to be an array or a variable, got list'),
                (
                    [zeros(1, 5), None],
                    TypeError,
                    r'expected xs\[1\] to be an array or a variable, got NoneType',
                ),
                (
                    [zeros(1, 5), zeros(1, 4)],
                    ValueError,
                    r'expected xs\[1\] of shape \(batch, 5\), got \(1, 4\)',
                ),
                ([zeros(1, 5), zeros(2, 5)], ValueError, r'do not grow in time .* got \[1, 2\]'),
                (
                    zeros(4, 2),
                    ValueError,
                    r'expected xs of shape \(time, batch, inputs\), got \(4, 2\)',
                ),
                (
                    zeros(4, 2, 6),
                    ValueError,
                    r'weights\[0\]\[0\] of shape \(12, 6\), got \(12, 5\)',
                ),
                (
                    zeros(4, 3, 5),
                    ValueError,
                    r'expected hx of shape \(1, at least 3, 3\), got \(1, 2, 3\)',
                ),
                (zeros(4, 2, 5, dtype='i'), InvalidType, r'x\.dtype\.kind == f\nActual: i != f'),
            ],
            'weights': [
                (
                    None,
                    TypeError,
                    'expected weights to be a list or tuple of those of each layer, got NoneType',
                ),
                (zeros(12, 5), TypeError, 'got ndarray'),
                ([], ValueError, '1 a layer, got 0'),
                (
                    [()],
                    ValueError,
                    r'weights\[0\] to be W, b, U of lstm, got 0 arrays',
                ),
                ([(zeros(12, 5), zeros(12))], ValueError, 'got 2 arrays'),
                (
                    [zeros(12, 5)],
                    TypeError,
                    r'expected weights\[0\] to be a list or tuple of arrays, got ndarray',
                ),
                ([(zeros(12, 5), None, zeros(12, 3))], TypeError, 'got NoneType'),
                (
                    [(1, 2, 3)],
                    TypeError,
                    r'expected weights\[0\] to be an array or a variable, got int',
                ),
                (
                    [(zeros(12, 5), zeros(), zeros(12, 3))],
                    ValueError,
                    r'of shape \(4H,\), got \(\)',
                ),
                (
                    [(zeros(12, 4), zeros(12), zeros(12, 3))],
                    ValueError,
                    r'weights\[0\]\[0\] of shape \(12, 5\), got \(12, 4\)',
                ),
                (
                    [
                        (zeros(12, 5), zeros(12), zeros(12, 3)),
                        (zeros(12, 3), zeros(12), *[zeros(3, 3)] * 4),
                    ],
                    ValueError,
                    r'expected weights\[1\] to be W, b, U of lstm, got 6 arrays',
                ),
                (
                    [(zeros(12, 5), zeros(12), zeros(12, 3))] * 2,
                    ValueError,
                    r'hx of shape \(2, at least 2, 3\)',
                ),
                (
                    [(zeros(12, 5, dtype='i'), zeros(12), zeros(12, 3))],
                    InvalidType,
                    r'dtype\.kind == f',
                ),
            ],
            'bidirectional': [
                (True, ValueError, 'expected weights of each layer and direction, 2 a layer, got 1')
            ],
            'dropout': [
                (-1, ValueError, 'expected dropout to be at least 0 and less than 1, got -1'),
                (1, ValueError, 'got 1'),
                (numpy.nan, ValueError, 'got nan'),
                (None, TypeError, 'expected dropout to be a number, got None'),
                ('a', TypeError, "got 'a'"),
                (True, ValueError, 'got True'),
                (numpy.array(1.0), ValueError, 'got 1.0'),
                (zeros(1), TypeError, 'got array'),
            ],
        },
    ),
    'n_step_lstm': (
        {
            'n_layers': 1,
            'dropout_ratio': 0.0,
            'hx': zeros(1, 2, 4),
            'cx': zeros(1, 2, 4),
            'xs': [zeros(2, 3)],
            'ws': [[zeros(4, 3)] * 4 + [SQUARE] * 4],
            'bs': [[zeros(4)] * 8],
        },
        {
            'n_layers': [
                ('1', TypeError, "expected n_layers to be a positive integer, got '1'"),
                (1.0, TypeError, 'got 1.0'),
                (None, TypeError, 'got None'),
                (-1, ValueError, 'got -1'),
            ],
            'hx': [NONE, LIST, EMPTY, (zeros(4), ValueError, r'got \(4,\)')],
            'cx': [NONE, LIST, EMPTY],
            'xs': [
                (None, TypeError, 'expected xs to be a list or tuple of time steps, got NoneType'),
                (5, TypeError, 'got int'),
                (zeros(1, 2, 3), TypeError, 'got ndarray'),
                ([None], TypeError, r'expected xs\[0\] .* got NoneType'),
            ],
            'ws': [
                (None, TypeError, 'expected ws to be a list or tuple of layers, got NoneType'),
                (zeros(1, 8), TypeError, 'got ndarray'),
                ([None], TypeError, r'ws\[0\] .* got NoneType'),
                ([[]], ValueError, 'expected ws to be 1 lists of 8 arrays'),
                ([[1] * 8], TypeError, r'ws\[0\]\[0\] .* got int'),
                ([[zeros(4, 3, dtype='i')] * 4 + [SQUARE] * 4], InvalidType, r'dtype\.kind == f'),
            ],
            'bs': [
                (None, TypeError, 'expected bs to be a list'),
                ([[None] * 8], TypeError, r'bs\[0\]\[0\] .* got NoneType'),
                ([[zeros(4, dtype='d')] * 8], InvalidType, 'Actual: float64 != float32'),
            ],
        },
    ),
}


@one_wrong(CALLS)
def test_argument(refuses, function, given, error, message):
    refuses(lambda: getattr(functions, function)(**given), error, message)


def n_step_lstm(name='n_step_lstm', rows=1, n_layers=1, dropout=0.0, batches=(2, 1), **changed):
    """Call it with some arguments changed."""
    layers = [[zeros(UNITS, INPUT)] * 4 + [zeros(UNITS, UNITS)] * 4 for _ in range(rows)]
    given = {
        'hx': zeros(rows, 2, UNITS),
        'cx': zeros(rows, 2, UNITS),
        'ws': layers,
        'bs': [[zeros(UNITS)] * 8] * rows,
        'xs': [zeros(batch, INPUT) for batch in batches],
        **changed,
    }
    return getattr(functions, name)(n_layers, dropout, **given)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        pytest.param(
            {'xs': []}, ValueError, 'at least one time step in xs, got an empty list', id='xs empty'
        ),
        pytest.param(
            {'batches': (1, 2)},
            ValueError,
            r'do not grow in time .* got \[1, 2\]',
            id='growing batch',
        ),
        pytest.param(
            {'batches': (2, 1, 2)},
            ValueError,
            r'do not grow .* got \[2, 1, 2\]',
            id='growing again',
        ),
        pytest.param(
            {'n_layers': 2},
            ValueError,
            'expected ws to be 2 lists of 8 arrays',
            id='more layers than ws',
        ),
        pytest.param(
            {'n_layers': 0},
            ValueError,
            'expected n_layers to be a positive integer, got 0',
            id='no layers',
        ),
        pytest.param(
            {'n_layers': 0, 'ws': [], 'bs': [], 'hx': zeros(0, 2, 4), 'cx': zeros(0, 2, 4)},
            ValueError,
            None,
            id='no layers, no weights',
        ),
        pytest.param(
            {'ws': [[SQUARE] * 7]}, ValueError, r'8 arrays, got lists of \[7\]', id='seven matrices'
        ),
        pytest.param(
            {'bs': [[zeros(UNITS)] * 9]},
            ValueError,
            r'expected bs .* got lists of \[9\]',
            id='nine biases',
        ),
        pytest.param(
            {'ws': [[zeros(UNITS, INPUT)] * 3 + [zeros(INPUT, UNITS)] + [SQUARE] * 4]},
            ValueError,
            r'expected ws\[0\]\[3\] of shape \(4, 3\), got \(3, 4\)',
            id='matrix transposed',
        ),
        pytest.param(
            {'ws': [[zeros(UNITS)] + [zeros(UNITS, INPUT)] * 3 + [SQUARE] * 4]},
            ValueError,
            r'expected ws\[0\]\[0\] of shape',
            id='first matrix a vector',
        ),
        pytest.param(
            {'ws': [[zeros(UNITS, INPUT)] * 4 + [SQUARE] * 3 + [zeros(UNITS, 1)]]},
            ValueError,
            r'expected ws\[0\]\[7\] of shape \(4, 4\), got \(4, 1\)',
            id='lateral matrix one column',
        ),
        pytest.param(
            {'bs': [[zeros(UNITS)] * 7 + [zeros(1)]]},
            ValueError,
            r'expected bs\[0\]\[7\] of shape \(4,\), got \(1,\)',
            id='bias of one',
        ),
        pytest.param(
            {'rows': 2, 'n_layers': 2},
            ValueError,
            r'expected ws\[1\]\[0\] of shape \(4, 4\), got \(4, 3\)',
            id="second layer of the first one's width",
        ),
        pytest.param(
            {
                'name': 'n_step_bilstm',
                'rows': 4,
                'n_layers': 2,
                'ws': [[zeros(UNITS, INPUT)] * 4 + [SQUARE] * 4] * 2 + [[SQUARE] * 8] * 2,
            },
            ValueError,
            r'expected ws\[2\]\[0\] of shape \(4, 8\), got \(4, 4\)',
            id='n_step_bilstm second layer of H',
        ),
        pytest.param(
            {'name': 'n_step_bilstm'},
            ValueError,
            'expected ws to be 2 lists',
            id='n_step_bilstm one direction',
        ),
        pytest.param(
            {'batches': (3,)},
            ValueError,
            r'expected hx of shape \(1, at least 3, 4\)',
            id='hx fewer rows',
        ),
        pytest.param(
            {'hx': zeros(2, 2, UNITS)},
            ValueError,
            r'hx of .* got \(2, 2, 4\)',
            id='hx other layers',
        ),
        pytest.param(
            {'cx': zeros(2, UNITS)},
            ValueError,
            r'expected cx of shape .* got \(2, 4\)',
            id='cx two axes',
        ),
        pytest.param(
            {'hx': zeros(1, 3, UNITS)},
            ValueError,
            'expected hx and cx of one shape',
            id='hx and cx differ',
        ),
        pytest.param(
            {'xs': [zeros(2, 4)]},
            ValueError,
            r'Inconsistent input size .* expected ws\[0\]\[0\] of shape \(4, 4\), got \(4, 3\)',
            id='x other width',
        ),
        pytest.param(
            {'xs': [zeros(INPUT)], 'hx': zeros(1, 3, 4), 'cx': zeros(1, 3, 4)},
            ValueError,
            r'expected xs\[0\] of shape \(batch, 3\), got \(3,\)',
            id='x one axis',
        ),
        pytest.param(
            {'xs': [zeros(2, INPUT, dtype='i')]},
            InvalidType,
            r'x\.dtype\.kind == f',
            id='x integers',
        ),
        pytest.param({'xs': [zeros(2, INPUT, dtype='d')]}, InvalidType, r'dtype', id='x float64'),
        pytest.param({'hx': zeros(1, 2, UNITS, dtype='d')}, InvalidType, r'dtype', id='hx float64'),
        pytest.param(
            {'train': True}, ValueError, 'train argument is not supported anymore', id='train'
        ),
        pytest.param(
            {'use_cudnn': True},
            ValueError,
            'use_cudnn argument is not supported anymore',
            id='use_cudnn',
        ),
        pytest.param({'hidden': 1}, TypeError, 'hidden', id='unknown keyword'),
    ],
)
def test_n_step_lstm(refuses, options, error, message):
    refuses(lambda: n_step_lstm(**options), error, message)


@pytest.mark.parametrize(
    ('dropout', 'error', 'message'),
    (
        (1.0, ValueError, 'dropout'),
        (None, TypeError, 'expected dropout to be a number'),
        (numpy.nan, ValueError, 'got nan'),
        (-0.1, ValueError, 'got -0.1'),
        (True, ValueError, 'got True'),
    ),
)
def test_dropout_of_n_step_lstm(refuses, dropout, error, message):
    weights = [[zeros(UNITS, INPUT)] * 4 + [SQUARE] * 4, [SQUARE] * 8]
    options = {'rows': 2, 'n_layers': 2, 'dropout': dropout, 'ws': weights}
    refuses(lambda: n_step_lstm(**options), error, message)
