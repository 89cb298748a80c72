"""The recurrent language model of Chainer's PTB example."""

from __future__ import annotations

import os
import warnings
from typing import Any, Optional, Union

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from chainer_lstm import functions
from chainer_lstm.arrays import Array
from chainer_lstm.functions import checks
from chainer_lstm.functions.node import Input
from chainer_lstm.links import LSTM
from chainer_lstm.links.loading import CheckedLoading, same_bits
from chainer_lstm.links.parameters import is_plain
from chainer_lstm.models.shared import SharesParameters


class RNNForLM(CheckedLoading, SharesParameters):
    """Embedding, LSTM layers and a softmax layer, with dropout between them.  Zaremba et al. 2014.

    With two layers it has the parameters of the class in Chainer's example,
    under the same names, and starts from the same weights under the same seed.

    Args:
        n_vocab: V, the number of words.
        n_units: H, of the embedding and every layer.
        train: for scripts for Chainer v1, where the model had this flag; None
            follows ``chainer.config.train``.
        n_layers: S, the number of LSTM layers.
        dropout: ratio on the input of every layer and of the softmax.
        init: weights are drawn uniformly between -init and init.
        tie_embeddings: let ``embed.W`` and the softmax layer's ``W`` be one parameter, with
            the sum of both gradients (Press and Wolf 2017).  Files hold it under both names.

    Attributes:
        embed: ``EmbedID``, ``W`` (V, H).
        l1, …, lS: ``LSTM``.
        l{S+1}: ``Linear``, ``W`` (V, H), ``b`` (V,).
        train: as above; may be set later.

    Raises:
        TypeError: a size is not an integer, dropout or init not a number, or tie_embeddings not a
            bool.
        ValueError: a size is not positive, dropout not in [0, 1), or init negative or not finite.

    Example:
        >>> import numpy
        >>> model = RNNForLM(100, 16)
        >>> model(numpy.zeros((5, 2), 'i')).shape  # scores of the word after each
        (10, 100)
    """

    def __init__(
        self,
        n_vocab: int,
        n_units: int,
        train: Optional[bool] = None,
        *,
        n_layers: int = 2,
        dropout: float = 0.5,
        init: float = 0.1,
        tie_embeddings: bool = False,
    ) -> None:
        super().__init__()
        n_vocab = checks.size('n_vocab', n_vocab)
        n_units = checks.size('n_units', n_units)
        n_layers = checks.size('n_layers', n_layers)
        checks.number('init', init, 0)
        _check_tie_embeddings(tie_embeddings)
        if train is not None:
            warnings.warn(
                'the train flag of RNNForLM is that of Chainer v1; '
                'use chainer.using_config("train", ...)',
                DeprecationWarning,
                stacklevel=2,
            )
        self.train = train
        self.n_layers = n_layers
        self.dropout = checks.dropout(dropout)
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            for k in range(1, n_layers + 1):
                setattr(self, f'l{k}', LSTM(n_units, n_units))
            setattr(self, f'l{n_layers + 1}', L.Linear(n_units, n_vocab))
        if tie_embeddings:
            self._tie_embeddings()
        for param in self.params():
            param.array[...] = numpy.random.uniform(-init, init, param.shape)

    @classmethod
    def from_npz(
        cls, path: Union[str, os.PathLike[str]], *, tie_embeddings: Optional[bool] = None
    ) -> RNNForLM:
        """Return a model with the sizes and weights of a file.

        Args:
            path: an npz file of ``chainer.serializers.save_npz``, of the
                model alone or inside a ``Classifier``.
            tie_embeddings: as in the constructor; None ties them if they are
                equal bit for bit in the file, as for a tied model.

        Raises:
            OSError: the file cannot be read.
            TypeError: tie_embeddings is not a bool.
            ValueError: the file is not of such a model, or tie_embeddings is True and the two
                arrays differ.
        """
        if tie_embeddings is not None:
            _check_tie_embeddings(tie_embeddings)
        try:
            file = _Everything()
            chainer.serializers.load_npz(os.fspath(path), file)
        except ValueError as error:
            raise ValueError(
                f'expected an npz file of a model in {os.fspath(path)!r}: {error}'
            ) from error
        arrays = file.arrays
        prefix = 'predictor/' if 'predictor/embed/W' in arrays else ''
        n_layers = sum(key.startswith(f'{prefix}l') and key.endswith('lateral/W') for key in arrays)
        try:
            embed = arrays[f'{prefix}embed/W']
            n_vocab, n_units = embed.shape
            if tie_embeddings is None:
                out = arrays.get(f'{prefix}l{n_layers + 1}/W')
                tie_embeddings = out is not None and same_bits(embed, out)
            model = cls(n_vocab, n_units, n_layers=n_layers)
            if tie_embeddings:
                model._tie_embeddings()
            chainer.serializers.NpzDeserializer(arrays, prefix).load(model)
        except (KeyError, ValueError) as error:
            raise ValueError(
                f'expected the weights of an RNNForLM in {os.fspath(path)!r}, '
                f'got {sorted(arrays)}: {error}'
            ) from error
        return model

    @property
    def lstms(self) -> list[LSTM]:
        """The LSTM layers in order."""
        return [self[f'l{k}'] for k in range(1, self.n_layers + 1)]

    @property
    def tie_embeddings(self) -> bool:
        """Whether ``embed`` and the softmax layer share their parameter ``W``."""
        return getattr(self.embed, 'W', None) is getattr(self._output_layer, 'W', self)

    @property
    def _output_layer(self) -> chainer.Link:
        return self[f'l{self.n_layers + 1}']

    def _tie_embeddings(self) -> None:
        self._output_layer.W = self.embed.W

    def reset_state(self) -> None:
        """Forget the states of all layers."""
        for lstm in self.lstms:
            lstm.reset_state()

    def forward(self, x: Input) -> chainer.Variable:
        """Compute the scores of the word after each word, and update the state.

        Args:
            x: word ids (B,) int, one step, or (T, B), a chunk: one node per
                layer and one product for all scores.  Ids are from 0 to V - 1,
                or the ``ignore_label`` of an ``EmbedID`` that has replaced
                ``embed``.  On a GPU they are not checked, because that would
                need a synchronization.

        Returns:
            (B, V), or (T * B, V), the rows of step 0 first.

        Raises:
            TypeError: x is not an array, or the batch is larger than the state.
            ValueError: x has another number of axes or, on the CPU, an id out of range.
            chainer.utils.type_check.InvalidType: x is not of integers.
        """
        words = checks.variable('x', x)
        if words.ndim not in (1, 2):
            raise ValueError(
                f'expected word ids of shape (batch,) or (time, batch), got {words.shape}'
            )
        if words.dtype.kind == 'i':
            check_words('x', words.array, self.embed)
        train = chainer.config.train if self.train is None else self.train
        with chainer.using_config('train', train):
            h = self._embed(words) if words.size else self._no_words(words.shape)
            for lstm in self.lstms:
                h = self._drop(h)
                h = lstm(h) if words.ndim == 1 else lstm.forward_sequence(h)
            if words.ndim == 2:
                h = F.reshape(h, (-1, h.shape[2]))
            h = self._drop(h)
            out = self._output_layer
            return functions.linear(h, out.W, out.b) if is_plain(out) else out(h)

    def _embed(self, words: chainer.Variable) -> chainer.Variable:
        embed = self.embed
        if is_plain(embed, cls=L.EmbedID):
            return functions.embed_id(words, embed.W, embed.ignore_label)
        return embed(words)

    def _no_words(self, shape: tuple[int, ...]) -> chainer.Variable:
        """Return the embedding of no words, for which Chainer's fails in backward."""
        W = self.embed.W
        return chainer.Variable(self.xp.zeros((*shape, W.shape[1]), W.dtype))

    def _drop(self, h: chainer.Variable) -> chainer.Variable:
        # Chainer draws random numbers even for a ratio of 0
        return functions.dropout(h, self.dropout) if self.dropout else h


