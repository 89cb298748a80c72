"""Language models built from the links."""

from chainer_lstm.models.character_model import CharacterModel
from chainer_lstm.models.rnn_for_lm import RNNForLM

__all__ = ['CharacterModel', 'RNNForLM']
