"""Right and wrong arrays of every kernel, and the check that wrong ones are refused."""

import re

import numpy
import pytest

from chainer_lstm.kernels.packing import Rows

ROWS = Rows((3, 3, 2, 1), 3)
SIZES = {
    'M': 3,
    'N': 6,
    'K': 4,
    'steps': len(ROWS.steps),
    'batch': ROWS.batch,
    'units': 5,
    'outputs': 3,
    'inputs': 4,
    'classes': 7,
    'first': ROWS.first,
    'initial': ROWS.initial,
    'kept_c': 0.25,
    'kept_h': 0.5,
    'clip': 0.75,
    'slope': 0.2,
    'epsilon': 1e-5,
    'columns': 7,
    'size': 37,
    'parts': 3,
    'scale': 0.5,
    'rate': 0.1,
    'momentum': 0.9,
    'of_m': 0.1,
    'of_v': 0.01,
    'low': -0.5,
    'high': 0.5,
    'keep': 0.9,
    'eta': 0.8,
    'depth': 4,
}


def sizes_of(kernel):
    packed = ROWS.total if 'steps' in kernel.sizes else SIZES['batch']
    return tuple(packed if size == 'rows' else SIZES[size] for size in kernel.sizes)


def arrays_of(kernel, dtype, sizes=None):
    """Every array of a call, none of them None."""
    random = numpy.random.RandomState(0)
    sizes = sizes or sizes_of(kernel)
    arrays = []
    for (shape, _, kind), argument in zip(kernel.expected(*sizes), kernel.arguments):
        if kind == 'Index':
            arrays.append(numpy.arange(shape[0]))
        elif kind == 'Real':
            arrays.append(random.uniform(0, 1, shape).astype(numpy.result_type(dtype, 'f')))
        elif argument.integers and argument.name == 'of':
            arrays.append(numpy.arange(shape[0]))
        elif argument.integers:
            arrays.append(ROWS.table[0 if argument.name == 'start' else 1].copy())
        else:
            low = 0 if argument.name in ('v', 'most') else -1  # means of squares
            arrays.append(random.uniform(low, 1, shape).astype(dtype))
    return arrays


def wrong_arrays(x):
    """Arrays that differ from x in shape: one row, one column or one axis more or less."""
    random = numpy.random.RandomState(1)
    rows, columns = x.shape[0], x.shape[-1]
    shapes = {
        (rows + 1, *x.shape[1:]),
        (rows - 1, *x.shape[1:]),
        (*x.shape[:-1], columns + 1),
        (*x.shape[:-1], columns - 1),
        (*x.shape, 1),
        (1, *x.shape),
        x.shape[1:],
        x.shape[:-1],
        x.shape[::-1],
    }
    for shape in sorted(shapes - {x.shape}):
        yield numpy.asarray(random.uniform(0, 2, shape)).astype(x.dtype)


def with_one(arrays, index, x):
    return [*arrays[:index], x, *arrays[index + 1 :]]


def refuses(call, arrays, message, written):
    """Check that a call raises a ValueError with this text and writes nothing."""
    before = [None if x is None else x.copy() for x in arrays]
    with pytest.raises(ValueError, match=message):
        call(arrays)
    for x, y, is_written in zip(arrays, before, written):
        if is_written and y is not None:
            numpy.testing.assert_array_equal(x, y)


def check_wrong_arrays(kernel, sizes, arrays, call):
    """The call of a kernel refuses every array that is not as the table says."""
    written = [argument.written for argument in kernel.arguments]
    for index, (argument, x) in enumerate(zip(kernel.arguments, arrays)):
        expected = f'^{kernel.name}: expected {argument.name} of'
        for wrong in wrong_arrays(x):
            message = (
                f'{expected} shape {re.escape(str(x.shape))}, got {re.escape(str(wrong.shape))}$'
            )
            refuses(call, with_one(arrays, index, wrong), message, written)
        for dtype in 'efdqiD' if argument.kind != 'Index' else 'efdhD':
            if x.dtype != dtype:
                wanted = x.dtype if argument.kind != 'Index' else 'int32 or int64'
                message = f'{expected} dtype {wanted}, got {numpy.dtype(dtype)}$'
                refuses(call, with_one(arrays, index, x.astype(dtype)), message, written)
        if not argument.optional:
            refuses(call, with_one(arrays, index, None), f'{expected} shape .*, got None$', written)


def strided(x):
    return x.repeat(2, axis=-1)[..., ::2]
