"""Writes links and language models as ONNX files of standard ``LSTM`` nodes;
onnx is imported when it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

import chainer
import chainer.links as L
import numpy

from chainer_lstm import links
from chainer_lstm.functions.checks import variable
from chainer_lstm.interop import weights
from chainer_lstm.kernels import layout

if TYPE_CHECKING:
    import onnx

_OPSET, _IR_VERSION = 14, 8  # of 2021: what reads ONNX today reads these


def export_onnx(
    model: chainer.Link,
    path: Union[str, os.PathLike[str]],
    example: Any,
    *,
    dtype: Any = numpy.float32,
) -> None:
    """Writes a link of the family, or a language model, to an ONNX file that computes the same,
    without dropout.

    Inputs of the file: ``x``, ``sequence_lens`` (B,) int32 for NStep links
    only, ``h0`` and ``c0`` (S * D, B, H).  Outputs: ``y``, ``hn``, ``cn``, the
    states as h0 and c0.  B and T are free.  With ``learn_initial_state`` h0
    and c0 are optional inputs, whose default is the learned state.

    Args:
        model: one of these, with x and y of the file:

            - ``LSTM`` and the other links of one cell (matrices from c to a
              gate have to be diagonal): x (T, B, I) or, for one step, (B, I),
              as the example is -> y (T, B, H) or (B, H)
            - ``NStepLSTM``, ``NStepBiLSTM``: a list of sequences; x (T, B, I)
              -> y (T, B, D * H), with 0 after the end of a sequence
            - ``SequenceLSTM``: x and y as the link's, no lengths
            - a language model of ``EmbedID`` embed, ``LSTM`` l1 … lS and
              ``Linear`` l(S+1), such as ``RNNForLM``: word ids (T, B) or (B,)
              -> y (T, B, V) or (B, V)
        path: the file.
        example: what the model is called with; its values do not matter.
        dtype: of the file's floats.  onnxruntime computes LSTMs in float32 only.

    Raises:
        TypeError: the model is none of these, the example no array.
        ValueError: a dtype of no floats, full matrices from c to a gate, sizes that are not known
            yet, or an example that does not fit; nothing is written.
    """
    import onnx

    if isinstance(example, (list, tuple)):
        if not example:
            raise ValueError('example: expected at least one sequence, got an empty list')
        example = example[0]
    example = variable('example', example).array
    if not isinstance(model, chainer.Link):
        raise TypeError(
            'expected a link of the LSTM family or a language model of them, '
            f'got {type(model).__name__}'
        )
    if numpy.dtype(dtype).kind != 'f':
        raise ValueError(f'dtype: expected a float, got {numpy.dtype(dtype)}')
    graph = _Graph(numpy.dtype(dtype))
    if isinstance(model, weights.FAMILY):
        _family(graph, model, example)
    else:
        _language(graph, *_language_model(model), example)
    onnx.save(graph.model(type(model).__name__), os.fspath(path))


def _language_model(model: chainer.Link) -> tuple[L.EmbedID, list[chainer.Link], L.Linear]:
    """-> embed, l1 … lS, l(S+1)."""
    children = {str(child.name): child for child in model.children()}
    layers = len(children) - 2
    expected = ['embed', *(f'l{k + 1}' for k in range(layers + 1))]
    if (
        layers < 1
        or sorted(children) != sorted(expected)
        or not all(
            isinstance(children[name], kind)
            for name, kind in zip(
                expected, (L.EmbedID, *[weights.chainers(links.LSTM)] * layers, L.Linear)
            )
        )
    ):
        raise TypeError(
            'expected a link of the LSTM family or a language model of EmbedID embed, LSTM l1, l2, '
            f'… and a last Linear, got {type(model).__name__} of {children}'
        )
    return children['embed'], [children[name] for name in expected[1:-1]], children[expected[-1]]


def _family(graph: _Graph, link: chainer.Link, example: Any) -> None:
    found = weights.read(link, learned_state=True)
    n_step = isinstance(
        link, (weights.chainers(links.NStepLSTM), weights.chainers(links.NStepBiLSTM))
    )
    batch_first = isinstance(link, links.SequenceLSTM) and link.batch_first
    one_step = example.ndim == 2 and not n_step and not isinstance(link, links.SequenceLSTM)
    ndim = 2 if one_step or n_step else 3
    if example.ndim != ndim or example.shape[-1] != found.sizes[1]:
        raise ValueError(
            f'example: expected {ndim} axes, the last of {found.sizes[1]}, '
            f'got shape {example.shape}'
        )
    axes = ('batch',) if one_step else ('batch', 'time') if batch_first else ('time', 'batch')
    x = graph.input('x', (*axes, found.sizes[1]))
    lengths = graph.input('sequence_lens', ('batch',), numpy.int32) if n_step else ''
    if one_step:
        x = graph.node('Unsqueeze', x, graph.constant([0]))
    elif batch_first:
        x = graph.node('Transpose', x, perm=[1, 0, 2])
    y, hn = _layers(graph, found.layers, found.directions, x, lengths, _learned_state(link))
    width = found.directions * found.sizes[2]
    if isinstance(link, links.SequenceLSTM) and not link.return_sequences:
        last = graph.node(
            'Gather',
            hn,
            graph.constant(range(len(found.layers) - found.directions, len(found.layers))),
        )
        y = graph.node('Transpose', last, perm=[1, 0, 2])
        y, axes = graph.node('Reshape', y, graph.constant([0, width])), ('batch',)
    elif one_step:
        y = graph.node('Squeeze', y, graph.constant([0]))
    elif batch_first:
        y = graph.node('Transpose', y, perm=[1, 0, 2])
    graph.output(y, 'y', (*axes, width))


def _learned_state(link: chainer.Link) -> dict[str, numpy.ndarray]:
    """Return h0 and c0 (S * D, 1, H) by these names, or nothing where they are not learned."""
    if not isinstance(link, links.SequenceLSTM) or not link.learn_initial_state:
        return {}
    return {
        name: weights.checked(name, getattr(link, name).array, (None, None))[:, None]
        for name in ('h0', 'c0')
    }


def _language(
    graph: _Graph, embed: L.EmbedID, lstms: Sequence[chainer.Link], out: L.Linear, example: Any
) -> None:
    if embed.ignore_label is not None:
        raise ValueError(f'embed.ignore_label: expected None, got {embed.ignore_label}')
    if example.ndim not in (1, 2) or example.dtype.kind != 'i':
        raise ValueError(
            'example: expected word ids, (batch,) or (time, batch), '
            f'got {example.dtype} {example.shape}'
        )
    axes = ('time', 'batch')[2 - example.ndim :]
    layers = [layer for lstm in lstms for layer in weights.read(lstm).layers]
    W = graph.weight(weights.checked(f'{out.name}/W', out.W.array, (None, None)))
    x = graph.node(
        'Gather',
        graph.weight(weights.checked('embed/W', embed.W.array, (None, None))),
        graph.input('x', axes, numpy.int32 if example.dtype == numpy.int32 else numpy.int64),
    )
    if len(axes) == 1:
        x = graph.node('Unsqueeze', x, graph.constant([0]))
    y, _ = _layers(graph, layers, 1, x, '')
    if len(axes) == 1:
        y = graph.node('Squeeze', y, graph.constant([0]))
    y = graph.node('MatMul', y, graph.node('Transpose', W, perm=[1, 0]))
    if out.b is not None:
        y = graph.node(
            'Add', y, graph.weight(weights.checked(f'{out.name}/b', out.b.array, (None,)))
        )
    graph.output(y, 'y', (*axes, out.W.shape[0]))


def _layers(
    graph: _Graph,
    layers: Sequence[weights.Layer],
    directions: int,
    x: str,
    lengths: str,
    learned: Optional[Mapping[str, numpy.ndarray]] = None,
) -> tuple[str, str]:
    """One LSTM node a layer, between the inputs h0, c0 and the outputs hn, cn
    -> names of y (T, B, D * H) and hn.
    """
    units, count = layers[0].U.shape[1], len(layers) // directions
    shape = (len(layers), 'batch', units)
    states = []
    for name in ('h0', 'c0'):
        if learned:
            state = _optional_state(graph, name, learned[name], x)
        else:
            state = graph.input(name, shape)
        parts = (
            graph.nodes('Split', count, state, graph.constant([directions] * count), axis=0)
            if count > 1
            else [state]
        )
        states.append(parts)
    ends: list[list[str]] = [[], []]
    for k, (h, c) in enumerate(zip(*states)):
        W, R, B, *P = _node_weights(graph, layers[k * directions : (k + 1) * directions])
        y, hy, cy = graph.nodes(
            'LSTM',
            3,
            x,
            W,
            R,
            B,
            lengths,
            h,
            c,
            *P,
            hidden_size=units,
            direction='bidirectional' if directions == 2 else 'forward',
        )
        y = graph.node('Transpose', y, perm=[0, 2, 1, 3])
        x = graph.node('Reshape', y, graph.constant([0, 0, directions * units]))
        ends[0].append(hy)
        ends[1].append(cy)
    hn, cn = (graph.node('Concat', *parts, axis=0) if count > 1 else parts[0] for parts in ends)
    if lengths:  # ONNX leaves open, and onnxruntime sets to 0, the states of a sequence of no steps
        empty = graph.node(
            'Unsqueeze',
            graph.node('Equal', lengths, graph.constant(0, numpy.int32)),
            graph.constant([0, 2]),
        )
        hn, cn = (graph.node('Where', empty, *states) for states in (('h0', hn), ('c0', cn)))
    graph.output(hn, 'hn', shape)
    graph.output(cn, 'cn', shape)
    return x, hn


def _optional_state(graph: _Graph, name: str, default: numpy.ndarray, x: str) -> str:
    """Add an input (S * D, B or 1, H) with a default, and return the name of (S * D, B, H).

    An initializer of the same name makes an input of ONNX optional.  Its shape is fixed, so it is
    repeated for the batch of x (T, B, I) in the graph.
    """
    shape = (default.shape[0], f'{name}_batch', default.shape[2])
    state = graph.input(name, shape, default=default)
    batch = graph.node('Gather', graph.node('Shape', x), graph.constant([1]))
    one = graph.constant([1])
    return graph.node('Expand', state, graph.node('Concat', one, batch, one, axis=0))


def _node_weights(graph: _Graph, layers: Sequence[weights.Layer]) -> list[str]:
    """Names of W (D, 4H, I), R (D, 4H, H), B (D, 8H) and, where gates see c, P (D, 3H)."""

    def stack(parts: Sequence[numpy.ndarray]) -> str:
        return graph.weight(numpy.stack(parts))

    def order(x: numpy.ndarray) -> numpy.ndarray:
        return layout.convert(numpy, x, layout.INTERLEAVED, layout.ONNX)

    biases = [
        numpy.concatenate(
            (order(layer.b), order(numpy.zeros_like(layer.b) if layer.b_h is None else layer.b_h))
        )
        for layer in layers
    ]
    P = [_diagonals(layer.others) for layer in layers if layer.others]
    return [
        stack([order(layer.W) for layer in layers]),
        stack([order(layer.U) for layer in layers]),
        stack(biases),
        *([stack(P)] if P else []),
    ]


def _diagonals(matrices: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
    """P_i, P_f, P_o -> (3H,), in ONNX's order, which has the cell's input last."""
    i, f, o = (numpy.diag(matrices[name]) for name in ('P_i', 'P_f', 'P_o'))
    for gate, diagonal in (('i', i), ('f', f), ('o', o)):
        if numpy.count_nonzero(matrices[f'P_{gate}'] - numpy.diag(diagonal)):
            raise ValueError(
                f'peep_{gate}/W: expected a diagonal matrix, as ONNX has a vector in its place; '
                'got a full one'
            )
    return layout.join(numpy, [i, i, f, o], layout.ONNX)[: 3 * len(i)]


class _Graph:
    """A graph that is being built; tensors are known by their names.

    Args:
        dtype: of its floats.
    """

    def __init__(self, dtype: numpy.dtype) -> None:
        self._dtype = dtype
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._tensors: list[Any] = []

    def input(self, name: str, shape: Sequence[Any], dtype: Any = None, default: Any = None) -> str:
        self._inputs.append(self._info(name, shape, dtype))
        if default is not None:
            self._tensor(numpy.asarray(default).astype(self._dtype), name)
        return name

    def output(self, tensor: str, name: str, shape: Sequence[Any]) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node('Identity', [tensor], [name]))
        self._outputs.append(self._info(name, shape, None))

    def weight(self, array: Any) -> str:
        return self._tensor(numpy.asarray(array).astype(self._dtype))

    def constant(self, values: Any, dtype: Any = numpy.int64) -> str:
        return self._tensor(numpy.array(values, dtype))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.nodes(operator, 1, *inputs, **attributes)[0]

    def nodes(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        from onnx import helper

        names = [f'{operator.lower()}_{len(self._nodes)}_{k}' for k in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def model(self, name: str) -> onnx.ModelProto:
        """The whole, checked."""
        import onnx

        outputs = sorted(self._outputs, key=lambda info: ('y', 'hn', 'cn').index(info.name))
        graph = onnx.helper.make_graph(self._nodes, name, self._inputs, outputs, self._tensors)
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid('', _OPSET)],
            producer_name='chainer_lstm',
            ir_version=_IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _tensor(self, array: numpy.ndarray, name: Optional[str] = None) -> str:
        import onnx

        name = f'tensor_{len(self._tensors)}' if name is None else name
        self._tensors.append(onnx.numpy_helper.from_array(array, name))
        return name

    def _info(self, name: str, shape: Sequence[Any], dtype: Any) -> Any:
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(numpy.dtype(self._dtype if dtype is None else dtype))
        return helper.make_tensor_value_info(name, kind, shape)
