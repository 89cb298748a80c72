"""The autograd node of one time step, the same for every cell."""
from __future__ import annotations

from typing import Any

import chainer
import chainer.functions as F
from chainer import function_node
from chainer import variable

from chainer_lstm import kernels


class _VariableEngine(kernels.Engine):
    """The reference maths on Chainer's own functions: what the step computes, once more differentiable."""

    xp = F

    def cast(self, x: Any, dtype: Any) -> Any:
        return F.cast(x, dtype)


_variable_engine = _VariableEngine()


class StepNode(function_node.FunctionNode):
    """Inputs (c_prev, x, …) -> c, h.  Where x has fewer rows than c_prev, the other rows of c are carried.

    Backward runs on arrays, unless the gradients are to be differentiated
    again (``chainer.config.enable_backprop``): then the step is computed once
    more, on variables.
    """

    step: kernels.Step

    def forward_chainerx(self, inputs: tuple) -> tuple:
        raise TypeError('chainer_lstm computes on NumPy and CuPy arrays; got ChainerX arrays '
                        '(bring them over with to_device("@numpy") or to_device("@cupy:0"))')

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.retain_outputs((0,))
        c_prev, x, *others = inputs
        batch = len(x)
        engine = kernels.engine_of(x)
        self.saved, c, h = self.step.forward(engine, c_prev[:batch], x, *others)
        if batch < len(c_prev):
            c = engine.xp.concatenate((c, c_prev[batch:]))
        return c, h

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        inputs, (c,) = self.get_retained_inputs(), self.get_retained_outputs()
        gc, gh = grad_outputs
        batch = inputs[1].shape[0]
        if chainer.config.enable_backprop:
            engine: kernels.Engine = _variable_engine
            head = (inputs[0][:batch], *inputs[1:])
            saved, c, _ = self.step.forward(engine, *head)
        else:
            inputs, (c, gc, gh) = _arrays(inputs), _arrays((c, gc, gh))
            engine, saved, c = kernels.engine_of(inputs[1]), self.saved, c[:batch]
            head = (inputs[0][:batch], *inputs[1:])
        gradients = self.step.backward(engine, saved, head, c, None if gc is None else gc[:batch], gh)
        return tuple(self._gradient(engine, gradients, i, inputs[i], gc) for i in indexes)

    def _gradient(self, engine: kernels.Engine, gradients: list, index: int, x: Any, gc: Any) -> variable.Variable:
        gx = engine.cast(gradients[index](), x.dtype)
        if index == 0 and len(gx) < len(x):
            gx = self._carry(gx, x, gc)
        return chainer.as_variable(gx)

    def _carry(self, gc_prev: Any, c_prev: Any, gc: Any) -> variable.Variable:
        """The gradient of all rows of c_prev: those that were not updated pass theirs through."""
        batch = len(gc_prev)
        if gc is None:
            xp = chainer.backend.get_array_module(c_prev)
            rest = xp.zeros((len(c_prev) - batch, *c_prev.shape[1:]), c_prev.dtype)
        else:
            rest = gc[batch:]
        return F.concat((gc_prev, rest), axis=0)


def _arrays(variables: tuple) -> tuple:
    return tuple(None if v is None else v.array for v in variables)
