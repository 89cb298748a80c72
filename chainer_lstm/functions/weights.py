"""The forms in which callers give the weights of a layer to a sequence."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.kernels import layout
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.types import Gradients, Layer
from chainer_lstm.kernels.sequence import rows_of_product, weight_gradients

Shape = tuple[int, ...]


class WeightForm:
    """The form of the weights of each layer and direction: arrays in the order of
    ``cell.weights``.

    Attributes:
        cell: the cell.
        count: the number of arrays.
        stacked: whether states are (S D, B, H), also for a single layer.
        by_gates: whether the arrays are the rows of each gate, see ``parts``.
    """

    stacked = False
    by_gates = False

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.count = len(cell.weights)

    def name(self, group: int, index: int) -> str:
        """Return how errors name an array of a layer and direction."""
        return f'weights[{group}][{index}]'

    def shapes(self, inputs: int, units: int) -> Sequence[Shape]:
        """Return the shapes of the arrays."""
        return tuple(self.cell.shapes(inputs, units).values())

    def pack(
        self, xp: Any, group: Sequence[Any], engine: Optional[Engine] = None
    ) -> Mapping[str, Any]:
        """Return the weights of the cell by name.

        Args:
            xp: the module of functions of the arrays or variables.
            group: the arrays or variables of a layer and direction.
            engine: the engine of the arrays; None for variables.
        """
        return dict(zip(self.cell.weights, group))

    def parts(self, xp: Any, group: Sequence[Any]) -> Mapping[str, Any]:
        """Return the weights with the rows of each gate apart, see ``Engine.takes_gates``."""
        raise NotImplementedError

    def gradients(
        self, engine: Engine, layer: Layer, gpre: Array, gradients: Gradients
    ) -> Sequence[Array]:
        """Return the gradients of the arrays, see ``sequence.weight_gradients``."""
        found = weight_gradients(engine, layer, gpre, gradients)
        return [found[name] for name in self.cell.weights]


class NStepWeights(WeightForm):
    """Chainer's eight matrices and eight biases of an LSTM: 0-3 for the input, 4-7 for h, each in
    the order of ``layout.N_STEP``; the matrix of a projection is the ninth.

    Attributes:
        matrices: their number.
    """

    stacked = True
    by_gates = True

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self.matrices = 8 if cell.projection is None else 9
        self.count = self.matrices + 8

    def name(self, group: int, index: int) -> str:
        last = self.matrices
        return f'ws[{group}][{index}]' if index < last else f'bs[{group}][{index - last}]'

    def shapes(self, inputs: int, units: int) -> Sequence[Shape]:
        outputs = self.cell.width(self.cell.states[-1], units)
        projection = () if self.cell.projection is None else ((outputs, units),)
        return ((units, inputs),) * 4 + ((units, outputs),) * 4 + projection + ((units,),) * 8

    def pack(
        self, xp: Any, group: Sequence[Any], engine: Optional[Engine] = None
    ) -> Mapping[str, Any]:
        given = [
            layout.split(group[k : k + 4], layout.N_STEP)
            for k in (0, 4, self.matrices, self.matrices + 4)
        ]
        of_variables = functools.partial(layout.join, xp, order=layout.INTERLEAVED)
        W, U, b_x, b_h = map(engine.interleaved if engine else of_variables, given)
        # times 1: the sum would give both biases one and the same gradient, see ``gradients``
        return {'W': W, 'b': b_x + b_h * 1, 'U': U, **self._projection(group)}

    def parts(self, xp: Any, group: Sequence[Any]) -> Mapping[str, Any]:
        last = self.matrices
        found = self._projection(group)
        for name, k in (('W', 0), ('U', 4)):
            of_gates = layout.split(group[k : k + 4], layout.N_STEP)
            found.update(zip([f'{name}_{gate}' for gate in self.cell.gates], of_gates))
        b = [x + h for x, h in zip(group[last : last + 4], group[last + 4 :])]
        return {**found, 'b': layout.convert(xp, b, layout.N_STEP, layout.INTERLEAVED)}

    def _projection(self, group: Sequence[Any]) -> dict[str, Any]:
        return {} if self.cell.projection is None else {self.cell.projection: group[8]}

    def gradients(
        self, engine: Engine, layer: Layer, gpre: Array, gradients: Gradients
    ) -> Sequence[Array]:
        xp, few = engine.xp, len(gpre) < layer.x.shape[1]
        # the smaller array is rearranged: that of few rows, or the gradients
        rows = engine.planar(gpre.T) if few else gpre.T
        found: list[Array] = []
        for x in (layer.x, rows_of_product(xp, layer, 'U')):
            product = engine.matmul(rows, x)
            found += _n_step(xp, product if few else engine.planar(product))
        if gradients.h is not None and layer.m is not None:
            found.append(engine.matmul(gradients.h.T, layer.m))
        gb = gradients.of_weights.get('b')
        if gb is None:
            gb = engine.column_sums(gpre)
        gb = engine.planar(gb)
        # optimizer hooks work on gradients in place: the two biases need one each
        return [*found, *_n_step(xp, gb), *_n_step(xp, gb.copy())]


def _n_step(xp: Any, gradient: Array) -> Sequence[Array]:
    """Return the parts of a planar gradient, each dense: ChainerMN sends their memory."""
    return layout.convert(xp, gradient, layout.PLANAR, layout.N_STEP)


@functools.lru_cache(maxsize=256)
def shapes_of(
    form: WeightForm, directions: int, layers: int, inputs: int, units: int
) -> tuple[Shape, ...]:
    """Return the shapes of all weights of stacked layers.

    Args:
        form: the form of the weights.
        directions: D.
        layers: the number of layers times D.
        inputs: I of the first layer; later ones have D H, or D P of a projected cell.
        units: H.
    """
    found: list[Shape] = []
    outputs = form.cell.width(form.cell.states[-1], units)
    for k in range(layers):
        found += form.shapes(inputs if k < directions else directions * outputs, units)
    return tuple(found)


@functools.lru_cache(maxsize=256)
def weights_of(cell: Cell) -> WeightForm:
    """Return the form of the weights of a cell."""
    return WeightForm(cell)


@functools.lru_cache(maxsize=256)
def n_step_weights_of(cell: Cell) -> NStepWeights:
    """Return the form of the weights of NStep links and functions, of an LSTM, projected or not."""
    return NStepWeights(cell)
