"""Cells that only the tests know."""

from chainer_lstm import cells
from tests.cells.coupled import Coupled
from tests.cells.gru import GRU
from tests.cells.zoneout import Zoneout

coupled = Coupled()
gru = GRU()
layer_norm = cells.LSTMVariant(layer_norm=True)
zoneout = Zoneout()
# those with a backward of their own, which all engines are tested with
CELLS = {cell.name: cell for cell in (*cells.CELLS.values(), coupled, gru)}
