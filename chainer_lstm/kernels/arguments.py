"""The arguments of a compiled kernel: its sizes and its arrays, by name and shape."""

from __future__ import annotations

import functools
import itertools
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Optional, Union

Shape = tuple[int, ...]
Names = Sequence[str]
Together = Iterable[Names]  # groups of array names: all arrays of a group are given, or none
# (name, axes) of each array of a member, None for an array that the kernel does not take.  Axes are
# a string such as 'batch units'; it ends with ? if the array may be None, with = if it may be None
# only when its axes are equal.
Arrays = Sequence[Optional[tuple[str, str]]]
# The arrays of each member; for a member that is one array of the same name, just the axes; for a
# member of numbers, their names in one string.
Members = Mapping[str, Union[Arrays, str, None]]

PADDING = 16
_PADDED = 'padded_'
_STRIDES = {'Rows': 1, 'Matrix': 2}
_KINDS = ('index64', 'Index', 'Real')


class Argument(NamedTuple):
    """An array that a kernel takes.

    Attributes:
        name: as errors show it.
        axes: the names of its sizes: a size of the kernel, 'gates' (the gates of all units) or
            'states' (the rows of a buffer with the initial states, see ``packing.Rows``); with
            the prefix 'padded_', such a size rounded up to a multiple of ``PADDING``.
        optional: whether it may be None.
        square: whether it may be None only where its axes are equal.
        written: whether the kernel writes into it.
        strides: how many strides follow the address: 0 for a C-contiguous array, 1 for contiguous
            rows, 2 for any strides.
        kind: 'T' of the kernel's dtype, 'Real' of the dtype that it computes in, 'index64' int64,
            'Index' int32 or int64.
    """

    name: str
    axes: tuple[str, ...]
    optional: bool
    square: bool
    written: bool
    strides: int
    kind: str

    @property
    def integers(self) -> bool:
        """Whether it is of int64."""
        return self.kind == 'index64'


class Kernel:
    """The arguments of a kernel, parsed from the C++ text of its struct members.

    Attributes:
        sizes: the names of its sizes, then of its words and numbers.
        extents: how many of them are sizes.
        arguments: its arrays, in the order in which it takes them.
        words: for each array, the index of the 8-byte word in the struct that has its address.
        layout: packs sizes, addresses and strides into the struct, with zeros for arrays that the
            kernel does not take.
        layout_of_floats: the same with 4-byte numbers, for CUDA kernels that compute in float32.

    Args:
        name: of the kernel.
        text: the members of its struct, see ``native/arguments.hpp``.
        members: the arrays of each member that is not a size.
        together: groups of array names: all arrays of a group are given, or none.
        gates: the number of gates of the cell.
    """

    def __init__(
        self, name: str, text: str, members: Members, together: Together = (), gates: int = 0
    ) -> None:
        self.name = name
        self.text = text
        self.gates = gates
        sizes, numbers, arguments, places, words = [], 0, [], [], ''
        for kind, member in _declarations(text):
            if kind == 'isize':
                sizes.append(member)
                words += 'n'
                continue
            if kind == 'word64':
                sizes.append(member)
                numbers += 1
                words += 'q'
                continue
            of_member = members[member]
            if kind.startswith('Numbers'):
                names = str(of_member).split()
                sizes += names
                numbers += len(names)
                words += 'd' * len(names) or '8x'
                continue
            if isinstance(of_member, str):
                of_member = [(member, of_member)]
            strides = _STRIDES.get(kind.split('<')[0], 0)
            for array in of_member or [None]:
                if array is not None:
                    places.append(struct.calcsize(words) // 8)
                    arguments.append(_argument(kind, *array, strides))
                words += f'{8 * (1 + strides)}x' if array is None else 'P' + 'n' * strides
        self.sizes = tuple(sizes)
        self.extents = len(sizes) - numbers
        self.arguments = tuple(arguments)
        self.words = tuple(places)
        self.layout = struct.Struct(words)
        self.layout_of_floats = struct.Struct(words.replace('d', 'f4x'))
        self.names = tuple(argument.name for argument in self.arguments)
        self.together = [[self.names.index(array) for array in group] for group in together]
        self.pairs = [pair for group in self.together for pair in itertools.pairwise(group)]
        self.expected = functools.lru_cache(maxsize=1024)(self._expected)

    def _expected(self, *sizes: int) -> tuple[tuple[Shape, bool, str], ...]:
        by_name = dict(zip(self.sizes, sizes))
        by_name['gates'] = self.gates * by_name.get('units', 0)
        by_name['states'] = by_name.get('rows', 0) + by_name.get('batch', 0)
        found = []
        for each in self.arguments:
            shape = tuple(
                -by_name[axis[len(_PADDED) :]] // PADDING * -PADDING
                if axis.startswith(_PADDED)
                else by_name[axis]
                for axis in each.axes
            )
            optional = each.optional and (not each.square or len({*shape}) == 1)
            found.append((shape, optional, each.kind))
        return tuple(found)


def _declarations(text: str) -> Iterator[tuple[str, str]]:
    """Yield (type, name) of each member: 'States<Cell, const T> before, now;' has two."""
    for kind, names in re.findall(r'((?:const )?\w+(?:<.*?>)?)([^;]*);', text):
        for name in names.split(','):
            yield kind, re.sub(r'[ *]|\[.*', '', name)


def _argument(kind: str, name: str, axes: str, strides: int) -> Argument:
    return Argument(
        name,
        tuple(axes.rstrip('?=').split()),
        axes[-1] in '?=',
        axes[-1] == '=',
        'const' not in kind,
        strides,
        next((name for name in _KINDS if name in kind), 'T'),
    )
