"""Translation of Chainer's functions to ONNX nodes, for batches and sequences of any size.

Each value records the meaning of its leading axes in the traced call, its rows.  Each kind of rows
has one layout in the file, and all functions here compute rows independently.  So no size of the
example is written into the file.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from chainer_lstm.interop.onnx_file.graph import Graph

_INT64 = 7  # onnx.TensorProto.INT64


class Rows(enum.Enum):
    """The leading axes of a value in the traced call, and those of its tensor in the file."""

    NONE = 'none'  # a parameter
    BATCH = '(B, …)'  # in the file too
    STATES = '(S * D, B, …)'  # in the file too
    TIME_MAJOR = '(T, B, …)'  # in the file (T, B, …), as of all below
    BATCH_MAJOR = '(B, T, …)'
    JOINED_TIME_MAJOR = '(T * B, …)'
    JOINED_BATCH_MAJOR = '(B * T, …)'
    STEP = '(B, …), one of T steps'
    SEQUENCES = '(ΣL, …)'
    SEQUENCE = '(L, …), one of B sequences'

    @property
    def axes(self) -> int:
        """The number of leading axes in the traced call."""
        two = (Rows.STATES, Rows.TIME_MAJOR, Rows.BATCH_MAJOR)
        return 0 if self is Rows.NONE else 2 if self in two else 1

    @property
    def file_axes(self) -> int:
        """The number of leading axes in the file."""
        return {Rows.NONE: 0, Rows.BATCH: 1}.get(self, 2)


_JOINED = {
    Rows.TIME_MAJOR: Rows.JOINED_TIME_MAJOR,
    Rows.BATCH_MAJOR: Rows.JOINED_BATCH_MAJOR,
}
_SWAPPED = {Rows.TIME_MAJOR: Rows.BATCH_MAJOR, Rows.BATCH_MAJOR: Rows.TIME_MAJOR}


class Value(NamedTuple):
    """A variable of the traced call.

    Attributes:
        name: of its tensor in the file.
        rows: its leading axes.
        shape: in the traced call.
        at: its index, of a sequence.
        array: of a parameter, whose tensor has no name yet.
    """

    name: str
    rows: Rows
    shape: tuple[int, ...]
    at: int = 0
    array: Any = None

    @property
    def features(self) -> tuple[int, ...]:
        """The sizes of the axes after the rows."""
        return self.shape[self.rows.axes :]

    def axis(self, axis: int) -> int:
        """Return the axis of the tensor, counted from its end, for an axis after the rows.

        Raises:
            Untranslatable: the axis is one of the rows.
        """
        axis %= len(self.shape)
        if axis < self.rows.axes:
            raise Untranslatable(f'along axis {axis} of {self.rows.value}')
        return axis - len(self.shape)


class Untranslatable(Exception):
    """Describes a use of a function that cannot be exported for all sizes."""


class Call(NamedTuple):
    """A function of the traced call.

    Attributes:
        graph: to add nodes to.
        node: Chainer's node.
        inputs: its inputs.
        shapes: those of its outputs.
        sizes: T, B of the example, or the lengths of its sequences.
    """

    graph: Graph
    node: Any
    inputs: Sequence[Value]
    shapes: Sequence[tuple[int, ...]]
    sizes: Sequence[int]

    def result(self, name: str, rows: Rows) -> list[Value]:
        """Return the only output, a tensor with the rows of the first input's sequence."""
        return [Value(name, rows, self.shapes[0], self.inputs[0].at)]

    def name(self, value: Value) -> str:
        """Return the name of the tensor of a value."""
        return value.name if value.array is None else self.graph.weight(value.array)


def _unary(operator: str, **attributes: str) -> Callable[[Call], list[Value]]:
    """Return the rule of an elementwise function; attributes: ONNX's names to Chainer's."""

    def rule(call: Call) -> list[Value]:
        given = {name: float(getattr(call.node, own)) for name, own in attributes.items()}
        (x,) = call.inputs
        return call.result(call.graph.node(operator, call.name(x), **given), x.rows)

    return rule


def _identity(call: Call) -> list[Value]:
    return [call.inputs[0]]


def _cast(call: Call) -> list[Value]:
    if numpy.dtype(call.node.type).kind != 'f':
        raise Untranslatable(f'to {numpy.dtype(call.node.type)}')
    return [call.inputs[0]]  # the file has one dtype of floats


def _binary(operator: str) -> Callable[[Call], list[Value]]:
    def rule(call: Call) -> list[Value]:
        rows = _common_rows(call.inputs)
        return call.result(call.graph.node(operator, *map(call.name, call.inputs)), rows)

    return rule


def _with_number(operator: str, *, first: bool = False) -> Callable[[Call], list[Value]]:
    """Return the rule of a function of a value and a number, the number first or last."""

    def rule(call: Call) -> list[Value]:
        if numpy.ndim(call.node.value):
            raise Untranslatable('with an array that the model makes itself')
        (x,) = call.inputs
        names = [call.name(x), call.graph.number(float(call.node.value))]
        return call.result(call.graph.node(operator, *names[:: -1 if first else 1]), x.rows)

    return rule


