"""``ChildSumTreeLSTM`` and ``NaryTreeLSTM``: node by node, or whole trees at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Optional

import chainer
import chainer.links as L
from chainer.utils import type_check

from chainer_lstm import functions
from chainer_lstm.cells import tree
from chainer_lstm.functions import trees
from chainer_lstm.functions.checks import on_cpu, same_dtype, size, variable
from chainer_lstm.functions.lstm import State
from chainer_lstm.functions.node import Input
from chainer_lstm.kernels import levels
from chainer_lstm.links import checks, parameters
from chainer_lstm.links.loading import CheckedLoading
from chainer_lstm.links.state import zeros
from chainer_lstm.links.stateful import flat


class _TreeLSTM(CheckedLoading):
    """The common base of both links; a subclass defines ``_kind`` and ``_products``."""

    in_size: Optional[int]
    state_size: int
    W_x: Any

    def forward(self, *cshsx: Optional[Input]) -> State:
        """Compute a node of each of a batch of trees.

        Args:
            *cshsx: c_1, … c_K, h_1, … h_K, x: the states (B, H) of the children, None for zeros;
                and the input (B, I), or (B, …), which is flattened to it, or None for zeros.

        Returns:
            c, h (B, H).

        Raises:
            TypeError: the number of arguments does not fit, or an argument is not an array.
            ValueError: all arguments are None.
            chainer.utils.type_check.InvalidType: a shape or dtype does not fit.
        """
        self._check_count(len(cshsx))
        count = len(cshsx) // 2
        x = self._input(cshsx)
        pairs = self._given(list(zip(cshsx[:count], cshsx[count:-1])))
        cs, hs = (
            [self._state(f'{name}{k + 1}', pair[place], x) for k, pair in enumerate(pairs)]
            for place, name in enumerate('ch')
        )
        plan = levels.single(len(pairs), len(x))
        with self.sized_for(x):
            return self._run(plan, x, cs, hs)

    def forward_trees(self, children: Any, x: Input) -> State:
        """Compute all nodes of a batch of trees, level by level: the leaves of all trees at once,
        then the nodes whose children are leaves, and so on.

        Args:
            children: for each of the N nodes of all trees, in any order, the numbers of its
                children: a list of lists, or an integer array (N, K) with -1 for no child.
                A number is a row of x.
            x: (N, I), or (N, …), which is flattened to it: the inputs of all nodes, zeros for nodes
                without an input.

        Returns:
            c, h (N, H), in the order of x.

        Raises:
            TypeError: children are not such lists or such an array, or not integers.
            ValueError: the number of nodes differs, a number is out of range, a node has too many
                children or two parents, or there is a cycle.
            chainer.utils.type_check.InvalidType: the shape or dtype of x does not fit.
        """
        x = checks.batch(x)
        if isinstance(children, chainer.get_array_types()):
            children = on_cpu(children)
        plan = levels.plan(children, len(x), self._kind())
        with self.sized_for(x):
            return self._run(plan, x)

    def sized_for(self, x: Any) -> AbstractContextManager[None]:
        """Initialize the parameters that wait for the size of x, see ``parameters.sized_for``."""
        return parameters.sized_for_linear(x, self, self.W_x)

    def _run(
        self, plan: levels.Plan, x: chainer.Variable, cs: Sequence[Any] = (), hs: Sequence[Any] = ()
    ) -> State:
        kind, products = self._kind(), self._products()
        if not parameters.is_plain_cell(self.W_x, *products):
            return trees.composed(kind, plan, self.W_x(x), products, cs, hs)
        pre = functions.linear(flat(x), self.W_x.W, self.W_x.b)
        weights = [product.W for product in products]
        return trees.Trees(kind, plan, len(cs)).apply((pre, *weights, *cs, *hs))

    def _input(self, cshsx: Sequence[Optional[Input]]) -> chainer.Variable:
        """Return x, or zeros if it is None."""
        if cshsx[-1] is not None:
            return checks.batch(cshsx[-1])
        given = [s for s in cshsx if s is not None]
        if not given:
            raise ValueError('All inputs (cs, hs, x) are None.')
        like, width = variable('a state', given[0]), self.in_size
        if width is None and self.W_x.W.array is not None:
            width = self.W_x.W.shape[1]
        if width is None:
            raise ValueError('expected x, from which in_size is taken, got None')
        return zeros(self, (len(like), width), like.dtype)

    def _state(self, name: str, state: Optional[Input], x: chainer.Variable) -> chainer.Variable:
        """Return a state of a child, or zeros if it is None."""
        expected = len(x), self.state_size
        if state is None:
            return zeros(self, expected, x.dtype)
        given = variable(name, state)
        if given.shape != expected:  # the composed path would broadcast
            raise type_check.InvalidType(f'{name}.shape == {expected}', f'{given.shape}')
        same_dtype(name, **{name: given, 'x': x})
        return given

    def _check_count(self, count: int) -> None:
        """Refuse another number of arguments of ``forward``."""
        raise NotImplementedError

    def _given(self, pairs: list) -> list:
        """Return the pairs c, h of the children to include."""
        raise NotImplementedError

    def _kind(self) -> levels.Kind:
        """Return the equations."""
        raise NotImplementedError

    def _products(self) -> list[Any]:
        """Return the links that multiply h, in the order of the weights of the equations."""
        raise NotImplementedError


class ChildSumTreeLSTM(_TreeLSTM, L.ChildSumTreeLSTM):
    """An LSTM over trees with any number of children, as ``chainer.links.ChildSumTreeLSTM``.

    The order of the children does not matter.  Tai et al. 2015, eq. 2-8, where a is called u::

        a, i, o = W_x x + W_h_aio Σ h_k         f_k = W_x x + W_h_f h_k
        c = σ(i) tanh(a) + Σ σ(f_k) c_k         h = σ(o) tanh(c)

    ``link(c_1, …, c_K, h_1, …, h_K, x)`` computes one node of each of a batch of trees, and
    ``forward_trees`` all nodes of a batch of trees of any shape.

    Args:
        in_size: I, or None to take it from the first input.
        out_size: H, the number of units.

    Attributes:
        W_x: ``Linear``, ``W`` (4H, I), ``b`` (4H,): H rows each of a, i, o, f.
        W_h_aio: ``Linear``, ``W`` (3H, H).
        W_h_f: ``Linear``, ``W`` (H, H).

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is not positive.

    Example:
        >>> import numpy
        >>> tree = ChildSumTreeLSTM(10, 20)
        >>> c, h = tree(numpy.ones((1, 10), 'f'))  # a leaf
        >>> c, h = tree(c, c, h, h, numpy.ones((1, 10), 'f'))  # a node with two children
        >>> children = [[], [], [0, 1]]  # the same tree at once
        >>> cs, hs = tree.forward_trees(children, numpy.ones((3, 10), 'f'))
        >>> h.shape, hs.shape
        ((1, 20), (3, 20))
    """

    def __init__(self, in_size: Optional[int], out_size: int) -> None:
        super().__init__(size('in_size', in_size, optional=True), size('out_size', out_size))

    def _check_count(self, count: int) -> None:
        if count % 2 == 0:
            raise TypeError(
                f'expected c and h of each child and x, an odd number of arguments, got {count}'
            )

    def _given(self, pairs: list) -> list:
        return [(c, h) for c, h in pairs if c is not None or h is not None]

    def _kind(self) -> levels.Kind:
        return tree.ChildSum()

    def _products(self) -> list[Any]:
        return [self.W_h_aio, self.W_h_f]


class NaryTreeLSTM(_TreeLSTM, L.NaryTreeLSTM):
    """An LSTM over trees with K places for children, as ``chainer.links.NaryTreeLSTM``.

    Tai et al. 2015, eq. 9-14, where a is called u, with the forget gates of Bowman et al. 2016::

        a, i, o, f_1, … f_K = W_x x + Σ W_hk h_k
        c = σ(i) tanh(a) + Σ σ(f_k) c_k         h = σ(o) tanh(c)

    ``link(c_1, …, c_K, h_1, …, h_K, x)`` computes one node of each of a batch of trees, and
    ``forward_trees`` all nodes of a batch of trees of any shape.

    Args:
        in_size: I, or None to take it from the first input.
        out_size: H, the number of units.
        n_ary: K.

    Attributes:
        W_x: ``Linear``, ``W`` ((3 + K) H, I), ``b`` ((3 + K) H,): H rows each of a, i, o, f_1, …
        W_h1, …: ``Linear``, ``W`` ((3 + K) H, H), one for each child.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is not positive.

    Example:
        >>> import numpy
        >>> tree = NaryTreeLSTM(10, 20)
        >>> c, h = tree(None, None, None, None, numpy.ones((1, 10), 'f'))  # a leaf
        >>> c, h = tree(c, None, h, None, numpy.ones((1, 10), 'f'))  # a node with a first child
        >>> children = [[], [], [0, 1]]  # a whole tree at once
        >>> cs, hs = tree.forward_trees(children, numpy.ones((3, 10), 'f'))
        >>> h.shape, hs.shape
        ((1, 20), (3, 20))
    """

    def __init__(self, in_size: Optional[int], out_size: int, n_ary: int = 2) -> None:
        super().__init__(
            size('in_size', in_size, optional=True),
            size('out_size', out_size),
            size('n_ary', n_ary),
        )

    def _check_count(self, count: int) -> None:
        expected = 2 * self.n_ary + 1
        if count != expected:
            raise TypeError(
                f'expected c and h of {self.n_ary} children and x, {expected} arguments, '
                f'got {count}'
            )

    def _given(self, pairs: list) -> list:
        return [] if all(s is None for pair in pairs for s in pair) else pairs

    def _kind(self) -> levels.Kind:
        return tree.Nary(self.n_ary)

    def _products(self) -> list[Any]:
        return [self[f'W_h{k + 1}'] for k in range(self.n_ary)]
