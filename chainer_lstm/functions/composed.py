"""A cell in Chainer's own functions, step by step, which can be differentiated again and again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chainer
import chainer.functions as F
import numpy

from chainer_lstm.cells import Cell, Stage
from chainer_lstm.functions.node import cast
from chainer_lstm.functions.plan import Output, Plan
from chainer_lstm.kernels import products
from chainer_lstm.kernels.engines.engine import Part

Weights = Mapping[str, Any]


def run_stage(
    cell: Cell,
    stage: Stage,
    parts: Sequence[Part],
    state: Any,
    weights: Weights,
    noise: Sequence[Any] = (),
) -> tuple[Any, Any]:
    """Compute a stage of a step.

    Args:
        cell, stage: the stage of the cell.
        parts: variables (B, G H) of its pre-activations, without its products.
        state: a ``State`` of variables (B, H) or None.
        weights: by name; of a product also a function from the state to it.
        noise: arrays (B, H).

    Returns:
        The gates as ``Cell.Gates``, those of the stage activated, and the new state.
    """
    parts = list(parts)
    for product in stage.products:
        value = getattr(state, product.state)
        if value is not None:
            W = weights[product.weight]
            bias = None if product.bias is None else weights[product.bias]
            parts.append(Part(_product(W, value, bias), product.gates))
    gates = products.gates_of(cell, parts)
    activated, found = stage.forward(F, gates, state, *noise)
    new = {name: getattr(found, name) for name in stage.writes}
    return gates._replace(**dict(zip(stage.gates, activated))), state._replace(**new)


def _product(W: Any, value: chainer.Variable, bias: Any) -> Any:
    return W(value) if callable(W) else F.linear(value, W, bias)


def run_step(
    cell: Cell,
    stages: Sequence[Stage],
    parts: Sequence[Part],
    state: Any,
    weights: Weights,
    noise: Sequence[Any] = (),
) -> tuple[Any, Any, Any]:
    """Compute stages of a step, whose states may have more rows than its input: these are carried.

    Args:
        cell, parts, weights, noise: as in ``run_stage``.
        stages: those of the cell that are computed.
        state: a ``State`` of variables (B0, H), B <= B0, or None.

    Returns:
        The gates and the new state (B, H), and the new state (B0, H).
    """
    batch = len(parts[0].value)
    now = []
    rests = []
    for value in state:
        more = value is not None and len(value) > batch
        head, rest = F.split_axis(value, [batch], axis=0) if more else (value, None)
        now.append(head)
        rests.append(rest)
    found = state._make(now)
    gates: Any = None
    for stage in stages:
        gates, found = run_stage(cell, stage, parts, found, weights, noise)
        parts = [Part(gate, (name,)) for name, gate in zip(cell.gates, gates)]
    whole = [
        value if rest is None else F.concat((value, rest), axis=0)
        for value, rest in zip(found, rests)
    ]
    return gates, found, found._make(whole)


def run_sequence(
    plan: Plan,
    states: Sequence[chainer.Variable],
    xs: Sequence[chainer.Variable],
    weights: Sequence[chainer.Variable],
    drop: Callable[[chainer.Variable, int], chainer.Variable],
    noise: Mapping[int, Sequence[Any]],
) -> list[chainer.Variable]:
    """Compute a sequence step by step.

    Args:
        plan: what it is computed by.
        states, xs, weights: its inputs, see ``sequence.SequenceNode``.
        drop: ``drop(x, k)`` drops from the input of the k-th layer and direction.
        noise: the arrays (P, H) of a layer and direction.

    Returns:
        Its outputs.
    """
    groups, packing, shape = plan.groups(weights), plan.packing, states[0].shape
    initial = [_sorted(packing, F.reshape(s, (len(groups), *shape[-2:]))) for s in states]
    x = F.concat(xs, axis=0) if len(xs) > 1 else xs[0]
    if plan.swapped:
        x = F.transpose(x, (1, 0, 2))
    x = F.reshape(x, (int(numpy.prod(x.shape[:-1])), x.shape[-1]))
    if packing.rows is not None:
        x = F.get_item(x, packing.rows) if packing.masked is not None else _permuted(x, packing)
    last, outs, firsts = [], [], []
    for k, group in enumerate(groups):
        state = plan.cell.State(*(s[k] for s in initial))
        firsts.append(state[-1])
        found, y = _run_layer(plan, k, state, drop(x, k), group, noise.get(k, ()))
        last.append(found)
        outs.append(y)
        if len(outs) == plan.directions:
            x = outs[0] if plan.directions == 1 else F.concat(outs, axis=1)
            outs = [] if k < len(groups) - 1 else outs
    results = [F.stack(values) for values in zip(*last)]
    results = [F.reshape(_sorted(packing, s, inv=True), shape) for s in results]
    if plan.output is Output.LAST:
        h = [s[-1] for s in last[-plan.directions :]]
        h = _sorted(packing, F.stack(h), inv=True)
        return [*results, F.concat(F.separate(h), axis=1)]
    y = _unpacked(packing, x, firsts[-plan.directions :], outs)
    if len(xs) > 1:
        ends = list(itertools.accumulate(len(v) for v in xs))
        return [*results, *F.split_axis(y, ends[:-1], axis=0)]
    lead = xs[0].shape[:-1]
    if plan.swapped:
        y = F.reshape(y, (lead[1], lead[0], y.shape[-1]))
        return [*results, F.transpose(y, (1, 0, 2))]
    return [*results, F.reshape(y, (*lead, y.shape[-1]))]


def _run_layer(
    plan: Plan, k: int, state: Any, x: chainer.Variable, group: Sequence, noise: Sequence[Any]
) -> tuple[Any, chainer.Variable]:
    """Return the last state and the output (P, H) of a layer and direction."""
    dtype = numpy.result_type(numpy.float32, x.dtype, *(w.dtype for w in group))
    weights = {name: cast(w, dtype) for name, w in plan.form.variables(group).items()}
    first = x.dtype
    x, state = cast(x, dtype), state._make(cast(s, dtype) for s in state)
    pre: Any = F.linear(x, weights['W'], weights['b']) if len(x) else None
    ends = list(itertools.accumulate(plan.packing.sizes))
    steps = list(zip(ends, plan.packing.sizes))
    ys = []
    for end, n in reversed(steps) if plan.is_reverse(k) else steps:
        if n:
            rows = slice(end - n, end)
            parts = [Part(pre[rows], plan.cell.inputs)]
            of_rows = [v[rows] for v in noise]
            _, now, state = run_step(plan.cell, plan.cell.stages, parts, state, weights, of_rows)
            ys.append(now[-1])
    if plan.is_reverse(k):
        ys.reverse()
    y = F.concat(ys, axis=0) if ys else state[-1][:0]
    return state._make(cast(s, first) for s in state), cast(y, first)


def _sorted(packing: Any, state: chainer.Variable, inv: bool = False) -> chainer.Variable:
    if packing.order is None:
        return state
    return F.permutate(state, _index(packing.order, state), axis=1, inv=inv)


def _permuted(x: chainer.Variable, packing: Any, inv: bool = False) -> chainer.Variable:
    return F.permutate(x, _index(packing.rows, x), axis=0, inv=inv) if len(x) else x


def _index(rows: numpy.ndarray, like: chainer.Variable) -> Any:
    return like.xp.asarray(rows.astype(numpy.int32))


def _unpacked(
    packing: Any,
    y: chainer.Variable,
    firsts: Sequence[chainer.Variable],
    outs: Sequence[chainer.Variable],
) -> chainer.Variable:
    """(P, D H), and the initial h and the outputs of each direction -> (N, D H)."""
    if packing.rows is None:
        return y
    if packing.masked is None:
        return _permuted(y, packing, inv=True)
    repeated = []
    for d, (h, out) in enumerate(zip(firsts, outs)):
        buffer = F.concat((out, h) if d else (h, out), axis=0)
        repeated.append(F.get_item(buffer, packing.repeated[d]))
    y = F.concat((y, F.concat(repeated, axis=1)), axis=0)
    rows = numpy.concatenate((packing.rows, packing.masked))
    return F.permutate(y, _index(rows, y), axis=0, inv=True)
