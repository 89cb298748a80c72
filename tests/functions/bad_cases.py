"""Values that are no arrays for a function, and the check of calls with one argument changed."""

import chainer
import pytest
from chainer.utils.type_check import InvalidType

from tests.support.arrays import zeros

NONE = (None, TypeError, 'NoneType')
LIST = ([[0.0]], TypeError, 'list')
EMPTY = (chainer.Variable(), TypeError, 'a variable without data')
INTEGERS = {
    shape: (zeros(*shape, dtype='i'), InvalidType, r'dtype\.kind == f\nActual: i != f')
    for shape in ((2, 5), (12, 5), (12, 3), (4, 4))
}


def one_wrong(calls):
    """Parameters for a test of calls with one wrong argument.

    Args:
        calls: By function: right arguments, and for each argument wrong values with error and
            message.
    """
    rows = []
    for function, (right, arguments) in calls.items():
        for argument, values in arguments.items():
            for value, error, message in values:
                if message in (NONE[-1], LIST[-1], EMPTY[-1]):
                    name = argument.removesuffix('_prev')
                    message = (
                        rf'expected {name}(_prev)? to be an array or a variable, got {message}'
                    )
                given = {**right, argument: value}
                rows.append(
                    pytest.param(
                        function,
                        given,
                        error,
                        message,
                        id=f'{function}-{argument}-{type(value).__name__}',
                    )
                )
    return pytest.mark.parametrize(('function', 'given', 'error', 'message'), rows)
