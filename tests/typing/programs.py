"""Calls as programs make them, for the type checkers of `make lint` alone.

A wrong call is marked as an error that is expected: where a checker finds none, the mark itself is
an error.
"""

from __future__ import annotations

import numpy

import chainer_lstm
import chainer_lstm.links as L
from chainer_lstm import cells, functions, initializers, interop
from chainer_lstm.models import RNNForLM

x = numpy.ones((3, 10), 'f')
xs = numpy.ones((7, 3, 10), 'f')


def orthogonal(array: numpy.ndarray) -> None:
    array[...] = numpy.linalg.qr(array)[0]


def links() -> None:
    lstm = L.LSTM(None, 20, forget_bias_init=1, learn_initial_state=True)
    h = lstm.forward(x)
    ys = lstm.forward_sequence(xs)
    lstm.reset_state()
    L.SequenceLSTM(10, 20, n_layers=2, bidirectional=True, zoneout=(0.1, 0.1)).forward(x)
    L.NStepLSTM(2, 10, 20, 0.5, proj_size=5)
    L.StatefulPeepholeLSTM(10, 20, lateral_init=initializers.PerGate(orthogonal))
    print(h.shape, ys)


def wrong_links() -> None:
    L.LSTM(10, 20, unknown=1)  # type: ignore[call-arg]
    L.LSTM('10', 20)  # type: ignore[arg-type]
    L.SequenceLSTM(10, 20, 2)  # type: ignore[call-arg]
    L.SequenceLSTM(10, 20, cell='lstm')  # type: ignore[arg-type]
    L.SequenceLSTM(10, 20, zoneout=0.1)  # type: ignore[arg-type]
    L.StatefulPeepholeLSTM(10)  # type: ignore[call-arg]
    L.LSTM(10, 20).forward_sequence(xs, cells=True)  # type: ignore[call-arg]


def others() -> None:
    lstm = L.LSTM(10, 20)
    functions.sequence(cells.lstm, (x, x), xs, [lstm.cell_weights()])
    functions.step(cells.LSTMVariant(coupled=True), (x, None), x, lstm.cell_weights())
    interop.load('weights.npz', lstm, strict=False)
    interop.export_onnx(lstm, 'lstm.onnx', x)
    RNNForLM(1000, 20, n_layers=2)
    chainer_lstm.show_config()


def wrong_others() -> None:
    functions.step(cells.lstm, (x, None), x)  # type: ignore[call-arg]
    cells.LSTMVariant(coupled=True, clip=1)  # type: ignore[call-arg]
    chainer_lstm.install(v2=True)  # type: ignore[call-arg]
