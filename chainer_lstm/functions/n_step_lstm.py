"""Stacked LSTMs over whole sequences, time-major, as ``chainer.functions.n_step_lstm``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import chainer
import numpy
from chainer.utils import argument

from chainer_lstm import cells
from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import arrays_of, new_variable
from chainer_lstm.functions import checks
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.node import Input, any_requires_grad
from chainer_lstm.functions.sequence import apply
from chainer_lstm.functions.sequence_plan import Plan
from chainer_lstm.functions.weights import n_step_weights_of
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.types import Shape
from chainer_lstm.kernels.packing import Packing, packing_of_steps
from chainer_lstm.kernels.ragged import packing_of_sequences

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


def unrecorded_run(
    hx: Optional[Input],
    cx: Optional[Input],
    ws: Weights,
    bs: Weights,
    xs: Sequence[Input],
    directions: int,
    cell: Cell,
    units: int,
) -> Optional[Result]:
    """Compute ``run`` of whole sequences, for which ``step.is_recorded`` is False and nothing is
    dropped, from arrays to arrays, without a node.

    Types are not checked: the kernels compute only where all arrays are exactly as they expect.

    Args:
        hx, cx: as in ``n_step_lstm``, or None for zeros; rows after the first B are ignored.
        ws, bs, directions, cell: as in ``run``.
        xs: B sequences (L_k, I).
        units: H.

    Returns:
        As ``run``; None where a node has to compute it.
    """
    given = arrays_of(xs)
    if {*map(type, given)} != {numpy.ndarray} or given[0].ndim != 2:
        return None
    kinds = {(x.shape[1:], x.dtype) for x in given}
    if len(kinds) > 1 or cell.projection is not None:
        return None
    engine, dtype = engine_of(given[0]), given[0].dtype
    lengths = tuple([len(x) for x in given])
    shape = Shape(max(lengths), len(lengths), units, directions)
    if not engine.takes_gates(cell, dtype, shape):
        return None
    packing = packing_of_sequences(lengths)
    plan = Plan(cell, packing, n_step_weights_of(cell), directions)
    states = _initial_states(plan, (cx, hx), len(ws))
    weights = [_weights(plan, *group, (units,), dtype) for group in zip(ws, bs)]
    if states is None or None in weights:
        return None
    found = _stacked(engine, plan, states, _packed(packing, given), weights, units)
    if found is None:
        return None
    (c, h), y = found
    inputs = *xs, hx, cx, *itertools.chain(*ws, *bs)
    requires_grad = hx is None or cx is None or any_requires_grad(inputs)
    ends = itertools.accumulate(lengths)
    ys = [new_variable(y[end - n : end], requires_grad) for end, n in zip(ends, lengths)]
    return new_variable(h, requires_grad), new_variable(c, requires_grad), tuple(ys)


def _initial_states(
    plan: Plan, states: Sequence[Optional[Input]], groups: int
) -> Optional[Sequence[Optional[Array]]]:
    """Return the initial states of packed sequences (S, B, H), None for zeros; or None if a state
    does not fit.
    """
    found: list[Optional[Array]] = []
    packing = plan.packing
    for state, array in zip(states, arrays_of(states)):
        if state is None:
            found.append(None)
            continue
        fits = type(array) is numpy.ndarray and array.ndim == 3 and len(array) == groups
        if not fits or array.shape[1] < packing.batch:
            return None
        found.append(packing.begin(numpy, array[:, : packing.batch], plan.directions))
    return found


def _weights(
    plan: Plan, w: Sequence[Input], b: Sequence[Input], shape: tuple[int], dtype: numpy.dtype
) -> Optional[Mapping[str, Array]]:
    """Return the weights of a layer by name, with the rows of each gate apart; None if they do not
    fit.  The biases have a shape and dtype; kernels check those of the matrices.
    """
    matrices, biases = arrays_of(w), arrays_of(b)
    if len(matrices) != 8 or len(biases) != 8 or {*map(type, biases)} != {numpy.ndarray}:
        return None
    if {(x.shape, x.dtype) for x in biases} != {(shape, dtype)}:
        return None
    return plan.form.parts(numpy, matrices + biases)


def _packed(packing: Packing, xs: Sequence[Array]) -> Array:
    """Return the packed rows of sequences."""
    if len(xs) == 1:
        return xs[0]
    if packing.sizes[-1] == len(xs):  # of one length: one copy instead of two
        return numpy.stack(xs, axis=1).reshape(packing.total, -1)
    return packing.pack(numpy, numpy.concatenate(xs))


def _stacked(
    engine: Engine,
    plan: Plan,
    states: Sequence[Optional[Array]],
    x: Array,
    weights: Sequence[Any],
    units: int,
) -> Optional[tuple[Sequence[Array], Array]]:
    """Compute all layers from packed rows.

    Returns:
        The last states of the sequences, (S, B, H) each, and the outputs of the last layer, one
        sequence after the other; None if a kernel does not take the arrays.
    """
    packing, directions = plan.packing, plan.directions
    ends: list[list[Array]] = [[] for _ in states]
    for first in range(0, len(weights), directions):
        outputs = []
        for k in range(first, first + directions):
            rows = plan.rows(k)
            initial = [None if state is None else state[k] for state in states]
            buffers = engine.whole_sequence(plan.cell, rows, x, weights[k], initial, units)
            if buffers is None:
                return None
            outputs.append(rows.inner(buffers[-1]))
            for of_state, buffer in zip(ends, buffers):
                of_state.append(rows.last(numpy, buffer))
        x = outputs[0] if directions == 1 else numpy.concatenate(outputs, axis=1)
    new = [packing.end(numpy, numpy.stack(of), directions) for of in ends]
    return new, packing.unpack(numpy, x, ())
