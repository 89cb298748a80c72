"""Chainer's own functions and links under this package's names,
and what Chainer lacks composed of them.

Where docs/compatibility.md says that the package differs, the difference, and nothing else, is
written here.
"""

from __future__ import annotations

import functools
import types

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from chainer_lstm import cells
from tests.fuzz.chainers_trees import ChildSumTreeLSTM, NaryTreeLSTM, slstm, tree_lstm
from tests.support.composed import lstm_step, peephole_lstm_step, step_of


def step(cell, state, x, weights):
    return cell.State(*step_of(cell)(*state, x, *weights))


def lstm_sequence(hx, cx, xs, weights, **options):
    cell = cells.lstm if len(weights[0]) == 3 else cells.peephole
    new, ys = sequence(cell, (cx, hx), xs, weights, **options)
    return new.h, new.c, ys


def sequence(cell, states, xs, weights, *, bidirectional=False, dropout=0.0):
    """A loop over the steps.  Dropout as in Chainer's NStep, except for a ratio of 0:
    that draws nothing.
    """
    if states[0].ndim == 2:
        new, ys = sequence(cell, [s[None] for s in states], xs, weights, dropout=dropout)
        return cell.State(*(s[0] for s in new)), ys
    dense = not isinstance(xs, (list, tuple))
    directions = 2 if bidirectional else 1
    last, steps = [], list(xs)
    for first in range(0, len(weights), directions):
        outputs = []
        for k in range(first, first + directions):
            inputs = [F.dropout(x, dropout) for x in steps] if first and dropout else steps
            state = [s[k] for s in states]
            state, ys = _layer(cell, state, inputs[::-1] if k > first else inputs, weights[k])
            last.append(state)
            outputs.append(ys[::-1] if k > first else ys)
        steps = [F.concat(ys, axis=1) for ys in zip(*outputs)]
    if dense:
        shape = 0, xs.shape[1], directions * states[0].shape[2]
        steps = F.stack(steps) if steps else chainer.Variable(numpy.zeros(shape))
    return cell.State(*(F.stack(s) for s in zip(*last))), steps


def _layer(cell, state, xs, weights):
    ys = []
    for x in xs:
        rows = [s[: len(x)] for s in state]
        new = step_of(cell)(*rows, x, *weights)
        state = [F.concat((y, s[len(x) :]), axis=0) for y, s in zip(new, state)]
        ys.append(new[-1])
    return state, ys


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


class CellOfWeights(chainer.Chain):
    """A cell as a link."""

    def __init__(self, cell, in_size, out_size):
        super().__init__()
        self.cell = cell
        with self.init_scope():
            for name, shape in cell.shapes(in_size, out_size).items():
                setattr(self, name, chainer.Parameter(0, shape))

    def forward(self, *inputs):
        weights = [getattr(self, name) for name in self.cell.weights]
        return step_of(self.cell)(*inputs, *weights)


