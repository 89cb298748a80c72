"""Text as arrays of word ids."""
from chainer_lstm.datasets.corpus import Corpus
from chainer_lstm.datasets.corpus import load_corpus
from chainer_lstm.datasets.download import cached_download

__all__ = ['Corpus', 'cached_download', 'load_corpus']