def _common_rows(values: Sequence[Value]) -> Rows:
    """Return the rows of values that a function combines; parameters have no rows."""
    found = {(value.rows, value.at) for value in values if value.rows is not Rows.NONE}
    if len(found) > 1:
        raise Untranslatable(f'on {" and ".join(sorted(rows.value for rows, _ in found))} together')
    rows = found.pop()[0] if found else Rows.NONE
    numbers = {len(value.features) for value in values if value.rows is rows}
    if len(numbers) > 1:  # Chainer broadcasts a row of one to a feature of another
        raise Untranslatable(f'on {rows.value} of {sorted(numbers)} axes after the rows together')
    (most,) = numbers
    for value in values:
        outer = value.shape[: max(len(value.shape) - most, 0)]
        if value.rows is Rows.NONE and any(size != 1 for size in outer):
            raise Untranslatable(f'on {rows.value} and a parameter of shape {value.shape} together')
    return rows


def _softmax(operator: str) -> Callable[[Call], list[Value]]:
    def rule(call: Call) -> list[Value]:
        (x,) = call.inputs
        axis = x.axis(call.node.axis)
        return call.result(call.graph.node(operator, call.name(x), axis=axis), x.rows)

    return rule


def _embed_id(call: Call) -> list[Value]:
    graph, (x, W), label = call.graph, call.inputs, call.node.ignore_label
    if W.rows is not Rows.NONE:
        raise Untranslatable(f'of rows of {W.rows.value}')
    if label is None:
        return call.result(graph.node('Gather', call.name(W), x.name), x.rows)
    words = graph.node('Cast', x.name, to=_INT64)
    ignored = graph.node('Equal', words, graph.constant(label))
    words = graph.node('Where', ignored, graph.constant(0), words)
    y = graph.node('Gather', call.name(W), words)
    ignored = graph.node('Unsqueeze', ignored, graph.constant([-1]))
    return call.result(graph.node('Where', ignored, graph.number(0), y), x.rows)


def _linear(call: Call) -> list[Value]:
    x, W, *b = call.inputs
    if len(x.features) != 1 or W.array is None:
        raise Untranslatable(f'on {x.rows.value} of shape {x.shape} and weights {W.rows.value}')
    # transposed here, because quantization does not find a weight behind a Transpose node
    y = call.graph.node('MatMul', x.name, call.graph.weight(W.array, transposed=True))
    if b:
        y = call.graph.node('Add', y, call.name(b[0]))
    return call.result(y, x.rows)


def _reshape(call: Call) -> list[Value]:
    (x,), (shape,) = call.inputs, call.shapes
    rows = _rows_after(x, shape, call.sizes)
    y = Value(x.name, rows, shape, x.at)
    if y.features == x.features:
        return [y]
    target = [0] * rows.file_axes + [*y.features]
    return [y._replace(name=call.graph.node('Reshape', x.name, call.graph.constant(target)))]


def _rows_after(x: Value, shape: tuple[int, ...], sizes: Sequence[int]) -> Rows:
    """Return the rows of a value in another shape: kept, joined, or split again."""
    axes, split = x.rows.axes, {joined: rows for rows, joined in _JOINED.items()}
    if x.rows in split:
        apart = tuple(sizes) if split[x.rows] is Rows.TIME_MAJOR else tuple(sizes[::-1])
        if shape[:2] == apart:
            return split[x.rows]
    if x.rows is not Rows.NONE and shape[:axes] == x.shape[:axes]:
        return x.rows
    if x.rows in _JOINED and shape[:1] == (x.shape[0] * x.shape[1],):
        return _JOINED[x.rows]
    raise Untranslatable(f'from {x.rows.value} of shape {x.shape} to {shape}')


def _transpose(call: Call) -> list[Value]:
    (x,) = call.inputs
    ndim = len(x.shape)
    if type(call.node).__name__ == 'Swapaxes':
        order = list(range(ndim))
        a, b = call.node.axis1, call.node.axis2
        order[a], order[b] = order[b], order[a]
    elif call.node.axes is None:
        order = list(range(ndim))[::-1]
    else:
        order = [axis % ndim for axis in call.node.axes]
    axes, rows = x.rows.axes, x.rows
    if order[:axes] != list(range(axes)):
        if order[:axes] != [1, 0] or rows not in _SWAPPED:
            raise Untranslatable(f'of axes {order} on {rows.value}')
        rows = _SWAPPED[rows]
    if order[axes:] == list(range(axes, ndim)):
        return call.result(call.name(x), rows)
    shift = rows.file_axes - axes
    perm = [*range(rows.file_axes), *(axis + shift for axis in order[axes:])]
    return call.result(call.graph.node('Transpose', call.name(x), perm=perm), rows)


