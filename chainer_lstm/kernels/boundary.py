"""The boundary between arrays and compiled kernels: the shape of every array is checked before its
address is taken.

A C++ or CUDA kernel gets addresses and a few sizes, and trusts them.  Every call passes ``check``,
because earlier checks can be bypassed: Chainer's type checks can be switched off, and the arrays of
variables can be replaced between forward and backward.  The tables of a sequence come from
``packing.Rows``, which checks them.

The kernels of cells are declared in ``cell_kernels``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import COMPILED, NORMALIZED
from chainer_lstm.kernels.arguments import Argument, Kernel
from chainer_lstm.kernels.cell_kernels import kernels_of, normalized_kernels

_INT32, _INT64 = numpy.dtype(numpy.int32), numpy.dtype(numpy.int64)


# The members of structs in native/arguments.hpp.
_MATMUL = 'isize M, N, K; Matrix<const T> a, b; const T* bias; T* out;'
_PACK = 'isize columns, depth; const T* weight; T* packed;'
_COPY_GATES = 'isize units, columns; Rows<const T> from[4]; Rows<T> to[4];'
_EXPONENTIALS = 'isize rows, classes; const T* x; T *y, *maxima, *sums;'
_SUMS_BY_CLASS = 'isize rows, columns, classes; const index64* of; const T* x; T* sums;'
_NORMALIZE = 'isize rows, columns; Numbers<Epsilon> numbers; const T *gain, *b; T *x, *y, *scale;'
_NORMALIZE_BACKWARD = 'isize rows, columns; const T *gy, *gain, *normalized, *scale; T* gx;'
_SUMS_OF_SQUARES = 'isize size, parts; const T* x; T* sums;'
_SGD = 'isize size; Numbers<SgdRates> numbers; T *x, *g, *v;'
_ADAM = 'isize size; Numbers<AdamRates> numbers; T *x, *g, *m, *v, *most;'

# all kernels of C++; the stages are kernels of CUDA too
KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel('matmul', _MATMUL, {'a': 'M K', 'b': 'K N', 'bias': 'N?', 'out': 'M N'}),
        Kernel('pack', _PACK, {'weight': 'columns depth', 'packed': 'padded_columns depth'}),
        Kernel(
            'copy_gates',
            _COPY_GATES,
            {
                'from': [(f'from_{gate}', 'units columns') for gate in range(4)],
                'to': [(f'to_{gate}', 'units columns') for gate in range(4)],
            },
        ),
        Kernel(
            'exponentials',
            _EXPONENTIALS,
            {'x': 'rows classes', 'y': 'rows classes?', 'maxima': 'rows', 'sums': 'rows'},
        ),
        Kernel(
            'sums_by_class',
            _SUMS_BY_CLASS,
            {'of': 'rows', 'x': 'rows columns', 'sums': 'classes columns'},
        ),
        Kernel(
            'normalize',
            _NORMALIZE,
            {
                'numbers': 'epsilon',
                'gain': 'columns',
                'b': 'columns?',
                **dict.fromkeys(('x', 'y'), 'rows columns'),
                'scale': 'rows',
            },
        ),
        Kernel(
            'normalize_backward',
            _NORMALIZE_BACKWARD,
            {
                'gain': 'columns',
                **dict.fromkeys(('gy', 'normalized', 'gx'), 'rows columns'),
                'scale': 'rows',
            },
        ),
        Kernel('sums_of_squares', _SUMS_OF_SQUARES, {'x': 'size', 'sums': 'parts'}),
        Kernel(
            'sgd',
            _SGD,
            {'numbers': 'scale rate momentum', 'x': 'size', 'g': 'size', 'v': 'size?'},
        ),
        Kernel(
            'adam',
            _ADAM,
            {
                'numbers': 'scale of_m of_v epsilon rate low high keep eta',
                **dict.fromkeys(('x', 'g', 'm', 'v'), 'size'),
                'most': 'size?',
            },
        ),
        *itertools.chain.from_iterable(map(kernels_of, COMPILED.values())),
        *normalized_kernels(NORMALIZED),
    )
}
# the persistent engine: the arrays of struct Job that callers pass
PERSISTENT = {
    kernel.name: kernel
    for kernel in (
        Kernel(
            'lstm_sequence_fwd',
            'isize batch, units, rows; const T *U, *b, *h0, *c0; T *hy, *cy, *gates, *h, *c;',
            {
                'U': 'gates units',
                'b': 'gates',
                **dict.fromkeys(('h0', 'c0', 'hy', 'cy'), 'batch units?'),
                'gates': 'rows gates',
                'h': 'states units',
                'c': 'states units',
            },
            together=(('h0', 'c0', 'hy', 'cy'),),
            gates=4,
        ),
        Kernel(
            'lstm_sequence_bwd',
            'isize batch, units, rows; const T* U; T* gates; const T* c; Rows<const T> gh; '
            'T *gh_last, *gc_last, *gb;',
            {
                'U': 'gates units',
                'gates': 'rows gates',
                'c': 'states units',
                'gh': 'rows units?',
                'gh_last': 'batch units',
                'gc_last': 'batch units',
                'gb': 'gates',
            },
            gates=4,
        ),
    )
}
# of functions on a GPU; ``kept`` is the largest score, the sum of exponentials and the loss of rows
CUDA = {
    kernel.name: kernel
    for kernel in (
        Kernel(
            'cross_entropy',
            'isize rows, classes, three; word64 label; const T* x; const Index* t; Real* kept;',
            {'x': 'rows classes', 't': 'rows', 'kept': 'three rows'},
        ),
        Kernel(
            'cross_entropy_mean',
            'isize rows, three, one; word64 label, normalize; const Real* kept; const Index* t; '
            'T* loss; Real* coefficient;',
            {'kept': 'three rows', 't': 'rows', 'loss': 'one', 'coefficient': 'one'},
        ),
        Kernel(
            'cross_entropy_gradient',
            'isize rows, classes, three, given; word64 label; const T* x; const Index* t; '
            'const Real *kept, *coefficient; const T* gy; T* gx;',
            {
                **dict.fromkeys(('x', 'gx'), 'rows classes'),
                't': 'rows',
                'kept': 'three rows',
                'coefficient': 'given?',
                'gy': 'given',
            },
        ),
        Kernel(
            'dropout',
            'isize size; word64 key, key_at, threshold; Numbers<Scale> numbers; const T* x; T* y;',
            {'numbers': 'scale', 'x': 'size', 'y': 'size'},
        ),
        Kernel(
            'column_sums',
            'isize rows, columns; const T* x; T* sums;',
            {'x': 'rows columns', 'sums': 'columns'},
        ),
        Kernel(
            'embedding_gradient',
            'isize rows, columns, classes; word64 label, splits; const Index* ids; '
            'const T* gy; T* gW;',
            {'ids': 'rows', 'gy': 'rows columns', 'gW': 'classes columns'},
        ),
    )
}


def check(
    kernel: Kernel, dtype: numpy.dtype, sizes: Sequence[int], arrays: Sequence[Optional[Array]]
) -> None:
    """Compare every array of a call with what the kernel expects.

    Args:
        kernel: the kernel.
        dtype: the dtype of all arrays except integer ones.
        sizes: in the order of ``kernel.sizes``.
        arrays: in the order of ``kernel.arguments``; None for an array that is not given.

    Raises:
        ValueError: an array is missing or has another shape or dtype, or only some arrays of a
            group are given.
    """
    expected = kernel.expected(*sizes[: kernel.extents])
    if len(arrays) != len(expected):
        raise ValueError(f'{kernel.name}: expected {len(expected)} arrays, got {len(arrays)}')
    for x, (shape, optional, kind) in zip(arrays, expected):
        if x is None:
            if not optional:
                _refuse(kernel, dtype, sizes, arrays)
        elif x.shape != shape or (
            x.dtype != dtype if kind == 'T' else x.dtype not in _dtypes(kind, dtype)
        ):
            _refuse(kernel, dtype, sizes, arrays)
    for one, other in kernel.pairs:
        if (arrays[one] is None) != (arrays[other] is None):
            _refuse(kernel, dtype, sizes, arrays)


@functools.cache
def _dtypes(kind: str, dtype: numpy.dtype) -> tuple[numpy.dtype, ...]:
    """Return the dtypes of an argument of a kind, see ``Argument``."""
    if kind == 'Real':
        return (numpy.result_type(dtype, numpy.float32),)
    return {'T': (dtype,), 'index64': (_INT64,), 'Index': (_INT32, _INT64)}[kind]


def _refuse(
    kernel: Kernel, dtype: numpy.dtype, sizes: Sequence[int], arrays: Sequence[Optional[Array]]
) -> None:
    """Raise the error of the first array that does not fit."""
    expected_arrays = zip(arrays, kernel.expected(*sizes[: kernel.extents]), kernel.arguments)
    for x, (shape, optional, kind), argument in expected_arrays:
        wanted = _dtypes(kind, dtype)
        expected = f'{kernel.name}: expected {argument.name}'
        if x is None and not optional:
            raise ValueError(f'{expected} of shape {shape}, got None')
        if x is not None and x.shape != shape:
            raise ValueError(f'{expected} of shape {shape}, got {x.shape}')
        if x is not None and x.dtype not in wanted:
            raise ValueError(f'{expected} of dtype {" or ".join(map(str, wanted))}, got {x.dtype}')
    for group in kernel.together:
        names = [kernel.arguments[index].name for index in group]
        given = [name for name, index in zip(names, group) if arrays[index] is not None]
        if 0 < len(given) < len(names):
            raise ValueError(
                f'{kernel.name}: expected all of {", ".join(names)} or none, '
                f'got {", ".join(given)} alone'
            )


def dense(argument: Argument, x: Array) -> None:
    """Check that an output array is C-contiguous, or each of its rows where a kernel takes their
    stride: results in a copy would be lost.

    Raises:
        ValueError: it is not.
    """
    rows = argument.strides and x.strides[-1] == x.itemsize and not x.strides[0] % x.itemsize
    if not (rows or x.flags.c_contiguous):
        raise ValueError(
            f'expected {argument.name}, which is written into, to be C-contiguous, '
            f'got strides {x.strides} of {x.dtype}'
        )
