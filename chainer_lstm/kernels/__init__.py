"""Arrays in, arrays out: the arithmetic of the cells on NumPy and CuPy.
Knows nothing of Chainer.
"""

from chainer_lstm.kernels.engine import Engine, engine_of
from chainer_lstm.kernels.steps import LSTM, LSTM_STEP, PEEPHOLE_CELL, Step

__all__ = ['LSTM', 'LSTM_STEP', 'PEEPHOLE_CELL', 'Engine', 'Step', 'engine_of']
