"""Autograd nodes of trees: their base class, and a node with its products, for whole trees or one
node of each tree.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Optional

import chainer
import chainer.functions as F
import numpy
from chainer.utils import type_check

from chainer_lstm.cells import tree
from chainer_lstm.functions.checks import same_dtype
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.node import (
    Node,
    arrays,
    as_variable,
    cast,
    check_unchanged,
    differentiated,
    full,
    widened,
)
from chainer_lstm.kernels import forest, levels
from chainer_lstm.kernels.engines.engine import Engine

States = tuple[chainer.Variable, chainer.Variable]


class TreeNode(Node):
    """A node of states c, h of trees.

    Attributes:
        names: of the inputs; the first input has the dtype of all but the weights.
        weights: the names of the weights.
        engine, shapes, shape: from forward on, the engine that computes, the shapes of the inputs
            and the shape of c and h.
    """

    names: Sequence[str]
    weights: Sequence[str] = ()
    engine: Engine

    def check_type_forward(self, in_types: Any) -> None:
        type_check.expect(in_types[0].dtype.kind == 'f')
        for name, given in zip(self.names[1:], in_types[1:]):
            if name in self.weights:
                type_check.expect(given.dtype.kind == 'f')
            else:
                same_dtype(name, **{name: given, self.names[0]: in_types[0]})
        wrong = self._wrong([type_check.eval(each.shape) for each in in_types])
        if wrong is not None:
            name, expected, got = wrong
            raise type_check.InvalidType(f'{name}.shape == {expected}', f'{got}')

    def _wrong(self, shapes: Sequence[tuple[int, ...]]) -> Optional[tuple[str, Any, Any]]:
        """Return the name of an input of a wrong shape, and the shape expected and got."""
        expected = self.expected(shapes[0])
        for name, shape in zip(self.names, shapes):
            if shape != expected[name]:
                return name, expected[name], shape
        return None

    def expected(self, first: tuple[int, ...]) -> Mapping[str, Any]:
        """Return the shapes of the inputs from the shape of the first one; if that does not fit,
        its own entry is a description.
        """
        raise NotImplementedError

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.shapes = [x.shape for x in inputs]
        if not chainer.config.type_check:
            wrong = self._wrong(self.shapes)
            if wrong is not None:  # NumPy would broadcast
                raise ValueError('expected {} of shape {}, got {}'.format(*wrong))
        self.engine = engine_of(inputs[0])
        c, h = self.states(widened(self.engine, inputs))
        self.shape = c.shape
        return cast(c, inputs[0].dtype), cast(h, inputs[0].dtype)

    def states(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Compute c and h from arrays of one dtype."""
        raise NotImplementedError

    def backward(self, indexes: Sequence[int], grad_outputs: tuple) -> tuple:
        check_unchanged(self)
        dtypes = [node.dtype for node in self.inputs]
        given = tuple([full(g, self.shape, dtypes[0]) for g in grad_outputs])
        if chainer.config.enable_backprop:
            return differentiated(self, self.composed, indexes, given)
        found = self.gradients(*arrays(given))
        wanted = [found[i] if found[i] is None else cast(found[i], dtypes[i]) for i in indexes]
        return tuple([as_variable(x) for x in wanted])

    def gradients(self, gc: Any, gh: Any) -> Sequence[Any]:
        """Return the gradients with respect to the inputs from those of c and h; None for zeros."""
        raise NotImplementedError

    def composed(self, inputs: list[chainer.Variable]) -> Sequence[chainer.Variable]:
        """Compute the outputs by Chainer's own functions."""
        raise NotImplementedError


