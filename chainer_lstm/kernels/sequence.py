"""The time loop over one layer in one direction, for every cell and engine.

The product of the input is computed for all steps at once; each step adds the products of the
states; the gradient of each weight is one product over all steps.  Engines with kernels for whole
sequences (``Engine.supports``) replace the loop.
"""

from __future__ import annotations

from typing import Any

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.kernels import normalization, products
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.types import NOTHING, Gradients, Layer, Noise, Part, Weights
from chainer_lstm.kernels.packing import Rows


def layer_of(
    xp: Any,
    cell: Cell,
    weights: Weights,
    rows: Rows,
    x: Array,
    initial: Any,
    noise: Noise = NOTHING,
    last: Any = None,
) -> Layer:
    """Return a layer with buffers that begin with the initial states, a ``State`` of (B, H); or,
    with ``Layer.last``, with new ones and ``Layer.initial``.
    """
    filled = last is None
    states = cell.State(*(rows.buffer(xp, state, filled) for state in initial))
    units, dtype = initial[0].shape[1], initial[0].dtype
    kept = normalization.rooms(xp, cell, rows.total, units, dtype)
    m = None
    if cell.projection is not None:
        m = xp.empty((rows.total, units), dtype)
    begun = None if filled else initial
    return Layer(cell, weights, rows, x, states, noise, m, kept, begun, last)


def gradients_of(
    xp: Any, layer: Layer, output: Any, last: Any, from_zeros: bool = False
) -> Gradients:
    """Return the gradients with which the backward of a layer begins."""
    h = layer.states[-1]
    room = None if layer.m is None else xp.empty((layer.rows.total, h.shape[1]), h.dtype)
    return Gradients(output, last, room, from_zeros)


def forward(e: Engine, layer: Layer) -> Array:
    """Compute all steps by the stages of an engine.

    Returns:
        The gates (P, G H); the states are written into the buffers of the layer.
    """
    cell, rows, weights = layer.cell, layer.rows, layer.weights
    pre = products.of_input(e, cell, layer.x, weights, layer.kept, weights['b'])
    if tuple(cell.inputs) == tuple(cell.gates):
        gates = pre
    else:
        gates = e.xp.empty((len(pre), len(cell.gates) * layer.states[0].shape[1]), pre.dtype)
    for k, (start, n) in enumerate(rows.steps):
        now = slice(start, start + n)
        noise = noise_of_step(layer, k)
        state = cell.State(*(rows.previous(e.xp, buffer, k) for buffer in layer.states))
        new = cell.State(*(rows.inner(buffer)[now] for buffer in layer.states))
        h = new[-1]
        if layer.m is not None:
            new = _with_output(new, layer.m[now])
        parts = [Part(pre[now], cell.inputs)]
        for stage in cell.stages:
            parts += products.parts_of(e, stage, state, weights, noise, layer.kept_of(now))
            more = {**noise, **products.vectors(stage, weights)}
            _, state = e.stage_forward(cell, stage, parts, state, more, gates[now], new)
            parts = [Part(gates[now], cell.gates)]
        if cell.projection is not None:
            e.matmul(new[-1], weights[cell.projection].T, h)
    return gates


def _with_output(state: Any, output: Array) -> Any:
    """Return a ``State`` with another last state."""
    return state._replace(**{state._fields[-1]: output})


def backward(e: Engine, layer: Layer, gates: Array, gradients: Gradients) -> Any:
    """Compute the gradients of all steps by the stages of an engine; overwrite the gates with the
    gradients before activation.

    Returns:
        The ``State`` of gradients (B, H) with respect to the initial states.
    """
    cell, rows, last = layer.cell, layer.rows, gradients.last
    for k in reversed(range(len(rows.steps))):
        start, n = rows.steps[k]
        now = slice(start, start + n)
        room = cell.State(*(g[:n] for g in last))
        for gradient, output in zip(room, gradients.output):
            if output is not None:
                gradient += output[now]
        found = room
        if cell.projection is not None:
            assert gradients.h is not None
            gradients.h[now] = room[-1]
            found = _with_output(room, e.matmul(room[-1], layer.weights[cell.projection]))
        _step_backward(e, layer, gates[now], k, found, room)
    products.add_input_gradient(e, cell, gates, layer.weights, layer.kept)
    return last


