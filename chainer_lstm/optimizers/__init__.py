"""Faster updates for Chainer's optimizers, by the engine's kernels."""

from chainer_lstm.optimizers.replays import advance, by_kernels, frozen
from chainer_lstm.optimizers.update import update

__all__ = ['advance', 'by_kernels', 'frozen', 'update']
