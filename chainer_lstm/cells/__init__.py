"""What is computed: a file for each cell, in array code; knows neither Chainer nor engines."""

from chainer_lstm.cells.cell import Cell, Product, Stage, sigmoid
from chainer_lstm.cells.lstm import LSTM
from chainer_lstm.cells.peephole import Peephole

__all__ = ['CELLS', 'LSTM', 'Cell', 'Peephole', 'Product', 'Stage', 'lstm', 'peephole', 'sigmoid']

lstm = LSTM()
peephole = Peephole()
CELLS = {cell.name: cell for cell in (lstm, peephole)}
