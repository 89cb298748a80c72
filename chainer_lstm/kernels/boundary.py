"""The boundary between arrays and compiled kernels: the shape of every array, checked before its address is taken.

A kernel, of C++ or CUDA, sees addresses and a few sizes, and trusts them.
``check`` is what every call goes through first, whatever was or was not
checked before: types of Chainer can be switched off, and arrays of a variable
can be replaced between forward and backward.

The letters: B rows of a batch, H units, T time steps, P packed rows of all steps.
"""
from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

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
        """The declarations of C++, as ``members`` gives them."""
        kind = f'{"" if self.written else "const "}{"index64" if self.integers else "T"}'
        strides = (f'isize {self.name}_{axis}' for axis in ('row', 'col')[:self.strides])
        return [f'{kind} *{self.name}', *strides]


class Kernel:
    """The arguments of a kernel.

    Args:
        name: of the kernel.
        sizes: the names of its sizes, one word each.
        shapes: from the sizes to the shape of each array by name, in the order of the arguments.
        optional, written, rows, strided, integers: the names of arrays, one word each; see ``Argument``.
        together: groups of names, of which all or none are given.
    """

    def __init__(self, name: str, sizes: str, shapes: Callable[..., dict[str, Shape]], *, optional: str = '',
                 written: str = '', rows: str = '', strided: str = '', integers: str = '',
                 together: Sequence[str] = ()) -> None:
        self.name = name
        self.sizes = sizes.split()
        self.arguments = tuple(
            Argument(array, array in optional.split(), array in written.split(),
                     2 if array in strided.split() else int(array in rows.split()), array in integers.split())
            for array in shapes(*[1] * len(self.sizes)))
        names = [argument.name for argument in self.arguments]
        self.groups = [[names.index(array) for array in group.split()] for group in together]
        self.pairs = [pair for group in self.groups for pair in itertools.pairwise(group)]
        self._shapes = shapes
        self.expected = functools.lru_cache(maxsize=1024)(self._expected)

    @property
    def members(self) -> list[str]:
        """The declarations of the C++ struct of its arguments, as ``members`` gives them."""
        return [*(f'isize {size}' for size in self.sizes), *(m for each in self.arguments for m in each.members)]

    def _expected(self, *sizes: int) -> tuple[tuple[Shape, bool, bool], ...]:
        return tuple((shape, each.optional, each.integers)
                     for shape, each in zip(self._shapes(*sizes).values(), self.arguments))


def _sequence(name: str, sizes: str, more: Callable[..., dict[str, Shape]], **kinds: Any) -> Kernel:
    """A kernel over all steps of a layer in one direction, whose buffers ``packing.Rows`` lays out."""
    def shapes(T: int, B: int, H: int, *others: int) -> dict[str, Shape]:
        layer = {'start': (T,), 'n': (T,), 'U': (4 * H, H), 'P_i': (H, H), 'P_f': (H, H), 'P_o': (H, H)}
        return {**layer, **more(B, H, *others)}

    kinds['optional'] += ' P_i P_f P_o'
    return Kernel(name, sizes, shapes, integers='start n', together=['P_i P_f P_o'], **kinds)


