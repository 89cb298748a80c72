"""Arrays in, arrays out: the arithmetic of the cells on NumPy and CuPy.  Knows nothing of Chainer."""
from chainer_lstm.kernels.engine import Engine
from chainer_lstm.kernels.engine import engine_of
from chainer_lstm.kernels.steps import LSTM
from chainer_lstm.kernels.steps import LSTM_STEP
from chainer_lstm.kernels.steps import PEEPHOLE_CELL
from chainer_lstm.kernels.steps import Step

__all__ = ['LSTM', 'LSTM_STEP', 'PEEPHOLE_CELL', 'Engine', 'Step', 'engine_of']
