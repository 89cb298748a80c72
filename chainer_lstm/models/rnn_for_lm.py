"""The recurrent language model of Chainer's PTB example."""
from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from typing import Optional
from typing import Union

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from chainer_lstm import functions
from chainer_lstm.functions.lstm import Input
from chainer_lstm.links import LSTM
from chainer_lstm.links.base import CheckedLoading
from chainer_lstm.links.base import is_plain


class RNNForLM(CheckedLoading, chainer.Chain):
    """Embedding, LSTM layers and a softmax layer, with dropout between them.  Zaremba et al. 2014.

    With two layers it has the parameters of the class in Chainer's example,
    under the same names, and starts from the same weights under the same seed.

    Args:
        n_vocab: V, the number of words.
        n_units: H, of the embedding and every layer.
        train: for scripts written for Chainer v1, where the model held this
            flag; None follows ``chainer.config.train``.
        n_layers: S, the number of LSTM layers.
        dropout: ratio on the input of every layer and of the softmax.
        init: weights are drawn uniformly between -init and init.

    Attributes:
        embed: ``EmbedID``, ``W`` (V, H).
        l1, …, lS: ``LSTM``.
        l{S+1}: ``Linear``, ``W`` (V, H), ``b`` (V,).
        train: as above; may be set later.
    """

    def __init__(self, n_vocab: int, n_units: int, train: Optional[bool] = None, *,
                 n_layers: int = 2, dropout: float = 0.5, init: float = 0.1) -> None:
        super().__init__()
        if train is not None:
            warnings.warn('the train flag of RNNForLM is that of Chainer v1; use chainer.using_config("train", ...)',
                          DeprecationWarning, stacklevel=2)
        self.train = train
        self.n_layers = n_layers
        self.dropout = dropout
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            for k in range(1, n_layers + 1):
                setattr(self, f'l{k}', LSTM(n_units, n_units))
            setattr(self, f'l{n_layers + 1}', L.Linear(n_units, n_vocab))
        for param in self.params():
            param.array[...] = numpy.random.uniform(-init, init, param.shape)

    @classmethod
    def from_npz(cls, path: Union[str, os.PathLike[str]]) -> RNNForLM:
        """A model with the sizes and weights of a file.

        Args:
            path: an npz file of ``chainer.serializers.save_npz``, of the
                model alone or inside a ``Classifier``.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not the file of such a model.
        """
        try:
            with open(path, 'rb') as file, numpy.load(file, allow_pickle=False) as arrays:
                shapes = {key: arrays[key].shape for key in arrays.files}
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, AttributeError, TypeError) as error:
            raise ValueError(f'expected an npz file of a model in {os.fspath(path)!r}: {error}') from error
        for prefix in ('', 'predictor/'):
            if f'{prefix}embed/W' in shapes:
                break
        else:
            raise ValueError(f'expected the weights of an RNNForLM in {os.fspath(path)!r}, got {sorted(shapes)}')
        n_layers = sum(key.startswith(f'{prefix}l') and key.endswith('lateral/W') for key in shapes)
        model = cls(*shapes[f'{prefix}embed/W'], n_layers=n_layers)
        chainer.serializers.load_npz(path, model, path=prefix)
        return model

    @property
    def lstms(self) -> list[LSTM]:
        """The LSTM layers, the first first."""
        return [self[f'l{k}'] for k in range(1, self.n_layers + 1)]

    def reset_state(self) -> None:
        """Forgets what was read."""
        for lstm in self.lstms:
            lstm.reset_state()

    def forward(self, x: Input) -> chainer.Variable:
        """Word ids -> scores of the word after each; advances the state.

        Args:
            x: (B,) int, one step, or (T, B), a chunk: all its steps are one
                node a layer and one product for all scores.

        Returns:
            (B, V), or (T * B, V), the rows of step 0 first.

        Raises:
            TypeError: the batch is larger than that of the state.
            ValueError: x has another number of axes.
        """
        if x.ndim not in (1, 2):
            raise ValueError(f'expected word ids of shape (batch,) or (time, batch), got {x.shape}')
        train = chainer.config.train if self.train is None else self.train
        with chainer.using_config('train', train):
            h = self.embed(x) if x.size else self._no_words(x)
            for lstm in self.lstms:
                h = self._drop(h)
                h = lstm(h) if x.ndim == 1 else lstm.forward_sequence(h)
            if x.ndim == 2:
                h = F.reshape(h, (-1, h.shape[2]))
            h, out = self._drop(h), self[f'l{self.n_layers + 1}']
            return functions.linear(h, out.W, out.b) if is_plain(out) else out(h)

    def _no_words(self, x: Input) -> chainer.Variable:
        """In the place of Chainer's embedding, which fails in backward where there are none."""
        W = self.embed.W
        return chainer.Variable(self.xp.zeros((*x.shape, W.shape[1]), W.dtype))

    def _drop(self, h: chainer.Variable) -> chainer.Variable:
        return F.dropout(h, self.dropout) if self.dropout else h  # Chainer draws numbers for a ratio of 0 too
