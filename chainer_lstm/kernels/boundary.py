"""The boundary between arrays and compiled kernels:
the shape of every array, checked before its address is taken.

A kernel, of C++ or CUDA, sees addresses and a few sizes, and trusts them.
``check`` is what every call goes through first, whatever was or was not
checked before: types of Chainer can be switched off, and arrays of a variable
can be replaced between forward and backward.  The numbers in the tables of a
sequence are those of ``packing.Rows``, which checks them.

The letters: B rows of a batch, H units, I inputs, T time steps, P packed rows
of all steps.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

Array = Any
Shape = tuple[int, ...]
_INTEGERS = numpy.dtype(numpy.int64)


class Argument(NamedTuple):
    """An array that a kernel takes.

    Attributes:
        name: in errors, and of the member of the C++ struct.
        optional: whether it may be None.
        written: whether the kernel writes into it.
        strides: how many of its strides the kernel takes, as members after the address: 0 for a
            dense array, 1 for one of dense rows, 2 for any; its last axes have them.
        integers: int64, not of the kernel's dtype.
    """

    name: str
    optional: bool
    written: bool
    strides: int
    integers: bool

    @property
    def members(self) -> list[str]:
        """The declarations of C++, as the function ``members`` gives them."""
        const = '' if self.written else 'const '
        kind = 'index64' if self.integers else 'T'
        strides = (f'isize {self.name}_{axis}' for axis in ('row', 'col')[: self.strides])
        return [f'{const}{kind} *{self.name}', *strides]


class Kernel:
    """The arguments of a kernel.

    Args:
        shapes: a function of the kernel's name, from its sizes to the shape of each array by name;
            in the order of the kernel's arguments.
        optional, written, rows, strided, integers: the names of arrays, one word each; see
            ``Argument``.
        together: groups of names, with commas between them, of which all or none are given.
    """

    def __init__(
        self,
        shapes: Callable[..., dict[str, Shape]],
        *,
        optional: str = '',
        written: str = '',
        rows: str = '',
        strided: str = '',
        integers: str = '',
        together: str = '',
    ) -> None:
        self.name = shapes.__name__
        self.sizes = tuple(inspect.signature(shapes).parameters)
        self._shapes = shapes
        names = list(shapes(*[1] * len(self.sizes)))
        strides = {**dict.fromkeys(rows.split(), 1), **dict.fromkeys(strided.split(), 2)}
        may_be_none, is_written, is_integer = optional.split(), written.split(), integers.split()
        self.arguments = tuple(
            Argument(
                name,
                name in may_be_none,
                name in is_written,
                strides.get(name, 0),
                name in is_integer,
            )
            for name in names
        )
        groups = filter(None, together.split(','))
        self.together = [[names.index(array) for array in group.split()] for group in groups]
        self.pairs = [pair for group in self.together for pair in itertools.pairwise(group)]
        self.expected = functools.lru_cache(maxsize=1024)(self._expected)

    @property
    def members(self) -> list[str]:
        """The declarations of the C++ struct of its arguments,
        as the function ``members`` gives them.
        """
        of_arrays = (member for argument in self.arguments for member in argument.members)
        return [*(f'isize {size}' for size in self.sizes), *of_arrays]

    def _expected(self, *sizes: int) -> tuple[tuple[Shape, bool, bool], ...]:
        return tuple(
            (shape, each.optional, each.integers)
            for shape, each in zip(self._shapes(*sizes).values(), self.arguments)
        )


KERNELS: dict[str, Kernel] = {}  # of C++ and, the stages, of cells.cu
# of the persistent engine: the arrays of struct Job that are not made beside its launch
PERSISTENT: dict[str, Kernel] = {}


def _kernel(table: dict[str, Kernel], **kinds: str) -> Callable[[Callable], Callable]:
    """Add a kernel to a table; ``kinds`` as the arguments of ``Kernel``."""

    def add(shapes: Callable[..., dict[str, Shape]]) -> Callable[..., dict[str, Shape]]:
        kernel = Kernel(shapes, **kinds)
        table[kernel.name] = kernel
        return shapes

    return add


@_kernel(KERNELS, optional='bias', written='out', strided='a b')
def matmul(M, N, K):
    return {'a': (M, K), 'b': (K, N), 'bias': (N,), 'out': (M, N)}


def _layer(steps, units):
    """The time steps and the recurrent weights, with which the sequence kernels begin."""
    P = units, units
    return {'start': (steps,), 'n': (steps,), 'U': (4 * units, units), 'P_i': P, 'P_f': P, 'P_o': P}


@_kernel(
    KERNELS,
    optional='P_i P_f P_o gates',
    written='gates h c',
    rows='x',
    integers='start n',
    together='P_i P_f P_o',
)
def sequence_forward(steps, batch, units, inputs, rows, first, initial):
    states = rows + batch, units  # with the initial ones, see packing.Rows
    return {
        **_layer(steps, units),
        'x': (rows, inputs),
        'W': (4 * units, inputs),
        'b': (4 * units,),
        'gates': (rows, 4 * units),
        'h': states,
        'c': states,
    }


@_kernel(
    KERNELS,
    optional='P_i P_f P_o gh',
    written='gates gh_last gc_last',
    rows='gh',
    integers='start n',
    together='P_i P_f P_o',
)
def recur_backward(steps, batch, units, rows, first, initial):
    state = batch, units
    return {
        **_layer(steps, units),
        'c': (rows + batch, units),
        'gh': (rows, units),
        'gates': (rows, 4 * units),
        'gh_last': state,
        'gc_last': state,
    }


@_kernel(KERNELS, optional='hu b', written='gates c h')
def lstm_fwd(batch, units):
    gates, state = (batch, 4 * units), (batch, units)
    return {
        'xw': gates,
        'hu': gates,
        'b': (4 * units,),
        'c_prev': state,
        'gates': gates,
        'c': state,
        'h': state,
    }


@_kernel(KERNELS, optional='gc gh', written='gpre gc_prev')
def lstm_bwd(batch, units):
    gates, state = (batch, 4 * units), (batch, units)
    return {
        'gates': gates,
        'c_prev': state,
        'c': state,
        'gc': state,
        'gh': state,
        'gpre': gates,
        'gc_prev': state,
    }


@_kernel(KERNELS, optional='hu b', written='gates c')
def peephole_cell_fwd(batch, units):
    gates, state = (batch, 4 * units), (batch, units)
    return {
        'xw': gates,
        'hu': gates,
        'b': (4 * units,),
        'pi': state,
        'pf': state,
        'c_prev': state,
        'gates': gates,
        'c': state,
    }


@_kernel(KERNELS, written='gates h')
def peephole_out_fwd(batch, units):
    state = batch, units
    return {'gates': (batch, 4 * units), 'po': state, 'c': state, 'h': state}


@_kernel(KERNELS, optional='gc gh', written='go gc_sum')
def peephole_out_bwd(batch, units):
    state = batch, units
    return {
        'gates': (batch, 4 * units),
        'c': state,
        'gc': state,
        'gh': state,
        'go': state,
        'gc_sum': state,
    }


@_kernel(KERNELS, written='gpre gc_prev')
def peephole_cell_bwd(batch, units):
    gates, state = (batch, 4 * units), (batch, units)
    return {
        'gates': gates,
        'c_prev': state,
        'gc': state,
        'go': state,
        'gpre': gates,
        'gc_prev': state,
    }


@_kernel(KERNELS, optional='h U', written='gates c h_new', rows='x h', together='h U')
def lstm_step_fwd(batch, units, inputs):
    gates, state = (batch, 4 * units), (batch, units)
    return {
        'x': (batch, inputs),
        'W': (4 * units, inputs),
        'b': (4 * units,),
        'h': state,
        'U': (4 * units, units),
        'c_prev': state,
        'gates': gates,
        'c': state,
        'h_new': state,
    }


@_kernel(
    KERNELS,
    optional='gc gh W U gx gh_prev',
    written='gpre gc_prev gx gh_prev',
    together='W gx, U gh_prev',
)
def lstm_step_bwd(batch, units, inputs):
    gates, state = (batch, 4 * units), (batch, units)
    return {
        'gates': gates,
        'c_prev': state,
        'c': state,
        'gc': state,
        'gh': state,
        'W': (4 * units, inputs),
        'U': (4 * units, units),
        'gpre': gates,
        'gc_prev': state,
        'gx': (batch, inputs),
        'gh_prev': state,
    }


@_kernel(KERNELS, optional='h U', written='gates c', rows='x h', together='h U')
def peephole_step_fwd(batch, units, inputs):
    state, P = (batch, units), (units, units)
    return {
        'x': (batch, inputs),
        'W': (4 * units, inputs),
        'b': (4 * units,),
        'h': state,
        'U': (4 * units, units),
        'P_i': P,
        'P_f': P,
        'c_prev': state,
        'gates': (batch, 4 * units),
        'c': state,
    }


@_kernel(
    KERNELS,
    optional='W U P_i P_f gx gh_prev',
    written='gpre gc_prev gx gh_prev',
    together='W gx, U gh_prev',
)
def peephole_step_bwd(batch, units, inputs):
    gates, state, P = (batch, 4 * units), (batch, units), (units, units)
    return {
        'gates': gates,
        'c_prev': state,
        'gc': state,
        'go': state,
        'W': (4 * units, inputs),
        'U': (4 * units, units),
        'P_i': P,
        'P_f': P,
        'gpre': gates,
        'gc_prev': state,
        'gx': (batch, inputs),
        'gh_prev': state,
    }


@_kernel(KERNELS, written='gates h')
def peephole_output_fwd(batch, units):
    state = batch, units
    return {'c': state, 'P_o': (units, units), 'gates': (batch, 4 * units), 'h': state}


@_kernel(KERNELS, written='go gc')
def peephole_output_bwd(batch, units):
    state = batch, units
    return {
        'gates': (batch, 4 * units),
        'c': state,
        'gh': state,
        'P_o': (units, units),
        'go': state,
        'gc': state,
    }


@_kernel(KERNELS, optional='y', written='y maxima sums')
def exponentials(rows, classes):
    return {'x': (rows, classes), 'y': (rows, classes), 'maxima': (rows,), 'sums': (rows,)}


@_kernel(PERSISTENT, written='gates h c')
def lstm_sequence_fwd(batch, units, rows):
    states = rows + batch, units
    return {'U': (4 * units, units), 'gates': (rows, 4 * units), 'h': states, 'c': states}


@_kernel(PERSISTENT, optional='gh', written='gates gh_last gc_last', rows='gh')
def lstm_sequence_bwd(batch, units, rows):
    state = batch, units
    return {
        'U': (4 * units, units),
        'gates': (rows, 4 * units),
        'c': (rows + batch, units),
        'gh': (rows, units),
        'gh_last': state,
        'gc_last': state,
    }


def check(
    kernel: Kernel, dtype: numpy.dtype, sizes: Sequence[int], arrays: Sequence[Array]
) -> None:
    """Compare every array of a call with what the kernel expects.

    Args:
        kernel: the kernel.
        dtype: of all arrays but those of integers.
        sizes: in the order of ``kernel.sizes``.
        arrays: in the order of ``kernel.arguments``; None for one that is not given.

    Raises:
        ValueError: an array is missing or has another shape or dtype, or one is given without
            those that belong to it.
    """
    expected = kernel.expected(*sizes)
    if len(arrays) != len(expected):
        raise ValueError(f'{kernel.name}: expected {len(expected)} arrays, got {len(arrays)}')
    for x, (shape, optional, integers) in zip(arrays, expected):
        if x is None:
            if not optional:
                _refuse(kernel, dtype, sizes, arrays)
        elif x.shape != shape or x.dtype != (_INTEGERS if integers else dtype):
            _refuse(kernel, dtype, sizes, arrays)
    for one, other in kernel.pairs:
        if (arrays[one] is None) != (arrays[other] is None):
            _refuse(kernel, dtype, sizes, arrays)


def _refuse(
    kernel: Kernel, dtype: numpy.dtype, sizes: Sequence[int], arrays: Sequence[Array]
) -> None:
    """Raise the error of the first array that does not fit."""
    expected_arrays = zip(arrays, kernel.expected(*sizes), kernel.arguments)
    for x, (shape, optional, integers), argument in expected_arrays:
        wanted = _INTEGERS if integers else dtype
        expected = f'{kernel.name}: expected {argument.name}'
        if x is None and not optional:
            raise ValueError(f'{expected} of shape {shape}, got None')
        if x is not None and x.shape != shape:
            raise ValueError(f'{expected} of shape {shape}, got {x.shape}')
        if x is not None and x.dtype != wanted:
            raise ValueError(f'{expected} of dtype {wanted}, got {x.dtype}')
    for group in kernel.together:
        names = [kernel.arguments[index].name for index in group]
        given = [name for name, index in zip(names, group) if arrays[index] is not None]
        if 0 < len(given) < len(names):
            raise ValueError(
                f'{kernel.name}: expected all of {", ".join(names)} or none, '
                f'got {", ".join(given)} alone'
            )


def dense(argument: Argument, x: Array) -> None:
    """Check an array that a kernel writes into: a copy of it would not do.

    Raises:
        ValueError: the array is not C-contiguous.
    """
    if not x.flags.c_contiguous:
        raise ValueError(
            f'expected {argument.name}, which is written into, to be C-contiguous, '
            f'got strides {x.strides} of {x.dtype}'
        )


def members(declarations: str) -> list[str]:
    """Take the declarations of a C++ struct apart:
    ``const T *a, *b;`` -> ``['const T *a', 'const T *b']``.
    """
    found = []
    for declaration in filter(None, map(str.strip, declarations.split(';'))):
        parts = re.fullmatch(r'((?:const )?\w+)\b([\w\s*,]*)', declaration)
        if parts is None:  # no declaration
            found.append(declaration)
            continue
        kind, names = parts.groups()
        found += [f'{kind} {"".join(name.split())}' for name in names.split(',')]
    return found
