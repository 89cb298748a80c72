"""Functions."""

import chainer
import numpy
from chainer.utils.type_check import InvalidType

from chainer_lstm import functions
from tests.bad_input.rows import Row, nothing, zeros
from tests.support.links import INPUT, UNITS


def call_n_step(name='n_step_lstm', rows=1, n_layers=1, dropout=0.0, batches=(2, 1), **changed):
    """``n_step_lstm`` with one argument changed."""
    layers = [[zeros(UNITS, INPUT)] * 4 + [zeros(UNITS, UNITS)] * 4 for _ in range(rows)]
    given = {
        'hx': zeros(rows, 2, UNITS),
        'cx': zeros(rows, 2, UNITS),
        'ws': layers,
        'bs': [[zeros(UNITS)] * 8] * rows,
        'xs': [zeros(batch, INPUT) for batch in batches],
        **changed,
    }
    return lambda _: getattr(functions, name)(n_layers, dropout, **given)


SQUARE = zeros(UNITS, UNITS)
N_STEP = [
    (
        'n_step_lstm xs empty',
        call_n_step(xs=[]),
        ValueError,
        'at least one time step in xs, got an empty list',
    ),
    (
        'n_step_lstm growing batch',
        call_n_step(batches=(1, 2)),
        ValueError,
        r'do not grow in time .* got \[1, 2\]',
    ),
    (
        'n_step_lstm growing again',
        call_n_step(batches=(2, 1, 2)),
        ValueError,
        r'do not grow .* got \[2, 1, 2\]',
    ),
    (
        'n_step_lstm more layers than ws',
        call_n_step(n_layers=2),
        ValueError,
        'expected ws to be 2 lists of 8 arrays',
    ),
    (
        'n_step_lstm no layers',
        call_n_step(n_layers=0),
        ValueError,
        'expected n_layers to be a positive integer, got 0',
    ),
    (
        'n_step_lstm no layers, no weights',
        call_n_step(n_layers=0, ws=[], bs=[], hx=zeros(0, 2, 4), cx=zeros(0, 2, 4)),
        ValueError,
        None,
    ),
    (
        'n_step_lstm seven matrices',
        call_n_step(ws=[[SQUARE] * 7]),
        ValueError,
        r'8 arrays, got lists of \[7\]',
    ),
    (
        'n_step_lstm nine biases',
        call_n_step(bs=[[zeros(UNITS)] * 9]),
        ValueError,
        r'expected bs .* got lists of \[9\]',
    ),
    (
        'n_step_lstm matrix transposed',
        call_n_step(ws=[[zeros(UNITS, INPUT)] * 3 + [zeros(INPUT, UNITS)] + [SQUARE] * 4]),
        ValueError,
        r'expected ws\[0\]\[3\] of shape \(4, 3\), got \(3, 4\)',
    ),
    (
        'n_step_lstm first matrix a vector',
        call_n_step(ws=[[zeros(UNITS)] + [zeros(UNITS, INPUT)] * 3 + [SQUARE] * 4]),
        ValueError,
        r'expected ws\[0\]\[0\] of shape',
    ),
    (
        'n_step_lstm lateral matrix one column',
        call_n_step(ws=[[zeros(UNITS, INPUT)] * 4 + [SQUARE] * 3 + [zeros(UNITS, 1)]]),
        ValueError,
        r'expected ws\[0\]\[7\] of shape \(4, 4\), got \(4, 1\)',
    ),
    (
        'n_step_lstm bias of one',
        call_n_step(bs=[[zeros(UNITS)] * 7 + [zeros(1)]]),
        ValueError,
        r'expected bs\[0\]\[7\] of shape \(4,\), got \(1,\)',
    ),
    (
        "n_step_lstm second layer of the first one's width",
        call_n_step(rows=2, n_layers=2),
        ValueError,
        r'expected ws\[1\]\[0\] of shape \(4, 4\), got \(4, 3\)',
    ),
    (
        'n_step_bilstm second layer of H',
        call_n_step(
            'n_step_bilstm',
            rows=4,
            n_layers=2,
            ws=[[zeros(UNITS, INPUT)] * 4 + [SQUARE] * 4] * 2 + [[SQUARE] * 8] * 2,
        ),
        ValueError,
        r'expected ws\[2\]\[0\] of shape \(4, 8\), got \(4, 4\)',
    ),
    (
        'n_step_bilstm one direction',
        call_n_step('n_step_bilstm'),
        ValueError,
        'expected ws to be 2 lists',
    ),
    (
        'n_step_lstm hx fewer rows',
        call_n_step(batches=(3,)),
        ValueError,
        r'expected hx of shape \(1, at least 3, 4\)',
    ),
    (
        'n_step_lstm hx other layers',
        call_n_step(hx=zeros(2, 2, UNITS)),
        ValueError,
        r'hx of .* got \(2, 2, 4\)',
    ),
    (
        'n_step_lstm cx two axes',
        call_n_step(cx=zeros(2, UNITS)),
        ValueError,
        r'expected cx of shape .* got \(2, 4\)',
    ),
    (
        'n_step_lstm hx and cx differ',
        call_n_step(hx=zeros(1, 3, UNITS)),
        ValueError,
        'expected hx and cx of one shape',
    ),
    (
        'n_step_lstm x other width',
        call_n_step(xs=[zeros(2, 4)]),
        ValueError,
        r'Inconsistent input size .* expected ws\[0\]\[0\] of shape \(4, 4\), got \(4, 3\)',
    ),
    (
        'n_step_lstm x one axis',
        call_n_step(xs=[zeros(INPUT)], hx=zeros(1, 3, 4), cx=zeros(1, 3, 4)),
        ValueError,
        r'expected xs\[0\] of shape \(batch, 3\), got \(3,\)',
    ),
    (
        'n_step_lstm x integers',
        call_n_step(xs=[zeros(2, INPUT, dtype='i')]),
        InvalidType,
        r'x\.dtype\.kind == f',
    ),
    ('n_step_lstm x float64', call_n_step(xs=[zeros(2, INPUT, dtype='d')]), InvalidType, r'dtype'),
    (
        'n_step_lstm hx float64',
        call_n_step(hx=zeros(1, 2, UNITS, dtype='d')),
        InvalidType,
        r'dtype',
    ),
    *(
        (
            f'n_step_lstm dropout {dropout}',
            call_n_step(
                rows=2,
                n_layers=2,
                dropout=dropout,
                ws=[[zeros(UNITS, INPUT)] * 4 + [SQUARE] * 4, [SQUARE] * 8],
            ),
            error,
            message,
        )
        for dropout, error, message in (
            (1.0, ValueError, 'dropout'),
            (None, TypeError, 'expected dropout to be a number'),
            (numpy.nan, ValueError, 'got nan'),
            (-0.1, ValueError, 'got -0.1'),
            (True, ValueError, 'got True'),
        )
    ),
    (
        'n_step_lstm train',
        call_n_step(train=True),
        ValueError,
        'train argument is not supported anymore',
    ),
    (
        'n_step_lstm use_cudnn',
        call_n_step(use_cudnn=True),
        ValueError,
        'use_cudnn argument is not supported anymore',
    ),
    ('n_step_lstm unknown keyword', call_n_step(hidden=1), TypeError, 'hidden'),
]

