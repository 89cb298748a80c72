"""What a language model is trained with under Chainer's ``Trainer``."""
from chainer_lstm.training.bptt import BPTTUpdater
from chainer_lstm.training.bptt import ParallelSequentialIterator
from chainer_lstm.training.decay import ExponentialDecay
from chainer_lstm.training.extensions import LanguageModelEvaluator
from chainer_lstm.training.extensions import PerplexityLog
from chainer_lstm.training.extensions import PrintReport
from chainer_lstm.training.extensions import RandomState
from chainer_lstm.training.extensions import perplexity
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
