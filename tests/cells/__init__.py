"""Cells that only the tests know."""

from chainer_lstm import cells
from tests.cells.coupled import Coupled
from tests.cells.gru import GRU
from tests.cells.zoneout import Zoneout

coupled = Coupled()
gru = GRU()
layer_norm = cells.LSTMVariant(layer_norm=True)
zoneout = Zoneout()
# of LSTMVariant
OPTIONS = {
    'coupled option': {'coupled': True},
    'cell_clip': {'cell_clip': 0.4},
    'zoneout of c': {'zoneout': (0.3, 0.0)},
    'zoneout': {'zoneout': (0.3, 0.4)},
    'expected zoneout': {'zoneout': (0.3, 0.4), 'zoneout_expectation': True},
    'diagonal': {'peephole': 'diagonal'},
    'recurrent_dropout': {'recurrent_dropout': 0.4},
    'hard_sigmoid': {'recurrent_activation': 'hard_sigmoid', 'hard_sigmoid_slope': 1 / 6},
}
_ALL = {name: value for options in OPTIONS.values() for name, value in options.items()}
OPTIONS['all options'] = {**_ALL, 'coupled': False}
OPTIONS['all options, coupled'] = _ALL
VARIANTS = {name: cells.LSTMVariant(**options) for name, options in OPTIONS.items()}
# those with a backward of their own, which all engines are tested with
CELLS = {cell.name: cell for cell in (*cells.CELLS.values(), coupled, gru)} | VARIANTS