class Trees(TreeNode):
    """Inputs x (N, blocks H), the products of the input; the weights of the kind; cs (B, H) and
    hs (B, H) that are given -> c, h (N, H).

    Args:
        kind: the equations.
        plan: the levels.
        given: the number of cs.
    """

    def __init__(self, kind: levels.Kind, plan: levels.Plan, given: int = 0) -> None:
        super().__init__()
        self.cell, self.plan = kind, plan
        self.weights = kind.weights
        states = [f'{name}{k + 1}' for name in 'ch' for k in range(given)]
        self.names = ('x', *kind.weights, *states)
        self.given = given

    @property
    def label(self) -> str:
        """The name in graphs and of hooks."""
        return 'TreeLSTM'

    @property
    def kind(self) -> Hashable:
        return type(self), self.cell, self.names

    def expected(self, first: tuple[int, ...]) -> Mapping[str, Any]:
        blocks = self.cell.blocks
        if len(first) != 2 or first[1] % blocks or not first[1]:
            return {'x': f'(N, {blocks}H)'}
        rows, width = first
        units = width // blocks
        found = dict.fromkeys(self.names, (rows, units))
        found |= dict.fromkeys(self.weights, (width, units))
        if isinstance(self.cell, tree.ChildSum):
            found |= {'U_aio': (3 * units, units), 'U_f': (units, units)}
        return {**found, 'x': first}

    def states(self, inputs: Sequence[Any]) -> Sequence[Any]:
        x, weights, cs, hs = self._split(inputs)
        order = self.plan.order
        if order is not None:
            x = x[self.engine.xp.asarray(order)]
        self.saved = forest.forward(self.engine, self.cell, self.plan, x, weights, cs, hs)
        first = self.plan.given
        return [self._in_order(state[first:-1]) for state in (self.saved.c, self.saved.h)]

    def gradients(self, gc: Any, gh: Any) -> Sequence[Any]:
        _, weights, _, _ = self._split(arrays(self.get_retained_inputs()))
        saved, xp, order = self.saved, self.engine.xp, self.plan.order
        weights = [W.astype(saved.c.dtype, copy=False) for W in weights]
        buffers = xp.zeros((2, *saved.c.shape), saved.c.dtype)
        for buffer, g in zip(buffers, (gc, gh)):
            if g is not None:
                buffer[self.plan.given : -1] = g if order is None else g[xp.asarray(order)]
        gx, of_weights = forest.backward(self.engine, self.cell, saved, weights, *buffers)
        rows = len(gx)
        of_states = [g[k * rows : (k + 1) * rows] for g in buffers for k in range(self.given)]
        return [self._in_order(gx), *of_weights, *of_states]

    def composed(self, inputs: list[chainer.Variable]) -> Sequence[chainer.Variable]:
        x, weights, cs, hs = self._split([cast(x, self.saved.c.dtype) for x in inputs])
        c, h = composed(self.cell, self.plan, x, weights, cs, hs)
        return [cast(state, inputs[0].dtype) for state in (c, h)]

    def _split(self, inputs: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
        """Return x, the weights, cs and hs."""
        first = 1 + len(self.cell.weights)
        last = first + self.given
        return inputs[0], inputs[1:first], inputs[first:last], inputs[last:]

    def _in_order(self, rows: Any) -> Any:
        """Return rows of levels as a new array of the nodes in their order."""
        if self.plan.order is None:
            return rows.copy()
        found = self.engine.xp.empty_like(rows)
        found[self.engine.xp.asarray(self.plan.order)] = rows
        return found


def composed(
    kind: levels.Kind,
    plan: levels.Plan,
    x: chainer.Variable,
    weights: Sequence[Any],
    cs: Sequence[chainer.Variable] = (),
    hs: Sequence[chainer.Variable] = (),
) -> States:
    """Compute trees by Chainer's own functions, for gradients of any order.

    Args:
        kind, plan, x, cs, hs: as of ``Trees``.
        weights: matrices, or functions from h to its product.

    Returns:
        c, h (N, H).
    """
    xp = chainer.backend.get_array_module(x)
    units = x.shape[1] // kind.blocks
    if plan.order is not None:
        x = F.permutate(x, xp.asarray(plan.order, numpy.int32)) if len(x) else x
    c, h, first = [*cs], [*hs], len(cs)
    for level in plan.levels:
        aio, f, c_children = x[level.rows()], None, []
        if level.children is not None:
            index = xp.asarray(_places(level, plan.given + len(x)))
            c_children = F.separate(_taken(c, index))
            aio, f = kind.join(_linear, weights, aio, _taken(h, index), _total, _each)
        a, i, o = (aio[:, k * units : (k + 1) * units] for k in range(3))
        gates = tree.Gates([a], [i], o, [] if f is None else F.separate(f))
        c_new, h_new = tree.forward(F, gates, c_children)
        c.append(c_new)
        h.append(h_new)
    found = [F.concat(states, axis=0) for states in (c[first:], h[len(hs) :])]
    if plan.order is not None:
        order = xp.asarray(plan.order, numpy.int32)
        found = [F.permutate(state, order, inv=True) for state in found]
    return found[0], found[1]


def _places(level: levels.Level, missing: int) -> numpy.ndarray:
    """Return the rows of the children of each node (K, n), -1 where there is none."""
    rows = level.children
    if level.parents is not None:
        found = numpy.full((len(level.counts), level.stop - level.start), -1, numpy.int32)
        slots = numpy.repeat(numpy.arange(len(level.counts)), level.counts)
        found[slots, level.parents] = rows
        return found
    return numpy.where(rows == missing, -1, rows).astype(numpy.int32)


def _taken(states: Sequence[chainer.Variable], index: Any) -> chainer.Variable:
    return F.embed_id(index, F.concat(states, axis=0), ignore_label=-1)


def _total(x: chainer.Variable) -> chainer.Variable:
    return F.sum(x, axis=0)


def _each(x: chainer.Variable) -> chainer.Variable:
    return x  # it broadcasts


def _linear(x: chainer.Variable, W: Any) -> chainer.Variable:
    rows = F.reshape(x, (-1, x.shape[-1]))
    y: Any = W(rows) if callable(W) else F.linear(rows, W)
    return F.reshape(y, (*x.shape[:-1], y.shape[-1]))
