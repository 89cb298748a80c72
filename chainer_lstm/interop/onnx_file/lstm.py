"""Layers of an LSTM as ONNX's ``LSTM`` nodes, and their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import chainer
import numpy

from chainer_lstm import links
from chainer_lstm.interop import layers, weights
from chainer_lstm.interop.onnx_file.graph import Graph
from chainer_lstm.kernels import layout

STATES = ('h', 'c')


class States(NamedTuple):
    """Names of tensors (S * D, B, H)."""

    h: str
    c: str


class Stack(NamedTuple):
    """Stacked layers: for each the names of W, R, B and, if gates see c, P.

    ``hard_sigmoid_slope`` is None for a sigmoid.  ``backwards`` and ``merge_mode`` are options of
    ``SequenceLSTM``.
    """

    weights: Sequence[Sequence[str]]
    directions: int
    units: int
    hard_sigmoid_slope: Optional[float]
    backwards: bool
    merge_mode: str

    @property
    def groups(self) -> int:
        """The number of layers times directions."""
        return len(self.weights) * self.directions


def stack(graph: Graph, link: chainer.Link) -> Stack:
    """Add the weights of a link of the family to a graph.

    Raises:
        TypeError, ValueError, KeyError: the weights cannot be read, or have full matrices for c
            or a projection.
    """
    found = read(link)
    layers.check_others(found.layers, 'an ONNX file', ('P_i', 'P_f', 'P_o'))
    step = found.directions
    groups = [found.layers[k : k + step] for k in range(0, len(found.layers), step)]
    return Stack(
        [_node_weights(graph, group) for group in groups],
        step,
        found.sizes[2],
        found.hard_sigmoid_slope,
        *order_of_outputs(link),
    )


def read(link: chainer.Link) -> weights.Weights:
    """Return the weights of a link of the family."""
    return weights.read(link, learned_state=True, hard_sigmoid=True)


def order_of_outputs(link: Any) -> tuple[bool, str]:
    """Return ``go_backwards`` and ``merge_mode`` of a link, or the defaults if it has none."""
    return getattr(link, 'go_backwards', False), getattr(link, 'merge_mode', 'concat')


def run(graph: Graph, stack: Stack, x: str, lengths: str, initial: States) -> tuple[str, States]:
    """Add an LSTM node for each layer.

    Args:
        graph: to add them to.
        stack: the layers.
        x: the name of (T, B, I).
        lengths: the name of (B,) int32, or '' for sequences of T steps.
        initial: the initial states.

    Returns:
        The names of y (T, B, D * H), in the order of computation, and of the final states.
    """
    count, directions, units = len(stack.weights), stack.directions, stack.units
    attributes = _attributes(stack)
    if stack.backwards:
        bounds = (graph.constant([place]) for place in (-1, -(2**31), 0, -1))
        x = graph.node('Slice', x, *bounds)
    parts = [_split(graph, state, [directions] * count) for state in initial]
    ends: list[list[str]] = [[], []]
    for (W, R, B, *P), h, c in zip(stack.weights, *parts):
        inputs = (x, W, R, B, lengths, h, c, *P)
        y, hy, cy = graph.nodes('LSTM', 3, *inputs, **attributes)
        y = graph.node('Transpose', y, perm=[0, 2, 1, 3])
        x = graph.node('Reshape', y, graph.constant([0, 0, directions * units]))
        ends[0].append(hy)
        ends[1].append(cy)
    last = [joined(graph, end) for end in ends]
    if lengths:  # the states of an empty sequence are undefined in ONNX, and 0 in onnxruntime
        empty = graph.node('Equal', lengths, graph.constant(0, numpy.int32))
        empty = graph.node('Unsqueeze', empty, graph.constant([0, 2]))
        last = [graph.node('Where', empty, *pair) for pair in zip(initial, last)]
    return x, States(*last)


def _attributes(stack: Stack) -> dict[str, Any]:
    """Return the attributes of the nodes."""
    direction = 'bidirectional' if stack.directions == 2 else 'forward'
    attributes: dict[str, Any] = {'hidden_size': stack.units, 'direction': direction}
    if stack.hard_sigmoid_slope is not None:  # clip(alpha x + beta, 0, 1)
        attributes['activations'] = ['HardSigmoid', 'Tanh', 'Tanh'] * stack.directions
        attributes['activation_alpha'] = [stack.hard_sigmoid_slope] * stack.directions
        attributes['activation_beta'] = [0.5] * stack.directions
    return attributes


def merged(graph: Graph, stack: Stack, y: str) -> str:
    """Return the outputs of both directions combined by the merge mode."""
    if stack.merge_mode == 'concat':
        return y
    halves = graph.nodes('Split', 2, y, graph.constant([stack.units] * 2), axis=-1)
    if stack.merge_mode == 'mul':
        return graph.node('Mul', *halves)
    y = graph.node('Add', *halves)
    return y if stack.merge_mode == 'sum' else graph.node('Mul', y, graph.number(0.5))


def joined(graph: Graph, states: Sequence[str]) -> str:
    """Join states (S * D, B, H) along their first axis."""
    return states[0] if len(states) == 1 else graph.node('Concat', *states, axis=0)


def learned_state(link: chainer.Link) -> Mapping[str, numpy.ndarray]:
    """Return the learned h and c (S * D, H) by name; empty if they are not learned."""
    found = {}
    for name in STATES:
        param = getattr(link, f'{name}0', None)  # (S * D, H), or (H,) of a link of one cell
        if param is not None:
            array = weights.checked(f'{name}0', param.array, (None,) * param.ndim)
            found[name] = array.reshape(-1, array.shape[-1])
    return found


def initial_states(
    graph: Graph, name: str, defaults: Sequence[numpy.ndarray], x: str, axis: int
) -> list[str]:
    """Add an optional input for a state of some links.

    An initializer of the same name makes an input of ONNX optional.  Its shape is fixed, so nodes
    of the graph repeat it for the batch.

    Args:
        graph: to add it to.
        name: of the input.
        defaults: (S * D, H) of each link.
        x: a tensor with a batch axis.
        axis: the axis of x that is the batch.

    Returns:
        The name of the states (S * D, B, H) of each link.
    """
    values = numpy.concatenate(defaults)[:, None]
    state = graph.input(name, (len(values), f'{name}_batch', values.shape[2]), default=values)
    batch = graph.node('Gather', graph.node('Shape', x), graph.constant([axis]))
    one = graph.constant([1])
    state = graph.node('Expand', state, graph.node('Concat', one, batch, one, axis=0))
    return _split(graph, state, [len(default) for default in defaults])


def _split(graph: Graph, state: str, sizes: Sequence[int]) -> list[str]:
    """Cut a state into parts of these sizes along its first axis."""
    if len(sizes) == 1:
        return [state]
    return graph.nodes('Split', len(sizes), state, graph.constant(sizes), axis=0)


def _node_weights(graph: Graph, group: Sequence[layers.Layer]) -> list[str]:
    """Return the names of W (D, 4H, I), R (D, 4H, H), B (D, 8H) and, if gates see c, P (D, 3H)."""

    def order(x: numpy.ndarray) -> numpy.ndarray:
        return layout.convert(numpy, x, layout.INTERLEAVED, layout.ONNX)

    W, R, B, P = [], [], [], []
    for layer in group:
        b_h = numpy.zeros_like(layer.b) if layer.b_h is None else layer.b_h
        W.append(order(layer.W))
        R.append(order(layer.U))
        B.append(numpy.concatenate((order(layer.b), order(b_h))))
        if layer.others:
            P.append(_diagonals(layer.others))
    return [graph.weight(numpy.stack(parts)) for parts in (W, R, B, P) if parts]


def _diagonals(given: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
    """Return P_i, P_f, P_o, each (H, H) or its diagonal (H,), as (3H,) in ONNX's order, in which
    the cell input is last.
    """
    i, f, o = (layers.diagonal(name, given[name], 'ONNX') for name in ('P_i', 'P_f', 'P_o'))
    return layout.join(numpy, [i, i, f, o], layout.ONNX)[: 3 * len(i)]


def is_n_step(link: chainer.Link) -> bool:
    """Return whether a link takes a list of sequences."""
    kinds = weights.chainers(links.NStepLSTM), weights.chainers(links.NStepBiLSTM)
    return isinstance(link, kinds)
