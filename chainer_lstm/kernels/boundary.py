"""The boundary between arrays and compiled kernels:
the shape of every array, checked before its address is taken.

A kernel, of C++ or CUDA, sees addresses and a few sizes, and trusts them.  ``check`` is what every
call goes through first, whatever was or was not checked before: types of Chainer can be switched
off, and arrays of a variable can be replaced between forward and backward.  The numbers in the
tables of a sequence are those of ``packing.Rows``, which checks them.

The kernels of a cell and their arguments follow from the cell: ``kernels_of``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy

from chainer_lstm.cells import CELLS, Cell, Product, Stage

Array = Any
Shape = tuple[int, ...]
Names = Sequence[str]
Together = Iterable[Names]  # groups of names of arrays, of which all or none are given
_INTEGERS = numpy.dtype(numpy.int64)


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
        names = [argument.name for argument in self.arguments]
        self.together = [[names.index(array) for array in group] for group in together]
        self.pairs = [pair for group in self.together for pair in itertools.pairwise(group)]
        self.expected = functools.lru_cache(maxsize=1024)(self._expected)

    @property
    def members(self) -> list[str]:
        """The declarations of C++ of its arguments."""
        of_arrays = (member for argument in self.arguments for member in argument.members)
        return [*(f'isize {size}' for size in self.sizes), *of_arrays]

    def _expected(self, *sizes: int) -> tuple[tuple[Shape, bool, bool], ...]:
        by_name = dict(zip(self.sizes, sizes))
        by_name['gates'] = self.gates * by_name.get('units', 0)
        by_name['states'] = by_name.get('rows', 0) + by_name.get('batch', 0)
        return tuple(
            (tuple(by_name[axis] for axis in each.axes), each.optional, each.integers)
            for each in self.arguments
        )


def _array(name: str, axes: str = 'batch units', **more: Any) -> Argument:
    """An array of these axes; ``more`` as the attributes of ``Argument``."""
    return Argument(name, tuple(axes.split()), **more)


class _StageKernels:
    """The kernels of a stage of a cell.

    A state is called c_prev before the first stage, c after it.
    """

    def __init__(self, cell: Cell, number: int) -> None:
        stage = cell.stages[number]
        written = {state for earlier in cell.stages[: number + 1] for state in earlier.writes}
        self.cell = cell
        self.stage: Stage = stage
        self.number = number
        self.first = number == 0
        self.form = '{}_prev' if self.first else '{}'
        self.gradients = [f'g{state}' for state in cell.states if state in written]
        # the states that the array code reads, then those of products alone: None in a first step
        by_products = {product.state for product in stage.products}
        self.alone = [s for s in cell.states if s in by_products and s not in stage.reads]
        self.states = [*stage.reads, *self.alone]

    def forward(self) -> Kernel:
        """Array code of the sum of products."""
        to_all = [product for product in self.stage.products if _to_all(self.cell, product)]
        to_one = [product for product in self.stage.products if product not in to_all]
        return self._kernel(
            'forward',
            *([_array('xw', 'batch gates')] if self.first else []),
            *(_array('hu', 'batch gates', optional=True) for _ in to_all),
            *([_array('b', 'gates', optional=True)] if self.first else []),
            *(_array(product.weight.lower()) for product in to_one),
            *(_array(self.form.format(state)) for state in self.stage.reads),
            *self._results(),
        )

    def backward(self) -> Kernel:
        """The gradients of array code."""
        return self._kernel(
            'backward',
            *self._activated(),
            _array('gpre', 'batch gates', written=True),
            *(_array(f'g{state}_prev', written=True) for state in self.stage.reads),
        )

    def step_forward(self) -> Kernel:
        """The products and array code of them."""
        of_x = [
            _array('x', 'batch inputs', strides=1),
            _array('W', 'gates inputs'),
            _array('b', 'gates'),
        ]
        states = [
            _array(self.form.format(state), strides=1, optional=state in self.alone)
            for state in self.states
        ]
        weights = self._weights(self.alone)
        together = [self._group(self.form, state) for state in self.alone]
        arguments = [*(of_x if self.first else []), *states, *weights, *self._results()]
        return self._kernel('step_forward', *arguments, together=together)

    def step_backward(self) -> Kernel:
        """The gradients of both.  Where a weight is None, that which comes through its product is
        left out.
        """
        weights = [_array('W', 'gates inputs', optional=True)] if self.first else []
        of_x = [_array('gx', 'batch inputs', optional=True, written=True)] if self.first else []
        states = [
            _array(f'g{state}_prev', written=True, optional=state in self.alone)
            for state in self.states
        ]
        return self._kernel(
            'step_backward',
            *self._activated(),
            *weights,
            *self._weights(self.states),
            _array('gpre', 'batch gates', written=True),
            *of_x,
            *states,
            together=[
                *(['W', 'gx'] for _ in of_x),
                *(self._group('g{}_prev', state) for state in self.alone),
            ],
        )

    def _results(self) -> list[Argument]:
        states = [_array(state, written=True) for state in self.stage.writes]
        return [_array('gates', 'batch gates', written=True), *states]

    def _activated(self) -> list[Argument]:
        return [
            _array('gates', 'batch gates'),
            *(_array(self.form.format(state)) for state in self.stage.reads),
            *map(_array, self.stage.needs),
            *(_array(gradient, optional=True) for gradient in self.gradients),
        ]

    def _weights(self, optional: Sequence[str]) -> list[Argument]:
        """The weights of the products; optional are those of some states."""
        return [
            _weight(self.cell, product, optional=product.state in optional)
            for product in self.stage.products
        ]

    def _group(self, form: str, state: str) -> list[str]:
        """A state of products alone, and their weights."""
        weights = [product.weight for product in self.stage.products if product.state == state]
        return [form.format(state), *weights]

    def _kernel(self, kind: str, *arguments: Argument, together: Together = ()) -> Kernel:
        sizes = 'batch units inputs' if self.first and kind.startswith('step') else 'batch units'
        name = f'{self.cell.name}_{kind}_{self.number}'
        return Kernel(name, sizes, arguments, together, len(self.cell.gates))


def _to_all(cell: Cell, product: Product) -> bool:
    """Return whether a product is added to all gates; compiled cells add others to one gate."""
    return tuple(product.gates) == tuple(cell.gates)


def _weight(cell: Cell, product: Product, optional: bool = False) -> Argument:
    rows = 'gates' if _to_all(cell, product) else 'units'
    return _array(product.weight, f'{rows} units', optional=optional)


def _sequence_kernels(cell: Cell) -> list[Kernel]:
    """All steps, forward and backward: see ``Layer`` and ``Gradients`` of ``engines.engine``."""
    steps = [_array('start', 'steps', integers=True), _array('n', 'steps', integers=True)]
    weights = [_weight(cell, product) for stage in cell.stages for product in stage.products]
    forward = [
        *steps,
        *weights,
        _array('x', 'rows inputs', strides=1),
        _array('W', 'gates inputs'),
        _array('b', 'gates'),
        _array('gates', 'rows gates', optional=True, written=True),
        *(_array(state, 'states units', written=True) for state in cell.states),
    ]
    backward = [
        *steps,
        *weights,
        *(_array(state, 'states units') for state in cell.states),
        _array(f'g{cell.states[-1]}', 'rows units', optional=True, strides=1),
        _array('gates', 'rows gates', written=True),
        *(_array(f'g{state}_last', written=True) for state in cell.states),
    ]
    sizes, gates = 'steps batch units {}rows first initial', len(cell.gates)
    return [
        Kernel(f'{cell.name}_sequence_forward', sizes.format('inputs '), forward, gates=gates),
        Kernel(f'{cell.name}_sequence_backward', sizes.format(''), backward, gates=gates),
    ]


def kernels_of(cell: Cell) -> list[Kernel]:
    """Return the kernels of a compiled cell, of products that are added to all gates or to one.

    They are named, with the number S of a stage:

    - NAME_forward_S, NAME_backward_S: a stage, its products made.
    - NAME_step_forward_S, NAME_step_backward_S: a stage with its products.
    - NAME_sequence_forward, NAME_sequence_backward: all steps.
    """
    found = []
    for number in range(len(cell.stages)):
        stage = _StageKernels(cell, number)
        found += [stage.forward(), stage.backward(), stage.step_forward(), stage.step_backward()]
    return [*found, *_sequence_kernels(cell)]


def description(cell: Cell) -> str:
    """Return a compiled cell as text, which the C++ library has of the cells that it was built
    from.
    """
    lines = [f'gates {" ".join(cell.gates)}', f'states {" ".join(cell.states)}']
    for stage in cell.stages:
        products = [
            f'{product.weight} {product.state} '
            f'{"all" if _to_all(cell, product) else product.gates[0]}'
            for product in stage.products
        ]
        lines += [f'product {product}' for product in products]
        lines.append(_set('owns', cell.gates, stage.gates))
        lines.append(_set('reads', cell.states, stage.reads))
        lines.append(_set('writes', cell.states, stage.writes))
        lines.append(_set('needs', cell.states, stage.needs))
    return '; '.join(lines)


def _set(name: str, names: Names, chosen: Names) -> str:
    return ' '.join((name, *(each for each in names if each in chosen)))


_MATMUL = Kernel(
    'matmul',
    'M N K',
    [
        _array('a', 'M K', strides=2),
        _array('b', 'K N', strides=2),
        _array('bias', 'N', optional=True),
        _array('out', 'M N', written=True),
    ],
)
_EXPONENTIALS = Kernel(
    'exponentials',
    'rows classes',
    [
        _array('x', 'rows classes'),
        _array('y', 'rows classes', optional=True, written=True),
        _array('maxima', 'rows', written=True),
        _array('sums', 'rows', written=True),
    ],
)
_SEQUENCE_FORWARD = Kernel(
    'lstm_sequence_fwd',
    'batch units rows',
    [
        _array('U', 'gates units'),
        _array('gates', 'rows gates', written=True),
        _array('h', 'states units', written=True),
        _array('c', 'states units', written=True),
    ],
    gates=4,
)
_SEQUENCE_BACKWARD = Kernel(
    'lstm_sequence_bwd',
    'batch units rows',
    [
        _array('U', 'gates units'),
        _array('gates', 'rows gates', written=True),
        _array('c', 'states units'),
        _array('gh', 'rows units', optional=True, strides=1),
        _array('gh_last', written=True),
        _array('gc_last', written=True),
    ],
    gates=4,
)

COMPILED = [cell for cell in CELLS.values() if cell.compiled]
# of C++ and, the stages, of CUDA
KERNELS = {
    kernel.name: kernel
    for kernel in (
        _MATMUL,
        _EXPONENTIALS,
        *itertools.chain.from_iterable(map(kernels_of, COMPILED)),
    )
}
# of the persistent engine: the arrays of struct Job that are not made beside its launch
PERSISTENT = {kernel.name: kernel for kernel in (_SEQUENCE_FORWARD, _SEQUENCE_BACKWARD)}
