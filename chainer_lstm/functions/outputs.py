"""Chainer's functions that rearrange what a node returns, for gradients that broadcast to it (see ``node.full``)."""
from __future__ import annotations

from collections.abc import Sequence

import chainer
import numpy
from chainer.functions.array import concat as _concat
from chainer.functions.array import permutate as _permutate
from chainer.functions.array import reshape as _reshape
from chainer.functions.array import split_axis as _split_axis
from chainer.functions.array import transpose as _transpose

from chainer_lstm.functions.node import full


class _FullGradients:
    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        nodes = [output() for output in self.outputs]
        shapes = [None if node is None else node.shape for node in nodes]
        return super().backward(indexes, full(grad_outputs, shapes))


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


def concat(xs: Sequence[chainer.Variable]) -> chainer.Variable:
    """Return the rows of all xs, one after the other."""
    return Concat(0).apply(xs)[0]


def permutate(x: chainer.Variable, indices: numpy.ndarray, axis: int = 0, inv: bool = False) -> chainer.Variable:
    """Return x with its rows along an axis in the order of ``indices``; ``inv`` for the inverse."""
    return Permutate(indices, axis, inv).apply((x,))[0]


def reshape(x: chainer.Variable, shape: tuple[int, ...]) -> chainer.Variable:
    """Return x in another shape."""
    return x if x.shape == shape else Reshape(shape).apply((x,))[0]


def split_axis(x: chainer.Variable, indices: Sequence[int], axis: int = 0) -> tuple[chainer.Variable, ...]:
    """Return the parts of x that begin at ``indices``, and the one before them."""
    return SplitAxis(indices, axis).apply((x,))


def transpose(x: chainer.Variable, axes: tuple[int, ...]) -> chainer.Variable:
    """Return x with its axes in another order."""
    return Transpose(axes).apply((x,))[0]

