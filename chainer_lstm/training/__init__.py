"""Training of language models, under Chainer's ``Trainer`` or in a loop of your own."""

from chainer_lstm.training.bptt import BPTTUpdater, ParallelSequentialIterator
from chainer_lstm.training.decay import ExponentialDecay
from chainer_lstm.training.epoch import Epoch, train_epoch
from chainer_lstm.training.extensions import (
    LanguageModelEvaluator,
    PerplexityLog,
    PrintReport,
    RandomState,
    perplexity,
)
from chainer_lstm.training.generation import generate, predict

__all__ = [
    'BPTTUpdater',
    'Epoch',
    'ExponentialDecay',
    'LanguageModelEvaluator',
    'ParallelSequentialIterator',
    'PerplexityLog',
    'PrintReport',
    'RandomState',
    'generate',
    'perplexity',
    'predict',
    'train_epoch',
]
