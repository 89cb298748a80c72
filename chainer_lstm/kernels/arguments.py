"""The arguments of a compiled kernel: its sizes and its arrays, by name and shape."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Shape = tuple[int, ...]
Names = Sequence[str]
Together = Iterable[Names]  # groups of names of arrays, of which all or none are given


class Argument(NamedTuple):
    """An array that a kernel takes.

    Attributes:
        name: in errors, and in the declaration of C++.
        axes: the names of its sizes: of sizes of the kernel, of 'gates', which are those of all
            units, or of 'states', the rows of a buffer with the initial states, see
            ``packing.Rows``.
        optional: whether it may be None.
        written: whether the kernel writes into it.
        strides: how many of its strides the kernel takes after the address: 0 for a dense array, 1
            for one of dense rows, 2 for any; its last axes have them.
        integers: int64, not of the kernel's dtype.
    """

    name: str
    axes: tuple[str, ...]
    optional: bool = False
    written: bool = False
    strides: int = 0
    integers: bool = False

    @property
    def members(self) -> list[str]:
        """The declarations of C++ of the address and the strides."""
        const = '' if self.written else 'const '
        kind = 'index64' if self.integers else 'T'
        strides = (f'isize {self.name}_{axis}' for axis in ('row', 'col')[: self.strides])
        return [f'{const}{kind} *{self.name}', *strides]


class Kernel:
    """The arguments of a kernel.

    Args:
        name: of the kernel.
        sizes: the names of its sizes, one word each.
        arguments: its arrays, in the order in which it takes them.
        together: groups of names of arrays, of which all or none are given.
        gates: the number of gates of the cell.
    """

    def __init__(
        self,
        name: str,
        sizes: str,
        arguments: Iterable[Argument],
        together: Together = (),
        gates: int = 0,
    ) -> None:
        self.name = name
        self.sizes = tuple(sizes.split())
        self.arguments = tuple(arguments)
        self.gates = gates
        self.names = tuple(argument.name for argument in self.arguments)
        self.together = [[self.names.index(array) for array in group] for group in together]
        self.pairs = [pair for group in self.together for pair in itertools.pairwise(group)]
        self.expected = functools.lru_cache(maxsize=1024)(self._expected)

    @property
    def members(self) -> list[str]:
        """The declarations of C++ of its arguments."""
        of_arrays = (member for argument in self.arguments for member in argument.members)
        return [*(f'isize {size}' for size in self.sizes), *of_arrays]

    @property
    def declarations(self) -> str:
        """``members`` as one text, as the C++ library has it."""
        return ' '.join(f'{member};' for member in self.members)

    def _expected(self, *sizes: int) -> tuple[tuple[Shape, bool, bool], ...]:
        by_name = dict(zip(self.sizes, sizes))
        by_name['gates'] = self.gates * by_name.get('units', 0)
        by_name['states'] = by_name.get('rows', 0) + by_name.get('batch', 0)
        return tuple(
            (tuple(by_name[axis] for axis in each.axes), each.optional, each.integers)
            for each in self.arguments
        )


def array(name: str, axes: str = 'batch units', **more: Any) -> Argument:
    """Return an array of these axes, one word each; ``more`` as the attributes of ``Argument``."""
    return Argument(name, tuple(axes.split()), **more)
