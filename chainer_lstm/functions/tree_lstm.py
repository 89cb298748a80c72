"""``tree_lstm`` and ``slstm``, as Chainer's: the state of a node of a tree, of pre-activations."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import chainer
import chainer.functions as F
from chainer.utils import type_check

from chainer_lstm.cells import tree
from chainer_lstm.functions.checks import same_dtype, variable
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.node import (
    Input,
    Node,
    arrays,
    as_variable,
    cast,
    check_unchanged,
    differentiated,
    full,
    widened,
)
from chainer_lstm.functions.trees import States
from chainer_lstm.kernels import tree_gates


class _Combination(Node):
    """Inputs: the cell states (B, H, …) of K children, then pre-activations -> c, h (B, H, …).

    Attributes:
        names: those of the inputs.
        children: K.
        blocks: how many times as wide as a state pre-activations are.
    """

    names: tuple[str, ...]
    children: int
    blocks: int

    @property
    def kind(self) -> Hashable:
        return type(self), self.children

    def check_type_forward(self, in_types: Any) -> None:
        first, *others = in_types
        type_check.expect(first.dtype.kind == 'f')
        for name, other in zip(self.names[1:], others):
            same_dtype(name, **{name: other, self.names[0]: first})
        self._check_shapes([type_check.eval(each.shape) for each in in_types], _invalid)

    def _check_shapes(self, shapes: Sequence[tuple[int, ...]], refuse: Any) -> None:
        """Refuse shapes that do not fit, of which NumPy would broadcast some."""
        c: Any = shapes[0]
        if len(c) < 2:
            refuse(self.names[0], '(B, H, …)', c)
        batch, units, *rest = c
        wide = (batch, self.blocks * units, *rest)
        for k, (name, shape) in enumerate(zip(self.names, shapes)):
            expected = c if k < self.children else wide
            if shape != expected:
                refuse(name, expected, shape)

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs(range(len(inputs)))
        self.shapes = [x.shape for x in inputs]
        if not chainer.config.type_check:
            self._check_shapes(self.shapes, _refuse)
        dtype, self.engine = inputs[0].dtype, engine_of(inputs[0])
        wide, xp = widened(self.engine, inputs), self.engine.xp
        self.cs = wide[: self.children]
        buffer, self.gates = self._room(self.cs[0])
        self._read(buffer, wide[self.children :])
        tanhs, sigmoids = self._tanhs(buffer), [self._sigmoids(buffer)]
        c, self.t, h = tree_gates.forward(xp, self.gates, tanhs, sigmoids, self.cs)
        return c.astype(dtype, copy=False), h.astype(dtype, copy=False)

    def backward(self, indexes: Sequence[int], grad_outputs: tuple) -> tuple:
        check_unchanged(self)
        shape, dtype = self.shapes[0], self.inputs[0].dtype
        grad_outputs = tuple([full(g, shape, dtype) for g in grad_outputs])
        if chainer.config.enable_backprop:
            return differentiated(self, self.composed, indexes, grad_outputs)
        gc, gh = (0 if g is None else g for g in arrays(grad_outputs))
        xp = self.engine.xp
        buffer, room = self._room(self.t)
        gcs = [xp.empty_like(c) for c in self.cs]
        tree_gates.backward(xp, self.gates, self.cs, self.t, gc, gh, room, gcs)
        found = [*gcs, *self._written(buffer)]
        return tuple([as_variable(found[k].astype(dtype, copy=False)) for k in indexes])

    def composed(self, inputs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        """Compute the outputs by Chainer's own functions."""
        wide = [cast(x, self.t.dtype) for x in inputs]
        cs, xs = wide[: self.children], wide[self.children :]
        return [cast(s, inputs[0].dtype) for s in tree.forward(F, self._gates_of(xs), cs)]

    def _room(self, like: Any) -> tuple[Any, tree.Gates]:
        """Return an uninitialized array of all gates of states, and each gate in it."""
        raise NotImplementedError

    def _read(self, buffer: Any, xs: Sequence[Any]) -> None:
        """Write pre-activations into the array of all gates."""
        raise NotImplementedError

    def _written(self, buffer: Any) -> Sequence[Any]:
        """Return the gradients of all gates as those of pre-activations."""
        raise NotImplementedError

    def _tanhs(self, buffer: Any) -> Any:
        raise NotImplementedError

    def _sigmoids(self, buffer: Any) -> Any:
        raise NotImplementedError

    def _gates_of(self, xs: Sequence[chainer.Variable]) -> tree.Gates:
        """Return the gates of pre-activations, variables."""
        raise NotImplementedError


def _invalid(name: str, expected: Any, got: Any) -> None:
    raise type_check.InvalidType(f'{name}.shape == {expected}', f'{got}')


def _refuse(name: str, expected: Any, got: Any) -> None:
    raise ValueError(f'expected {name} of shape {expected}, got {got}')


