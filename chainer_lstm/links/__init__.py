"""``chainer.links`` with the LSTM family replaced, and ``frozen``; other names are Chainer's."""

from __future__ import annotations

from typing import Any

import chainer.links as _chainer_links

from chainer_lstm.links.conv_lstm import ConvLSTM2D
from chainer_lstm.links.freezing import frozen
from chainer_lstm.links.lstm import LSTM, StatelessLSTM
from chainer_lstm.links.n_step_lstm import NStepBiLSTM, NStepLSTM
from chainer_lstm.links.peephole import StatefulPeepholeLSTM
from chainer_lstm.links.sequence_lstm import SequenceLSTM
from chainer_lstm.links.trees import ChildSumTreeLSTM, NaryTreeLSTM
from chainer_lstm.links.zoneout import StatefulZoneoutLSTM

__all__ = [
    'LSTM',
    'ChildSumTreeLSTM',
    'ConvLSTM2D',
    'NStepBiLSTM',
    'NStepLSTM',
    'NaryTreeLSTM',
    'SequenceLSTM',
    'StatefulPeepholeLSTM',
    'StatefulZoneoutLSTM',
    'StatelessLSTM',
    'frozen',
]


def __getattr__(name: str) -> Any:
    return getattr(_chainer_links, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_chainer_links)})
