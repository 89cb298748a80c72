"""The autograd node of one time step, the same for every cell."""
from __future__ import annotations

import itertools
from typing import Any
from typing import NoReturn

import chainer
import chainer.functions as F
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


class StepNode(function_node.FunctionNode):
    """Inputs (c_prev, x, …) -> c, h.  Where x has fewer rows than c_prev, the other rows of c are carried.

    Backward runs on arrays, unless the gradients are to be differentiated
    again (``chainer.config.enable_backprop``): then the step is computed once
    more, on variables.

    Steps are chained through c.  If the step before has the same weights, it
    will run in the same backward pass, because it receives the gradient of its
    c from here; so it is handed what the gradients by the weights are made of,
    and the first step of the chain makes them of all steps in one product.
    """

    step: kernels.Step

    def __init__(self) -> None:
        super().__init__()
        self._handed: dict[int, list[dict]] = {}  # rows of the steps after this one, by the step that handed them

    def apply(self, inputs: tuple) -> tuple:
        try:
            return super().apply(inputs)
        except (AttributeError, TypeError):
            for name, x in zip(self.step.names, inputs):  # in Chainer's words it is hard to see which one is no array
                checked(name, x)
            raise

    def forward_chainerx(self, inputs: tuple) -> tuple:
        refuse_chainerx()

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.retain_outputs((0,))
        c_prev, x, *others = inputs
        batch = len(x)
        engine = engine_of(x)
        self.saved, c, h = self.step.forward(engine, c_prev[:batch], x, *others)
        if batch < len(c_prev):
            c = engine.xp.concatenate((c, c_prev[batch:]))
        return c, h

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        (c,), (gc, gh) = self.get_retained_outputs(), grad_outputs
        double = chainer.config.enable_backprop
        # what was retained; as arrays, without making six variables
        inputs: Any = self.get_retained_inputs() if double else [node.data for node in self.inputs]
        batch = inputs[1].shape[0]
        head = (inputs[0][:batch], *inputs[1:])
        if double:
            engine: kernels.Engine = _variable_engine
            saved, c, _ = self.step.forward(engine, *head)
        else:
            c, gc, gh = arrays((c, gc, gh))
            engine, saved, c = engine_of(inputs[1]), self.saved, c[:batch]
        gradients, rows = self.step.backward(engine, saved, head, c, None if gc is None else gc[:batch], gh,
                                             [self.step.names[i] for i in indexes])

        chain = [rows, *itertools.chain.from_iterable(self._handed.values())]
        self._handed = {}
        joined = _Joined(engine, chain)
        before = None if double or 0 not in indexes else self._step_before()
        result = []
        for i in indexes:
            name = self.step.names[i]
            if name in gradients:
                gx = engine.cast(gradients[name], inputs[i].dtype)
                result.append(self._carry(gx, inputs[0], gc) if i == 0 and len(gx) < len(inputs[0]) else gx)
            elif before is not None and i < len(before.inputs):
                before._handed[id(self)] = chain
                result.append(None)
            else:
                result.append(engine.cast(self.step.weights[name](engine, joined), inputs[i].dtype))
        return tuple(None if gx is None else chainer.as_variable(gx) for gx in result)

    def _step_before(self) -> StepNode | None:
        """The step that made c_prev, if it has the weights of this one; the first of a chain may lack h and U."""
        before = self.inputs[0].creator_node
        if type(before) is not type(self) or len(before.inputs) > len(self.inputs):
            return None
        pairs = zip(self.step.names, self.inputs, before.inputs)
        return before if all(mine is its for name, mine, its in pairs if name in self.step.weights) else None

    def _carry(self, gc_prev: Any, c_prev: Any, gc: Any) -> variable.Variable:
        """The gradient of all rows of c_prev: those that were not updated pass theirs through."""
        batch = len(gc_prev)
        if gc is None:
            xp = chainer.backend.get_array_module(c_prev)
            rest = xp.zeros((len(c_prev) - batch, *c_prev.shape[1:]), c_prev.dtype)
        else:
            rest = gc[batch:]
        return F.concat((gc_prev, rest), axis=0)


class _Joined:
    """The rows of all steps of a chain by name, joined when asked for."""

    def __init__(self, engine: kernels.Engine, chain: list[dict]) -> None:
        self._engine = engine
        self._chain = chain
        self._joined: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._joined:
            arrays = [rows[name] for rows in self._chain]
            self._joined[name] = arrays[0] if len(arrays) == 1 else self._engine.xp.concatenate(arrays)
        return self._joined[name]


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
