"""Stacked layers of a cell over whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import chainer
import numpy

from chainer_lstm import cells
from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import arrays_of, new_variable
from chainer_lstm.functions import checks
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.node import Input, Passed, any_requires_grad, arrays
from chainer_lstm.functions.sequence_node import SequenceNode
from chainer_lstm.functions.sequence_plan import Plan, state_names
from chainer_lstm.functions.step import check_cell, is_static
from chainer_lstm.functions.weights import shapes_of, weights_of
from chainer_lstm.kernels.packing import Packing, packing_of_equal, packing_of_steps
from chainer_lstm.kernels.ragged import packing_of_rows

Shapes = tuple[tuple[int, ...], ...]
_fitting = Passed()  # kinds of plans, and the shapes of inputs


def apply(
    plan: Plan, states: Sequence[Input], xs: Sequence[Input], weights: Sequence[Input]
) -> tuple[Any, tuple[chainer.Variable, ...]]:
    """Run stacked layers as one node; shapes of states and weights are checked here.

    Args:
        plan: the cell, the packing and the options.
        states: in the order of ``cell.states``; (S D, B, H), or (B, H) of a single layer.
        xs: the arrays of the sequences.
        weights: of all layers and directions, one after the other.

    Returns:
        The new ``State``, with arrays of the shapes of ``states``, and the outputs, see ``Plan``.

    Raises:
        ValueError: states or weights do not fit.
    """
    if type(plan.dropout) is not float:
        plan = plan._replace(dropout=checks.dropout(plan.dropout))
    inputs = tuple([chainer.as_variable(v) for v in (*states, *xs, *weights)])
    count, first = len(states), len(states) + len(xs)
    checked = arrays((*inputs[: count + 1], *inputs[first:]))
    shapes: tuple[Any, ...] = tuple([None if x is None else x.shape for x in checked])
    key = plan.kind, shapes
    if key not in _fitting:
        for k, w in enumerate(inputs[first:]):
            checks.variable(plan.form.name(*divmod(k, plan.form.count)), w)
        check_shapes(plan, shapes[:count], shapes[count][-1], shapes[count + 1 :])
        _fitting.add(key)
    node = SequenceNode(plan, len(xs))
    outputs = node.composed(inputs) if is_static(plan.cell) else node.apply(inputs)
    return plan.cell.State(*outputs[:count]), tuple(outputs[count:])


def check_shapes(plan: Plan, of_states: Shapes, width: int, of_weights: Shapes) -> None:
    """Compare the shapes of states and weights with those that follow from the width of the input.

    Raises:
        ValueError: a shape does not fit, or the dropout is out of range.
    """
    checks.dropout(plan.dropout)
    layers = len(of_weights) // plan.form.count
    plain = layers == 1 and not plan.form.stacked and all(len(s) == 2 for s in of_states)
    outer = () if plain else (layers,)
    cell = plan.cell
    # H is the width of h, as in Chainer; of c if h is projected, and narrower
    of_units = of_states[-1] if cell.projection is None else of_states[0]
    units = of_units[-1] if of_units else 0
    names, widths = state_names(cell), [cell.width(name, units) for name in cell.states]
    # in Chainer's order, h first
    checks.states(names[::-1], of_states[::-1], outer, *plan.packing.rows_of_states, widths[::-1])
    check_weights(plan, of_weights, width, units)


def check_weights(plan: Plan, got: Shapes, inputs: int, units: int) -> None:
    """Compare the shapes of all weights with those that follow from the sizes of the input
    and the state.

    Raises:
        ValueError: a shape does not fit.
    """
    form = plan.form
    expected = shapes_of(form, plan.directions, len(got) // form.count, inputs, units)
    if got == expected:
        return
    at = next(at for at in range(len(got)) if got[at] != expected[at])
    error = f'expected {form.name(*divmod(at, form.count))} of shape {expected[at]}, got {got[at]}'
    same_rows = got[at][:1] == expected[at][:1] and len(got[at]) == len(expected[at]) == 2
    if at < plan.directions * form.count and same_rows and expected[at][1] == inputs:
        # Chainer's message for an input of the wrong size
        error = f'Inconsistent input size in input values and weight parameters: {error}'
    raise ValueError(error)


def sequence(
    cell: Cell,
    states: Sequence[Input],
    xs: Union[Input, Sequence[Input]],
    weights: Sequence[Sequence[Input]],
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
    return_cells: bool = False,
    resets: Any = None,
) -> tuple:
    """Run stacked layers of any cell over whole sequences, as one node.

    Args:
        cell: see ``chainer_lstm.cells``.
        states: the initial states in the order of ``cell.states``, each (S * D, B, H), one for
            each layer and direction (index ``D * layer + direction``), or (B, H) if there is only
            one.
        xs: (T, B, I), or T steps (B_t, I) with B >= B_0 >= B_1 >= ….
        weights: for each layer and direction the weights in the order of ``cell.weights``, in the
            shapes of ``cell.shapes``.  Later layers take D * H inputs.
        bidirectional: D = 2 instead of 1.
        dropout: ratio, on the inputs of every layer but the first.
        return_cells: whether c of all steps is returned too.
        resets: (T, B), or T steps (B_t,), 0 and 1 or booleans: 1 resets the state before a step, to
            0, or to row B of the states if they have B + 1 rows.

    Returns:
        The last ``cell.State``, in the shapes of the states, and the outputs in the form of xs,
        (T, B, D * H) or a tuple of (B_t, D * H), then c likewise.  A row keeps its state at steps
        that do not have it.

    Raises:
        ValueError: shapes do not fit, batches grow in time, dropout is out of range, or a cell has
            no c to return.
        chainer.utils.type_check.InvalidType: dtypes do not fit.
        TypeError: an argument is not a cell, an array, a list of arrays or a number as above, or
            arrays are ChainerX's.

    Example:
        >>> import numpy
        >>> weights = [numpy.ones(shape, 'f') for shape in cells.lstm.shapes(10, 20).values()]
        >>> states = [numpy.zeros((3, 20), 'f')] * 2
        >>> state, ys = sequence(cells.lstm, states, numpy.ones((7, 3, 10), 'f'), [weights])
        >>> state.c.shape, ys.shape
        ((3, 20), (7, 3, 20))
    """
    check_cell(cell)
    if len(checks.sequence('states', states, 'arrays')) != len(cell.states):
        raise ValueError(f'expected states {", ".join(cell.states)}, got {len(states)} arrays')
    states = [checks.variable(name, s) for name, s in zip(state_names(cell), states)]
    if return_cells and 'c' not in cell.states:
        raise ValueError(f'expected return_cells of a cell with c, got it for {cell.name}')
    directions = 2 if bidirectional else 1
    _check_layers(cell, directions, weights)
    return run(cell, states, xs, weights, directions, dropout, return_cells, resets)


def run(
    cell: Cell,
    states: Sequence[chainer.Variable],
    xs: Any,
    weights: Sequence[Sequence[Input]],
    directions: int = 1,
    dropout: float = 0.0,
    return_cells: bool = False,
    resets: Any = None,
) -> tuple:
    """Run ``sequence`` with D ``directions``; types and numbers of arguments have been checked."""
    dense = not isinstance(xs, (list, tuple))
    if dense:
        xs = checks.variable('xs', xs)
        if xs.ndim != 3:
            raise ValueError(f'expected xs of shape (time, batch, inputs), got {xs.shape}')
        batch = xs.shape[1]
        sizes = packing_of_equal(len(xs), batch).sizes
        given: Sequence[Input] = (xs,)
    else:
        sizes = checks.steps(xs)
        batch = sizes[0]
        given = xs
    reset = None
    if resets is not None:
        reset = _reset_steps(batch, sizes, resets)
        if reset is None:  # the state after a reset is not used
            states = [s[..., :batch, :] if s.shape[-2:-1] == (batch + 1,) else s for s in states]
    if reset is None:
        rows = _batch(states[0], sizes)
        if dense and rows == batch:
            packing = packing_of_equal(len(sizes), batch)
        else:
            packing = packing_of_steps(sizes, rows)
    else:
        packing = _packing_with_resets(sizes, reset)
    plan = Plan(cell, packing, weights_of(cell), directions, dropout, cells=return_cells)
    new, ys = apply(plan, states, given, [w for group in weights for w in group])
    if dense:
        return new, *ys
    return (new, ys[: len(sizes)], ys[len(sizes) :]) if return_cells else (new, ys)


def unrecorded_sequence(
    cell: Cell,
    states: Sequence[Optional[Input]],
    x: Input,
    weights: Sequence[Input],
    units: int,
) -> Optional[tuple[Sequence[chainer.Variable], chainer.Variable]]:
    """Compute the steps of a layer that ``step.is_recorded`` does not ask for, from arrays to
    arrays, without a node.

    Types are not checked: the kernels compute only where all arrays are exactly as they expect.

    Args:
        cell: the cell.
        states: in the order of ``cell.states``, (B, H), or None for zeros.
        x: (T, B, I).
        weights: in the order of ``cell.weights``.
        units: H.

    Returns:
        The new states and the outputs (T, B, H); None where a node has to compute them.
    """
    inputs = [x, *weights, *states]
    given = arrays_of(inputs)
    first, last = given[0], len(given) - len(states)
    if type(first) is not numpy.ndarray or first.ndim != 3:
        return None
    steps, batch, width = first.shape
    rows = packing_of_equal(steps, batch).rows_of_direction(False)
    named = dict(zip(cell.weights, given[1:last]))
    found = engine_of(first).whole_sequence(
        cell, rows, first.reshape(rows.total, width), named, given[last:], units
    )
    if found is None:
        return None
    requires_grad = any_requires_grad(inputs)
    new = [new_variable(buffer[rows.total :].copy(), requires_grad) for buffer in found]
    return new, new_variable(found[-1][batch:].reshape(steps, batch, units), requires_grad)


def _reset_steps(batch: int, sizes: Sequence[int], resets: Any) -> Optional[numpy.ndarray]:
    """Return before which steps the state is reset, (B, T) booleans; None if it never is."""
    reset = numpy.zeros((batch, len(sizes)), bool)
    for t, of_step in enumerate(checks.flags_of_each('resets', resets, sizes, 'steps')):
        reset[: len(of_step), t] = of_step
    return reset if reset.any() else None


def _packing_with_resets(sizes: Sequence[int], reset: numpy.ndarray) -> Packing:
    """Return the packing of steps one after the other, with resets (B, T)."""
    rows = numpy.arange(len(reset))[:, None]
    lengths = (numpy.array(sizes) > rows).sum(axis=1)
    places = numpy.cumsum([0, *sizes[:-1]]) + rows
    return packing_of_rows(lengths, places, reset)


def _batch(state: Any, sizes: Sequence[int]) -> int:
    """Return the number of sequences, from a state whose shape has not been checked."""
    rows = state.shape[-2] if state.ndim > 1 else 0
    return max(rows, *sizes[:1], 0)


def lstm_sequence(
    hx: Input,
    cx: Input,
    xs: Union[Input, Sequence[Input]],
    weights: Sequence[Sequence[Input]],
    *,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> tuple:
    """Run stacked LSTM layers over whole sequences, as one node: ``sequence`` with states in
    Chainer's order.

    With σ the logistic function and elementwise products::

        a = tanh(W_a x + b_a + U_a h)       i, f, o = σ(W x + b + U h)
        c' = i a + f c                      h' = o tanh(c')

    Args:
        hx, cx: (S * D, B, H), the initial state of each layer and direction
            (index ``D * layer + direction``), or (B, H) if there is only one.
        xs: (T, B, I), or T steps (B_t, I) with B >= B_0 >= B_1 >= ….
        weights: for each layer and direction W (4H, I), b (4H,), U (4H, H), gates interleaved:
            gate g of unit u is row 4u + g, in the order a, i, f, o.  Another number of weights,
            such as 6 with P_i, P_f and P_o (H, H), selects the cell of ``cells.CELLS`` that has as
            many.  Later layers take D * H inputs.
        bidirectional: D = 2 instead of 1.
        dropout: ratio, on the inputs of every layer but the first.

    Returns:
        hy, cy as hx, and ys as xs, (T, B, D * H) or a tuple of (B_t, D * H).
        Rows that a step does not have keep their state.

    Raises:
        ValueError: shapes do not fit, batches grow in time, or dropout is out of range.
        chainer.utils.type_check.InvalidType: dtypes do not fit.
        TypeError: an argument is not an array, a list of arrays or a number as above, or arrays
            are ChainerX's.

    Example:
        >>> import numpy
        >>> weights = [numpy.ones(shape, 'f') for shape in ((80, 10), 80, (80, 20))]
        >>> zeros = numpy.zeros((3, 20), 'f')
        >>> hy, cy, ys = lstm_sequence(zeros, zeros, numpy.ones((7, 3, 10), 'f'), [weights])
        >>> hy.shape, ys.shape
        ((3, 20), (7, 3, 20))
    """
    hx, cx = checks.variable('hx', hx), checks.variable('cx', cx)
    first = weights[0] if isinstance(weights, (list, tuple)) and weights else ()
    count = len(first) if isinstance(first, (list, tuple)) else 0
    found = (cell for cell in cells.CELLS.values() if len(cell.weights) == count)
    cell = next(found, cells.lstm)
    directions = 2 if bidirectional else 1
    _check_layers(cell, directions, weights)
    new, ys = run(cell, (cx, hx), xs, weights, directions, dropout)
    return new.h, new.c, ys


def _check_layers(cell: Cell, directions: int, weights: Any) -> None:
    if not checks.sequence('weights', weights, 'those of each layer') or len(weights) % directions:
        raise ValueError(
            f'expected weights of each layer and direction, {directions} a layer, '
            f'got {len(weights)}'
        )
    for k, group in enumerate(weights):
        for w in checks.sequence(f'weights[{k}]', group, 'arrays'):
            checks.variable(f'weights[{k}]', w)
        if len(group) != len(cell.weights):
            raise ValueError(
                f'expected weights[{k}] to be {", ".join(cell.weights)} of {cell.name}, '
                f'got {len(group)} arrays'
            )
    b = weights[0][1]
    if b.ndim != 1:
        raise ValueError(
            f'expected weights[0][1] (b) of shape ({len(cell.inputs)}H,), got {b.shape}'
        )
