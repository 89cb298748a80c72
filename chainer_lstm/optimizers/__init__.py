"""Updates by Chainer's optimizers, with the engine's kernels."""

from chainer_lstm.optimizers.replays import advance, frozen
from chainer_lstm.optimizers.update import update

__all__ = ['advance', 'frozen', 'update']
