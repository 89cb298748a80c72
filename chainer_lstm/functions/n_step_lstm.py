"""Stacked LSTMs over whole sequences, time-major, as ``chainer.functions.n_step_lstm``."""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import chainer
import chainer.functions as F
from chainer.utils import argument

from chainer_lstm.functions.lstm import Input
from chainer_lstm.functions.lstm import lstm_step
from chainer_lstm.kernels import layout

Weights = Sequence[Sequence[Input]]
Result = tuple[chainer.Variable, chainer.Variable, tuple[chainer.Variable, ...]]


def n_step_lstm(n_layers: int, dropout_ratio: float, hx: Input, cx: Input, ws: Weights, bs: Weights,
                xs: Sequence[Input], **kwargs: Any) -> Result:
    """Runs S stacked layers over sequences given as one batch a time step.

    hx, cx (S, B, H); xs[t] (B_t, I) with B >= B_0 >= B_1 >= …; ws[s] eight
    matrices, bs[s] eight vectors (H,): 0-3 for the input, 4-7 for the hidden
    state, each in the order i, f, a, o (Chainer's documentation says i, f, o,
    a, which is not what it computes).  ws[0][0-3] are (H, I), all others
    (H, H).  -> hy, cy (S, B, H), ys with ys[t] (B_t, H).  Rows that a step
    does not have keep their state.

    Dropout falls on the inputs of every layer but the first.

    Raises:
        ValueError: xs is empty or grows in time, hx or cx has the wrong
            shape, or the number or size of the weights does not fit.
        TypeError: an argument that Chainer no longer supports.
    """
    return _n_step(n_layers, dropout_ratio, hx, cx, ws, bs, xs, 1, kwargs)


def n_step_bilstm(n_layers: int, dropout_ratio: float, hx: Input, cx: Input, ws: Weights, bs: Weights,
                  xs: Sequence[Input], **kwargs: Any) -> Result:
    """``n_step_lstm`` in both directions.

    hx, cx, hy, cy (2S, B, H), forward and backward of a layer beside each
    other: index 2s + direction, also in ws and bs.  Layers after the first
    take (B_t, 2H), so ws[2], ws[3], … have 2H columns for the input.
    -> hy, cy (2S, B, H), ys with ys[t] (B_t, 2H).

    Raises:
        ValueError, TypeError: as ``n_step_lstm``.
    """
    return _n_step(n_layers, dropout_ratio, hx, cx, ws, bs, xs, 2, kwargs)


def _n_step(n_layers, dropout_ratio, hx, cx, ws, bs, xs, directions, kwargs):
    if kwargs:
        argument.check_unexpected_kwargs(
            kwargs, train='train argument is not supported anymore. Use chainer.using_config',
            use_cudnn='use_cudnn argument is not supported anymore. Use chainer.using_config')
        argument.assert_kwargs_empty(kwargs)
    if n_layers < 1:
        raise ValueError(f'expected n_layers of at least 1, got {n_layers}')
    _check(n_layers * directions, directions, hx, cx, ws, bs, xs)
    return layers(dropout_ratio, hx, cx, ws, bs, xs, directions)


def layers(dropout_ratio: float, hx: Input, cx: Input, ws: Weights, bs: Weights,
           xs: Sequence[Input], directions: int) -> Result:
    """As ``n_step_lstm``, unchecked; xs may be empty, which leaves hx and cx as they are."""
    hx, cx = F.separate(hx), F.separate(cx)
    hy, cy, ys = [], [], list(xs)
    for first in range(0, len(hx), directions):
        outputs = []
        for k in range(first, first + directions):
            # as in Chainer, each direction has a dropout mask of its own
            inputs = ys if first == 0 else [F.dropout(x, dropout_ratio) for x in ys]
            backward = k > first
            h, c, hs = _layer(hx[k], cx[k], ws[k], bs[k], inputs[::-1] if backward else inputs)
            outputs.append(hs[::-1] if backward else hs)
            hy.append(h)
            cy.append(c)
        ys = outputs[0] if directions == 1 else [F.concat(pair, axis=1) for pair in zip(*outputs)]
    return F.stack(hy), F.stack(cy), tuple(ys)


def _layer(h, c, w, b, xs):
    """h, c (B, H), xs in the order of computation -> h, c, outputs."""
    W, U = layout.interleave(F, w[:4]), layout.interleave(F, w[4:])
    # the product gives the two biases gradients of their own: optimizer hooks work on them in place
    bias = layout.interleave(F, b[:4]) + layout.interleave(F, b[4:]) * 1
    outputs = []
    for x in xs:
        batch = x.shape[0]
        h_now, h_rest = (h, None) if batch == h.shape[0] else F.split_axis(h, [batch], axis=0)
        c, y = lstm_step(c, h_now, x, W, bias, U)
        h = y if h_rest is None else F.concat((y, h_rest), axis=0)
        outputs.append(y)
    return h, c, outputs


def _check(rows, directions, hx, cx, ws, bs, xs):
    if not len(xs):
        raise ValueError('expected at least one time step in xs, got an empty list')
    batches = [x.shape[0] for x in xs]
    if any(now < later for now, later in itertools.pairwise(batches)):
        raise ValueError('expected batch sizes in xs that do not grow in time (sort the sequences by length, '
                         f'longest first, before transposing them), got {batches}')
    for name, weights in (('ws', ws), ('bs', bs)):
        if len(weights) != rows or any(len(layer) != 8 for layer in weights):
            raise ValueError(f'expected {name} to be {rows} lists of 8 arrays, '
                             f'got lists of {[len(layer) for layer in weights]}')
    if hx.ndim != 3 or not ws[0][0].ndim:
        raise ValueError(f'expected hx of shape ({rows}, batch, units) and matrices in ws, '
                         f'got shapes {hx.shape} and {ws[0][0].shape}')
    units, in_size = hx.shape[2], ws[0][0].shape[-1]
    _check_weights(directions, units, in_size, ws, bs)
    for name, state in (('hx', hx), ('cx', cx)):
        if state.ndim != 3 or state.shape[0] != rows or state.shape[1] < batches[0] or state.shape[2] != units:
            raise ValueError(f'expected {name} of shape ({rows}, at least {batches[0]}, {units}), got {state.shape}')
    if hx.shape != cx.shape:
        raise ValueError(f'expected hx and cx of one shape, got {hx.shape} and {cx.shape}')
    for t, x in enumerate(xs):
        if x.ndim != 2 or x.shape[1] != in_size:
            raise ValueError('Inconsistent input size in input values and weight parameters: '
                             f'expected xs[{t}] of shape (batch, {in_size}), got {x.shape}')


def _check_weights(directions, units, in_size, ws, bs):
    for k, (w, b) in enumerate(zip(ws, bs)):
        width = in_size if k < directions else directions * units
        for j in range(8):
            shape = (units, width if j < 4 else units)
            if w[j].shape != shape:
                raise ValueError(f'expected ws[{k}][{j}] of shape {shape}, got {w[j].shape}')
            if b[j].shape != (units,):
                raise ValueError(f'expected bs[{k}][{j}] of shape {(units,)}, got {b[j].shape}')
