"""Chainer's own functions and links under this package's names,
and what Chainer lacks composed of them.

Where docs/compatibility.md says that the package differs, the difference, and nothing else, is
written here.
"""

from __future__ import annotations

import types

import chainer
import chainer.functions as F
import chainer.links as L
import numpy


def lstm_step(c_prev, h_prev, x, W, b, U):
    pre = F.linear(x, W, b)
    return F.lstm(c_prev, pre if h_prev is None else pre + F.linear(h_prev, U))


def peephole_lstm_step(c_prev, h_prev, x, W, b, U, P_i, P_f, P_o):
    """The forward of Chainer's link, on anything that has its attributes."""
    batch = len(x)
    cell = types.SimpleNamespace(
        upward=lambda x: F.linear(x, W, b),
        lateral=lambda h: F.linear(h, U),
        peep_i=lambda c: F.linear(c, P_i),
        peep_f=lambda c: F.linear(c, P_f),
        peep_o=lambda c: F.linear(c, P_o),
        c=c_prev[:batch],
        h=h_prev,
    )
    h = L.StatefulPeepholeLSTM.forward(cell, x)
    return F.concat((cell.c, c_prev[batch:]), axis=0), h


def lstm_sequence(hx, cx, xs, weights, *, bidirectional=False, dropout=0.0):
    """A loop over the steps.  Dropout as in Chainer's NStep, except for a ratio of 0:
    that draws nothing.
    """
    if hx.ndim == 2:
        hy, cy, ys = lstm_sequence(hx[None], cx[None], xs, weights, dropout=dropout)
        return hy[0], cy[0], ys
    dense = not isinstance(xs, (list, tuple))
    directions = 2 if bidirectional else 1
    hy, cy, steps = [], [], list(xs)
    for first in range(0, len(weights), directions):
        outputs = []
        for k in range(first, first + directions):
            inputs = [F.dropout(x, dropout) for x in steps] if first and dropout else steps
            h, c, ys = _layer(hx[k], cx[k], inputs[::-1] if k > first else inputs, weights[k])
            hy.append(h)
            cy.append(c)
            outputs.append(ys[::-1] if k > first else ys)
        steps = [F.concat(ys, axis=1) for ys in zip(*outputs)]
    if dense:
        steps = (
            F.stack(steps)
            if steps
            else chainer.Variable(numpy.zeros((0, xs.shape[1], directions * hx.shape[2])))
        )
    return F.stack(hy), F.stack(cy), steps


def _layer(h, c, xs, weights):
    step = lstm_step if len(weights) == 3 else peephole_lstm_step
    ys = []
    for x in xs:
        c, y = step(c, h[: len(x)], x, *weights)
        h = F.concat((y, h[len(x) :]), axis=0)
        ys.append(y)
    return h, c, ys


def softmax_cross_entropy(x, t, normalize=True, **kwargs):
    """Second gradients always; gradients without rows: a row that is ignored stands for them."""
    if len(x):
        return F.softmax_cross_entropy(
            x, t, normalize, **{**kwargs, 'enable_double_backprop': True}
        )
    ignore = kwargs.get('ignore_label', -1)
    x, t = F.concat((x, numpy.zeros((1, x.shape[1]))), axis=0), numpy.array([ignore], 'i')
    loss = F.softmax_cross_entropy(x, t, normalize, **{**kwargs, 'enable_double_backprop': True})
    return loss[:0] if loss.ndim else loss


class _Calls:
    """What stateful links do here besides:
    where c or h alone is set, the other one is zeros of its shape.
    """

    def _complete(self, batch):
        if self.h is None and self.c is not None and len(self.c) == batch:
            return  # Chainer multiplies no zeros either
        if (self.c is None) != (self.h is None):
            given = self.h if self.c is None else self.c
            self.c, self.h = (
                chainer.Variable(numpy.zeros(given.shape)) if s is None else s
                for s in (self.c, self.h)
            )

    def set_state(self, c, h):
        self.c, self.h = (None if s is None else chainer.as_variable(s) for s in (c, h))

    def forward_sequence(self, xs):
        ys = [self(x) for x in xs]
        if isinstance(xs, (list, tuple)):
            return ys
        return (
            F.stack(ys) if ys else chainer.Variable(numpy.zeros((0, xs.shape[1], self.state_size)))
        )


