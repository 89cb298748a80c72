"""Softmax cross entropy over many classes, by the engine."""

from __future__ import annotations

from typing import Any

import chainer
import chainer.functions as F
import numpy
from chainer.backends import cuda
from chainer.functions.loss import softmax_cross_entropy as chainers
from chainer.utils import type_check

from chainer_lstm.chainer_private import check_classes, check_reduce_option
from chainer_lstm.functions.checks import variable
from chainer_lstm.functions.config import engine_of, is_static_graph
from chainer_lstm.functions.node import Input, Node, arrays, check_unchanged, full
from chainer_lstm.kernels.engines.types import Losses


class SoftmaxCrossEntropy(Node):
    """Inputs x (N, V) of floats, t (N,) integers -> loss () for reduce='mean', (N,) for 'no'.

    Forward saves what the engine needs for backward, which overwrites it; a second backward
    computes it again.
    """

    names = ('x', 't')

    def __init__(self, normalize: bool, ignore_label: int, reduce: str) -> None:
        super().__init__()
        check_reduce_option(reduce)
        self._losses = Losses(ignore_label, reduce == 'mean', bool(normalize))
        self._kept: Any = None

    def check_type_forward(self, in_types: Any) -> None:
        """``softmax_cross_entropy`` has checked them."""

    def forward(self, inputs: tuple) -> tuple:
        self.retain_inputs((0, 1))
        self.shapes = [x.shape for x in inputs]
        x, t = inputs
        losses = self._losses
        if chainer.is_debug():
            check_classes(x, t, losses.ignore_label)
        keep = chainer.config.enable_backprop
        loss, self._kept = engine_of(x).cross_entropy(x, t, losses, keep)
        return (loss,)

    def backward(self, indexes: tuple, grad_outputs: tuple) -> tuple:
        check_unchanged(self)
        x, t = self.get_retained_inputs()
        losses = self._losses
        gy = full(grad_outputs[0], () if losses.mean else t.shape, x.dtype)
        if chainer.config.enable_backprop:
            loss = chainers.softmax_cross_entropy(
                x,
                t.array,
                losses.normalize,
                ignore_label=losses.ignore_label,
                reduce='mean' if losses.mean else 'no',
                enable_double_backprop=True,
            )
            return *chainer.grad([loss], [x], [gy], enable_double_backprop=True), None
        x, t, gy = arrays((x, t, gy))
        engine = engine_of(x)
        kept, self._kept = self._kept, None
        if kept is None:
            _, kept = engine.cross_entropy(x, t, losses, True)
        gx = engine.cross_entropy_gradient(x, t, losses, gy, kept)
        return chainer.as_variable(gx), None


def _check(x: chainer.Variable, t: chainer.Variable, ignore_label: int) -> None:
    """Check types, shapes and classes.  Chainer checks most of this, but building its error message
    raises; and it takes negative classes for class 0.
    """
    expected = x.shape if t.dtype.kind == 'f' else (*x.shape[:1], *x.shape[2:])
    if x.ndim < 2 or x.dtype.kind != 'f' or t.dtype.kind not in 'if' or t.shape != expected:
        raise type_check.InvalidType(
            'x (N, V, ...) of floats and t (N, ...) of integers, or of floats as x',
            f'{x.dtype} {x.shape} and {t.dtype} {t.shape}',
        )
    if t.dtype.kind == 'i' and isinstance(t.array, numpy.ndarray):
        wrong = t.array[((t.array < 0) | (t.array >= x.shape[1])) & (t.array != ignore_label)]
        if wrong.size:
            raise ValueError(
                f'expected classes from 0 to {x.shape[1] - 1}, '
                f'or {ignore_label} for those to ignore, got {wrong.flat[0]}'
            )


def _is_computed(x: Any, t: Any) -> bool:
    """Return whether an engine computes the loss of arrays of these places and dtypes."""
    if isinstance(x, numpy.ndarray):
        return x.dtype.char in 'fd' and t.dtype.kind == 'i'
    return isinstance(x, cuda.ndarray) and t.dtype in (numpy.int32, numpy.int64)


def softmax_cross_entropy(
    x: Input,
    t: Input,
    normalize: bool = True,
    cache_score: bool = True,
    class_weight: Any = None,
    ignore_label: int = -1,
    reduce: str = 'mean',
    enable_double_backprop: bool = False,
    soft_target_loss: str = 'cross-entropy',
) -> chainer.Variable:
    """``chainer.functions.softmax_cross_entropy``, on the CPU in less time and memory, on a GPU by
    two kernels, and one for the gradient.

    Other inputs (float16 on the CPU, more axes, class weights, soft targets) go to Chainer's
    function.

    The loss of row n, whose right class is t::

        loss_n = log Σ_v exp(x_nv) - x_nt

    Args:
        x: (N, V) scores, float32 or float64, on a GPU also float16.
        t: (N,) the right classes, integers.  On a GPU they are not checked outside of debug mode;
            the loss of a class that is not there is NaN.
        normalize: divide the sum of the losses by the number of targets that
            are not ignored, instead of N.
        ignore_label: targets equal to it have the loss 0.
        reduce: 'mean' for one loss, 'no' for (N,).
        cache_score: whether Chainer's function keeps the softmax for backward.
        class_weight: (V,), what the losses of each class are multiplied by; None for 1.
        enable_double_backprop: whether Chainer's function is called.  Double backprop works with
            either value.
        soft_target_loss: 'cross-entropy' or 'kl-divergence', for t (N, V) of probabilities.

    Returns:
        The loss, () or (N,).

    Raises:
        TypeError: x or t is not an array.
        ValueError: an unknown ``reduce``, on the CPU a class out of range, or an entry of
            ``chainer.config`` names an engine that cannot compute such arrays.
        chainer.utils.type_check.InvalidType: a shape or dtype does not fit.

    Example:
        >>> import numpy
        >>> loss = softmax_cross_entropy(numpy.zeros((3, 10), 'f'), numpy.array([4, 0, -1]))
        >>> round(float(loss.array), 3)                             # log 10, of the two that count
        2.303
    """
    x, t = variable('x', x), variable('t', t)
    _check(x, t, ignore_label)
    if (
        _is_computed(x.array, t.array)
        and x.ndim == 2
        and x.shape[1]
        and class_weight is None
        and soft_target_loss == 'cross-entropy'
        and not enable_double_backprop
        and not is_static_graph()
    ):
        return SoftmaxCrossEntropy(normalize, ignore_label, reduce).apply((x, t))[0]
    return F.softmax_cross_entropy(
        x,
        t,
        normalize,
        cache_score,
        class_weight,
        ignore_label,
        reduce,
        enable_double_backprop,
        soft_target_loss,
    )
