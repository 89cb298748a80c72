"""``tree_lstm`` and ``slstm``, as in Chainer: the state of a tree node from pre-activations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import chainer
import chainer.functions as F
from chainer.utils import type_check

from chainer_lstm.cells import tree
from chainer_lstm.functions.checks import variable
from chainer_lstm.functions.node import Input, cast
from chainer_lstm.functions.trees import States, TreeNode
from chainer_lstm.kernels import tree_gates


class _Combination(TreeNode):
    """Inputs: the cell states (B, H, …) of K children, then pre-activations -> c, h (B, H, …).

    Attributes:
        children: K.
        blocks: how many times as wide as a state pre-activations are.
        rows: the number of all gates.
    """

    children: int
    blocks: int
    rows: int

    @property
    def kind(self) -> Hashable:
        return type(self), self.children

    def expected(self, first: tuple[int, ...]) -> Mapping[str, Any]:
        if len(first) < 2:
            return {self.names[0]: '(B, H, …)'}
        batch, units = first[0], first[1]
        found = dict.fromkeys(self.names, (batch, self.blocks * units, *first[2:]))
        return {**found, **dict.fromkeys(self.names[: self.children], first)}

    def states(self, inputs: Sequence[Any]) -> Sequence[Any]:
        self.cs = inputs[: self.children]
        buffer = self._buffer(self.cs[0])
        self._read(buffer, inputs[self.children :])
        self.gates = self._gates(buffer)
        count = len(self.gates.a)
        c, self.t, h = tree_gates.forward(
            self.engine.xp, self.gates, buffer[:count], [buffer[count:]], self.cs
        )
        return c, h

    def gradients(self, gc: Any, gh: Any) -> Sequence[Any]:
        gc, gh = (0 if g is None else g for g in (gc, gh))
        xp, buffer = self.engine.xp, self._buffer(self.t)
        gcs = [xp.empty_like(c) for c in self.cs]
        tree_gates.backward(xp, self.gates, self.cs, self.t, gc, gh, self._gates(buffer), gcs)
        return [*gcs, *self._written(buffer)]

    def composed(self, inputs: list[chainer.Variable]) -> Sequence[chainer.Variable]:
        wide = [cast(x, self.t.dtype) for x in inputs]
        cs, xs = wide[: self.children], wide[self.children :]
        states = tree.forward(F, self._gates(self._parts(xs)), cs)
        return [cast(s, inputs[0].dtype) for s in states]

    def _buffer(self, like: Any) -> Any:
        """Return an uninitialized array of all gates of states."""
        return self.engine.xp.empty((self.rows, *like.shape), like.dtype)

    def _gates(self, parts: Any) -> tree.Gates:
        """Return the gates in an array of all, or in a sequence of variables."""
        raise NotImplementedError

    def _read(self, buffer: Any, xs: Sequence[Any]) -> None:
        """Write pre-activations into the array of all gates."""
        raise NotImplementedError

    def _written(self, buffer: Any) -> Sequence[Any]:
        """Return the gradients of all gates as those of pre-activations."""
        raise NotImplementedError

    def _parts(self, xs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        """Return all gates of pre-activations, variables."""
        raise NotImplementedError


class TreeLSTM(_Combination):
    """Inputs c_1, … c_K (B, H, …), x (B, (3 + K) H, …): blocks of H columns."""

    def __init__(self, children: int) -> None:
        super().__init__()
        self.children = children
        self.blocks = self.rows = 3 + children
        self.names = (*(f'c{k + 1}' for k in range(children)), 'x')

    def _gates(self, parts: Any) -> tree.Gates:
        a, i, o, *f = parts
        return tree.Gates([a], [i], o, f)

    def _read(self, buffer: Any, xs: Sequence[Any]) -> None:
        buffer[...] = self._by_gate(xs[0])

    def _written(self, buffer: Any) -> Sequence[Any]:
        gx = self.engine.xp.empty(self.shapes[-1], buffer.dtype)
        self._by_gate(gx)[...] = buffer
        return [gx]

    def _by_gate(self, x: Any) -> Any:
        """Return (B, (3 + K) H, …) as (3 + K, B, H, …), a view."""
        batch, width, *rest = x.shape
        return x.reshape((batch, self.blocks, width // self.blocks, *rest)).swapaxes(0, 1)

    def _parts(self, xs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        return F.split_axis(xs[0], self.blocks, axis=1)


class SLSTM(_Combination):
    """Inputs c_prev1, c_prev2 (B, H, …), x1, x2 (B, 4H, …): a, i, f, o interleaved."""

    names = ('c_prev1', 'c_prev2', 'x1', 'x2')
    children = 2
    blocks = 4
    rows = 7

    def _gates(self, parts: Any) -> tree.Gates:
        a1, a2, i1, i2, f1, f2, o = parts
        return tree.Gates([a1, a2], [i1, i2], o, [f1, f2])

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

    def _parts(self, xs: Sequence[chainer.Variable]) -> Sequence[chainer.Variable]:
        (a1, i1, f1, o1), (a2, i2, f2, o2) = (F.separate(_interleaved(x)) for x in xs)
        return a1, a2, i1, i2, f1, f2, o1 + o2


def _interleaved(x: Any) -> Any:
    """Return (B, 4H, …) as (4, B, H, …), a view of an array, or a variable."""
    batch, width, *rest = x.shape
    axes = (2, 0, 1, *range(3, 3 + len(rest)))
    return x.reshape((batch, width // 4, 4, *rest)).transpose(axes)


def tree_lstm(*inputs: Input) -> States:
    """Compute the state of a tree node from its children, as ``chainer.functions.tree_lstm``.

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

    Example:
        >>> import numpy
        >>> left, right = numpy.ones((2, 3, 20), 'f')
        >>> c, h = tree_lstm(left, right, numpy.ones((3, 100), 'f'))
        >>> c.shape, h.shape
        ((3, 20), (3, 20))
    """
    if len(inputs) < 2:
        raise type_check.InvalidType('in_types.size() >= 2 (children and x)', f'{len(inputs)}')
    node = TreeLSTM(len(inputs) - 1)
    return node.apply(tuple([variable(*each) for each in zip(node.names, inputs)]))


def slstm(c_prev1: Input, c_prev2: Input, x1: Input, x2: Input) -> States:
    """Compute the state of a binary tree node from its children, as ``chainer.functions.slstm``.

    c = Σ σ(i_k) tanh(a_k) + Σ σ(f_k) c_k, h = σ(o_1 + o_2) tanh(c), k = 1, 2.  S-LSTM, Zhu et al.
    2015; the paper adds a and i before activation, Chainer and therefore this function after it.

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

    Example:
        >>> import numpy
        >>> left, right = numpy.ones((2, 3, 20), 'f')
        >>> c, h = slstm(left, right, numpy.ones((3, 80), 'f'), numpy.ones((3, 80), 'f'))
        >>> c.shape, h.shape
        ((3, 20), (3, 20))
    """
    given = zip(SLSTM.names, (c_prev1, c_prev2, x1, x2))
    return SLSTM().apply(tuple([variable(*each) for each in given]))
