"""The equations of recurrent cells, a file for each, in array code; no Chainer, no engines."""

from chainer_lstm.cells.cell import Cell, Product, Stage, sigmoid
from chainer_lstm.cells.lstm import LSTM
from chainer_lstm.cells.lstm_variant import LSTMVariant
from chainer_lstm.cells.normalization import Norm, normalized, normalized_gradient
from chainer_lstm.cells.peephole import Peephole

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
COMPILED = dict(CELLS)  # those that have a file <name>.cuh


def is_compiled(cell: Cell) -> bool:
    """Return whether a cell has compiled stages, projected or not; a subclass of one that has is
    another cell.
    """
    return COMPILED.get(cell.name) == cell.unprojected