def _step_backward(e: Engine, layer: Layer, gates: Array, k: int, found: Any, room: Any) -> None:
    """Write the gradients with respect to the states before the k-th step into ``room``; ``found``,
    those after its array code, may be the same arrays.
    """
    cell, rows, xp = layer.cell, layer.rows, e.xp
    start, n = rows.steps[k]
    now = slice(start, start + n)
    noise = noise_of_step(layer, k)
    new = cell.State(*(rows.inner(buffer)[now] for buffer in layer.states))
    kept = layer.kept_of(now)
    for stage in reversed(cell.stages):
        if stage is cell.stages[0]:
            state = cell.State(*(
                rows.previous(xp, buffer, k) if name in stage.reads else None
                for name, buffer in zip(cell.states, layer.states)
            ))  # fmt: skip
        else:
            state = new
        more = {**noise, **products.vectors(stage, layer.weights)}
        of_stage = e.stage_backward(cell, stage, gates, state, new, found, more, gates, room, kept)
        changed = dict.fromkeys(stage.writes)
        changed.update((name, getattr(of_stage, name)) for name in products.before_of(stage))
        found = products.add_gradients(
            e, cell, stage, gates, found._replace(**changed), layer.weights, noise, room, kept
        )
    for gradient, target in zip(found, room):
        if gradient is None:  # the step overwrites the state without reading it
            target[...] = 0


def noise_of_step(layer: Layer, k: int) -> dict[str, Array]:
    """Return the noise of the rows of the k-th step."""
    start, n = layer.rows.steps[k]
    same = layer.cell.sequence_noise
    return {
        name: x[:n] if name in same else x[start : start + n] for name, x in layer.noise.items()
    }


def weight_gradients(
    e: Engine, layer: Layer, gpre: Array, gradients: Gradients
) -> dict[str, Array]:
    """Return the gradient with respect to each weight, of ``gpre`` of all rows and of what backward
    has written into the gradients that it began with.
    """
    cell, noise = layer.cell, _noise_of_rows(e.xp, layer)
    before, new = _multiplied(e.xp, layer)
    found: dict[str, Array] = {}
    for stage in cell.stages:
        of_states = products.rows_of(stage, before, new, noise)
        of_rows: dict[str, Any] = {'gpre': gpre, 'x': layer.x, 'm': layer.m, **of_states}
        of_rows.update(layer.kept, gh=gradients.h)
        for name, gradient in products.weight_gradients(cell, stage, cell.gates).items():
            known = gradients.of_weights.get(name)
            found[name] = gradient(e, of_rows) if known is None else known
        before = new
    return found


def rows_of_product(xp: Any, layer: Layer, weight: str) -> Array:
    """Return the rows (P, H) of all steps that a product of the first stage multiplies."""
    (product,) = (p for p in layer.cell.stages[0].products if p.weight == weight)
    value = layer.rows.all_previous(xp, getattr(layer.states, product.state))
    return products.masked(product, value, _noise_of_rows(xp, layer))


def _noise_of_rows(xp: Any, layer: Layer) -> dict[str, Array]:
    same = layer.cell.sequence_noise
    return {
        name: layer.rows.of_all_steps(xp, x) if name in same else x
        for name, x in layer.noise.items()
    }


def _multiplied(xp: Any, layer: Layer) -> tuple[Any, Any]:
    """Return the states of all rows before each step, only those that products of the first stage
    multiply, and the states after each step.
    """
    cell, rows = layer.cell, layer.rows
    old = {product.state for product in cell.stages[0].products if not product.new}
    before = cell.State(**{
        name: rows.all_previous(xp, getattr(layer.states, name)) for name in old
    })  # fmt: skip
    return before, cell.State(*map(rows.inner, layer.states))
