"""``linear`` with the engine's products: the threads of a BLAS keep spinning after a product and
would slow down the LSTM that runs next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import chainer
import chainer.functions as F
import numpy
from chainer.backends import cuda
from chainer.utils import type_check

from chainer_lstm.chainer_private import argname
from chainer_lstm.functions.checks import same_dtype, variable
from chainer_lstm.functions.config import engine_of, is_static_graph
from chainer_lstm.functions.node import Input, Node, arrays, check_unchanged, differentiated, full


class Linear(Node):
    """Inputs x (N, I), W (O, I), b (O,) -> x Wᵀ + b (N, O)."""

    names = ('x', 'W', 'b')

    def check_type_forward(self, in_types: Any) -> None:
        argname(in_types, self.names)
        x, W, b = in_types
        type_check.expect(
            x.dtype.kind == 'f',
            W.dtype == x.dtype,
            b.dtype == x.dtype,
            x.ndim == 2,
            W.ndim == 2,
            b.ndim == 1,
        )
        type_check.expect(x.shape[1] == W.shape[1], b.shape[0] == W.shape[0])

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs((0, 1, 2))
        self.shapes = [x.shape for x in inputs]
        return (engine_of(inputs[0]).linear(*inputs),)

    def backward(self, indexes: Sequence[int], grad_outputs: tuple) -> tuple:
        check_unchanged(self)
        inputs = self.get_retained_inputs()
        grad_outputs = (
            full(grad_outputs[0], (inputs[0].shape[0], inputs[1].shape[0]), inputs[0].dtype),
        )
        if chainer.config.enable_backprop:
            return differentiated(self, lambda given: [F.linear(*given)], indexes, grad_outputs)
        x, W, gy = arrays((*inputs[:2], *grad_outputs))
        engine = engine_of(x)
        gradients = (
            lambda: engine.matmul(gy, W),
            lambda: engine.matmul(gy.T, x),
            lambda: engine.column_sums(gy),
        )
        return tuple(chainer.as_variable(gradients[i]()) for i in indexes)


def _is_computed(x: chainer.Variable, W: chainer.Variable, b: chainer.Variable) -> bool:
    """Return whether an engine computes the product of such arrays."""
    if isinstance(x.array, numpy.ndarray):
        fits = x.dtype in ('f', 'd')
    else:
        fits = isinstance(x.array, cuda.ndarray)
    return fits and x.ndim == 2 and W.dtype == b.dtype == x.dtype


def linear(
    x: Input, W: Input, b: Optional[Input] = None, n_batch_axes: int = 1
) -> chainer.Variable:
    """``chainer.functions.linear`` with the products of the LSTM's engine, on a GPU as exact as
    ``chainer.config.lstm_matmul_precision`` asks for.

    Anything but 2-D arrays of one dtype, float32 or float64 (on a GPU also float16), with a bias is
    delegated to Chainer's function.

    Args:
        x: (N, I).
        W: (O, I).
        b: (O,).
        n_batch_axes: how many leading axes of x are of the batch; the others are flattened.

    Returns:
        x Wᵀ + b (N, O).

    Raises:
        TypeError: an argument is not an array.
        ValueError: an entry of ``chainer.config`` names an engine that cannot compute such arrays.
        chainer.utils.type_check.InvalidType: a shape does not fit.

    Example:
        >>> import numpy
        >>> linear(numpy.ones((3, 10), 'f'), numpy.ones((20, 10), 'f'), numpy.zeros(20, 'f')).shape
        (3, 20)
    """
    x, W = variable('x', x), variable('W', W)
    b = None if b is None else variable('b', b)
    if b is not None and x.dtype.kind == b.dtype.kind == 'f':
        same_dtype('x', b=b, x=x)
    # NumPy broadcasts, where types are not checked
    if b is not None and not chainer.config.type_check and (W.ndim != 2 or b.shape != W.shape[:1]):
        raise ValueError(f'expected W (O, I) and b (O,), got shapes {W.shape} and {b.shape}')
    if b is not None and n_batch_axes == 1 and not is_static_graph() and _is_computed(x, W, b):
        return Linear().apply((x, W, b))[0]
    return F.linear(x, W, b, n_batch_axes)
