"""Layers of an LSTM as ONNX's ``LSTM`` nodes, and their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import chainer
import numpy

from chainer_lstm import links
from chainer_lstm.interop import weights
from chainer_lstm.interop.onnx_file.graph import Graph
from chainer_lstm.kernels import layout

STATES = ('h', 'c')


class States(NamedTuple):
    """Names of tensors (S * D, B, H)."""

    h: str
    c: str


class Stack(NamedTuple):
    """Stacked layers: for each the names of W, R, B and, where gates see c, P."""

    weights: Sequence[Sequence[str]]
    directions: int
    units: int

    @property
    def groups(self) -> int:
        """The number of layers times directions."""
        return len(self.weights) * self.directions


def stack(graph: Graph, link: chainer.Link) -> Stack:
    """Add the weights of a link of the family to a graph.

    Raises:
        TypeError, ValueError, KeyError: they cannot be read, gates see all of c, or h is projected.
    """
    found = weights.read(link, learned_state=True)
    weights.check_others(found.layers, 'an ONNX file', ('P_i', 'P_f', 'P_o'))
    directions = found.directions
    layers = [found.layers[k : k + directions] for k in range(0, len(found.layers), directions)]
    return Stack([_node_weights(graph, layer) for layer in layers], directions, found.sizes[2])


def run(graph: Graph, stack: Stack, x: str, lengths: str, initial: States) -> tuple[str, States]:
    """Add an LSTM node for each layer.

    Args:
        graph: to add them to.
        stack: the layers.
        x: the name of (T, B, I).
        lengths: the name of (B,) int32, or '' for sequences of T steps.
        initial: the states to begin with.

    Returns:
        The names of y (T, B, D * H) and of the states at the end.
    """
    count, directions, units = len(stack.weights), stack.directions, stack.units
    direction = 'bidirectional' if directions == 2 else 'forward'
    parts = [_split(graph, state, [directions] * count) for state in initial]
    ends: list[list[str]] = [[], []]
    for (W, R, B, *P), h, c in zip(stack.weights, *parts):
        inputs = (x, W, R, B, lengths, h, c, *P)
        y, hy, cy = graph.nodes('LSTM', 3, *inputs, hidden_size=units, direction=direction)
        y = graph.node('Transpose', y, perm=[0, 2, 1, 3])
        x = graph.node('Reshape', y, graph.constant([0, 0, directions * units]))
        ends[0].append(hy)
        ends[1].append(cy)
    last = [joined(graph, end) for end in ends]
    if lengths:  # ONNX leaves open, and onnxruntime sets to 0, the states of a sequence of no steps
        empty = graph.node('Equal', lengths, graph.constant(0, numpy.int32))
        empty = graph.node('Unsqueeze', empty, graph.constant([0, 2]))
        last = [graph.node('Where', empty, *pair) for pair in zip(initial, last)]
    return x, States(*last)


def joined(graph: Graph, states: Sequence[str]) -> str:
    """Join states (S * D, B, H) along their first axis."""
    return states[0] if len(states) == 1 else graph.node('Concat', *states, axis=0)


def learned_state(link: chainer.Link) -> Mapping[str, numpy.ndarray]:
    """Return h and c (S * D, H) by these names, or nothing where they are not learned."""
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
    """Add the optional input of a state of some links.

    An initializer of the same name makes an input of ONNX optional.  Its shape is fixed, so it is
    repeated for the batch in the graph.

    Args:
        graph: to add it to.
        name: of the input.
        defaults: (S * D, H) of each link.
        x: a tensor with the batch.
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


def _node_weights(graph: Graph, layers: Sequence[weights.Layer]) -> list[str]:
    """Names of W (D, 4H, I), R (D, 4H, H), B (D, 8H) and, where gates see c, P (D, 3H)."""

    def order(x: numpy.ndarray) -> numpy.ndarray:
        return layout.convert(numpy, x, layout.INTERLEAVED, layout.ONNX)

    W, R, B, P = [], [], [], []
    for layer in layers:
        b_h = numpy.zeros_like(layer.b) if layer.b_h is None else layer.b_h
        W.append(order(layer.W))
        R.append(order(layer.U))
        B.append(numpy.concatenate((order(layer.b), order(b_h))))
        if layer.others:
            P.append(_diagonals(layer.others))
    return [graph.weight(numpy.stack(parts)) for parts in (W, R, B, P) if parts]


def _diagonals(given: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
    """P_i, P_f, P_o, each (H, H) or its diagonal (H,) -> (3H,), in ONNX's order, which has the
    cell's input last.
    """
    found = {}
    for gate in 'ifo':
        P = given[f'P_{gate}']
        found[gate] = P if P.ndim == 1 else numpy.diag(P)
        if P.ndim == 2 and numpy.count_nonzero(P - numpy.diag(found[gate])):
            raise ValueError(
                f'P_{gate}, peep_{gate}/W: expected a diagonal matrix, as ONNX has a vector in its '
                'place; got a full one'
            )
    i, f, o = found.values()
    return layout.join(numpy, [i, i, f, o], layout.ONNX)[: 3 * len(i)]


def is_n_step(link: chainer.Link) -> bool:
    """Return whether a link takes a list of sequences."""
    kinds = weights.chainers(links.NStepLSTM), weights.chainers(links.NStepBiLSTM)
    return isinstance(link, kinds)