KERNELS = {kernel.name: kernel for kernel in (
    Kernel('matmul', 'M N K', lambda M, N, K: {'a': (M, K), 'b': (K, N), 'bias': (N,), 'out': (M, N)},
           optional='bias', written='out', strided='a b'),
    _sequence('sequence_forward', 'steps batch units inputs rows first initial',
              lambda B, H, inputs, P, first, initial: {
                  'x': (P, inputs), 'W': (4 * H, inputs), 'b': (4 * H,), 'gates': (P, 4 * H), 'h': (P + B, H),
                  'c': (P + B, H)},
              optional='gates', written='gates h c', rows='x'),
    _sequence('recur_backward', 'steps batch units rows first initial',
              lambda B, H, P, first, initial: {
                  'c': (P + B, H), 'gh': (P, H), 'gates': (P, 4 * H), 'gh_last': (B, H), 'gc_last': (B, H)},
              optional='gh', written='gates gh_last gc_last', rows='gh'),
    Kernel('lstm_fwd', 'batch units',
           lambda B, H: {'xw': (B, 4 * H), 'hu': (B, 4 * H), 'b': (4 * H,), 'c_prev': (B, H), 'gates': (B, 4 * H),
                         'c': (B, H), 'h': (B, H)},
           optional='hu b', written='gates c h'),
    Kernel('lstm_bwd', 'batch units',
           lambda B, H: {'gates': (B, 4 * H), 'c_prev': (B, H), 'c': (B, H), 'gc': (B, H), 'gh': (B, H),
                         'gpre': (B, 4 * H), 'gc_prev': (B, H)},
           optional='gc gh', written='gpre gc_prev'),
    Kernel('lstm_step_fwd', 'batch units inputs',
           lambda B, H, inputs: {
               'x': (B, inputs), 'W': (4 * H, inputs), 'b': (4 * H,), 'h': (B, H), 'U': (4 * H, H),
               'c_prev': (B, H), 'gates': (B, 4 * H), 'c': (B, H), 'h_new': (B, H)},
           optional='h U', written='gates c h_new', rows='x h', together=['h U']),
    Kernel('lstm_step_bwd', 'batch units inputs',
           lambda B, H, inputs: {
               'gates': (B, 4 * H), 'c_prev': (B, H), 'c': (B, H), 'gc': (B, H), 'gh': (B, H),
               'W': (4 * H, inputs), 'U': (4 * H, H), 'gpre': (B, 4 * H), 'gc_prev': (B, H), 'gx': (B, inputs),
               'gh_prev': (B, H)},
           optional='gc gh W U gx gh_prev', written='gpre gc_prev gx gh_prev', together=['W gx', 'U gh_prev']),
    Kernel('peephole_cell_fwd', 'batch units',
           lambda B, H: {'xw': (B, 4 * H), 'hu': (B, 4 * H), 'b': (4 * H,), 'pi': (B, H), 'pf': (B, H),
                         'c_prev': (B, H), 'gates': (B, 4 * H), 'c': (B, H)},
           optional='hu b', written='gates c'),
    Kernel('peephole_out_fwd', 'batch units',
           lambda B, H: {'gates': (B, 4 * H), 'po': (B, H), 'c': (B, H), 'h': (B, H)}, written='gates h'),
    Kernel('peephole_out_bwd', 'batch units',
           lambda B, H: {'gates': (B, 4 * H), 'c': (B, H), 'gc': (B, H), 'gh': (B, H), 'go': (B, H),
                         'gc_sum': (B, H)},
           optional='gc gh', written='go gc_sum'),
    Kernel('peephole_cell_bwd', 'batch units',
           lambda B, H: {'gates': (B, 4 * H), 'c_prev': (B, H), 'gc': (B, H), 'go': (B, H), 'gpre': (B, 4 * H),
                         'gc_prev': (B, H)},
           written='gpre gc_prev'),
    Kernel('exponentials', 'rows classes',
           lambda N, V: {'x': (N, V), 'y': (N, V), 'maxima': (N,), 'sums': (N,)},
           optional='y', written='y maxima sums'),
)}

# The arrays that struct Job of persistent.cuh points to, except those that are made beside the launch.
PERSISTENT = {
    'fwd': Kernel('lstm_sequence_fwd', 'batch units rows',
                  lambda B, H, P: {'U': (4 * H, H), 'gates': (P, 4 * H), 'h': (P + B, H), 'c': (P + B, H)},
                  written='gates h c'),
    'bwd': Kernel('lstm_sequence_bwd', 'batch units rows',
                  lambda B, H, P: {'U': (4 * H, H), 'gates': (P, 4 * H), 'c': (P + B, H), 'gh': (P, H),
                                   'gh_last': (B, H), 'gc_last': (B, H)},
                  optional='gh', written='gates gh_last gc_last', rows='gh'),
}


def check(kernel: Kernel, dtype: numpy.dtype, sizes: Sequence[int], arrays: Sequence[Array]) -> None:
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
    for left, right in kernel.pairs:
        if (arrays[left] is None) != (arrays[right] is None):
            _refuse(kernel, dtype, sizes, arrays)


def _refuse(kernel: Kernel, dtype: numpy.dtype, sizes: Sequence[int], arrays: Sequence[Array]) -> None:
    """Raise the error of the first array that does not fit."""
    for x, (shape, optional, integers), argument in zip(arrays, kernel.expected(*sizes), kernel.arguments):
        wanted = _INTEGERS if integers else dtype
        expected = f'{kernel.name}: expected {argument.name}'
        if x is None and not optional:
            raise ValueError(f'{expected} of shape {shape}, got None')
        if x is not None and x.shape != shape:
            raise ValueError(f'{expected} of shape {shape}, got {x.shape}')
        if x is not None and x.dtype != wanted:
            raise ValueError(f'{expected} of dtype {wanted}, got {x.dtype}')
    for group in kernel.groups:
        given = [kernel.arguments[index].name for index in group if arrays[index] is not None]
        if 0 < len(given) < len(group):
            names = ', '.join(kernel.arguments[index].name for index in group)
            raise ValueError(f'{kernel.name}: expected all of {names} or none, got {", ".join(given)} alone')


def dense(argument: Argument, x: Array) -> None:
    """Check an array that a kernel writes into: a copy of it would not do.

    Raises:
        ValueError: the array is not C-contiguous.
    """
    if not x.flags.c_contiguous:
        raise ValueError(f'expected {argument.name}, which is written into, to be C-contiguous, '
                         f'got strides {x.strides} of {x.dtype}')


def members(declarations: str) -> list[str]:
    """Take the declarations of a C++ struct apart: ``const T *a, *b;`` -> ``['const T *a', 'const T *b']``."""
    found = []
    for declaration in filter(None, map(str.strip, declarations.split(';'))):
        parts = re.fullmatch(r'((?:const )?\w+)\b([\w\s*,]*)', declaration)
        if parts is None:  # no declaration
            found.append(declaration)
            continue
        kind, names = parts.groups()
        found += [f'{kind} {"".join(name.split())}' for name in names.split(',')]
    return found