def _flat(x):
    return F.reshape(x, (len(x), chainer.utils.size_of_shape(x.shape[1:])))


class LSTM(_Calls, L.LSTM):
    def forward(self, x):
        self._complete(len(x))
        return super().forward(_flat(x))


class StatefulPeepholeLSTM(_Calls, L.StatefulPeepholeLSTM):
    """The first rows of a state advance, as in ``LSTM``."""

    def forward(self, x):
        self._complete(len(x))
        x, c, h, batch = _flat(x), self.c, self.h, len(x)
        if c is None:
            return super().forward(x)
        if batch > len(c):
            raise TypeError('batch')
        self.c = c[:batch]
        self.h = h[:batch] if h is not None and batch else None
        y = super().forward(x)
        self.c = F.concat((self.c, c[batch:]), axis=0)
        self.h = y if h is None else F.concat((y, h[batch:]), axis=0) if batch else h
        return y


def _n_step(link, hx, cx, xs):
    """``link.rnn``, with sequences of length 0 and, unlike in the link,
    losses on some outputs only.
    """
    shape = (link.n_layers * link.direction, len(xs), link.out_size)
    lengths = numpy.array([len(x) for x in xs])
    order = numpy.argsort(-lengths)
    hx, cx = (
        F.permutate(
            chainer.Variable(numpy.zeros(shape)) if s is None else s, order.astype('i'), axis=1
        )
        for s in (hx, cx)
    )
    steps = [F.stack([xs[k][t] for k in order if lengths[k] > t]) for t in range(lengths.max())]
    hy, cy, ys = (
        link.rnn(link.n_layers, link.dropout, hx, cx, link.ws, link.bs, steps)
        if steps
        else (hx, cx, ())
    )
    place = order.argsort()
    ys = [
        F.stack([ys[t][place[k]] for t in range(length)])
        if length
        else chainer.Variable(numpy.zeros((0, link.direction * link.out_size)))
        for k, length in enumerate(lengths)
    ]
    return (*(F.permutate(s, order.astype('i'), axis=1, inv=True) for s in (hy, cy)), ys)


class NStepLSTM(L.NStepLSTM):
    def forward(self, hx, cx, xs):
        return _n_step(self, hx, cx, xs)


class NStepBiLSTM(L.NStepBiLSTM):
    def forward(self, hx, cx, xs):
        return _n_step(self, hx, cx, xs)


