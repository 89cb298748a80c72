"""Calls as programs make them, for the type checkers of `make lint` alone.

A wrong call is marked as an error that is expected: where a checker finds none, the mark itself is
an error.
"""

from __future__ import annotations

import chainer
import numpy

import chainer_lstm
import chainer_lstm.links as L
from chainer_lstm import cells, datasets, functions, initializers, interop, optimizers, training
from chainer_lstm.models import RNNForLM

x = numpy.ones((3, 10), 'f')
xs = numpy.ones((7, 3, 10), 'f')
ids = numpy.arange(3, dtype='i')


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
    with L.frozen(lstm):
        lstm.forward(x)
    print(h.shape, ys)


def options() -> None:
    L.SequenceLSTM(10, 20, peephole='diagonal', coupled=True, cell_clip=3)
    L.SequenceLSTM(10, 20, layer_norm=True, layer_norm_epsilon=1e-3, recurrent_dropout=0.2)
    L.SequenceLSTM(10, 20, recurrent_activation='hard_sigmoid', hard_sigmoid_slope=1 / 6)
    L.SequenceLSTM(10, 20, proj_size=5, weight_dropout=0.1, go_backwards=True, return_cells=True)
    lstm = L.SequenceLSTM(None, 20, return_sequences=True, return_state=True, merge_mode='sum')
    lstm.forward(xs, lengths=[7, 5, 7], resets=numpy.zeros((3, 7), bool))


def wrong_links() -> None:
    L.LSTM(10, 20, unknown=1)  # type: ignore[call-arg]
    L.LSTM('10', 20)  # type: ignore[arg-type]
    L.SequenceLSTM(10, 20, 2)  # type: ignore[call-arg]
    L.SequenceLSTM(10, 20, cell='lstm')  # type: ignore[arg-type]
    L.SequenceLSTM(10, 20, zoneout=0.1)  # type: ignore[arg-type]
    L.StatefulPeepholeLSTM(10)  # type: ignore[call-arg]
    L.LSTM(10, 20).forward_sequence(xs, cells=True)  # type: ignore[call-arg]
    L.frozen()  # type: ignore[call-arg]


def wrong_options() -> None:
    L.SequenceLSTM(10, 20, peepholes='diagonal')  # type: ignore[call-arg]
    L.SequenceLSTM(10, 20, peephole=1)  # type: ignore[arg-type]
    L.SequenceLSTM(10, 20, layer_norm='layer')  # type: ignore[arg-type]
    L.SequenceLSTM(10, 20, recurrent_dropout='0.2')  # type: ignore[arg-type]
    L.SequenceLSTM(10, 20, proj_size=0.5)  # type: ignore[arg-type]
    L.SequenceLSTM(10, 20).forward(xs, length=[7, 5, 7])  # type: ignore[call-arg]


def others() -> None:
    lstm = L.LSTM(10, 20)
    functions.sequence(cells.lstm, (x, x), xs, [lstm.cell_weights()])
    functions.step(cells.LSTMVariant(coupled=True), (x, None), x, lstm.cell_weights())
    interop.load('weights.npz', lstm, strict=False)
    interop.export_onnx(lstm, 'lstm.onnx', x)
    RNNForLM(1000, 20, n_layers=2)
    functions.embed_id(ids, numpy.ones((5, 10), 'f'), ignore_label=-1)
    functions.softmax_cross_entropy(x, ids)
    functions.linear(x, numpy.ones((4, 10), 'f'))
    functions.dropout(x, 0.2)
    optimizers.update(chainer.optimizers.Adam().setup(lstm), lstm, x)
    datasets.load_time_machine(max_tokens=1000)
    chainer_lstm.show_config()


def updates() -> None:
    optimizer = chainer.optimizers.SGD().setup(L.LSTM(10, 20))
    words = training.ParallelSequentialIterator(ids, batch_size=1)
    training.BPTTUpdater(words, optimizer, 5, '@numpy', stepwise=True, graph=False).update()
    training.BPTTUpdater(words, optimizer, 5)  # type: ignore[call-arg]
    training.BPTTUpdater(words, optimizer, 5, '@numpy', graphs=True)  # type: ignore[call-arg]
    training.BPTTUpdater(words, optimizer, 5, '@numpy', graph='yes')  # type: ignore[arg-type]


def wrong_others() -> None:
    functions.step(cells.lstm, (x, None), x)  # type: ignore[call-arg]
    cells.LSTMVariant(coupled=True, clip=1)  # type: ignore[call-arg]
    chainer_lstm.install(v2=True)  # type: ignore[call-arg]
    functions.embed_id(ids)  # type: ignore[call-arg]
    functions.embed_id(ids, numpy.ones((5, 10), 'f'), '-1')  # type: ignore[arg-type]
    functions.linear(x)  # type: ignore[call-arg]
    functions.dropout(x, '0.2')  # type: ignore[arg-type]
    optimizers.update()  # type: ignore[call-arg]
    datasets.load_time_machine(tokens=1000)  # type: ignore[call-arg]
