"""The autograd node of one time step, the same for every cell, and what all nodes share."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Optional

import chainer
import chainer.functions as F
import numpy
from chainer import function_node, variable

from chainer_lstm import kernels
from chainer_lstm.functions import passes
from chainer_lstm.functions.chain import Chain
from chainer_lstm.functions.checks import variable as checked
from chainer_lstm.functions.config import engine_of


class _VariableEngine(kernels.Engine):
    """The reference maths on Chainer's own functions:
    what the step computes, once more differentiable.
    """

    xp = F

    def cast(self, x: Any, dtype: Any) -> Any:
        return F.cast(x, dtype)

    def linear(self, x: Any, W: Any) -> Any:
        return None if x is None else F.linear(x, W)

    def dense(self, x: Any) -> Any:
        return x

    def zeros_like(self, x: Any) -> Any:
        return chainer.Variable(x.xp.zeros_like(x.array))


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

    def apply(self, inputs: tuple) -> tuple:
        """Compute the outputs, without what Chainer does for hooks,
        debug mode and GPUs where there are none.
        """
        config = chainer.config
        variables = tuple([chainer.as_variable(x) for x in inputs])
        given = arrays(variables)
        observed = config.debug or chainer.get_function_hooks() or config.schedule_func is not None
        if observed or any(type(x) is not numpy.ndarray for x in given):
            return super().apply(inputs)
        self._input_layouts = (None,) * len(given)
        if config.type_check:
            self._check_data_type_forward(given)
        return _connected(self, variables, self.forward(given))

    def forward_chainerx(self, inputs: tuple) -> tuple:
        refuse_chainerx()

    def _weight_gradients(
        self,
        engine: kernels.Engine,
        rows: dict,
        inputs: tuple,
        indexes: tuple,
        before: Optional[Chained],
        given: Optional[dict],
    ) -> dict[int, Any]:
        """Return the gradients with respect to weights by index;
        those that ``before`` will make are left out.

        ``given`` is what ``passes.handed`` returns in ``backward``.
        """
        names, weights = self.names, self.weights
        if given is None:  # called outside of a backward pass
            given, before = {}, None
        chain = Chain.of(given.pop(id(self), {}))
        chain.append(rows)
        last = 0 if before is None else len(before.inputs)  # of the inputs that the step before has
        made, handed = {}, []
        for i in indexes:
            name = names[i]
            if name not in weights:
                continue
            if i < last:
                handed.append(name)
            else:
                gradient, weight = chain.gradient(engine, name, weights[name]), inputs[i]
                if gradient.shape != weight.shape:  # NumPy broadcasts, where types are not checked
                    raise ValueError(f'{name}: expected shape {gradient.shape}, got {weight.shape}')
                made[i] = engine.cast(gradient, weight.dtype)
        if handed:
            if chain.is_long():
                chain.fold(engine, {name: weights[name] for name in handed})
            given.setdefault(id(before), {})[id(self)] = chain
        return made

    def _is_of_same_weights(self, before: Any) -> bool:
        """Whether it is a step with the weights of this one;
        the first of a chain may lack h and U.
        """
        if type(before) is not type(self) or len(before.inputs) > len(self.inputs):
            return False
        weights = self.weights
        for name, mine, its in zip(self.names, self.inputs, before.inputs):
            if mine is not its and name in weights:
                return False
        return True


class StepNode(Chained):
    """Inputs (c_prev, x, …) -> c, h.  Where x has fewer rows than c_prev,
    the other rows of c are carried.

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
            for name, x in zip(
                self.step.names, inputs
            ):  # in Chainer's words it is hard to see which one is no array
                checked(name, x)
            raise

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.retain_outputs((0,))
        self.shapes = [x.shape for x in inputs]
        c_prev, x, *others = inputs
        if not chainer.config.type_check:
            self.check_broadcasting()
        batch = len(x)
        engine = engine_of(x)
        self.saved, c, h = self.step.forward(engine, c_prev[:batch], x, *others)
        self._dtype = h.dtype  # of the second output, which need not be that of c
        if c.shape != (batch, *c_prev.shape[1:]):
            raise ValueError(
                f'expected weights that fit the state {c_prev.shape}, and h of {batch} rows as x; '
                f'got a new state {c.shape}'
            )
        if batch < len(c_prev):
            c = engine.xp.concatenate((c, c_prev[batch:]))
        return c, h

    def check_broadcasting(self) -> None:
        """Refuse shapes that NumPy would broadcast, where types are not checked.

        A cell that defines ``check_type_forward`` may define this too.

        Raises:
            ValueError: a shape in ``self.shapes`` does not fit.
        """

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        return self._backward(indexes, grad_outputs, passes.handed())

    def _backward(self, indexes: tuple, grad_outputs: tuple, given: Optional[dict]) -> tuple:
        double = chainer.config.enable_backprop
        c, (gc, gh) = self.get_retained_outputs()[0], grad_outputs
        if double:
            inputs: Any = self.get_retained_inputs()
        else:  # what was retained, as arrays, without making six variables
            inputs = [node.data for node in self.inputs]
            c, gc, gh = arrays((c, gc, gh))
        names, shape = self.step.names, self.shapes[0]
        check_unchanged(self)
        if c.shape != shape:
            raise replaced('c of the output', shape, c.shape)
        batch = len(inputs[1])
        gc, gh = full(gc, shape, c.dtype), full(gh, (batch, *shape[1:]), self._dtype)
        head = (inputs[0][:batch], *inputs[1:])
        if double:
            engine: kernels.Engine = _variable_engine
            saved, c, _ = self.step.forward(engine, *head)
        else:
            engine, saved, c = engine_of(inputs[1]), self.saved, c[:batch]
        gradients, rows = self.step.backward(
            engine,
            saved,
            head,
            c,
            None if gc is None else gc[:batch],
            gh,
            [names[i] for i in indexes],
        )

        before = self.inputs[0].creator_node
        if double or 0 not in indexes or not self._is_of_same_weights(before):
            before = None
        result: dict[int, Any] = self._weight_gradients(
            engine, rows, inputs, indexes, before, given
        )
        for i in indexes:
            if names[i] in gradients:
                gx = engine.cast(gradients[names[i]], inputs[i].dtype)
                result[i] = (
                    self._carry(gx, inputs[0], gc) if i == 0 and len(gx) < len(inputs[0]) else gx
                )
        return tuple([as_variable(result.get(i)) for i in indexes])

    def _carry(self, gc_prev: Any, c_prev: Any, gc: Any) -> variable.Variable:
        """Return the gradient of all rows of c_prev:
        that of the rows that were carried is the one of c.
        """
        batch = len(gc_prev)
        if gc is None:
            xp = chainer.backend.get_array_module(c_prev)
            rest = xp.zeros((len(c_prev) - batch, *c_prev.shape[1:]), gc_prev.dtype)
        else:
            rest = gc[batch:]
        return F.concat((gc_prev, rest), axis=0)


