"""Faster updates for Chainer's optimizers, by the engine's kernels."""

from chainer_lstm.optimizers.update import update

__all__ = ['update']
