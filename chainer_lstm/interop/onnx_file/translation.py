"""Translates a recorded call of a model to the nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import chainer
import numpy

from chainer_lstm.interop import weights
from chainer_lstm.interop.onnx_file import lstm
from chainer_lstm.interop.onnx_file.functions import RULES, Call, Rows, Untranslatable, Value
from chainer_lstm.interop.onnx_file.graph import Graph
from chainer_lstm.interop.onnx_file.lstm import Stack, States
from chainer_lstm.interop.onnx_file.trace import LinkCall, Trace

_TRANSPOSED = (Rows.BATCH_MAJOR, Rows.JOINED_BATCH_MAJOR)


class Translation:
    """Adds the nodes, inputs and outputs for a call of a model to a graph.

    Args:
        graph: to add them to.
        trace: the call.
        stacks: the layers of each link of the family, by the id of the link.
        names: the names of these links, by the id of the link.
    """

    def __init__(
        self, graph: Graph, trace: Trace, stacks: Mapping[int, Stack], names: Mapping[int, str]
    ) -> None:
        self._graph = graph
        self._trace = trace
        self._stacks = stacks
        self._names = names
        self._values: dict[int, Value] = {}  # by the id of a variable node
        self._results: dict[int, list[Value]] = {}  # by the id of a function node
        # variables of earlier calls of the model, which are not computed by this call
        self._foreign = {id(v.node) for call in trace.before for v in (*call.ys, *call.last)}
        self._lengths = ''
        self._sizes: Sequence[int] = ()
        self._initial: dict[int, States] = {}  # by the index of a call that starts from an input
        self._last: dict[int, States] = {}  # the final states, by the same index
        self._begun: dict[int, int] = {}  # the last of these indexes, by the id of the link

    def run(self) -> None:
        """Add the nodes.

        Raises:
            TypeError, ValueError: the model uses something that cannot be exported.
        """
        x = self._add_input()
        groups = self._state_groups()
        for suffix, calls in groups:
            self._add_states(suffix, calls, x)
        for k, call in enumerate(self._trace.calls):
            self._add_link(k, call)
        self._add_output()
        for suffix, calls in groups:
            units = self._stack(calls[0]).units
            rows = sum(self._stack(k).groups for k in calls)
            for at, name in enumerate(lstm.STATES):
                state = lstm.joined(self._graph, [self._last[k][at] for k in calls])
                self._graph.output(state, f'{name}n{suffix}', (rows, 'batch', units))

    def _add_input(self) -> str:
        xs, rows = self._trace.x, self._trace.rows
        shape, dtype = xs[0].shape, xs[0].dtype
        if dtype != numpy.int32:
            dtype = None if dtype.kind == 'f' else numpy.int64
        axes = _axes(rows, shape)
        name = self._graph.input('x', axes, dtype)
        if rows is Rows.SEQUENCE:
            self._lengths = self._graph.input('sequence_lens', ('batch',), numpy.int32)
            self._sizes = [len(x) for x in xs]
        elif rows.axes == 2:
            self._sizes = shape[:2] if rows is Rows.TIME_MAJOR else shape[1::-1]
        name = self._swapped(name, rows, len(axes))
        for k, x in enumerate(xs):
            self._values[id(x.node)] = Value(name, rows, x.shape, k)
        return name

    def _swapped(self, name: str, rows: Rows, ndim: int) -> str:
        """Exchange batch and time between the layout of the model and that of the nodes."""
        if rows not in _TRANSPOSED:
            return name
        return self._graph.node('Transpose', name, perm=[1, 0, *range(2, ndim)])

    def _stack(self, k: int) -> Stack:
        return self._stacks[id(self._trace.calls[k].link)]

    def _state_groups(self) -> list[tuple[str, list[int]]]:
        """Return the calls without a given state, in groups that share inputs of the file, and the
        suffix of the inputs' names: one group, or a group for each call if H differs.
        """
        calls = self._trace.calls
        begun = [k for k, call in enumerate(calls) if any(_is_free(s) for s in call.initial)]
        if len({self._stack(k).units for k in begun}) <= 1:
            return [('', begun)] if begun else []
        names = [self._names[id(calls[k].link)] for k in begun]
        again = [names[:at].count(name) for at, name in enumerate(names)]
        return [
            (f'_{name}_{count}' if count else f'_{name}', [k])
            for k, name, count in zip(begun, names, again)
        ]

    def _add_states(self, suffix: str, calls: Sequence[int], x: str) -> None:
        axis = 0 if self._trace.rows is Rows.BATCH else 1
        found = []
        for name in lstm.STATES:
            defaults = []
            for k in calls:
                stack, learned = self._stack(k), lstm.learned_state(self._trace.calls[k].link)
                zeros = numpy.zeros((stack.groups, stack.units), 'f')
                defaults.append(learned.get(name, zeros))
            found.append(lstm.initial_states(self._graph, f'{name}0{suffix}', defaults, x, axis))
        for k, *states in zip(calls, *found):
            self._initial[k] = States(*states)

    def _add_link(self, k: int, call: LinkCall) -> None:
        graph, stack = self._graph, self._stacks[id(call.link)]
        x, rows = self._input_of(call)
        initial = States(
            *(
                self._initial[k][at] if _is_free(state) else self._state(state)
                for at, state in enumerate(call.initial)
            )
        )
        lengths = self._lengths if rows is Rows.SEQUENCE else ''
        y, last = lstm.run(graph, stack, x, lengths, initial)
        if k in self._initial:
            self._begun[id(call.link)] = k
        if id(call.link) in self._begun:
            self._last[self._begun[id(call.link)]] = last
        if rows is not Rows.STEP:  # then c and h are the states after all steps
            for variable, name in zip(call.last, last):
                if variable.ndim == 2:
                    name = graph.node('Squeeze', name, graph.constant([0]))
                kind = Rows.BATCH if variable.ndim == 2 else Rows.STATES
                self._values[id(variable.node)] = Value(name, kind, variable.shape)
        if rows is Rows.BATCH:
            y = graph.node('Squeeze', y, graph.constant([0]))
        elif call.ys[0].ndim == 2 and rows in (Rows.TIME_MAJOR, Rows.BATCH_MAJOR):
            y, rows = self._of_last_layer(stack, last.h), Rows.BATCH
        y = lstm.merged(graph, stack, y)
        for at, variable in enumerate(call.ys):
            self._values[id(variable.node)] = Value(y, rows, variable.shape, at)

    def _of_last_layer(self, stack: Stack, h: str) -> str:
        """Return the directions of the last layer side by side, (S * D, B, H) -> (B, D * H)."""
        graph = self._graph
        ends = graph.constant(range(stack.groups - stack.directions, stack.groups))
        y = graph.node('Transpose', graph.node('Gather', h, ends), perm=[1, 0, 2])
        return graph.node('Reshape', y, graph.constant([0, stack.directions * stack.units]))

    def _input_of(self, call: LinkCall) -> tuple[str, Rows]:
        """Return the tensor (T, B, I) of the input of a link, and its rows."""
        kind = type(call.link).__name__
        values = [self._value(x, kind) for x in call.xs]
        x = values[0]
        rows = x.rows if (x.rows, call.rows) == (Rows.STEP, Rows.BATCH) else call.rows
        if x.rows is not rows or not self._are_whole(values):
            raise ValueError(f'{kind}: expected x {rows.value}, all of it, got {x.rows.value}')
        name = x.name
        if len(x.features) != 1:
            shape = [0] * rows.file_axes + [int(numpy.prod(x.features))]
            name = self._graph.node('Reshape', name, self._graph.constant(shape))
        if rows is Rows.BATCH:
            name = self._graph.node('Unsqueeze', name, self._graph.constant([0]))
        return name, rows

    def _are_whole(self, values: Sequence[Value]) -> bool:
        """Return whether values are one value, or all sequences of the batch in order."""
        if values[0].rows is not Rows.SEQUENCE:
            return len(values) == 1
        expected = [(values[0].name, k, length) for k, length in enumerate(self._sizes)]
        return [(v.name, v.at, v.shape[0]) for v in values] == expected

    def _state(self, variable: Any) -> str:
        value = self._value(variable, 'state')
        if value.rows is Rows.STATES:
            return value.name
        if value.rows is not Rows.BATCH:
            raise ValueError(
                f'state: expected one of {Rows.STATES.value} or {Rows.BATCH.value}, '
                f'got {value.rows.value}'
            )
        return self._graph.node('Unsqueeze', value.name, self._graph.constant([0]))

    def _value(self, x: Any, user: str) -> Value:
        """Return the value of a variable, and add the nodes that compute it."""
        return self._translated(chainer.as_variable(x).node, user)

    def _translated(self, variable: Any, user: str) -> Value:
        if id(variable) in self._values:
            return self._values[id(variable)]
        node = variable.creator_node
        if node is None or id(variable) in self._foreign:
            value = _parameter(variable, user)
        else:
            if id(node) not in self._results:
                self._results[id(node)] = self._function(node)
            at = [output() is variable for output in node.outputs].index(True)
            value = self._results[id(node)][at]
        self._values[id(variable)] = value
        return value

    def _function(self, node: Any) -> list[Value]:
        name = type(node).__name__
        package = type(node).__module__.partition('.functions')[0]
        if name not in RULES or package not in ('chainer', 'chainer_lstm'):
            raise TypeError(
                f'{node.label}: expected links of the LSTM family and functions that compute each '
                f'row alone, got another one; known are {", ".join(sorted(RULES))}'
            )
        inputs = [self._translated(x, node.label) for x in node.inputs]
        found = [output() for output in node.outputs]
        shapes = [() if output is None else output.shape for output in found]
        try:
            return RULES[name](Call(self._graph, node, inputs, shapes, self._sizes))
        except Untranslatable as error:
            raise ValueError(
                f'{node.label}: expected a use that computes each row alone, for a file of any '
                f'batch and length, got one {error}'
            ) from None

    def _add_output(self) -> None:
        values = [self._value(y, 'y') for y in self._trace.y]
        y = values[0]
        if y.rows is Rows.NONE or not self._are_whole(values):
            raise ValueError(
                'y: expected one array that is computed from x, or all sequences of the batch in '
                f'order, got {len(values)} variables, the first {y.rows.value}'
            )
        axes = _axes(y.rows, y.shape)
        self._graph.output(self._swapped(y.name, y.rows, len(axes)), 'y', axes)


def _axes(rows: Rows, shape: tuple[int, ...]) -> list[Any]:
    """Return the axes of an input or output of the file from a shape in the traced call."""
    axes: list[Any] = ['time', 'batch']
    if rows is Rows.BATCH:
        axes = ['batch']
    elif rows is Rows.STATES:
        axes = [shape[0], 'batch']
    elif rows in _TRANSPOSED:
        axes = ['batch', 'time']
    return [*axes, *shape[rows.axes :]]


def _is_free(state: Any) -> bool:
    """Return whether a link starts without a state, or with constant zeros."""
    if state is None:
        return True
    state = chainer.as_variable(state)
    return state.creator_node is None and not state.array.any()


def _parameter(variable: Any, user: str) -> Value:
    found = variable.get_variable_or_none()
    if not isinstance(found, chainer.Parameter):
        raise ValueError(
            f"{user}: expected inputs that Chainer's functions compute from x and parameters, "
            f'got an array of shape {variable.shape} of another source, such as a state that is '
            'kept from call to call'
        )
    array = weights.checked(found.name or 'parameter', found.array, (None,) * found.ndim)
    return Value('', Rows.NONE, array.shape, array=array)
