"""``dropout`` on a GPU without a mask in memory."""

from __future__ import annotations

from typing import Any

import chainer.functions as F
from chainer.backends import cuda
from chainer.utils import type_check

from chainer_lstm.chainer_private import argname, setting
from chainer_lstm.functions.checks import variable
from chainer_lstm.functions.config import engine_of, is_static_graph
from chainer_lstm.functions.node import Input, Node, as_variable, full


class Dropout(Node):
    """Multiply the input by a mask.  The gradient is the same function of its own input.

    Args:
        ratio: how many numbers are dropped, in [0, 1).
        mask: a result of ``Engine.draw_mask``; None to draw one in forward.
    """

    def __init__(self, ratio: float, mask: Any = None) -> None:
        super().__init__()
        self._ratio = ratio
        self._mask = mask

    def check_type_forward(self, in_types: Any) -> None:
        argname(in_types, ('x',))
        type_check.expect(in_types[0].dtype.kind == 'f')

    def forward(self, inputs: tuple) -> tuple:
        (x,) = inputs
        self._of = x.shape, x.dtype
        engine = engine_of(x)
        if self._mask is None:
            self._mask = engine.draw_mask(x.shape, x.dtype, self._ratio)
        return (engine.dropout(x, self._mask),)

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        gy = full(grad_outputs[0], *self._of)
        if setting('enable_backprop'):
            return Dropout(self._ratio, self._mask).apply((gy,))
        return (as_variable(engine_of(gy.array).dropout(gy.array, self._mask)),)


def dropout(x: Input, ratio: float = 0.5, **options: Any) -> Any:
    """dropout(x, ratio=0.5, *, mask=None, return_mask=False)

    ``chainer.functions.dropout``, on a GPU by one kernel that saves no mask: backward computes its
    random numbers (Philox4x32-10) again.  ``cupy.random.seed`` sets their seed.

    On the CPU, and if a mask is given or returned, Chainer's function is called.

    Args:
        x: an array of floats.
        ratio: how many numbers are dropped, in [0, 1).
        mask: what x is multiplied by, of its shape, instead of a random one; None to draw it.
        return_mask: whether the mask is returned too.

    Returns:
        x with a random choice of its numbers set to 0 and the others divided by 1 - ratio; x itself
        if ``chainer.config.train`` is False.  With ``return_mask`` also the mask.

    Raises:
        TypeError: x is not an array.
        ValueError: the ratio is out of range, or an entry of ``chainer.config`` names an engine
            that cannot compute such arrays.
        chainer.utils.type_check.InvalidType: x is not of floats.

    Example:
        >>> import numpy
        >>> y = dropout(numpy.ones((2, 3), 'f'), 0.5)
        >>> set(y.array.ravel().tolist()) <= {0.0, 2.0}
        True
    """
    x = variable('x', x)
    if (
        isinstance(x.array, cuda.ndarray)
        and setting('train')
        and not options
        and 0 <= ratio < 1
        and not is_static_graph()
    ):
        return Dropout(float(ratio)).apply((x,))[0]
    return F.dropout(x, ratio, **options)
