"""The forms in which the weights of a layer are given to a sequence."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import chainer
import chainer.functions as F

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.kernels import layout

Shape = tuple[int, ...]


class WeightForm(Protocol):
    """How the weights of each layer and direction are given."""

    def __hash__(self) -> int: ...

    @property
    def count(self) -> int:
        """The number of arrays."""
        ...

    def name(self, group: int, index: int) -> str:
        """Return the name of an array of a layer and direction, as arguments of functions have
        it.
        """
        ...

    def shapes(self, inputs: int, units: int) -> tuple[Shape, ...]:
        """Return the shapes of the arrays."""
        ...

    def refusal(
        self,
        group: int,
        index: int,
        got: Sequence[Shape],
        expected: Sequence[Shape],
        is_first: bool,
    ) -> str:
        """Return the error of an array of another shape.

        Args:
            group, index: which one it is.
            got, expected: the shapes of the arrays of its layer and direction, and further ones.
            is_first: whether its layer is the first.
        """
        ...

    def pack(self, xp: Any, group: Sequence[Array]) -> Mapping[str, Array]:
        """Return the weights of the cell by name."""
        ...

    def unpack(self, xp: Any, gradients: Mapping[str, Array]) -> Sequence[Array]:
        """Return gradients by name as those of the arrays."""
        ...

    def variables(self, group: Sequence[chainer.Variable]) -> Mapping[str, chainer.Variable]:
        """Return the weights of the cell by name, functions of the given variables."""
        ...


class CellWeights:
    """Arrays in the order of ``cell.weights``."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.count = len(cell.weights)

    def name(self, group: int, index: int) -> str:
        return f'weights[{group}][{index}]'

    def shapes(self, inputs: int, units: int) -> tuple[Shape, ...]:
        return tuple(self._cell.shapes(inputs, units).values())

    def refusal(
        self,
        group: int,
        index: int,
        got: Sequence[Shape],
        expected: Sequence[Shape],
        is_first: bool,
    ) -> str:
        expected, got = list(expected[: self.count]), list(got[: self.count])
        return f'expected weights[{group}] of shapes {expected}, got {got}'

    def pack(self, xp: Any, group: Sequence[Array]) -> Mapping[str, Array]:
        return dict(zip(self._cell.weights, group))

    def unpack(self, xp: Any, gradients: Mapping[str, Array]) -> Sequence[Array]:
        return [gradients[name] for name in self._cell.weights]

    def variables(self, group: Sequence[chainer.Variable]) -> Mapping[str, chainer.Variable]:
        return dict(zip(self._cell.weights, group))


class NStepWeights:
    """Chainer's eight matrices and eight biases of an LSTM: 0-3 for the input, 4-7 for h, each in
    the order of ``layout.N_STEP``.
    """

    count = 16

    def name(self, group: int, index: int) -> str:
        return f'ws[{group}][{index}]' if index < 8 else f'bs[{group}][{index - 8}]'

    def shapes(self, inputs: int, units: int) -> tuple[Shape, ...]:
        return ((units, inputs),) * 4 + ((units, units),) * 4 + ((units,),) * 8

    def refusal(
        self,
        group: int,
        index: int,
        got: Sequence[Shape],
        expected: Sequence[Shape],
        is_first: bool,
    ) -> str:
        found, wanted = got[index], expected[index]
        error = f'expected {self.name(group, index)} of shape {wanted}, got {found}'
        if is_first and index < 4 and found[:1] == wanted[:1] and len(found) == 2:
            # Chainer's words, where the input does not fit
            return f'Inconsistent input size in input values and weight parameters: {error}'
        return error

    def pack(self, xp: Any, group: Sequence[Array]) -> Mapping[str, Array]:
        W, U, b_x, b_h = self._joined(xp, group)
        return {'W': W, 'b': b_x + b_h, 'U': U}

    def unpack(self, xp: Any, gradients: Mapping[str, Array]) -> Sequence[Array]:
        W, b, U = (
            layout.convert(xp, gradients[name], layout.INTERLEAVED, layout.N_STEP)
            for name in ('W', 'b', 'U')
        )
        # dense, for ChainerMN sends their memory; optimizer hooks work on them in place: the two
        # biases need one each
        return [*(xp.ascontiguousarray(x) for x in (*W, *U, *b)), *(x.copy('C') for x in b)]

    def variables(self, group: Sequence[chainer.Variable]) -> Mapping[str, chainer.Variable]:
        W, U, b_x, b_h = self._joined(F, group)
        # the product gives the two biases gradients of their own, as in ``unpack``
        return {'W': W, 'b': b_x + b_h * 1, 'U': U}

    def _joined(self, xp: Any, group: Sequence[Any]) -> list[Any]:
        return [
            layout.convert(xp, group[k : k + 4], layout.N_STEP, layout.INTERLEAVED)
            for k in range(0, self.count, 4)
        ]


@functools.lru_cache(maxsize=256)
def shapes_of(
    form: WeightForm, directions: int, layers: int, inputs: int, units: int
) -> tuple[Shape, ...]:
    """Return the shapes of all weights of stacked layers.

    Args:
        form: that of the weights.
        directions: D.
        layers: the number of layers times D.
        inputs: I of the first layer; later ones have D H.
        units: H.
    """
    found: list[Shape] = []
    for k in range(layers):
        found += form.shapes(inputs if k < directions else directions * units, units)
    return tuple(found)


@functools.cache
def weights_of(cell: Cell) -> CellWeights:
    """Return the form of the weights of a cell."""
    return CellWeights(cell)


N_STEP = NStepWeights()
