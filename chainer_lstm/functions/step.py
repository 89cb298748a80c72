"""One time step of a cell as an autograd node, or as two for a cell of two stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import chainer
import numpy

from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import arrays_of, new_variable, setting
from chainer_lstm.functions import cell_noise, composed, passes
from chainer_lstm.functions.chained import Chained
from chainer_lstm.functions.checks import sequence, variable
from chainer_lstm.functions.config import engine_of, is_observed, is_static_graph
from chainer_lstm.functions.node import Input, any_requires_grad
from chainer_lstm.functions.signature import signature
from chainer_lstm.functions.stage import StageNode
from chainer_lstm.kernels.engines.types import NOTHING, Part


class StepNode(StageNode):
    """The first stage of a step; for a cell of one stage the whole step.

    Steps are chained through their first input: the step that computed it receives the gradient of
    its output from here, so it runs later in the same backward pass.
    """

    @property
    def label(self) -> str:
        return f'{type(self.cell).__name__}Step'

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        return self.gradients(indexes, grad_outputs, passes.handed())


class FirstStage(StepNode):
    """The first stage of a cell of two."""

    _outputs = None

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        """Hand the gradient of the first state to the node that computed the last state from it:
        that node runs later and adds its own gradient.

        Chainer would add the two gradients in a node of their own.
        """
        given = passes.handed()
        gradients = self.gradients(indexes, grad_outputs, given)
        last, output = self.signature.states[-1], self._output_before()
        if output is None or given is None or not {0, last} <= {*indexes}:
            return gradients
        if chainer.config.enable_backprop:
            return gradients
        given.setdefault((id(output), 'state'), {})[id(self)] = gradients[0].array
        return None, *gradients[1:]

    @property
    def outputs(self) -> Any:
        """References to the outputs, as Chainer sets them; a dead one for the first state if the
        graph was cut there.

        The node still runs, for its gates, and would otherwise use the gradient of the state that
        was cut off.
        """
        found = self._outputs
        if found is None or found[0]() is None or found[0]().creator_node is self:
            return found
        return _dead, *found[1:]

    @outputs.setter
    def outputs(self, references: Any) -> None:
        self._outputs = references

    def output_before(self) -> Any:
        """Return the node that computed the last state among the inputs, or None."""
        last = self.signature.states[-1]
        return None if last is None else self.inputs[last].creator_node

    def _output_before(self) -> Any:
        """Return that node if it also read this node's first state: None for the first step, and
        if the program has replaced either state.
        """
        output = self.output_before()
        same = type(output) is SecondStage and output.inputs[0] is self.inputs[0]
        return output if same else None


class SecondStage(StageNode):
    """The second stage.  It is a node of its own because, as in Chainer, its outputs are functions
    of the variables of the new states: programs cut the graph there or take gradients.

    It is chained through the last state among the inputs of the first node: the node that computed
    it receives its gradient from there, after this node has run.

    Args:
        first: the first node.
    """

    def __init__(self, first: FirstStage) -> None:
        super().__init__(signature(first.cell, 1))
        self.noise = first.noise
        self.gates = first.gates

    @property
    def label(self) -> str:
        return f'{type(self.cell).__name__}Output'

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        given = passes.handed()
        if all(g is None for g in grad_outputs):
            return (None,) * len(indexes)
        gradients = self.gradients(indexes, grad_outputs, given)
        handed = given.pop((id(self), 'state'), {}) if given else {}  # from the steps after this
        if not handed or 0 not in indexes:
            return gradients
        found = list(gradients)
        at = indexes.index(0)
        found[at] = chainer.as_variable(sum(handed.values(), found[at].array))
        return tuple(found)

    def node_before(self, indexes: Sequence[int]) -> Optional[Chained]:
        count = len(self.stage.reads)
        first = self.inputs[count].creator_node  # of the first gate
        if type(first) is not FirstStage or not {*range(count + 1)} <= {*indexes}:
            return None
        before = first.output_before()
        return before if self.is_of_same_weights(before) else None


def _dead() -> None:
    """Return None, like a weak reference to a deleted object."""


def is_static(cell: Cell) -> bool:
    """Return whether ``chainer.static_graph`` records; it can replay only Chainer's own functions.

    Raises:
        ValueError: it does, and the cell has noise, which each replay would repeat, or functions
            that it cannot replay.
    """
    static = is_static_graph()
    if static and cell.is_random and chainer.config.train:
        raise ValueError(f'expected no chainer.static_graph around {cell.name}, which has noise')
    if static and not cell.replays:
        raise ValueError(
            f'expected no chainer.static_graph around {cell.name}, whose chainer.functions.clip it '
            'does not replay'
        )
    return static


def step(
    cell: Cell,
    state: Sequence[Optional[Input]],
    x: Input,
    weights: Sequence[Input],
) -> Any:
    """Compute a time step of any cell, as one node; as two for a cell of two stages.

    float16 is computed in float32.

    Args:
        cell: see ``chainer_lstm.cells``.
        state: the states in the order of ``cell.states``, the last one (B, H), the others (B0, H)
            with B <= B0, whose other rows are carried over.  A state that is read by products
            alone, such as h of an LSTM, may be None for zeros.
        x: (B, I), of the dtype of the states and biases.
        weights: in the order of ``cell.weights``, see ``cell.shapes``; matrices may have another
            float dtype.

    Returns:
        The new ``cell.State``, in the dtype of x.

    Raises:
        chainer.utils.type_check.InvalidType: shapes or dtypes do not fit.
        TypeError: an argument is not an array, or a ChainerX array.
        ValueError: more or fewer states or weights than the cell has.

    Example:
        >>> import numpy
        >>> from chainer_lstm import cells
        >>> weights = [numpy.ones(shape, 'f') for shape in cells.lstm.shapes(10, 20).values()]
        >>> c, x = numpy.zeros((3, 20), 'f'), numpy.ones((3, 10), 'f')
        >>> state = step(cells.lstm, (c, None), x, weights)
        >>> state.c.shape, state.h.shape
        ((3, 20), (3, 20))
    """
    check_cell(cell)
    for name, given, expected in (
        ('state', state, cell.states),
        ('weights', weights, cell.weights),
    ):
        if len(sequence(name, given, 'arrays')) != len(expected):
            raise ValueError(
                f'expected {name} to be {", ".join(expected)}, got {len(given)} arrays'
            )
    named = dict(zip(cell.weights, weights))
    return run_step(cell, cell.State(*state), x, named)


def check_cell(cell: Any) -> None:
    """Expect a cell.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f'expected cell to be a chainer_lstm.cells.Cell, got {cell!r}')


