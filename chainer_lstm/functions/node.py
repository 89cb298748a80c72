"""The autograd node of one time step, the same for every cell."""
from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NoReturn
from typing import Optional

import chainer
import chainer.functions as F
import numpy
from chainer import function_node
from chainer import variable

from chainer_lstm import kernels
from chainer_lstm.functions.checks import variable as checked
from chainer_lstm.functions.config import engine_of


class _VariableEngine(kernels.Engine):
    """The reference maths on Chainer's own functions: what the step computes, once more differentiable."""

    xp = F

    def cast(self, x: Any, dtype: Any) -> Any:
        return F.cast(x, dtype)

    def linear(self, x: Any, W: Any) -> Any:
        return None if x is None else F.linear(x, W)


_variable_engine = _VariableEngine()


class Chained(function_node.FunctionNode):
    """A node of a time step, whose weight gradients are made for many steps at once.

    A step hands the rows that its weight gradients are made of to the step
    before it, if that one has the same weights and will run later in the same
    backward pass.  The first step of the chain makes the gradients of all
    steps, one product for each weight.

    Attributes:
        names: of the inputs.
        weights: by name, (engine, rows) -> gradient.
    """

    names: tuple[str, ...]
    weights: Mapping[str, Callable[..., Any]]

    def __init__(self) -> None:
        super().__init__()
        self._handed: dict[int, _Chain] = {}  # from the steps after this one, by the step that handed it

    def forward_chainerx(self, inputs: tuple) -> tuple:
        refuse_chainerx()

    def _weight_gradients(self, engine: kernels.Engine, rows: dict, inputs: tuple, indexes: tuple,
                          before: Optional[Chained]) -> dict[int, Any]:
        """Return the gradients with respect to weights by index; those that ``before`` will make are left out."""
        chain = _Chain.of(self._handed.values())
        self._handed = {}
        chain.append(rows)
        wanted = {i: self.names[i] for i in indexes if self.names[i] in self.weights}
        handed = [i for i in wanted if before is not None and i < len(before.inputs)]
        made = {i: engine.cast(chain.gradient(engine, name, self.weights[name]), inputs[i].dtype)
                for i, name in wanted.items() if i not in handed}
        if handed:
            if chain.is_long():
                chain.fold(engine, {wanted[i]: self.weights[wanted[i]] for i in handed})
            before._handed[id(self)] = chain
        return made

    def _is_of_same_weights(self, before: Any) -> bool:
        """Whether it is a step with the weights of this one; the first of a chain may lack h and U."""
        if type(before) is not type(self) or len(before.inputs) > len(self.inputs):
            return False
        pairs = zip(self.names, self.inputs, before.inputs)
        return all(mine is its for name, mine, its in pairs if name in self.weights)


class StepNode(Chained):
    """Inputs (c_prev, x, …) -> c, h.  Where x has fewer rows than c_prev, the other rows of c are carried.

    Backward runs on arrays, unless the gradients are to be differentiated
    again (``chainer.config.enable_backprop``): then the step is computed once
    more, on variables.

    Steps are chained through c: the step that made c_prev receives the
    gradient of its c from here, so it runs in the same backward pass.
    """

    step: kernels.Step

    @property
    def names(self) -> tuple[str, ...]:
        return self.step.names

    @property
    def weights(self) -> Mapping[str, Callable[..., Any]]:
        return self.step.weights

    def apply(self, inputs: tuple) -> tuple:
        try:
            return super().apply(inputs)
        except (AttributeError, TypeError):
            for name, x in zip(self.step.names, inputs):  # in Chainer's words it is hard to see which one is no array
                checked(name, x)
            raise

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.retain_outputs((0,))
        self._shapes = [x.shape for x in (*inputs, inputs[0])]
        c_prev, x, *others = inputs
        if c_prev.ndim < 2 or x.ndim < 2:
            raise ValueError(f'expected c_prev and x of two axes, got shapes {c_prev.shape} and {x.shape}')
        batch = len(x)
        engine = engine_of(x)
        self.saved, c, h = self.step.forward(engine, c_prev[:batch], x, *others)
        if batch < len(c_prev):
            c = engine.xp.concatenate((c, c_prev[batch:]))
        return c, h

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        c, = self.get_retained_outputs()
        double = chainer.config.enable_backprop
        # what was retained; as arrays, without making six variables
        inputs: Any = self.get_retained_inputs() if double else [node.data for node in self.inputs]
        if [x.shape for x in (*inputs, c)] != self._shapes:
            check_replaced([*self.step.names[:len(inputs)], 'c of the output'], self._shapes, [*inputs, c])
        batch = inputs[1].shape[0]
        gc, gh = full(grad_outputs, (c.shape, (batch, *c.shape[1:])))
        head = (inputs[0][:batch], *inputs[1:])
        if double:
            engine: kernels.Engine = _variable_engine
            saved, c, _ = self.step.forward(engine, *head)
        else:
            c, gc, gh = arrays((c, gc, gh))
            engine, saved, c = engine_of(inputs[1]), self.saved, c[:batch]
        gradients, rows = self.step.backward(engine, saved, head, c, None if gc is None else gc[:batch], gh,
                                             [self.step.names[i] for i in indexes])

        before = self.inputs[0].creator_node
        if double or 0 not in indexes or not self._is_of_same_weights(before):
            before = None
        result: dict[int, Any] = self._weight_gradients(engine, rows, inputs, indexes, before)
        for i in indexes:
            name = self.step.names[i]
            if name in gradients:
                gx = engine.cast(gradients[name], inputs[i].dtype)
                result[i] = self._carry(gx, inputs[0], gc) if i == 0 and len(gx) < len(inputs[0]) else gx
        return tuple(chainer.as_variable(result[i]) if i in result else None for i in indexes)

    def _carry(self, gc_prev: Any, c_prev: Any, gc: Any) -> variable.Variable:
        """Return the gradient of all rows of c_prev: that of the rows that were carried is the one of c."""
        batch = len(gc_prev)
        if gc is None:
            xp = chainer.backend.get_array_module(c_prev)
            rest = xp.zeros((len(c_prev) - batch, *c_prev.shape[1:]), c_prev.dtype)
        else:
            rest = F.cast(gc[batch:], gc_prev.dtype)
        return F.concat((gc_prev, rest), axis=0)


