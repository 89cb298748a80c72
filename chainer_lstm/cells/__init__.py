"""The equations of recurrent cells, a file for each, in array code; no Chainer, no engines."""

from chainer_lstm.cells.cell import Cell, Product, Stage, sigmoid
from chainer_lstm.cells.lstm import LSTM
from chainer_lstm.cells.peephole import Peephole

__all__ = ['CELLS', 'LSTM', 'Cell', 'Peephole', 'Product', 'Stage', 'lstm', 'peephole', 'sigmoid']

lstm = LSTM()
peephole = Peephole()
CELLS = {cell.name: cell for cell in (lstm, peephole)}