def full(gradient: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a gradient, a variable or an array, of the shape and dtype of its output;
    None for None.

    ``chainer.grad`` takes ``grad_outputs`` of any shape and dtype, and Chainer's
    own functions compute with whatever NumPy broadcasts.

    Raises:
        ValueError: the gradient does not broadcast to the shape.
    """
    if gradient is None:
        return None
    if gradient.dtype != dtype:
        gradient = (
            F.cast(gradient, dtype)
            if isinstance(gradient, variable.Variable)
            else gradient.astype(dtype)
        )
    if gradient.shape == shape:
        return gradient
    try:
        fits = numpy.broadcast_shapes(gradient.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            'grad_outputs: expected a gradient that broadcasts to the shape of its output, '
            f'{shape}, got {gradient.shape}'
        )
    if isinstance(gradient, variable.Variable):
        return F.broadcast_to(gradient, shape)
    return chainer.backend.get_array_module(gradient).broadcast_to(gradient, shape)


def check_unchanged(node: Any) -> None:
    """Compare the inputs that a node has retained with those of forward:
    ``.array`` of a variable can be replaced.

    Args:
        node: in backward; it has the ``names`` of its inputs, and their ``shapes`` in forward.

    Raises:
        ValueError: one has another shape.
    """
    found = [x.shape for x in node.inputs]
    if found != node.shapes:
        k = next(k for k in range(len(found)) if found[k] != node.shapes[k])
        raise replaced(node.names[k], node.shapes[k], found[k])


def replaced(name: str, expected: tuple[int, ...], got: tuple[int, ...]) -> ValueError:
    """Return the error of an array that was replaced between forward and backward."""
    return ValueError(
        f'{name}: expected the array of forward, of shape {expected}, got {got}: '
        '.array of the variable has been replaced since'
    )


def _connected(node: function_node.FunctionNode, inputs: tuple, outputs: tuple) -> tuple:
    """Return the outputs of a node as variables, in the graph if one grows:
    the end of ``FunctionNode.apply``.
    """
    requires_grad = any(x.requires_grad for x in inputs)
    ys = tuple([as_variable(y, requires_grad) for y in outputs])
    node._output_count = len(ys)
    node._output_layouts = (None,) * len(ys)
    if chainer.config.enable_backprop:
        node.rank = max([x.rank for x in inputs])
        node.inputs = tuple([x.node for x in inputs])
        for y in ys:
            y.creator_node = node
        node.outputs = tuple([weakref.ref(y.node) for y in ys])
        for k in node._input_indexes_to_retain or ():
            inputs[k].retain_data()
        retained = node._output_indexes_to_retain or ()
        for k in retained:
            ys[k].retain_data()
        node._retained_output_data = tuple([outputs[k] for k in retained])
        node.lazy_grad_sum = chainer.config.lazy_grad_sum
    return ys


def as_variable(x: Any, requires_grad: bool = False) -> Optional[variable.Variable]:
    """Return an array that the package has made as a variable, in half of Chainer's time:
    nothing is checked.

    None and variables are returned as they are.
    """
    if x is None or isinstance(x, variable.Variable):
        return x
    return variable.Variable._init_unchecked(
        x, requires_grad=requires_grad, is_chainerx_array=False
    )


def arrays(variables: tuple) -> tuple:
    """The arrays of variables; None for None."""
    return tuple([None if v is None else v.array for v in variables])


def own(variables: tuple) -> list[chainer.Variable]:
    """The variables under names of their own, for ``chainer.grad`` by each of them.

    It gives total derivatives: one that is given twice, or of which another is made, would be
    counted twice.
    """
    return [F.identity(v) for v in variables]


def refuse_chainerx() -> NoReturn:
    """Raises a TypeError that says what is supported."""
    raise TypeError(
        'chainer_lstm computes on NumPy and CuPy arrays; got ChainerX arrays '
        '(bring them over with to_device("@numpy") or to_device("@cupy:0"))'
    )