class TreeLSTM(_Combination):
    """Inputs c_1, … c_K (B, H, …), x (B, (3 + K) H, …): blocks of H columns."""

    def __init__(self, children: int) -> None:
        super().__init__()
        self.children, self.blocks = children, 3 + children
        self.names = (*(f'c{k + 1}' for k in range(children)), 'x')

    def _room(self, like: Any) -> tuple[Any, tree.Gates]:
        buffer = self.engine.xp.empty((self.blocks, *like.shape), like.dtype)
        a, i, o, *f = buffer
        return buffer, tree.Gates([a], [i], o, f)

    def _read(self, buffer: Any, xs: Sequence[Any]) -> None:
        buffer[...] = self._by_gate(xs[0])

    def _written(self, buffer: Any) -> Sequence[Any]:
        gx = self.engine.xp.empty(self.shapes[-1], buffer.dtype)
        self._by_gate(gx)[...] = buffer
        return [gx]

    def _by_gate(self, x: Any) -> Any:
        """(B, (3 + K) H, …) -> (3 + K, B, H, …), a view."""
        batch, width, *rest = x.shape
        return x.reshape((batch, self.blocks, width // self.blocks, *rest)).swapaxes(0, 1)

    def _tanhs(self, buffer: Any) -> Any:
        return buffer[:1]

    def _sigmoids(self, buffer: Any) -> Any:
        return buffer[1:]

    def _gates_of(self, xs: Sequence[chainer.Variable]) -> tree.Gates:
        a, i, o, *f = F.split_axis(xs[0], self.blocks, axis=1)
        return tree.Gates([a], [i], o, f)


class SLSTM(_Combination):
    """Inputs c_prev1, c_prev2 (B, H, …), x1, x2 (B, 4H, …): a, i, f, o interleaved."""

    names = ('c_prev1', 'c_prev2', 'x1', 'x2')
    children = 2
    blocks = 4

    def _room(self, like: Any) -> tuple[Any, tree.Gates]:
        buffer = self.engine.xp.empty((7, *like.shape), like.dtype)
        a1, a2, i1, i2, f1, f2, o = buffer
        return buffer, tree.Gates([a1, a2], [i1, i2], o, [f1, f2])

    def _read(self, buffer: Any, xs: Sequence[Any]) -> None:
        first, second = (_interleaved(x) for x in xs)
        buffer[0:6:2], buffer[1:6:2] = first[:3], second[:3]
        self.engine.xp.add(first[3], second[3], out=buffer[6])

    def _written(self, buffer: Any) -> Sequence[Any]:
        found = [self.engine.xp.empty(shape, buffer.dtype) for shape in self.shapes[2:]]
        for k, gx in enumerate(found):
            gates = _interleaved(gx)
            gates[:3], gates[3] = buffer[k:6:2], buffer[6]
        return found

    def _tanhs(self, buffer: Any) -> Any:
        return buffer[:2]

    def _sigmoids(self, buffer: Any) -> Any:
        return buffer[2:]

    def _gates_of(self, xs: Sequence[chainer.Variable]) -> tree.Gates:
        (a1, i1, f1, o1), (a2, i2, f2, o2) = (F.separate(_interleaved(x)) for x in xs)
        return tree.Gates([a1, a2], [i1, i2], o1 + o2, [f1, f2])


def _interleaved(x: Any) -> Any:
    """(B, 4H, …) -> (4, B, H, …), a view of an array, or a variable."""
    batch, width, *rest = x.shape
    axes = (2, 0, 1, *range(3, 3 + len(rest)))
    return x.reshape((batch, width // 4, 4, *rest)).transpose(axes)


def tree_lstm(*inputs: Input) -> States:
    """The state of a node of a tree from those of its children, as ``chainer.functions.tree_lstm``.

    c = σ(i) tanh(a) + Σ σ(f_k) c_k, h = σ(o) tanh(c).  Tai et al. 2015, eq. 9-14.

    Twice differentiable.

    Args:
        *inputs: the cell states c_1, … c_K (B, H, …) of the K children, K > 0; and the
            pre-activations x (B, (3 + K) H, …), of the same dtype: H columns each of a, i, o, f_1,
            … f_K.

    Returns:
        c, h (B, H, …).

    Raises:
        chainer.utils.type_check.InvalidType: no children, or shapes or dtypes that do not fit.
        TypeError: no arrays, or ChainerX arrays.
    """
    if len(inputs) < 2:
        raise type_check.InvalidType('in_types.size() >= 2 (children and x)', f'{len(inputs)}')
    node = TreeLSTM(len(inputs) - 1)
    return node.apply(tuple([variable(*each) for each in zip(node.names, inputs)]))


def slstm(c_prev1: Input, c_prev2: Input, x1: Input, x2: Input) -> States:
    """The state of a node of a binary tree from its two children, as ``chainer.functions.slstm``.

    c = Σ σ(i_k) tanh(a_k) + Σ σ(f_k) c_k, h = σ(o_1 + o_2) tanh(c), k = 1, 2.  S-LSTM, Zhu et al.
    2015; they add up a and i before activation, which Chainer, and therefore this function, does
    not.

    Twice differentiable.

    Args:
        c_prev1, c_prev2: (B, H, …), the cell states of the children.
        x1, x2: (B, 4H, …), of the same dtype, the pre-activations of each child, interleaved as
            those of ``lstm``: gate g of unit u is column 4u + g, in the order a, i, f, o.

    Returns:
        c, h (B, H, …).

    Raises:
        chainer.utils.type_check.InvalidType: shapes or dtypes do not fit.
        TypeError: no arrays, or ChainerX arrays.
    """
    given = zip(SLSTM.names, (c_prev1, c_prev2, x1, x2))
    return SLSTM().apply(tuple([variable(*each) for each in given]))