NO_ARRAY = 'expected {} to be an array or a variable, got '
NONE = (None, TypeError, 'NoneType')
LIST = ([[0.0]], TypeError, 'list')
EMPTY = (chainer.Variable(), TypeError, 'a variable without data')
INTEGERS = {
    shape: (zeros(*shape, dtype='i'), InvalidType, r'dtype\.kind == f\nActual: i != f')
    for shape in ((2, 5), (12, 5), (12, 3), (4, 4))
}

# function: (right arguments, {argument: wrong values})
CALLS = {
    'lstm': (
        {'c_prev': zeros(2, 3), 'x': zeros(2, 12)},
        {
            'c_prev': [
                NONE,
                LIST,
                EMPTY,
                (zeros(2, 3, dtype='i'), InvalidType, r'c\.dtype\.kind == f\nActual: i != f'),
                (zeros(1, 3), InvalidType, r'x\.shape\[0\] <= c\.shape\[0\]\nActual: 2 > 1'),
                (
                    zeros(2, 4),
                    InvalidType,
                    r'x\.shape\[1\] == 4 \* c\.shape\[1\]\nActual: 12 != 16',
                ),
                (zeros(3), InvalidType, r'c\.ndim >= 2\nActual: 1 < 2'),
                (zeros(), InvalidType, 'Actual: 0 < 2'),
                (zeros(2, 3, 2), InvalidType, r'x\.ndim == c\.ndim\nActual: 2 != 3'),
                (zeros(2, 3, dtype='e'), InvalidType, r'Actual: float32 != float16'),
            ],
            'x': [
                NONE,
                LIST,
                EMPTY,
                (zeros(2, 11), InvalidType, 'Actual: 11 != 12'),
                (zeros(12), InvalidType, 'ndim'),
            ],
        },
    ),
    'lstm_step': (
        {
            'c_prev': zeros(2, 3),
            'h_prev': zeros(2, 3),
            'x': zeros(2, 5),
            'W': zeros(12, 5),
            'b': zeros(12),
            'U': zeros(12, 3),
        },
        {
            'c_prev': [
                NONE,
                LIST,
                EMPTY,
                (
                    zeros(2, 4),
                    InvalidType,
                    r'W\.shape\[0\] == 4 \* c\.shape\[1\]\nActual: 12 != 16',
                ),
                (zeros(2), InvalidType, r'c\.ndim == 2\nActual: 1 != 2'),
                (zeros(1, 3), InvalidType, 'Actual: 2 > 1'),
                (
                    zeros(2, 3, dtype='d'),
                    InvalidType,
                    r'c\.dtype == x\.dtype\nActual: float64 != float32',
                ),
            ],
            'h_prev': [
                LIST,
                EMPTY,
                ('h', TypeError, 'str'),
                (zeros(1, 3), InvalidType, 'Actual: 1 != 2'),
                (zeros(2, 4), InvalidType, r'h\.shape\[1\] == c\.shape\[1\]\nActual: 4 != 3'),
                (zeros(3), InvalidType, r'h\.ndim == 2'),
                (zeros(2, 3, dtype='d'), InvalidType, r'h\.dtype == x\.dtype'),
            ],
            'x': [
                NONE,
                LIST,
                EMPTY,
                INTEGERS[2, 5],
                (zeros(2, 4), InvalidType, r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 5'),
                (zeros(5), InvalidType, r'x\.ndim == 2'),
                (zeros(2, 5, 1), InvalidType, r'x\.ndim == 2'),
            ],
            'W': [
                NONE,
                LIST,
                EMPTY,
                INTEGERS[12, 5],
                (zeros(13, 5), InvalidType, 'Actual: 13 != 12'),
                (zeros(12), InvalidType, r'W\.ndim == 2\nActual: 1 != 2'),
            ],
            'b': [
                NONE,
                LIST,
                EMPTY,
                (zeros(11), InvalidType, 'Actual: 11 != 12'),
                (zeros(12, 1), InvalidType, r'b\.ndim == 1'),
                (
                    zeros(12, dtype='d'),
                    InvalidType,
                    r'b\.dtype == x\.dtype\nActual: float64 != float32',
                ),
            ],
            'U': [
                NONE,
                LIST,
                EMPTY,
                INTEGERS[12, 3],
                (zeros(12, 4), InvalidType, r'U\.shape\[1\] == c\.shape\[1\]\nActual: 4 != 3'),
                (zeros(11, 3), InvalidType, 'Actual: 11 != 12'),
                (zeros(12), InvalidType, r'U\.ndim == 2'),
            ],
        },
    ),
    'peephole_lstm_step': (
        {
            'c_prev': zeros(2, 4),
            'h_prev': None,
            'x': zeros(2, 5),
            'W': zeros(16, 5),
            'b': zeros(16),
            'U': zeros(16, 4),
            'P_i': SQUARE,
            'P_f': SQUARE,
            'P_o': SQUARE,
        },
        {
            name: [
                NONE,
                LIST,
                EMPTY,
                INTEGERS[4, 4],
                (zeros(4), InvalidType, rf'{name}\.ndim == 2\nActual: 1 != 2'),
                (zeros(4, 3), InvalidType, rf'{name}\.shape\[1\] == c\.shape\[1\]\nActual: 3 != 4'),
                (zeros(3, 4), InvalidType, rf'{name}\.shape\[0\] == c\.shape\[1\]\nActual: 3 != 4'),
            ]
            for name in ('P_i', 'P_f', 'P_o')
        },
    ),
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
    'linear': (
        {'x': zeros(2, 5), 'W': zeros(3, 5), 'b': zeros(3)},
        {
            'x': [
                NONE,
                LIST,
                EMPTY,
                INTEGERS[2, 5],
                (zeros(2, 4), InvalidType, r'x\.shape\[1\] == W\.shape\[1\]\nActual: 4 != 5'),
            ],
            'W': [
                NONE,
                LIST,
                EMPTY,
                (zeros(3, 4), InvalidType, 'Actual: 5 != 4'),
                (zeros(5), InvalidType, 'ndim'),
            ],
            'b': [
                LIST,
                EMPTY,
                (zeros(4), InvalidType, 'Actual: 4 != 3'),
                (zeros(3, 1), InvalidType, 'ndim'),
            ],
            'n_batch_axes': [(0, ValueError, 'n_batch_axes should be greater than 0')],
        },
    ),
    'softmax_cross_entropy': (
        {'x': zeros(2, 5), 't': zeros(2, dtype='i')},
        {
            'x': [
                NONE,
                LIST,
                EMPTY,
                (zeros(2), InvalidType, r'Actual: float32 \(2,\) and int32 \(2,\)'),
                (zeros(2, 5, dtype='i'), InvalidType, 'Actual: int32'),
                (zeros(3, 5), InvalidType, r'\(3, 5\) and int32 \(2,\)'),
            ],
            't': [
                NONE,
                LIST,
                EMPTY,
                (zeros(2), InvalidType, r'and float32 \(2,\)'),
                (zeros(2, 1, dtype='i'), InvalidType, r'\(2, 1\)'),
                (zeros(2, dtype='?'), InvalidType, 'bool'),
                (zeros(2, dtype='i') + 5, ValueError, 'from 0 to 4, or -1 .* got 5'),
                (
                    zeros(2, dtype='i') - 2,
                    ValueError,
                    'expected classes from 0 to 4, or -1 for those to ignore, got -2',
                ),
            ],
            'reduce': [
                (
                    'sum',
                    ValueError,
                    "only 'mean' and 'no' are valid for 'reduce', but 'sum' is given",
                )
            ],
            'soft_target_loss': [('x', ValueError, "soft_target_loss must be 'cross-entropy' or")],
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


def of_calls():
    for function, (right, wrong) in CALLS.items():
        for argument, values in wrong.items():
            for k, (value, error, message) in enumerate(values):
                what = (
                    f'{value.dtype} {value.shape}'
                    if isinstance(value, numpy.ndarray)
                    else type(value).__name__
                )
                if message in ('NoneType', 'list', 'a variable without data'):
                    name = argument.removesuffix('_prev')
                    message = (
                        rf'expected {name}(_prev)? to be an array or a variable, got {message}'
                    )
                yield (
                    f'{function} {argument} {k} {what}',
                    lambda _, function=function, given={**right, argument: value}: getattr(
                        functions, function
                    )(**given),
                    error,
                    message,
                )


ROWS = [Row(name, nothing, *row) for name, *row in (*N_STEP, *of_calls())]
