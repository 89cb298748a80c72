"""Stacked LSTMs over whole sequences, time-major, as ``chainer.functions.n_step_lstm``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import chainer
from chainer.utils import argument

from chainer_lstm import cells
from chainer_lstm.cells import Cell
from chainer_lstm.functions import checks
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.sequence import apply
from chainer_lstm.functions.sequence_plan import Plan
from chainer_lstm.functions.weights import n_step_weights_of
from chainer_lstm.kernels.packing import Packing, packing_of_steps

Weights = Sequence[Sequence[Input]]
Result = tuple[chainer.Variable, chainer.Variable, tuple[chainer.Variable, ...]]


def n_step_lstm(
    n_layers: int,
    dropout_ratio: float,
    hx: Input,
    cx: Input,
    ws: Weights,
    bs: Weights,
    xs: Sequence[Input],
    **kwargs: Any,
) -> Result:
    """Run stacked layers over sequences given as one batch per time step,
    as ``chainer.functions.n_step_lstm``.

    Of a layer, with σ the logistic function and elementwise products (Gers et al. 2000)::

        i = σ(w0 x + b0 + w4 h + b4)        f = σ(w1 x + b1 + w5 h + b5)
        a = tanh(w2 x + b2 + w6 h + b6)     o = σ(w3 x + b3 + w7 h + b7)
        c' = i a + f c                      h' = o tanh(c')

    Args:
        n_layers: S, the number of layers.
        dropout_ratio: of the inputs of every layer but the first, in training,
            in [0, 1); ignored with a single layer.
        hx, cx: (S, B, H).
        ws: S lists of eight matrices, 0-3 for the input, 4-7 for the hidden
            state, each in the order i, f, a, o (Chainer's documentation says
            i, f, o, a, which is not what it computes).  Those for the input
            of the first layer are (H, I), all others (H, H).
        bs: S lists of eight vectors (H,), in the same order.
        xs: T steps (B_t, I) with B >= B_0 >= B_1 >= ….
        **kwargs: must be empty; arguments of Chainer v1 raise an error that names them.

    Returns:
        hy, cy (S, B, H), and a tuple of T outputs (B_t, H).  Rows that a step
        does not have keep their state.

    Raises:
        ValueError: xs is empty or grows in time, hx or cx has the wrong
            shape, the number or size of the weights does not fit, the dropout
            of several layers is out of range, or an argument is one that
            Chainer no longer supports.
        TypeError: n_layers is not an integer, dropout_ratio not a number, or ws, bs or xs are not
            lists of arrays.

    Example:
        >>> import numpy
        >>> ws = [[numpy.ones((20, 10), 'f')] * 4 + [numpy.ones((20, 20), 'f')] * 4]
        >>> bs = [[numpy.zeros(20, 'f')] * 8]
        >>> zeros = numpy.zeros((1, 3, 20), 'f')
        >>> xs = [numpy.ones((n, 10), 'f') for n in (3, 2, 1)]  # sequences of 3, 2 and 1 steps
        >>> hy, cy, ys = n_step_lstm(1, 0, zeros, zeros, ws, bs, xs)
        >>> hy.shape, [y.shape for y in ys]
        ((1, 3, 20), [(3, 20), (2, 20), (1, 20)])
    """
    return _n_step(n_layers, dropout_ratio, hx, cx, ws, bs, xs, 1, kwargs)


def n_step_bilstm(
    n_layers: int,
    dropout_ratio: float,
    hx: Input,
    cx: Input,
    ws: Weights,
    bs: Weights,
    xs: Sequence[Input],
    **kwargs: Any,
) -> Result:
    """Run ``n_step_lstm`` in both directions, as ``chainer.functions.n_step_bilstm``.

    Of a layer, with σ the logistic function and elementwise products (Gers et al. 2000)::

        i = σ(w0 x + b0 + w4 h + b4)        f = σ(w1 x + b1 + w5 h + b5)
        a = tanh(w2 x + b2 + w6 h + b6)     o = σ(w3 x + b3 + w7 h + b7)
        c' = i a + f c                      h' = o tanh(c')

    Args:
        n_layers: S, the number of layers.
        dropout_ratio: of the inputs of every layer but the first, in training, in [0, 1); any value
            for one layer, which does not use it.
        hx, cx: (2S, B, H), index 2s + direction.
        ws: 2S lists with the same index, of eight matrices, 0-3 for the input, 4-7 for the hidden
            state, each in the order i, f, a, o.  Those for the input of the first layer are
            (H, I), of later layers (H, 2H); those for the hidden state (H, H).
        bs: 2S lists of eight vectors (H,), likewise.
        xs: T steps (B_t, I) with B >= B_0 >= B_1 >= ….
        **kwargs: must be empty; arguments of Chainer v1 get an error that says so.

    Returns:
        hy, cy (2S, B, H), and a tuple of T outputs (B_t, 2H).

    Raises:
        TypeError, ValueError: as ``n_step_lstm``.

    Example:
        >>> import numpy
        >>> ws = [[numpy.ones((20, 10), 'f')] * 4 + [numpy.ones((20, 20), 'f')] * 4] * 2
        >>> bs = [[numpy.zeros(20, 'f')] * 8] * 2
        >>> zeros = numpy.zeros((2, 3, 20), 'f')
        >>> xs = [numpy.ones((n, 10), 'f') for n in (3, 2, 1)]
        >>> hy, cy, ys = n_step_bilstm(1, 0, zeros, zeros, ws, bs, xs)
        >>> hy.shape, [y.shape for y in ys]
        ((2, 3, 20), [(3, 40), (2, 40), (1, 40)])
    """
    return _n_step(n_layers, dropout_ratio, hx, cx, ws, bs, xs, 2, kwargs)


def _n_step(
    n_layers: int,
    dropout_ratio: float,
    hx: Input,
    cx: Input,
    ws: Sequence[Sequence[Input]],
    bs: Sequence[Sequence[Input]],
    xs: Sequence[Input],
    directions: int,
    kwargs: dict[str, Any],
) -> Any:
    if kwargs:
        argument.check_unexpected_kwargs(
            kwargs,
            train='train argument is not supported anymore. Use chainer.using_config',
            use_cudnn='use_cudnn argument is not supported anymore. Use chainer.using_config',
        )
        argument.assert_kwargs_empty(kwargs)
    checks.size('n_layers', n_layers)
    checks.dropout(dropout_ratio, n_layers)
    hx, cx = checks.variable('hx', hx), checks.variable('cx', cx)
    checks.steps(xs)
    rows = n_layers * directions
    for name, weights in (('ws', ws), ('bs', bs)):
        for k, layer in enumerate(checks.sequence(name, weights, 'layers')):
            for j, w in enumerate(checks.sequence(f'{name}[{k}]', layer, 'arrays')):
                checks.variable(f'{name}[{k}][{j}]', w)
        if len(weights) != rows or any(len(layer) != 8 for layer in weights):
            raise ValueError(
                f'expected {name} to be {rows} lists of 8 arrays, '
                f'got lists of {[len(layer) for layer in weights]}'
            )
    packing = packing_of_steps(tuple(x.shape[0] for x in xs), hx.shape[1] if hx.ndim > 1 else 0)
    return run(packing, dropout_ratio, hx, cx, ws, bs, xs, directions)


def run(
    packing: Packing,
    dropout_ratio: float,
    hx: Input,
    cx: Input,
    ws: Weights,
    bs: Weights,
    xs: Sequence[Input],
    directions: int,
    cell: Cell = cells.lstm,
    return_cells: bool = False,
) -> Result:
    """Run stacked layers over arrays of rows that are packed in any way, as one node.

    Args:
        packing: how the rows are packed.
        dropout_ratio, hx, cx, ws, bs, xs: as in ``n_step_lstm``.
        directions: 1 or 2.
        cell: an LSTM with the weights of Chainer's, projected or not.
        return_cells: whether c of all steps is an output too.

    Returns:
        hy, cy, and the outputs of xs, then c of xs.
    """
    dropout = checks.dropout(dropout_ratio, len(ws) // directions)
    plan = Plan(cell, packing, n_step_weights_of(cell), directions, dropout, cells=return_cells)
    weights = [w for group in zip(ws, bs) for w in (*group[0], *group[1])]
    new, ys = apply(plan, (cx, hx), xs, weights)
    return new.h, new.c, ys
