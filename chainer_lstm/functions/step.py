"""One time step of a cell as an autograd node, or as two for a cell of two stages."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Optional

import chainer
from chainer.utils import type_check

from chainer_lstm import kernels
from chainer_lstm.cells import Cell, Stage
from chainer_lstm.chainer_private import argname
from chainer_lstm.functions import composed, passes
from chainer_lstm.functions.chained import Chained
from chainer_lstm.functions.checks import same_dtype, variable
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.node import (
    as_variable,
    cast,
    check_unchanged,
    differentiated,
    full,
    replaced,
    widened,
)
from chainer_lstm.kernels import products
from chainer_lstm.kernels.engines.engine import Part

Named = Mapping[str, Any]


class Inputs:
    """The names of the inputs of a stage's node, in their order, and which outputs it retains."""

    def __init__(self, cell: Cell, stage: Stage) -> None:
        self.first = stage is cell.stages[0]
        required = [*stage.reads]
        required += ('x', 'W', 'b') if self.first else pending(cell)
        optional: list[str] = []
        for product in stage.products:
            found = [product.weight] if product.bias is None else [product.weight, product.bias]
            if product.state in stage.reads:
                required += found
            elif product.bias is None and set(product.gates) <= set(cell.inputs):
                optional += [product.state, *found]
            else:
                required += [product.state, *found]
        self.required = tuple(required)
        # states that come through products alone, and the weights of these: a first step lacks them
        self.all = (*required, *optional)
        self.retained = tuple([k for k, s in enumerate(stage.writes) if s in stage.needs])
        self.pending = pending(cell) if self.first else ()
        self.biases = ('b', *(product.bias for product in stage.products))


@functools.cache
def inputs_of(cell: Cell, stage: Stage) -> Inputs:
    """Return the names of the inputs of a stage's node."""
    return Inputs(cell, stage)


@functools.cache
def pending(cell: Cell) -> tuple[str, ...]:
    """Return the gates that the second stage activates, none for a cell of one stage."""
    return tuple(name for name in cell.gates if name not in cell.stages[0].gates)


class StageNode(Chained):
    """What the nodes of both stages share.

    Backward runs on arrays, unless the gradients are to be differentiated
    again (``chainer.config.enable_backprop``), or the cell has no ``backward``:
    then the step is computed once more, on variables.

    Args:
        cell: the cell.
        stage: one of its stages.
        names: of the inputs, in their order.
    """

    def __init__(self, cell: Cell, stage: Stage, names: Sequence[str]) -> None:
        super().__init__()
        self.cell = cell
        self.stage = stage
        self.names = names
        self.noise: Sequence[Any] = ()

    @property
    def label(self) -> str:
        """The name in graphs and of hooks."""
        return f'{type(self.cell).__name__}Step'

    @property
    def kind(self) -> Hashable:
        return type(self), self.cell, self.names

    def state_of(self, named: Named, batch: int) -> Any:
        """Return the states among the inputs, the rows that the step advances."""
        found = [named[name][:batch] if name in named else None for name in self.cell.states]
        return self.cell.State(*found)

    def wanted(self, indexes: Sequence[int]) -> set[str]:
        """Return the names of the weights whose products a wanted gradient comes through."""
        names = {self.names[i] for i in indexes}
        found = {p.weight for p in self.stage.products if p.state in names}
        if 'x' in names:
            found.add('W')
        return found.intersection(self.names)

    def of_all_rows(self, gradient: Any, x: Any, of_output: Any) -> Any:
        """Return the gradient of all rows of a state: that of the rows that were carried is the
        one of the output.
        """
        batch = len(gradient)
        if batch == len(x):
            return gradient
        xp = chainer.backend.get_array_module(x)
        found = xp.zeros(x.shape, gradient.dtype)
        found[:batch] = gradient
        if of_output is not None:
            found[batch:] = of_output[batch:]
        return found


