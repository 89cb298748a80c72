"""One layer in one direction over whole sequences: the time loop of every cell and engine.

The product of the input is made for all steps at once, then each step adds the products of the
states, and the gradients with respect to the weights are one product each.  Engines with kernels
for whole sequences (``Engine.supports``) replace the loop.
"""

from __future__ import annotations

from typing import Any

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.kernels import products
from chainer_lstm.kernels.engines.engine import Engine, Gradients, Layer, Noise, Part, Weights
from chainer_lstm.kernels.packing import Rows


def layer_of(
    xp: Any, cell: Cell, weights: Weights, rows: Rows, x: Array, initial: Any, noise: Noise = ()
) -> Layer:
    """Return a layer with buffers that begin with the initial states, a ``State`` of (B, H)."""
    states = cell.State(*(rows.buffer(xp, state) for state in initial))
    return Layer(cell, weights, rows, x, states, noise)


def forward(e: Engine, layer: Layer) -> Array:
    """Compute all steps on the stages of an engine.

    Returns:
        The gates (P, G H); the states are written into the buffers of the layer.
    """
    cell, rows, weights = layer.cell, layer.rows, layer.weights
    pre = e.linear(layer.x, weights['W'], weights['b'])
    if tuple(cell.inputs) == tuple(cell.gates):
        gates = pre
    else:
        gates = e.xp.empty((len(pre), len(cell.gates) * layer.states[0].shape[1]), pre.dtype)
    for k, (start, n) in enumerate(rows.steps):
        now = slice(start, start + n)
        noise = [x[now] for x in layer.noise]
        state = cell.State(*(rows.previous(e.xp, buffer, k) for buffer in layer.states))
        new = cell.State(*(rows.inner(buffer)[now] for buffer in layer.states))
        parts = [Part(pre[now], cell.inputs)]
        for stage in cell.stages:
            parts += products.parts_of(e, stage, state, weights)
            _, state = e.stage_forward(cell, stage, parts, state, noise, gates[now], new)
            parts = [Part(gates[now], cell.gates)]
    return gates


def backward(e: Engine, layer: Layer, gates: Array, gradients: Gradients) -> Any:
    """Compute the gradients of all steps on the stages of an engine.

    Returns:
        The ``State`` of gradients (B, H) with respect to the initial states; the gates have become
        the gradients before activation.
    """
    cell, rows, last = layer.cell, layer.rows, gradients.last
    for k in reversed(range(len(rows.steps))):
        start, n = rows.steps[k]
        now = slice(start, start + n)
        room = cell.State(*(g[:n] for g in last))
        for gradient, output in zip(room, gradients.output):
            if output is not None:
                gradient += output[now]
        _step_backward(e, layer, gates[now], k, room)
    return last


def _step_backward(e: Engine, layer: Layer, gates: Array, k: int, room: Any) -> None:
    """Turn the gradients in ``room`` from those after the k-th step into those before it."""
    cell, rows, xp = layer.cell, layer.rows, e.xp
    start, n = rows.steps[k]
    now = slice(start, start + n)
    noise = [x[now] for x in layer.noise]
    new = cell.State(*(rows.inner(buffer)[now] for buffer in layer.states))
    found = room
    for stage in reversed(cell.stages):
        if stage is cell.stages[0]:
            state = cell.State(*(
                rows.previous(xp, buffer, k) if name in stage.reads else None
                for name, buffer in zip(cell.states, layer.states)
            ))  # fmt: skip
        else:
            state = new
        of_stage = e.stage_backward(cell, stage, gates, state, new, found, noise, gates, room)
        kept = dict.fromkeys(stage.writes)
        kept.update((name, getattr(of_stage, name)) for name in stage.reads)
        found = products.add_gradients(
            e, cell, stage, gates, found._replace(**kept), layer.weights, room
        )
    for gradient, target in zip(found, room):
        if gradient is None:  # of a state that nothing but the step itself reads
            target[...] = 0


def weight_gradients(e: Engine, layer: Layer, gpre: Array) -> dict[str, Array]:
    """Return the gradient with respect to each weight, of ``gpre`` of all rows."""
    cell, rows = layer.cell, layer.rows
    found: dict[str, Array] = {}
    for stage in cell.stages:
        of_rows: dict[str, Array] = {'gpre': gpre, 'x': layer.x}
        for name, buffer in zip(cell.states, layer.states):
            if any(product.state == name for product in stage.products):
                first = stage is cell.stages[0]
                of_rows[name] = rows.all_previous(e.xp, buffer) if first else rows.inner(buffer)
        for name, gradient in products.weight_gradients(cell, stage, cell.gates).items():
            found[name] = gradient(e, of_rows)
    return found
