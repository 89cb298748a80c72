"""A cell composed of Chainer's own functions, step by step, for gradients of any order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import chainer
import chainer.functions as F
import numpy

from chainer_lstm.cells import Cell, Product, Stage, normalized
from chainer_lstm.kernels import products
from chainer_lstm.kernels.engines.types import NOTHING, Layer, Noise, Part
from chainer_lstm.kernels.packing import Rows
from chainer_lstm.kernels.sequence import noise_of_step

Weights = Mapping[str, Any]


def run_stage(
    cell: Cell,
    stage: Stage,
    parts: Sequence[Part],
    state: Any,
    weights: Weights,
    noise: Noise = NOTHING,
) -> tuple[Any, Any]:
    """Compute a stage of a step.

    Args:
        cell, stage: the stage of the cell.
        parts: variables (B, G H), summands of its pre-activations without its own products.
        state: a ``State`` of variables (B, H) or None.
        weights: by name; in place of a matrix also a function from the state to its product.
        noise: arrays (B, H) by name.

    Returns:
        The gates as ``Cell.Gates``, those of the stage activated, and the new state.
    """
    parts = list(parts)
    for product in stage.products:
        value = getattr(state, product.state)
        if value is not None and not product.diagonal:
            value = products.masked(product, value, noise)
            parts.append(Part(_product(product, value, weights), product.gates))
    parts += products.diagonal_parts(stage, state, weights)
    gates = products.gates_of(cell, parts)
    more = products.arguments(cell, stage, {**weights, **noise})
    activated, found = stage.forward(F, gates, state, **more)
    new = {name: getattr(found, name) for name in stage.writes}
    return gates._replace(**dict(zip(stage.gates, activated))), state._replace(**new)


def of_input(cell: Cell, x: chainer.Variable, weights: Weights) -> Any:
    """Return x Wᵀ + b, normalized or not."""
    return _product(products.of_x(cell), x, weights)


def _product(product: Product, value: chainer.Variable, weights: Weights) -> Any:
    W, norm = weights[product.weight], product.norm
    bias = None if product.bias is None else weights[product.bias]
    if norm is None:
        return W(value) if callable(W) else F.linear(value, W, bias)
    y, _ = normalized(F, F.linear(value, W), norm.epsilon)
    y = y * weights[norm.gain]
    return y if bias is None else y + bias


def run_step(
    cell: Cell,
    stages: Sequence[Stage],
    parts: Sequence[Part],
    state: Any,
    weights: Weights,
    noise: Noise = NOTHING,
) -> tuple[Any, Any, Any]:
    """Compute stages of a step.  Rows of states beyond those of the input are carried over.

    Args:
        cell, parts, weights, noise: as in ``run_stage``.
        stages: the stages of the cell to compute.
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
    if cell.projection is not None and stages[-1] is cell.stages[-1]:
        last = cell.states[-1]
        h = F.linear(getattr(found, last), weights[cell.projection])
        found = found._replace(**{last: h})
    whole = [
        value if rest is None else F.concat((value, rest), axis=0)
        for value, rest in zip(found, rests)
    ]
    return gates, found, found._make(whole)


class Rearranging:
    """The array functions that rearrange sequences, on variables.

    Args:
        xp: NumPy or CuPy, the module of their arrays.
    """

    concatenate = staticmethod(F.concat)
    reshape = staticmethod(F.reshape)
    stack = staticmethod(F.stack)

    def __init__(self, xp: Any) -> None:
        self.asarray = xp.asarray
        self.zeros = xp.zeros

    def take(self, x: chainer.Variable, indexes: Any, axis: int) -> chainer.Variable:
        """Return all elements of x along an axis, in that order."""
        # the backward pass of indexing takes a hundred times as long
        return F.permutate(x, indexes.astype(numpy.int32), axis=axis) if len(x) else x


def run_layer(
    cell: Cell, weights: Weights, rows: Rows, x: Any, initial: Any, noise: Noise
) -> Layer:
    """Return a layer of variables, computed step by step; arguments as in ``sequence.layer_of``."""
    layer = Layer(cell, weights, rows, x, initial, noise)
    state, found = initial, []
    if rows.total:
        pre = of_input(cell, x, weights)
        parts = F.split_axis(pre, rows.starts[1:], axis=0)
        for k, part in enumerate(reversed(parts) if rows.reverse else parts):
            if rows.steps[k][1]:
                now = noise_of_step(layer, k)
                inputs = [Part(part, cell.inputs)]
                _, new, state = run_step(cell, cell.stages, inputs, state, weights, now)
                found.append(new)
    buffers = []
    for values in zip(initial, *found):
        in_time = values[::-1] if rows.reverse else values
        buffers.append(F.concat(in_time, axis=0))
    return dataclasses.replace(layer, states=cell.State(*buffers))
