"""``ConvLSTM2D``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Optional, Union

import chainer
import chainer.functions as F
import chainer.links as L
from chainer.utils import type_check

from chainer_lstm import functions, initializers
from chainer_lstm.functions.checks import size, variable
from chainer_lstm.functions.node import Input
from chainer_lstm.links import checks, parameters
from chainer_lstm.links.state import KeepsState, zeros

Pair = Union[int, Sequence[int]]


class ConvLSTM2D(KeepsState, chainer.Chain):
    """An LSTM over images that keeps its state, with convolutions in place of products.

    Shi et al. 2015, eq. 3, without the terms of c in the gates; * is a convolution::

        a, i, f, o = W * x + U * h + b          channel 4u + g is gate g of unit u
        c' = σ(f) c + σ(i) tanh(a)
        h' = σ(o) tanh(c')

    ``link(x)`` computes one time step, ``forward_sequence`` many, with one convolution of all x.
    ``reset_state()`` forgets the state, ``reset_state(rows)`` the state of some images.

    Args:
        in_channels: C, or None to take it from the first input.
        out_channels: H, the channels of c and h.
        ksize: of both convolutions, an integer or a pair; odd, so that h keeps its size.
        stride: of the convolution of x, an integer or a pair.
        pad: of the convolution of x, an integer or a pair; 'same' is ``ksize // 2``, which keeps
            the size of images at stride 1.  h is always padded with 'same'.
        lateral_init, upward_init: initializers of U and W.  Default: ``LeCunNormal``.
        bias_init: initializer of the biases of a, i and o.  Default: 0.
        forget_bias_init: initializer of the bias of f.  Default:
            ``chainer.config.lstm_forget_bias``, which is 1.

    Attributes:
        upward: ``Convolution2D``, ``W`` (4H, C, kh, kw), ``b`` (4H,).
        lateral: ``Convolution2D``, ``W`` (4H, H, kh, kw).
        c, h: the state, (B, H, rows, columns) variables, or None after ``reset_state``.
        persistent_state: whether the state is written and read by serializers too.

    Raises:
        TypeError: a size is not an integer, an initializer not callable.
        ValueError: a size is not positive, or ksize even.

    Example:
        >>> import numpy
        >>> lstm = ConvLSTM2D(3, 8, ksize=3)
        >>> h = lstm(numpy.ones((2, 3, 16, 16), 'f'))                       # one step
        >>> ys = lstm.forward_sequence(numpy.ones((5, 2, 3, 16, 16), 'f'))  # five more
        >>> h.shape, ys.shape
        ((2, 8, 16, 16), (5, 2, 8, 16, 16))
    """

    _batch_axis = 0

    def __init__(
        self,
        in_channels: Optional[int],
        out_channels: int,
        ksize: Pair,
        stride: Pair = 1,
        pad: Union[str, Pair] = 'same',
        *,
        lateral_init: Any = None,
        upward_init: Any = None,
        bias_init: Any = None,
        forget_bias_init: Any = None,
    ) -> None:
        super().__init__()
        initializers.check(lateral_init=lateral_init, upward_init=upward_init)
        if forget_bias_init is None:
            forget_bias_init = chainer.config.lstm_forget_bias
        in_channels = size('in_channels', in_channels, optional=True)
        self.state_size = size('out_channels', out_channels)
        ksize, stride = _pair('ksize', ksize), _pair('stride', stride)
        if ksize[0] % 2 == 0 or ksize[1] % 2 == 0:
            raise ValueError(f'expected an odd ksize, with which h keeps its size, got {ksize}')
        same = ksize[0] // 2, ksize[1] // 2
        if isinstance(pad, str) and pad != 'same':
            raise ValueError(f"expected pad to be 'same', an integer or a pair, got {pad!r}")
        pad = same if isinstance(pad, str) else _pair('pad', pad, zero=True)
        width = 4 * self.state_size
        with self.init_scope():
            self.upward = L.Convolution2D(
                in_channels,
                width,
                ksize,
                stride,
                pad,
                initialW=upward_init,
                initial_bias=initializers.GateBias(bias_init, forget_bias_init),
            )
            self.lateral = L.Convolution2D(
                self.state_size, width, ksize, 1, same, nobias=True, initialW=lateral_init
            )
        self.reset_state()

    def forward(self, x: Input) -> chainer.Variable:
        """Compute one time step and advance the state.

        Args:
            x: (B, C, rows, columns).

        Returns:
            h (B, H, rows, columns), with the rows and columns of the convolution of x.

        Raises:
            chainer.utils.type_check.InvalidType: a shape or dtype does not fit, such as a batch
                larger than the state.
        """
        x = checks.batch(x)
        if x.ndim != 4:
            raise type_check.InvalidType(
                'x.ndim == 4 (batch, channels, rows, columns)', f'{x.ndim}'
            )
        with self._sized_for(x):
            return self._step(self.upward(x))

    def forward_sequence(self, xs: Input) -> chainer.Variable:
        """Compute the outputs of all steps; the state is the same as after calling the link with
        each step.

        Args:
            xs: (T, B, C, rows, columns).

        Returns:
            (T, B, H, rows, columns).

        Raises:
            ValueError: xs has other axes, or no steps.
            chainer.utils.type_check.InvalidType: a shape or dtype does not fit.
        """
        x = variable('xs', xs)
        if x.ndim != 5 or not len(x):
            raise ValueError(
                f'expected xs of shape (time, batch, channels, rows, columns), got {x.shape}'
            )
        checks.floats(x.array[0])
        steps, batch, *image = x.shape
        with self._sized_for(x):
            pre = self.upward(F.reshape(x, (steps * batch, *image)))
            return F.stack([self._step(part) for part in F.split_axis(pre, steps, axis=0)])

    def _sized_for(self, x: chainer.Variable) -> AbstractContextManager[None]:
        """See ``parameters.sized_for``; the convolution initializes itself at its first call."""
        waiting = getattr(self.upward, 'W', None)
        return parameters.sized_for(x, self.upward, lambda size: None, waiting)

    def _step(self, pre: chainer.Variable) -> chainer.Variable:
        """Return h from the convolution of x, (B, 4H, rows, columns)."""
        expected = len(pre), self.state_size, *pre.shape[2:]
        c, h = self._states()
        for name, state in (('c', c), ('h', h)):
            if state is not None and state.shape != expected:
                raise type_check.InvalidType(
                    f'{name}.shape == {expected}', f'{state.shape} (reset_state() forgets it)'
                )
        if h is not None:
            pre += self.lateral(h)
        if c is None:
            c = zeros(self, expected, pre.dtype)
        self.c, self.h = functions.lstm(c, pre)
        return self.h

    def _first(self, name: str, rows: int, dtype: Any) -> chainer.Variable:
        with chainer.using_device(self.device):
            return chainer.Variable(self.xp.zeros((rows, 1, 1, 1), dtype))

    def _state_shape(self, rows: int) -> tuple[int, ...]:
        return rows, self.state_size, 0, 0

    def _checked_states(self, c: Any, h: Any) -> checks.States:
        return checks.states(c, h, ('batch', self.state_size, 'rows', 'columns'))


def _pair(name: str, value: Any, zero: bool = False) -> tuple[int, int]:
    """Return an integer twice, or a pair: positive integers, or also 0."""
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f'expected {name} to be an integer or a pair, got {value!r}')
    first, second = (0 if zero and v == 0 else size(name, v) for v in pair)
    return first, second
