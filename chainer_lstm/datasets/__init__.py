"""Texts as arrays of ids, strings of the Reber grammar, and trees as numbered nodes."""

from chainer_lstm.datasets.chunks import RandomChunks, SequentialChunks
from chainer_lstm.datasets.corpus import Corpus, load_corpus
from chainer_lstm.datasets.download import cached_download
from chainer_lstm.datasets.reber import embedded_reber
from chainer_lstm.datasets.time_machine import load_time_machine
from chainer_lstm.datasets.trees import FlatTrees, children_of, flatten_trees
from chainer_lstm.datasets.vocabulary import Vocabulary

__all__ = [
    'Corpus',
    'FlatTrees',
    'RandomChunks',
    'SequentialChunks',
    'Vocabulary',
    'cached_download',
    'children_of',
    'embedded_reber',
    'flatten_trees',
    'load_corpus',
    'load_time_machine',
]
