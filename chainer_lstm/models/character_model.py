"""The character model of Dive into Deep Learning."""

from __future__ import annotations

from typing import Any

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from chainer_lstm import functions
from chainer_lstm.functions import checks
from chainer_lstm.functions.node import Input


class CharacterModel(chainer.Chain):
    """One-hot characters, a recurrent layer, and a linear layer for the scores of the next one.

        >>> import chainer_lstm.links as L
        >>> model = CharacterModel(L.LSTM(28, 256), 28)

    Args:
        lstm: a link with V inputs, a state and ``forward_sequence``, such as ``LSTM`` or the result
            of ``interop.from_gates``.
        n_vocab: V, the number of characters.

    Attributes:
        lstm: as above.
        out: ``Linear``, ``W`` (V, H), ``b`` (V,).

    Raises:
        TypeError: the link has no ``forward_sequence``, or n_vocab is not an integer.
        ValueError: n_vocab is not positive.
    """

    def __init__(self, lstm: Any, n_vocab: int) -> None:
        super().__init__()
        n_vocab = checks.size('n_vocab', n_vocab)
        if not hasattr(lstm, 'forward_sequence'):
            raise TypeError(
                f'expected lstm to be a link with forward_sequence, got {type(lstm).__name__}'
            )
        with self.init_scope():
            self.lstm = lstm
            self.out = L.Linear(lstm.state_size, n_vocab)

    def reset_state(self) -> None:
        """Forget the state."""
        self.lstm.reset_state()

    def forward(self, x: Input) -> chainer.Variable:
        """Compute the scores of the next characters and update the state.

        Args:
            x: character ids (B,) int, one step, or (T, B), a chunk.

        Returns:
            (B, V), or (T * B, V), the rows of step 0 first.

        Raises:
            TypeError: x is not of integers.
            ValueError: x has another number of axes or, on the CPU, an id that is not from 0 to
                V - 1; the state is unchanged.
        """
        ids = checks.variable('x', x).array
        W, b = self.out.W, self.out.b
        check_ids(ids, len(W))
        one_hot = self.xp.eye(len(W), dtype=W.dtype)[ids]
        h = self.lstm(one_hot) if ids.ndim == 1 else self.lstm.forward_sequence(one_hot)
        return functions.linear(F.reshape(h, (ids.size, h.shape[-1])), W, b)


def check_ids(ids: Any, n_vocab: int) -> None:
    """Check the dtype and shape of ids and, on the CPU, their range."""
    if ids.dtype.kind not in 'iu':
        raise TypeError(f'expected x of integers, got {ids.dtype}')
    if ids.ndim not in (1, 2):
        raise ValueError(f'expected ids of shape (batch,) or (time, batch), got {ids.shape}')
    if not isinstance(ids, numpy.ndarray) or not ids.size:
        return
    wrong = ids[(ids < 0) | (ids >= n_vocab)]
    if wrong.size:
        raise ValueError(f'expected ids from 0 to {n_vocab - 1}, got {wrong[0]}')