def _check_tie_embeddings(value: Any) -> None:
    if not isinstance(value, (bool, numpy.bool_)):
        raise TypeError(f'tie_embeddings: expected True or False, got {value!r}')


def check_words(name: str, words: Array, embed: chainer.Link) -> None:
    """Check that an ``EmbedID`` has a row for every word; NumPy would accept negative ids.

    Words on a GPU, and words for an embedding of the program's own, are not checked.

    Args:
        name: the name of the argument, for the error.
        words: an array of integers.
        embed: the embedding.

    Raises:
        ValueError: a word is negative or too large, and not the ``ignore_label``.
    """
    own = type(embed).forward is not L.EmbedID.forward or 'forward' in vars(embed)
    if own or not isinstance(words, numpy.ndarray) or not words.size:
        return
    n_vocab = len(embed.W)
    label = embed.ignore_label
    if words.min() >= 0 and words.max() < n_vocab:
        return
    wrong = words[((words < 0) | (words >= n_vocab)) & (words != label)]
    if not wrong.size:
        return
    message = f'{name}: expected word ids from 0 to {n_vocab - 1}'
    if label is None:
        hint = 'an EmbedID with ignore_label as embed has words to ignore'
        raise ValueError(f'{message}, got {wrong.flat[0]}; {hint}')
    raise ValueError(f'{message}, or {label} for those to ignore, got {wrong.flat[0]}')


class _Everything:
    """Collects all arrays of a file that is loaded into it."""

    def serialize(self, deserializer: chainer.serializers.NpzDeserializer) -> None:
        self.arrays = dict(deserializer.npz)