class SequenceLSTM(chainer.Chain):
    """Cells in a loop, Chainer's where it has one; a masked step keeps the state."""

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
        return_cells=False,
        zero_masked=False,
        go_backwards=False,
        merge_mode='concat',
        cell=cells.lstm,
    ):
        super().__init__()
        self.dropout, self.batch_first, self.stateful = dropout, batch_first, stateful
        self.return_sequences, self.return_state = return_sequences, return_state
        self.return_cells, self.zero_masked = return_cells, zero_masked
        self.go_backwards, self.merge_mode = go_backwards, merge_mode
        self.directions = 2 if bidirectional else 1
        self.names, self.cells, self.state = cell.states, [], None
        self.units = out_size
        make = L.StatelessLSTM
        if cell != cells.lstm:
            make = functools.partial(CellOfWeights, cell)
        with self.init_scope():
            for k in range(n_layers * self.directions):
                layer, reverse = divmod(k, self.directions)
                self.cells.append(f'l{layer}{"_reverse" if reverse else ""}')
                width = self.directions * out_size if layer else in_size
                setattr(self, self.cells[-1], make(width, out_size))
            if learn_initial_state:
                for name in self.names:
                    shape = len(self.cells), out_size
                    setattr(self, f'{name}0', chainer.Parameter(0, shape))

    def reset_state(self):
        self.state = None

    def forward(self, x, initial_state=None, *, lengths=None, mask=None, resets=None):
        x = F.transpose(x, (1, 0, 2)) if self.batch_first else x
        time, batch, _ = x.shape
        cuts = numpy.zeros((batch, time + 1), bool)  # between a step and the one before
        if resets is not None:
            cuts[:, :-1] = resets
        if mask is None:
            lengths = [time] * batch if lengths is None else lengths
            mask = numpy.arange(time) < numpy.asarray(lengths)[:, None]
        mask = numpy.asarray(mask).reshape(batch, time) == 1
        if self.go_backwards:
            x, mask = F.flip(x, 0), mask[:, ::-1]
            cuts[:, 1:-1] = cuts[:, -2:0:-1].copy()
            cuts[:, 0] = False
        first = self._first(batch, initial_state)
        anew = self._anew(batch) if cuts.any() else first
        states = [[s[k] for s in first] for k in range(len(self.cells))]
        for first in range(0, len(self.cells), self.directions):
            outputs = []
            for k in range(first, first + self.directions):
                inputs = F.dropout(x, self.dropout) if first and self.dropout else x
                new = [s[k] for s in anew]
                outputs.append(self._run(k, states, inputs, mask, cuts, new, k > first))
            x, cs = (self._stacked(batch, [ys[of] for ys in outputs]) for of in (-1, 0))
        state = [F.stack(s) for s in zip(*states)]
        if self.stateful:
            self.state = state
        found = [self._output(x, mask, states, -1)]
        if self.return_cells:
            found.append(self._output(cs, mask, states, 0))
        if self.return_state:
            found += state if len(self.cells) > 1 else [s[0] for s in state]
        return tuple(found) if len(found) > 1 else found[0]

    def _stacked(self, batch, outputs):
        nothing = numpy.zeros((0, batch, self.units))
        return F.concat([F.stack(ys) if ys else nothing for ys in outputs], axis=2)

    def _output(self, x, mask, states, of):
        if not self.return_sequences:
            y = F.concat([s[of] for s in states[-self.directions :]], axis=1)
        else:
            if self.zero_masked:
                x = x * mask.T[:, :, None].astype('d')
            y = F.transpose(x, (1, 0, 2)) if self.batch_first else x
        if self.merge_mode == 'concat':
            return y
        a, b = F.split_axis(y, 2, axis=y.ndim - 1)
        return {'sum': a + b, 'mul': a * b, 'ave': (a + b) / 2}[self.merge_mode]

    def _anew(self, batch):
        shape = (len(self.cells), batch, self.units)
        if not hasattr(self, 'h0'):
            return [chainer.Variable(numpy.zeros(shape)) for _ in self.names]
        learned = [getattr(self, f'{name}0') for name in self.names]
        return [F.broadcast_to(F.expand_dims(s, 1), shape) for s in learned]

    def _first(self, batch, given):
        shape = (len(self.cells), batch, self.units)
        if given is not None:
            return [F.reshape(s, shape) for s in given]
        if self.stateful and self.state is not None:
            return self.state
        return self._anew(batch)

    def _run(self, k, states, x, mask, cuts, anew, reverse):
        """Return each state of all steps."""
        ys = []
        for t in range(len(x))[:: -1 if reverse else 1]:
            begins = numpy.broadcast_to(cuts[:, t + reverse, None], states[k][0].shape)
            states[k] = [F.where(begins, new, old) for new, old in zip(anew, states[k])]
            valid = numpy.broadcast_to(mask[:, t, None], states[k][0].shape)
            found = self[self.cells[k]](*states[k], x[t])
            states[k] = [F.where(valid, new, old) for new, old in zip(found, states[k])]
            ys.append(states[k])
        return list(zip(*ys[:: -1 if reverse else 1])) or [()] * len(self.names)


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
    step=step,
    sequence=sequence,
    n_step_lstm=F.n_step_lstm,
    n_step_bilstm=F.n_step_bilstm,
    linear=F.linear,
    softmax_cross_entropy=softmax_cross_entropy,
    tree_lstm=tree_lstm,
    slstm=slstm,
)
links = types.SimpleNamespace(
    LSTM=LSTM,
    ChildSumTreeLSTM=ChildSumTreeLSTM,
    NaryTreeLSTM=NaryTreeLSTM,
    StatelessLSTM=L.StatelessLSTM,
    StatefulPeepholeLSTM=StatefulPeepholeLSTM,
    NStepLSTM=NStepLSTM,
    NStepBiLSTM=NStepBiLSTM,
    SequenceLSTM=SequenceLSTM,
)