class StepNode(StageNode):
    """The first stage of a step: inputs as ``Inputs`` names them -> the new states, and the
    gates that a second stage activates.

    Where x has fewer rows than a state that is not the last one, the other rows of it are carried.
    Steps are chained through their first input: the step that made it receives the gradient of its
    output from here, so it runs in the same backward pass.
    """

    gates: Any = None

    def __init__(self, cell: Cell, names: Sequence[str]) -> None:
        super().__init__(cell, cell.stages[0], names)

    @property
    def weights(self) -> Any:
        return products.weight_gradients(self.cell, self.stage, tuple(self.cell.gates))

    def apply(self, inputs: tuple) -> tuple:
        try:
            return super().apply(inputs)
        except (AttributeError, TypeError):
            for name, x in zip(self.names, inputs):
                variable(name, x)  # in Chainer's words it is hard to see which one is no array
            raise

    def check_type_forward(self, in_types: Any) -> None:
        argname(in_types, self.names)
        cell, types = self.cell, dict(zip(self.names, in_types))
        x, W, b = types['x'], types['W'], types['b']
        states = {name: types[name] for name in cell.states if name in types}
        type_check.expect(x.dtype.kind == 'f', W.dtype.kind == 'f')
        same_dtype('x', b=b, x=x)
        for name, state in states.items():
            same_dtype(name, **{name: state, 'x': x})
            type_check.expect(state.ndim == 2)
        units = types[self.names[0]].shape[1]
        type_check.expect(x.ndim == 2, W.ndim == 2, b.ndim == 1)
        type_check.expect(
            x.shape[1] == W.shape[1],
            W.shape[0] == len(cell.inputs) * units,
            b.shape[0] == W.shape[0],
        )
        for name, state in states.items():
            last = name == cell.states[-1]
            rows = state.shape[0] == x.shape[0] if last else x.shape[0] <= state.shape[0]
            type_check.expect(rows, state.shape[1] == units)
        check_products(cell, self.stage, types, units)

    def check_broadcasting(self) -> None:
        """Refuse shapes that NumPy would broadcast, where types are not checked.

        Raises:
            ValueError: a shape in ``self.shapes`` does not fit.
        """
        check_axes(self.names, self.shapes, biases=inputs_of(self.cell, self.stage).biases)
        shapes, last = dict(zip(self.names, self.shapes)), self.cell.states[-1]
        x, W, count = shapes['x'], shapes['W'], len(self.cell.inputs)
        for name in self.cell.states:
            state = shapes.get(name, (x[0], W[0] // count))
            rows = x[0] == state[0] if name == last else x[0] <= state[0]
            if not rows or W[0] != count * state[1]:
                raise ValueError(
                    f'expected {name} ({"B" if name == last else "B0"}, H), x (B, I) and '
                    f'W ({count}H, I), B <= B0, got shapes {state}, {x} and {W}'
                )

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.shapes = [x.shape for x in inputs]
        if not chainer.config.type_check:
            self.check_broadcasting()
        cell, of_stage = self.cell, inputs_of(self.cell, self.stage)
        self.retain_outputs(of_stage.retained)
        given = dict(zip(self.names, inputs))
        x = given['x']
        engine = engine_of(x)
        wide = widened(engine, inputs)
        named = given if wide is inputs else dict(zip(self.names, wide))
        state = self.state_of(named, len(x))
        if cell.noise and chainer.config.train and not self.noise:
            like = named[self.names[0]]
            self.noise = cell.draw(engine.xp, (len(x), *like.shape[1:]), like.dtype)
        self.gates, found = self.compute(engine, named, state)
        outputs = []
        for name in self.stage.writes:
            outputs.append(self._output(engine, getattr(found, name), given.get(name), x))
        for name in of_stage.pending:
            outputs.append(products.columns(self.gates, cell.gates, (name,)).copy('C'))
        self.outputs_of = [(y.shape, y.dtype) for y in outputs]
        return tuple(outputs)

    def compute(self, engine: kernels.Engine, named: Named, state: Any) -> tuple[Any, Any]:
        """Return the gates and the new state, of the inputs in one dtype."""
        return engine.step_forward(self.cell, self.stage, named['x'], state, named, self.noise)

    def _output(self, engine: kernels.Engine, y: Any, before: Any, x: Any) -> Any:
        """Return a new state in the dtype of x, with the rows that the step has left."""
        if y.dtype != x.dtype:
            y = y.astype(x.dtype)
        if before is None or y.shape == before.shape:
            return y
        if y.shape != (len(x), *before.shape[1:]):
            raise ValueError(
                f'expected weights that fit the state {before.shape}, and h of {len(x)} rows as x; '
                f'got a new state {y.shape}'
            )
        return engine.xp.concatenate((y, before[len(x) :])) if len(before) > len(x) else y

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        return self.gradients(indexes, grad_outputs, passes.handed())

    def gradients(self, indexes: tuple, grad_outputs: tuple, given: Optional[dict]) -> tuple:
        """``backward``, with what the nodes that ran before have handed."""
        check_unchanged(self)
        retained = self._retained()
        grad_outputs = tuple([full(g, *of) for g, of in zip(grad_outputs, self.outputs_of)])
        if chainer.config.enable_backprop or self.stage.backward is None:
            return differentiated(self, self.composed, indexes, grad_outputs)
        inputs = [node.data for node in self.inputs]  # what was retained, as arrays
        of_outputs = [None if g is None else g.array for g in grad_outputs]
        x = inputs[self.names.index('x')]
        engine, batch, dtype = engine_of(x), len(x), self.gates.dtype
        named = dict(zip(self.names, [v.astype(dtype, copy=False) for v in inputs]))
        state = self.state_of(named, batch)
        of_state = self.cell.State(**{
            name: None if g is None else g[:batch].astype(dtype, copy=False)
            for name, g in zip(self.stage.writes, of_outputs)
        })  # fmt: skip
        new = self.cell.State(**{
            name: y[:batch].astype(dtype, copy=False) for name, y in retained.items()
        })  # fmt: skip
        gpre = self._gpre(engine, of_outputs[len(self.stage.writes) :])
        weights = {name: named[name] for name in self.wanted(indexes)}
        gx, found = self.differentiate(engine, named, state, new, of_state, weights, gpre)

        before = self.inputs[0].creator_node
        if 0 not in indexes or not self.is_of_same_weights(before):
            before = None
        rows = {'gpre': gpre, 'x': named['x'], **dict(zip(self.cell.states, state))}
        result = self.weight_gradients(engine, rows, inputs, indexes, before, given)
        for i in indexes:
            name = self.names[i]
            if name == 'x':
                result[i] = gx.astype(inputs[i].dtype, copy=False)
            elif name in self.cell.states:
                gradient = getattr(found, name).astype(inputs[i].dtype, copy=False)
                of_output = dict(zip(self.stage.writes, of_outputs)).get(name)
                result[i] = self.of_all_rows(gradient, inputs[i], of_output)
        return tuple([as_variable(result.get(i)) for i in indexes])

    def differentiate(
        self,
        engine: kernels.Engine,
        named: Named,
        state: Any,
        new: Any,
        gradients: Any,
        weights: Named,
        gpre: Any,
    ) -> tuple[Any, Any]:
        """Return the gradients with respect to x and the states, and write ``gpre``."""
        return engine.step_backward(
            self.cell, self.stage, self.gates, state, new, gradients, weights, self.noise, gpre
        )

    def composed(self, inputs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        """Compute the outputs by Chainer's own functions."""
        dtype = self.gates.dtype
        named = {name: cast(x, dtype) for name, x in zip(self.names, inputs)}
        state = self.cell.State(*(named.get(name) for name in self.cell.states))
        gates, _, found = composed.run_step(
            self.cell, (self.stage,), self.parts(named), state, named, self.noise
        )
        dtype = inputs[self.names.index('x')].dtype
        states = [cast(getattr(found, name), dtype) for name in self.stage.writes]
        return [*states, *(getattr(gates, name) for name in pending(self.cell))]

    def parts(self, named: Named) -> list[Part]:
        """Return the pre-activations without products of states, variables."""
        x, W, b = named['x'], named['W'], named['b']
        return [Part(chainer.functions.linear(x, W, b), self.cell.inputs)]

    def _retained(self) -> dict[str, Any]:
        """Return the new states that backward needs, arrays."""
        needs = [k for k, name in enumerate(self.stage.writes) if name in self.stage.needs]
        found = {}
        for k, y in zip(needs, self.get_retained_outputs()):
            name, (shape, _) = self.stage.writes[k], self.outputs_of[k]
            if y.shape != shape:
                raise replaced(f'{name} of the output', shape, y.shape)
            found[name] = y.array
        return found

    def _gpre(self, engine: kernels.Engine, of_pending: Sequence[Any]) -> Any:
        """Return an array for the gradients of all gates, with those of pending gates in it."""
        gpre = engine.xp.empty_like(self.gates, order='C')
        for name, gradient in zip(pending(self.cell), of_pending):
            gate = products.columns(gpre, self.cell.gates, (name,))
            gate[...] = 0 if gradient is None else gradient
        return gpre


class FirstStage(StepNode):
    """The first node of a cell of two stages."""

    _outputs = None

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        """Hand the gradient of the first state to the node that made the last state of it,
        which will run later and adds its own.

        Chainer would add the two, for which it makes a node.
        """
        given = passes.handed()
        gradients, output = self.gradients(indexes, grad_outputs, given), self.output_before()
        both = output is not None and 0 in indexes and self._last() in indexes
        if chainer.config.enable_backprop or given is None or not both:
            return gradients
        given.setdefault((id(output), 'state'), {})[id(self)] = gradients[0].array
        return None, *gradients[1:]

    @property
    def outputs(self) -> Any:
        """References to the outputs, as Chainer sets them;
        a dead one for the first state where the graph was cut at it.

        This node runs all the same, for the gates, and would take the gradient of the state for
        itself.
        """
        found = self._outputs
        if found is None or found[0]() is None or found[0]().creator_node is self:
            return found
        return _dead, *found[1:]

    @outputs.setter
    def outputs(self, references: Any) -> None:
        self._outputs = references

    def output_before(self) -> Optional[SecondStage]:
        """Return the node that made the last state of this node's first one;
        None for the first step and where either was replaced.
        """
        last = self._last()
        output = None if last is None else self.inputs[last].creator_node
        same = type(output) is SecondStage and output.inputs[0] is self.inputs[0]
        return output if same else None

    def _last(self) -> Optional[int]:
        """Return the index of the last state among the inputs."""
        name = self.cell.states[-1]
        return self.names.index(name) if name in self.names else None


class SecondStage(StageNode):
    """The second node: inputs the new states that it reads, the gates that it activates, and its
    weights -> the states that it computes.

    A node of its own, because its outputs are functions of the variables of these states, as in
    Chainer: programs cut the graph there or take gradients.

    It is chained through the last state that the first node has got: the node that made it receives
    its gradient from there, after this node has run.

    Args:
        first: the first node.
    """

    def __init__(self, first: FirstStage) -> None:
        cell = first.cell
        super().__init__(cell, cell.stages[1], inputs_of(cell, cell.stages[1]).all)
        self.noise = first.noise
        self._gates = first.gates

    @property
    def label(self) -> str:
        """The name in graphs and of hooks."""
        return f'{type(self.cell).__name__}Output'

    @property
    def weights(self) -> Any:
        return products.weight_gradients(self.cell, self.stage, self.stage.gates)

    def check_type_forward(self, in_types: Any) -> None:
        argname(in_types, self.names)
        types = dict(zip(self.names, in_types))
        check_products(self.cell, self.stage, types, types[self.names[0]].shape[1])

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.shapes = [x.shape for x in inputs]
        engine = engine_of(inputs[0])
        named, batch = self._named(inputs), len(self._gates)
        self._gates, found = engine.step_forward(
            self.cell,
            self.stage,
            None,
            self.state_of(named, batch),
            named,
            self.noise,
            self._gates,
        )
        dtype = inputs[0].dtype
        return tuple([getattr(found, s).astype(dtype, copy=False) for s in self.stage.writes])

    def _named(self, inputs: Sequence[Any]) -> dict[str, Any]:
        dtype = self._gates.dtype
        return {name: x.astype(dtype, copy=False) for name, x in zip(self.names, inputs)}

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        given = passes.handed()
        if all(g is None for g in grad_outputs):
            return (None,) * len(indexes)
        check_unchanged(self)
        cell, stage = self.cell, self.stage
        inputs = [node.data for node in self.inputs]  # what was retained
        batch, like = len(self._gates), inputs[0]
        shape = batch, *like.shape[1:]
        grad_outputs = tuple([full(g, shape, like.dtype) for g in grad_outputs])
        if chainer.config.enable_backprop or stage.backward is None:
            return differentiated(self, self.composed, indexes, grad_outputs)
        engine, dtype = engine_of(like), self._gates.dtype
        named = self._named(inputs)
        of_outputs = {
            name: g if g is None else g.array.astype(dtype, copy=False)
            for name, g in zip(stage.writes, grad_outputs)
        }
        gpre = engine.xp.empty_like(self._gates, order='C')
        state = self.state_of(named, batch)
        _, found = engine.step_backward(
            cell,
            stage,
            self._gates,
            state,
            cell.State(),
            cell.State(**of_outputs),
            {name: named[name] for name in self.wanted(indexes)},
            self.noise,
            gpre,
        )
        gpre = products.columns(gpre, cell.gates, stage.gates)
        before = self._before() if set(range(len(stage.reads) + 1)) <= set(indexes) else None
        rows = {'gpre': gpre, **dict(zip(cell.states, state))}
        result = self.weight_gradients(engine, rows, inputs, indexes, before, given)
        handed = given.pop((id(self), 'state'), {}) if given else {}  # from the steps after this
        for i, name in enumerate(self.names):
            if name in stage.reads:
                gradient = getattr(found, name).astype(inputs[i].dtype, copy=False)
                result[i] = self.of_all_rows(gradient, inputs[i], None)
                if i == 0:
                    result[i] = sum(handed.values(), result[i])
            elif name in stage.gates:
                result[i] = products.columns(gpre, stage.gates, (name,))
        return tuple([as_variable(result.get(i)) for i in indexes])

    def composed(self, inputs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        """Compute the outputs by Chainer's own functions."""
        dtype, batch = self._gates.dtype, len(self._gates)
        named = {name: cast(x, dtype) for name, x in zip(self.names, inputs)}
        state = self.state_of(named, batch)
        given = dict.fromkeys(self.cell.gates, 0)
        given.update((name, named[name]) for name in self.stage.gates)
        parts = [Part(value, (name,)) for name, value in given.items()]
        _, found = composed.run_stage(self.cell, self.stage, parts, state, named, self.noise)
        return [cast(getattr(found, name), inputs[0].dtype) for name in self.stage.writes]

    def _before(self) -> Optional[SecondStage]:
        """Return the node that made the last state of the first node, if its weights are these."""
        first = self.inputs[len(self.stage.reads)].creator_node
        if type(first) is not FirstStage:  # cut off
            return None
        last = first.names.index(self.cell.states[-1]) if self.cell.states[-1] in first.names else 0
        before = first.inputs[last].creator_node
        return before if last and self.is_of_same_weights(before) else None


def check_products(cell: Cell, stage: Stage, types: Named, units: Any) -> None:
    """Expect matrices (G H, H), and biases (G H,), of the products whose weights are given."""
    for product in stage.products:
        if product.weight not in types:
            continue
        W = types[product.weight]
        type_check.expect(W.dtype.kind == 'f', W.ndim == 2)
        if product.gates == cell.inputs:
            rows = types['W'].shape[0]
        else:
            rows = len(product.gates) * units if len(product.gates) > 1 else units
        type_check.expect(W.shape[0] == rows, W.shape[1] == units)
        if product.bias is not None:
            b = types[product.bias]
            same_dtype(product.bias, **{product.bias: b, 'x': types['x']})
            type_check.expect(b.ndim == 1)
            type_check.expect(b.shape[0] == W.shape[0])


def check_axes(
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    axes: int = 2,
    biases: Sequence[Optional[str]] = (),
) -> None:
    """Expect arrays of two axes, or of the given number; of one for biases.

    Raises:
        ValueError: one has another number.
    """
    for name, shape in zip(names, shapes):
        expected = 1 if name in biases else axes
        if len(shape) != expected:
            raise ValueError(f'expected {name} of {expected} axes, got shape {shape}')


def _dead() -> None:
    """Stand for a weak reference to what is gone."""
