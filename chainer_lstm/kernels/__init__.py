"""The arithmetic of the cells on NumPy and CuPy arrays; does not import Chainer."""

from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.registry import ENGINES, check_gpu, engine_of

__all__ = ['ENGINES', 'Engine', 'check_gpu', 'engine_of']
