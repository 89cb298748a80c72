"""``chainer.functions`` with the LSTM family, linear, dropout, an embedding and a loss replaced;
every other name is re-exported from Chainer.
"""

from __future__ import annotations

from typing import Any

import chainer.functions as _chainer_functions

from chainer_lstm.functions.cross_entropy import softmax_cross_entropy
from chainer_lstm.functions.dropout import dropout
from chainer_lstm.functions.embedding import embed_id
from chainer_lstm.functions.linear import linear
from chainer_lstm.functions.lstm import lstm, lstm_step, peephole_lstm_step
from chainer_lstm.functions.n_step_lstm import n_step_bilstm, n_step_lstm
from chainer_lstm.functions.sequence import lstm_sequence, sequence
from chainer_lstm.functions.step import step
from chainer_lstm.functions.tree_lstm import slstm, tree_lstm

__all__ = [
    'dropout',
    'embed_id',
    'linear',
    'lstm',
    'lstm_sequence',
    'lstm_step',
    'n_step_bilstm',
    'n_step_lstm',
    'peephole_lstm_step',
    'sequence',
    'slstm',
    'softmax_cross_entropy',
    'step',
    'tree_lstm',
]


def __getattr__(name: str) -> Any:
    return getattr(_chainer_functions, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_chainer_functions)})