def _concat(call: Call) -> list[Value]:
    xs, axis = call.inputs, call.node.axis % len(call.shapes[0])
    first = xs[0]
    if first.rows is Rows.SEQUENCE and not axis:
        lengths = [x.shape[0] for x in xs]
        if [(x.name, x.at) for x in xs] != [(first.name, k) for k in range(len(xs))] or (
            lengths != [*call.sizes]
        ):
            raise Untranslatable('of other sequences than all of the batch in order')
        return [Value(first.name, Rows.SEQUENCES, call.shapes[0])]
    if first.rows is Rows.STATES and not axis and all(x.rows is Rows.STATES for x in xs):
        return call.result(call.graph.node('Concat', *map(call.name, xs), axis=0), first.rows)
    rows = _common_rows(xs)
    if any(x.rows is not rows for x in xs):
        raise Untranslatable('of a parameter')
    return call.result(call.graph.node('Concat', *map(call.name, xs), axis=first.axis(axis)), rows)


def _split_axis(call: Call) -> list[Value]:
    (x,), axis, node = call.inputs, call.node.axis, call.node
    size = x.shape[axis]
    if node.indices is None:
        sizes = [size // node.sections] * node.sections
    else:
        sizes = [int(n) for n in numpy.diff([0, *node.indices, size])]
    if x.rows is Rows.SEQUENCES and not axis:
        if sizes != [*call.sizes]:
            raise Untranslatable('into other sequences than those of the batch')
        shapes = [(n, *x.shape[1:]) for n in sizes]
        return [Value(x.name, Rows.SEQUENCE, shape, k) for k, shape in enumerate(shapes)]
    at = x.axis(axis)
    axis %= len(x.shape)
    names = call.graph.nodes('Split', len(sizes), call.name(x), call.graph.constant(sizes), axis=at)
    shapes = [(*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in sizes]
    return [Value(name, x.rows, shape, x.at) for name, shape in zip(names, shapes)]


def _get_item(call: Call) -> list[Value]:
    (x,) = call.inputs
    slices = call.node.slices
    if any(item is not Ellipsis and not isinstance(item, (int, slice)) for item in slices):
        raise Untranslatable('by arrays or new axes')
    if Ellipsis in slices:
        at = slices.index(Ellipsis)
        missing = len(x.shape) - len(slices) + 1
        slices = (*slices[:at], *[slice(None)] * missing, *slices[at + 1 :])
    name, rows = call.name(x), x.rows
    for axis, (item, size) in enumerate(zip(slices, x.shape)):
        if item == slice(None):
            continue
        at = axis - len(x.shape)
        if axis < x.rows.axes:
            at, rows = _row_axis(x, axis, item)
        chosen = item if isinstance(item, int) else range(*item.indices(size))
        name = call.graph.node('Gather', name, call.graph.constant(chosen), axis=at)
    return call.result(name, rows)


def _row_axis(x: Value, axis: int, item: Any) -> tuple[int, Rows]:
    """Return the axis of the tensor for an axis of the rows, and the rows that are left."""
    if x.rows is Rows.STATES and not axis:
        return -len(x.shape), Rows.BATCH if isinstance(item, int) else Rows.STATES
    of_time = {Rows.TIME_MAJOR: 0, Rows.BATCH_MAJOR: 1}.get(x.rows)
    if axis == of_time and isinstance(item, int):
        return -len(x.shape), Rows.BATCH
    raise Untranslatable(f'along axis {axis} of {x.rows.value}')


RULES: dict[str, Callable[[Call], list[Value]]] = {
    'Absolute': _unary('Abs'),
    'Add': _binary('Add'),
    'AddConstant': _with_number('Add'),
    'Cast': _cast,
    'Concat': _concat,
    'Div': _binary('Div'),
    'DivFromConstant': _with_number('Div', first=True),
    'Dropout': _identity,
    'ELU': _unary('Elu', alpha='alpha'),
    'EmbedIDFunction': _embed_id,
    'Exp': _unary('Exp'),
    'ExpandDims': _reshape,
    'GetItem': _get_item,
    'Identity': _identity,
    'LeakyReLU': _unary('LeakyRelu', alpha='slope'),
    'Linear': _linear,
    'LinearFunction': _linear,
    'Log': _unary('Log'),
    'LogSoftmax': _softmax('LogSoftmax'),
    'Mul': _binary('Mul'),
    'MulConstant': _with_number('Mul'),
    'MultiAdd': _binary('Sum'),
    'Neg': _unary('Neg'),
    'ReLU': _unary('Relu'),
    'Reshape': _reshape,
    'Sigmoid': _unary('Sigmoid'),
    'Softmax': _softmax('Softmax'),
    'SplitAxis': _split_axis,
    'Sqrt': _unary('Sqrt'),
    'Squeeze': _reshape,
    'Sub': _binary('Sub'),
    'SubFromConstant': _with_number('Sub', first=True),
    'Swapaxes': _transpose,
    'Tanh': _unary('Tanh'),
    'Transpose': _transpose,
}
