"""What a language model is trained with under Chainer's ``Trainer``."""

from chainer_lstm.training.bptt import BPTTUpdater, ParallelSequentialIterator
from chainer_lstm.training.decay import ExponentialDecay
from chainer_lstm.training.extensions import (
    LanguageModelEvaluator,
    PerplexityLog,
    PrintReport,
    RandomState,
    perplexity,
)
from chainer_lstm.training.generation import generate

__all__ = [
    'BPTTUpdater',
    'ExponentialDecay',
    'LanguageModelEvaluator',
    'ParallelSequentialIterator',
    'PerplexityLog',
    'PrintReport',
    'RandomState',
    'generate',
    'perplexity',
]
