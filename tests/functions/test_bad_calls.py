"""What functions of steps and losses refuse."""

from chainer.utils.type_check import InvalidType

from chainer_lstm import functions
from tests.functions.bad_cases import EMPTY, INTEGERS, LIST, NONE, one_wrong
from tests.support.arrays import zeros
from tests.support.links import UNITS

SQUARE = zeros(UNITS, UNITS)
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
}


@one_wrong(CALLS)
def test_argument(refuses, function, given, error, message):
    refuses(lambda: getattr(functions, function)(**given), error, message)
