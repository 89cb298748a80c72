"""Text as arrays of ids, and sequences made by rule."""

from chainer_lstm.datasets.chunks import RandomChunks, SequentialChunks
from chainer_lstm.datasets.corpus import Corpus, load_corpus
from chainer_lstm.datasets.download import cached_download
from chainer_lstm.datasets.reber import embedded_reber
from chainer_lstm.datasets.time_machine import load_time_machine
from chainer_lstm.datasets.vocabulary import Vocabulary

__all__ = [
    'Corpus',
    'RandomChunks',
    'SequentialChunks',
    'Vocabulary',
    'cached_download',
    'embedded_reber',
    'load_corpus',
    'load_time_machine',
]
