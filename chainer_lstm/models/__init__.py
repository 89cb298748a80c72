"""Models made of the links."""

from chainer_lstm.models.rnn_for_lm import RNNForLM

__all__ = ['RNNForLM']