class _Chain:
    """The rows of steps with the same weights, and the gradients that were made of rows before them.

    A long chain is folded now and then: the gradients of the rows so far are
    made and added up, and the rows forgotten, so that a chain of any length
    takes little memory.
    """

    LONGEST = 256  # steps
    LARGEST = 2 ** 23  # numbers in their rows

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        self._sums: dict[str, Any] = {}
        self._joined: dict[str, Any] = {}

    @classmethod
    def of(cls, chains: Iterable[_Chain]) -> _Chain:
        """Return one chain of all: the first one, with the others appended to it."""
        first, *others = chains or (cls(),)
        for other in others:
            first._rows += other._rows
            first._size += other._size
            for name, value in other._sums.items():
                first._sums[name] = first._sums[name] + value if name in first._sums else value
        return first

    def append(self, rows: dict[str, Any]) -> None:
        """Append the rows of a step, arrays (or variables) by name."""
        self._joined = {}
        self._rows.append(rows)
        self._size += sum(x.size for x in rows.values() if x is not None)

    def is_long(self) -> bool:
        """Return whether it is time to fold the chain."""
        return len(self._rows) >= self.LONGEST or self._size >= self.LARGEST

    def gradient(self, engine: kernels.Engine, name: str, of_rows: Callable[..., Any]) -> Any:
        """Return the gradient with respect to a weight, of all rows."""
        found = of_rows(engine, _Joined(engine, self._rows, self._joined)) if self._rows else 0
        return found + self._sums[name] if name in self._sums else found

    def fold(self, engine: kernels.Engine, weights: Mapping[str, Callable[..., Any]]) -> None:
        """Make the gradients of the rows so far with respect to all weights that are still wanted."""
        self._sums = {name: self.gradient(engine, name, of_rows) for name, of_rows in weights.items()}
        self._rows, self._joined, self._size = [], {}, 0


class _Joined:
    """The rows of all steps of a chain by name, joined when they are first needed."""

    def __init__(self, engine: kernels.Engine, chain: list[dict], joined: dict[str, Any]) -> None:
        self._engine = engine
        self._chain = chain
        self._joined = joined

    def __getitem__(self, name: str) -> Any:
        if name not in self._joined:
            arrays = [rows[name] for rows in self._chain]
            self._joined[name] = arrays[0] if len(arrays) == 1 else self._engine.xp.concatenate(arrays)
        return self._joined[name]


def check_replaced(names: Iterable[str], shapes: list[tuple[int, ...]], inputs: Sequence[Any]) -> None:
    """Compare what a node has retained with the shapes that it had in forward.

    Raises:
        ValueError: an array of another shape has replaced one of them.
    """
    if [x.shape for x in inputs] == shapes:
        return
    for name, shape, x in zip(names, shapes, inputs):
        if x.shape != shape:
            raise ValueError(f'{name}: expected the array of forward, of shape {shape}, got {x.shape}: .array of the '
                             'variable has been replaced since')


def full(gradients: Sequence[Optional[variable.Variable]], shapes: Sequence[tuple[int, ...]]) -> tuple:
    """Return gradients of the outputs' shapes.

    ``chainer.grad`` takes ``grad_outputs`` of any shape, and Chainer's own
    functions compute with whatever NumPy broadcasts.

    Raises:
        ValueError: a gradient does not broadcast to the shape of its output.
    """
    return tuple(g if g is None or g.shape == shape else _broadcast(g, shape)
                 for g, shape in zip(gradients, shapes))


def _broadcast(gradient: variable.Variable, shape: tuple[int, ...]) -> variable.Variable:
    try:
        fits = numpy.broadcast_shapes(gradient.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f'grad_outputs: expected a gradient that broadcasts to the shape of its output, {shape}, '
                         f'got {gradient.shape}')
    return F.broadcast_to(gradient, shape)


def arrays(variables: tuple) -> tuple:
    """The arrays of variables; None for None."""
    return tuple(None if v is None else v.array for v in variables)


def own(variables: tuple) -> list[chainer.Variable]:
    """The variables under names of their own, for ``chainer.grad`` by each of them.

    It gives total derivatives: one that is given twice, or of which another is made, would be counted twice.
    """
    return [F.identity(v) for v in variables]


def refuse_chainerx() -> NoReturn:
    """Raises a TypeError that says what is supported."""
    raise TypeError('chainer_lstm computes on NumPy and CuPy arrays; got ChainerX arrays '
                    '(bring them over with to_device("@numpy") or to_device("@cupy:0"))')
