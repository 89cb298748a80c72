"""Arrays in, arrays out: the arithmetic of the cells on NumPy and CuPy.
Knows nothing of Chainer.
"""

from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.registry import ENGINES, engine_of

__all__ = ['ENGINES', 'Engine', 'engine_of']