class SequenceLSTM(chainer.Chain):
    """Chainer's cells in a loop; a masked step keeps the state."""

    def __init__(
        self,
        in_size,
        out_size,
        *,
        n_layers=1,
        bidirectional=False,
        dropout=0,
        return_sequences=False,
        return_state=False,
        stateful=False,
        batch_first=True,
        learn_initial_state=False,
    ):
        super().__init__()
        self.dropout, self.batch_first, self.stateful = dropout, batch_first, stateful
        self.return_sequences, self.return_state = return_sequences, return_state
        self.directions = 2 if bidirectional else 1
        self.cells = []
        self.c = self.h = None
        self.units = out_size
        with self.init_scope():
            for k in range(n_layers * self.directions):
                layer, reverse = divmod(k, self.directions)
                self.cells.append(f'l{layer}{"_reverse" if reverse else ""}')
                setattr(
                    self,
                    self.cells[-1],
                    L.StatelessLSTM(self.directions * out_size if layer else in_size, out_size),
                )
            if learn_initial_state:
                self.c0, self.h0 = (chainer.Parameter(0, (len(self.cells), out_size)) for _ in 'ch')

    def reset_state(self):
        self.c = self.h = None

    def forward(self, x, initial_state=None, *, lengths=None, mask=None):
        x = F.transpose(x, (1, 0, 2)) if self.batch_first else x
        time, batch, _ = x.shape
        if mask is None:
            lengths = [time] * batch if lengths is None else lengths
            mask = numpy.arange(time) < numpy.asarray(lengths)[:, None]
        mask = numpy.asarray(mask).reshape(batch, time) == 1
        c, h = map(list, self._first(batch, initial_state))
        for first in range(0, len(self.cells), self.directions):
            outputs = []
            for k in range(first, first + self.directions):
                inputs = F.dropout(x, self.dropout) if first and self.dropout else x
                outputs.append(self._run(k, c, h, inputs, mask, k > first))
            x = F.concat(
                [F.stack(ys) if ys else numpy.zeros((0, batch, self.units)) for ys in outputs],
                axis=2,
            )
        last = F.concat(h[-self.directions :], axis=1)
        c, h = F.stack(c), F.stack(h)
        if self.stateful:
            self.c, self.h = c, h
        if not self.return_sequences:
            y = last
        else:
            y = F.transpose(x, (1, 0, 2)) if self.batch_first else x
        if not self.return_state:
            return y
        return (y, c, h) if len(self.cells) > 1 else (y, c[0], h[0])

    def _first(self, batch, given):
        shape = (len(self.cells), batch, self.units)
        if given is not None:
            return [F.reshape(s, shape) for s in given]
        if self.stateful and self.c is not None:
            return self.c, self.h
        if hasattr(self, 'c0'):
            return [F.broadcast_to(F.expand_dims(s, 1), shape) for s in (self.c0, self.h0)]
        return [chainer.Variable(numpy.zeros(shape)) for _ in 'ch']

    def _run(self, k, c, h, x, mask, reverse):
        ys = []
        for t in range(len(x))[:: -1 if reverse else 1]:
            valid = numpy.broadcast_to(mask[:, t, None], c[k].shape)
            found = self[self.cells[k]](c[k], h[k], x[t])
            c[k], h[k] = (F.where(valid, new, old) for new, old in zip(found, (c[k], h[k])))
            ys.append(h[k])
        return ys[:: -1 if reverse else 1]


class RNNForLM(chainer.Chain):
    """As in Chainer's PTB example; a chunk is a loop."""

    def __init__(self, n_vocab, n_units, *, n_layers, dropout):
        super().__init__()
        self.n_layers, self.dropout = n_layers, dropout
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            for k in range(n_layers):
                setattr(self, f'l{k + 1}', L.LSTM(n_units, n_units))
            setattr(self, f'l{n_layers + 1}', L.Linear(n_units, n_vocab))

    def reset_state(self):
        for k in range(self.n_layers):
            self[f'l{k + 1}'].reset_state()

    def forward(self, x):
        if x.ndim == 2:
            return (
                F.concat([self(step) for step in x], axis=0)
                if len(x)
                else numpy.zeros((0, self.embed.W.shape[0]))
            )
        h = self.embed(x) if x.size else numpy.zeros((0, self.embed.W.shape[1]))
        for k in range(self.n_layers + 1):
            h = self[f'l{k + 1}'](F.dropout(h, self.dropout) if self.dropout else h)
        return h


functions = types.SimpleNamespace(
    lstm=F.lstm,
    lstm_step=lstm_step,
    peephole_lstm_step=peephole_lstm_step,
    lstm_sequence=lstm_sequence,
    n_step_lstm=F.n_step_lstm,
    n_step_bilstm=F.n_step_bilstm,
    linear=F.linear,
    softmax_cross_entropy=softmax_cross_entropy,
)
links = types.SimpleNamespace(
    LSTM=LSTM,
    StatelessLSTM=L.StatelessLSTM,
    StatefulPeepholeLSTM=StatefulPeepholeLSTM,
    NStepLSTM=NStepLSTM,
    NStepBiLSTM=NStepBiLSTM,
    SequenceLSTM=SequenceLSTM,
)
