"""Chainer's LSTM family on today's Python, NumPy, CuPy and GPUs.

``import chainer_lstm`` first, and Chainer 7.8.1 imports again; take
``chainer_lstm.links`` for ``chainer.links``.
"""
from chainer_lstm import compat

compat.install()

__version__ = '0.1.0'
