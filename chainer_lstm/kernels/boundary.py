"""The boundary between arrays and compiled kernels:
the shape of every array, checked before its address is taken.

A kernel, of C++ or CUDA, sees addresses and a few sizes, and trusts them.  ``check`` is what every
call goes through first, whatever was or was not checked before: types of Chainer can be switched
off, and arrays of a variable can be replaced between forward and backward.  The numbers in the
tables of a sequence are those of ``packing.Rows``, which checks them.

The kernels of a cell and their arguments follow from the cell: ``kernels_of``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import COMPILED, Cell, Product, Stage
from chainer_lstm.kernels.arguments import Argument, Kernel, Names, Together, array

_INTEGERS = numpy.dtype(numpy.int64)


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
            *([array('xw', 'batch gates')] if self.first else []),
            *(array('hu', 'batch gates', optional=True) for _ in to_all),
            *([array('b', 'gates', optional=True)] if self.first else []),
            *(array(product.weight.lower()) for product in to_one),
            *(array(self.form.format(state)) for state in self.stage.reads),
            *self._results(),
        )

    def backward(self) -> Kernel:
        """The gradients of array code."""
        return self._kernel(
            'backward',
            *self._activated(),
            array('gpre', 'batch gates', written=True),
            *(array(f'g{state}_prev', written=True) for state in self.stage.reads),
        )

    def step_forward(self) -> Kernel:
        """The products and array code of them."""
        of_x = [
            array('x', 'batch inputs', strides=1),
            array('W', 'gates inputs'),
            array('b', 'gates'),
        ]
        states = [
            *(array(self.form.format(state)) for state in self.stage.reads),
            *(array(self.form.format(state), strides=1, optional=True) for state in self.alone),
        ]
        weights = self._weights(self.alone)
        together = [self._group(self.form, state) for state in self.alone]
        arguments = [*(of_x if self.first else []), *states, *weights, *self._results()]
        return self._kernel('step_forward', *arguments, together=together)

    def step_backward(self) -> Kernel:
        """The gradients of both.  Where a weight is None, that which comes through its product is
        left out.
        """
        weights = [array('W', 'gates inputs', optional=True)] if self.first else []
        of_x = [array('gx', 'batch inputs', optional=True, written=True)] if self.first else []
        states = [
            array(f'g{state}_prev', written=True, optional=state in self.alone)
            for state in self.states
        ]
        return self._kernel(
            'step_backward',
            *self._activated(),
            *weights,
            *self._weights(self.states),
            array('gpre', 'batch gates', written=True),
            *of_x,
            *states,
            together=[
                *(['W', 'gx'] for _ in of_x),
                *(self._group('g{}_prev', state) for state in self.alone),
            ],
        )

    def _results(self) -> list[Argument]:
        states = [array(state, written=True) for state in self.stage.writes]
        return [array('gates', 'batch gates', written=True), *states]

    def _activated(self) -> list[Argument]:
        return [
            array('gates', 'batch gates'),
            *(array(self.form.format(state)) for state in self.stage.reads),
            *map(array, self.stage.needs),
            *(array(gradient, optional=True) for gradient in self.gradients),
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
    return array(product.weight, f'{rows} units', optional=optional)


def _sequence_kernels(cell: Cell) -> list[Kernel]:
    """All steps, forward and backward: see ``Layer`` and ``Gradients`` of ``engines.engine``."""
    steps = [array('start', 'steps', integers=True), array('n', 'steps', integers=True)]
    weights = [_weight(cell, product) for stage in cell.stages for product in stage.products]
    forward = [
        *steps,
        *weights,
        array('x', 'rows inputs', strides=1),
        array('W', 'gates inputs'),
        array('b', 'gates'),
        array('gates', 'rows gates', optional=True, written=True),
        *(array(state, 'states units', written=True) for state in cell.states),
    ]
    backward = [
        *steps,
        *weights,
        *(array(state, 'states units') for state in cell.states),
        array(f'g{cell.states[-1]}', 'rows units', optional=True, strides=1),
        array('gates', 'rows gates', written=True),
        *(array(f'g{state}_last', written=True) for state in cell.states),
    ]
    sizes, gates = 'steps batch units {}rows first initial', len(cell.gates)
    return [
        Kernel(f'{cell.name}_sequence_forward', sizes.format('inputs '), forward, gates=gates),
        Kernel(f'{cell.name}_sequence_backward', sizes.format(''), backward, gates=gates),
    ]


def _check_limits(cell: Cell) -> None:
    """Expect a cell that the compiled kernels can compute.

    Raises:
        ValueError: it is none.
    """
    products = [product for stage in cell.stages for product in stage.products]
    to_all = [[p for p in stage.products if _to_all(cell, p)] for stage in cell.stages]
    fits = (
        tuple(cell.inputs) == tuple(cell.gates)
        and not cell.noise
        and all(len(p.gates) in (1, len(cell.gates)) and p.bias is None for p in products)
        and all(len(wide) <= 1 for wide in to_all)
    )
    if not fits:
        raise ValueError(
            f'{cell.name}: expected a cell without noise, of x in all gates and of products, '
            'without biases, in one gate or, at most one in each stage, in all gates'
        )


def kernels_of(cell: Cell) -> list[Kernel]:
    """Return the kernels of a compiled cell, of products that are added to all gates or to one.

    They are named, with the number S of a stage:

    - NAME_forward_S, NAME_backward_S: a stage, its products made.
    - NAME_step_forward_S, NAME_step_backward_S: a stage with its products.
    - NAME_sequence_forward, NAME_sequence_backward: all steps.
    """
    _check_limits(cell)
    found = []
    for number in range(len(cell.stages)):
        stage = _StageKernels(cell, number)
        found += [stage.forward(), stage.backward(), stage.step_forward(), stage.step_backward()]
    return [*found, *_sequence_kernels(cell)]


def description(cell: Cell) -> str:
    """Return a compiled cell as text, which the C++ library has of the cells that it was built
    from.  Gates, states and weights are numbered; a set is the sum of 2 ** k over its members.
    """
    weights = [product.weight for stage in cell.stages for product in stage.products]
    names = {'gates': cell.gates, 'states': cell.states, 'weights': weights}
    parts = [f'{name} {", ".join(values)}' for name, values in names.items()]
    for stage in cell.stages:
        numbers = [_set(cell.gates, stage.gates)]
        numbers += [_set(cell.states, s) for s in (stage.reads, stage.writes, stage.needs)]
        for product in stage.products:
            gate = -1 if _to_all(cell, product) else cell.gates.index(product.gates[0])
            state = cell.states.index(product.state)
            numbers += [weights.index(product.weight), state, gate]
        parts.append(' '.join(map(str, ['stage', *numbers])))
    return '; '.join(parts)


def _set(names: Names, members: Names) -> int:
    return sum(1 << names.index(name) for name in members)


_MATMUL = Kernel(
    'matmul',
    'M N K',
    [
        array('a', 'M K', strides=2),
        array('b', 'K N', strides=2),
        array('bias', 'N', optional=True),
        array('out', 'M N', written=True),
    ],
)
_EXPONENTIALS = Kernel(
    'exponentials',
    'rows classes',
    [
        array('x', 'rows classes'),
        array('y', 'rows classes', optional=True, written=True),
        array('maxima', 'rows', written=True),
        array('sums', 'rows', written=True),
    ],
)
_SEQUENCE_FORWARD = Kernel(
    'lstm_sequence_fwd',
    'batch units rows',
    [
        array('U', 'gates units'),
        array('gates', 'rows gates', written=True),
        array('h', 'states units', written=True),
        array('c', 'states units', written=True),
    ],
    gates=4,
)
_SEQUENCE_BACKWARD = Kernel(
    'lstm_sequence_bwd',
    'batch units rows',
    [
        array('U', 'gates units'),
        array('gates', 'rows gates', written=True),
        array('c', 'states units'),
        array('gh', 'rows units', optional=True, strides=1),
        array('gh_last', written=True),
        array('gc_last', written=True),
    ],
    gates=4,
)

# of C++ and, the stages, of CUDA
KERNELS = {
    kernel.name: kernel
    for kernel in (
        _MATMUL,
        _EXPONENTIALS,
        *itertools.chain.from_iterable(map(kernels_of, COMPILED.values())),
    )
}
# of the persistent engine: the arrays of struct Job that are not made beside its launch
PERSISTENT = {kernel.name: kernel for kernel in (_SEQUENCE_FORWARD, _SEQUENCE_BACKWARD)}


def check(
    kernel: Kernel, dtype: numpy.dtype, sizes: Sequence[int], arrays: Sequence[Optional[Array]]
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
    kernel: Kernel, dtype: numpy.dtype, sizes: Sequence[int], arrays: Sequence[Optional[Array]]
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
