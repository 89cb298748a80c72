"""The functions as loops over rows and units, from ``tests.support.reference``:
values alone, and nothing of Chainer's.
"""

from __future__ import annotations

import types

import chainer
import numpy

from chainer_lstm import cells
from tests.support import reference
from tests.support.reference import step_of


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


def step(cell, state, x, weights):
    arrays = _arrays([*state, x, *weights])
    return cell.State(*_variables(step_of(cell)(*arrays)))


def stack(step, states, xs, weights, directions=1):
    """Stacked layers, step by step.

    Args:
        step: one of ``STEPS``.
        states: in the order of the cell's, (S * directions, B, H) each; index
            directions * layer + direction.
        xs: T steps (B_t, I).
        weights: for each layer and direction those of the step.
        directions: of each layer, 1 or 2.

    Returns:
        The last states, and T outputs (B_t, directions * H).
    """
    states = [s.astype(numpy.float64) for s in states]
    for first in range(0, len(weights), directions):
        outputs = []
        for k in range(first, first + directions):
            ys = [None] * len(xs)
            for t in range(len(xs))[:: -1 if k > first else 1]:
                n = len(xs[t])
                new = step(*(s[k][:n] for s in states), xs[t], *weights[k])
                for s, value in zip(states, new):
                    s[k][:n] = value
                ys[t] = states[-1][k][:n].copy()
            outputs.append(ys)
        xs = [numpy.concatenate(y, axis=1) for y in zip(*outputs)]
    return states, xs


def sequence(cell, states, xs, weights, *, bidirectional=False, dropout=0.0):
    if states[0].ndim == 2:
        new, ys = sequence(cell, [s[None] for s in states], xs, weights)
        return cell.State(*(s[0] for s in new)), ys
    directions = 2 if bidirectional else 1
    dense = not isinstance(xs, (list, tuple))
    steps = list(chainer.as_array(xs)) if dense else _arrays(xs)
    weights = [_arrays(group) for group in weights]
    new, ys = stack(step_of(cell), _arrays(states), steps, weights, directions)
    new = cell.State(*_variables(new))
    if dense:
        shape = len(steps), xs.shape[1], directions * states[0].shape[2]
        return new, chainer.Variable(numpy.array(ys).reshape(shape))
    return new, _variables(ys)


def lstm_sequence(hx, cx, xs, weights, **options):
    cell = cells.lstm if len(weights[0]) == 3 else cells.peephole
    new, ys = sequence(cell, (cx, hx), xs, weights, **options)
    return new.h, new.c, ys


functions = types.SimpleNamespace(
    lstm=lstm,
    lstm_step=lstm_step,
    peephole_lstm_step=peephole_lstm_step,
    lstm_sequence=lstm_sequence,
    step=step,
    sequence=sequence,
    n_step_lstm=n_step,
    n_step_bilstm=n_step,
)