def run_step(cell: Cell, state: Any, x: Input, weights: Mapping[str, Input]) -> Any:
    """Compute ``step`` of a ``cell.State`` and weights by name."""
    if not is_recorded(cell) and not [W for W in weights.values() if W is None]:
        found = unrecorded_step(cell, state, x, [*weights.values()])
        if found is not None:
            return cell.State(*found)
    if is_static(cell):
        pre = composed.of_input(cell, x, weights)
        return composed_step(cell, state, pre, weights)
    of = signature(cell, 0, state[-1] is not None)
    named = {'x': x, **weights, **state._asdict()}
    given = tuple([named.get(name) for name in of.names])
    if len(cell.stages) == 1:
        return cell.State(*StepNode(of).apply(given))
    first = FirstStage(of)
    found = first.apply(given)
    second = SecondStage(first)
    named.update(zip((*of.stage.writes, *of.pending), found))
    more = second.apply(tuple([variable(name, named[name]) for name in second.names]))
    new = dict(zip(of.stage.writes, found))
    new.update(zip(cell.stages[1].writes, more))
    return cell.State(**new)


def is_recorded(cell: Cell) -> bool:
    """Return whether a step has to be a node: a graph grows, Chainer observes it (hooks, debug
    mode), or noise is drawn.
    """
    return setting('enable_backprop') or is_observed() or (cell.is_random and setting('train'))


def unrecorded_step(
    cell: Cell, state: Sequence[Optional[Input]], x: Input, weights: Sequence[Optional[Input]]
) -> Optional[Sequence[Any]]:
    """Compute a step for which ``is_recorded`` is False, from arrays to arrays, without a node.

    Types are not checked: the kernels compute only if all arrays are exactly as they expect.

    Args:
        cell, state, x: as in ``step``.
        weights: in the order of ``cell.weights``.

    Returns:
        The new states, in the order of ``cell.states``; None if the step has to be computed as
        nodes.
    """
    if state[-1] is None:  # as a node has them, without weights of states that are not there
        names = signature(cell, 0).names
        absent = {*names}.difference(signature(cell, 0, optional=False).names)
        weights = [None if name in absent else W for name, W in zip(cell.weights, weights)]
    inputs = [x, *weights, *state]
    given = arrays_of(inputs)
    if type(given[0]) is not numpy.ndarray:
        return None
    found = engine_of(given[0]).whole_step(cell, given)
    if found is None:
        return None
    requires_grad = any_requires_grad(inputs)
    return [new_variable(y, requires_grad) for y in found]


def composed_step(cell: Cell, state: Any, pre: chainer.Variable, weights: Mapping[str, Any]) -> Any:
    """Compute a step by Chainer's own functions, with noise in training.

    Args:
        cell: the cell.
        state: a ``cell.State`` as in ``step``.
        pre: (B, G H), x Wᵀ + b, plus the products whose states are None.
        weights: by name; a matrix, or a function from a state to its product.

    Returns:
        The new state.
    """
    state = state._make(None if s is None else chainer.as_variable(s) for s in state)
    parts = [Part(pre, cell.inputs)]
    drawn = NOTHING
    if cell.is_random and chainer.config.train:
        is_static(cell)  # refuses noise in a static graph
        xp, rows = chainer.backend.get_array_module(pre), len(pre)
        drawn = cell_noise.draw(cell, xp, rows, rows, state[-1].shape[1], pre.dtype)
    return composed.run_step(cell, cell.stages, parts, state, weights, drawn)[-1]
