"""The equations of recurrent cells in array code, one file per cell, without Chainer or engines."""

import dataclasses
import functools

from chainer_lstm.cells.cell import Cell, sigmoid
from chainer_lstm.cells.lstm import LSTM
from chainer_lstm.cells.lstm_variant import LSTMVariant
from chainer_lstm.cells.normalization import Norm, normalized, normalized_gradient
from chainer_lstm.cells.peephole import Peephole
from chainer_lstm.cells.stages import Product, Stage

__all__ = [
    'LSTM',
    'Cell',
    'LSTMVariant',
    'Norm',
    'Peephole',
    'Product',
    'Stage',
    'lstm',
    'normalized',
    'normalized_gradient',
    'peephole',
    'sigmoid',
]

lstm = LSTM()
peephole = Peephole()
CELLS = {cell.name: cell for cell in (lstm, peephole)}
# The cells that have a compiled form, in the .cuh next to their module.  A compiled LSTMVariant has
# all options that add weights or noise; a cell without them passes None for these arrays.
COMPILED: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        lstm,
        peephole,
        *(
            LSTMVariant(coupled, zoneout=(0.5, 0.5), peephole='diagonal', recurrent_dropout=0.5)
            for coupled in (False, True)
        ),
    )
}
# This cell has compiled kernels only for whole sequences.
NORMALIZED = LSTMVariant(layer_norm=True)


def is_compiled(cell: Cell) -> bool:
    """Return whether a cell has compiled stages; a subclass of a compiled cell does not."""
    form = COMPILED.get(cell.name)
    if form is None or type(form) is not type(cell):
        return False
    return cell.projection is None or can_project(form)


def can_project(form: Cell) -> bool:
    """Return whether a compiled form can be projected: only products read its h, without masks."""
    return form.states[-1] not in form.reads and not form.sequence_noise


@functools.lru_cache(maxsize=256)
def is_normalized(cell: Cell) -> bool:
    """Return whether a cell is ``NORMALIZED``, with any epsilon."""
    if type(cell) is not LSTMVariant or not cell.layer_norm:
        return False
    return dataclasses.replace(NORMALIZED, layer_norm_epsilon=cell.layer_norm_epsilon) == cell
