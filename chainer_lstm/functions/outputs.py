"""Chainer's concat and reshape for the outputs of a node, which also take gradients that only
broadcast to the output (see ``node.full``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import chainer
from chainer import function_node
from chainer.functions.array import concat as _concat
from chainer.functions.array import reshape as _reshape

from chainer_lstm.functions.node import full


class _FullGradients(function_node.FunctionNode):
    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        given = zip(grad_outputs, self.outputs)
        return super().backward(
            indexes,
            tuple(
                g if g is None else full(g, output().shape, output().dtype) for g, output in given
            ),
        )


class Concat(_FullGradients, _concat.Concat):
    pass


class Reshape(_FullGradients, _reshape.Reshape):
    pass


def concat(xs: Sequence[chainer.Variable], axis: int = 0) -> chainer.Variable:
    """Return the xs joined along an axis."""
    return Concat(axis).apply(tuple(xs))[0]


def all_rows(new: chainer.Variable, rest: Optional[chainer.Variable]) -> chainer.Variable:
    """Return a state after a step: its new rows, then the rows that were carried over, if any."""
    if rest is None:
        return new
    return concat((new, rest)) if len(new) else rest


def checked(x: chainer.Variable) -> chainer.Variable:
    """Return x with its gradients checked; it may come from a function of the program."""
    return Reshape(x.shape).apply((x,))[0]


def reshape(x: chainer.Variable, shape: tuple[int, ...]) -> chainer.Variable:
    """Return x in another shape."""
    return x if x.shape == shape else Reshape(shape).apply((x,))[0]
