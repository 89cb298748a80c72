"""The functions as loops over rows and units, from ``tests.reference``:
values alone, and nothing of Chainer's.
"""

from __future__ import annotations

import types

import chainer
import numpy

from tests import reference


def _variables(arrays):
    return tuple(chainer.Variable(x) for x in arrays)


def _arrays(variables):
    return [None if v is None else chainer.as_array(v) for v in variables]


def lstm(*args):
    return _variables(reference.lstm(*_arrays(args)))


def lstm_step(*args):
    return _variables(reference.lstm_step(*_arrays(args)))


def peephole_lstm_step(*args):
    return _variables(reference.peephole_step(*_arrays(args)))


def n_step(n_layers, dropout, hx, cx, ws, bs, xs):
    ws, bs, xs = [_arrays(w) for w in ws], [_arrays(b) for b in bs], _arrays(xs)
    hx, cx = _arrays((hx, cx))
    sequences = [
        numpy.array([x[k] for x in xs if k < len(x)]).reshape(-1, xs[0].shape[1])
        for k in range(hx.shape[1])
    ]
    hy, cy, ys = reference.n_step(hx, cx, ws, bs, sequences, len(ws) // n_layers)
    width = hx.shape[2] * len(ws) // n_layers
    steps = [
        numpy.array([y[t] for y in ys[: len(x)]]).reshape(len(x), width) for t, x in enumerate(xs)
    ]
    return *_variables((hy, cy)), _variables(steps)


def lstm_sequence(hx, cx, xs, weights, *, bidirectional=False, dropout=0.0):
    if hx.ndim == 2:
        hy, cy, ys = lstm_sequence(hx[None], cx[None], xs, weights, dropout=dropout)
        return hy[0], cy[0], ys
    directions = 2 if bidirectional else 1
    weights = [_arrays(group) for group in weights]
    dense = not isinstance(xs, (list, tuple))
    steps = list(chainer.as_array(xs)) if dense else _arrays(xs)
    hx, cx = _arrays((hx, cx))
    hy, cy = hx.copy(), cx.copy()
    for first in range(0, len(weights), directions):
        outputs = []
        for k in range(first, first + directions):
            ys = [None] * len(steps)
            for t in range(len(steps))[:: -1 if k > first else 1]:
                n = len(steps[t])
                cell = reference.lstm_step if len(weights[k]) == 3 else reference.peephole_step
                cy[k], hy[k][:n] = cell(cy[k], hy[k][:n], steps[t], *weights[k])
                ys[t] = hy[k][:n].copy()
            outputs.append(ys)
        steps = [numpy.concatenate(y, axis=1) for y in zip(*outputs)]
    if dense:
        steps = numpy.array(steps).reshape(len(steps), xs.shape[1], directions * hx.shape[2])
        return _variables((hy, cy, steps))
    return *_variables((hy, cy)), _variables(steps)


functions = types.SimpleNamespace(
    lstm=lstm,
    lstm_step=lstm_step,
    peephole_lstm_step=peephole_lstm_step,
    lstm_sequence=lstm_sequence,
    n_step_lstm=n_step,
    n_step_bilstm=n_step,
)
