"""Chainer's functions that rearrange what a node returns,
for gradients that broadcast to it (see ``node.full``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

import chainer
import numpy
from chainer import function_node
from chainer.functions.array import concat as _concat
from chainer.functions.array import permutate as _permutate
from chainer.functions.array import reshape as _reshape
from chainer.functions.array import split_axis as _split_axis
from chainer.functions.array import transpose as _transpose

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


class Permutate(_FullGradients, _permutate.Permutate):
    pass


class Reshape(_FullGradients, _reshape.Reshape):
    pass


class SplitAxis(_FullGradients, _split_axis.SplitAxis):
    pass


class Transpose(_FullGradients, _transpose.Transpose):
    pass


def concat(xs: Sequence[chainer.Variable], axis: int = 0) -> chainer.Variable:
    """Return the xs joined along an axis."""
    return Concat(axis).apply(tuple(xs))[0]


def all_rows(new: chainer.Variable, rest: Optional[chainer.Variable]) -> chainer.Variable:
    """Return a state after a step: the new rows and those that the step has left,
    if there are any.
    """
    if rest is None:
        return new
    return concat((new, rest)) if len(new) else rest


def permutate(
    x: chainer.Variable, indices: numpy.ndarray, axis: int = 0, inv: bool = False
) -> chainer.Variable:
    """Return x with its rows along an axis in the order of ``indices``; ``inv`` for the inverse."""
    return Permutate(indices, axis, inv).apply((x,))[0]


def reshape(x: chainer.Variable, shape: tuple[int, ...]) -> chainer.Variable:
    """Return x in another shape."""
    return x if x.shape == shape else Reshape(shape).apply((x,))[0]


def split_axis(
    x: chainer.Variable, indices: Union[Sequence[int], numpy.ndarray], axis: int = 0
) -> tuple[chainer.Variable, ...]:
    """Return the parts of x that begin at ``indices``, and the one before them."""
    return SplitAxis(indices, axis).apply((x,))


def transpose(x: chainer.Variable, axes: tuple[int, ...]) -> chainer.Variable:
    """Return x with its axes in another order."""
    return Transpose(axes).apply((x,))[0]
