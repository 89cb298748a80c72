"""``StatefulZoneoutLSTM``."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any, Optional

import chainer
import chainer.links as L

from chainer_lstm import functions
from chainer_lstm.cells import LSTMVariant
from chainer_lstm.functions.checks import number, size
from chainer_lstm.functions.lstm import State
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.step import composed_step
from chainer_lstm.links import parameters
from chainer_lstm.links.state import zeros
from chainer_lstm.links.stateful import Stateful, flat


class StatefulZoneoutLSTM(Stateful, L.StatefulZoneoutLSTM):
    """One step of an LSTM with zoneout, which keeps its state, as
    ``chainer.links.StatefulZoneoutLSTM``.

    In training each unit keeps its c with the probability ``c_ratio``, and its h with ``h_ratio``
    (Krueger et al. 2017).  In evaluation the link is an LSTM.  With the same seed the same units
    are kept as in Chainer's link, if both ratios are above 0.

    A batch may be smaller than the state: the first rows of the state are updated, the others stay.
    So sequences sorted by length, longest first, can be passed as one batch per time step.
    ``reset_state()`` forgets the state; ``copy('share')`` returns a link with the same parameters
    and a state of its own.

    With σ the logistic function, elementwise products, and kept_c, kept_h of 0 and 1::

        a = tanh(W_a x + b_a + U_a h)       i, f, o = σ(W x + b + U h)
        s = i a + f c                       c' = kept_c c + (1 - kept_c) s
        h' = kept_h h + (1 - kept_h) o tanh(s)

    Args:
        in_size: I, or None to take it from the first input.
        out_size: H, the number of units.
        c_ratio, h_ratio: the probabilities, from 0 to 1; also attributes that may be changed.
            Default: 0.5.

    Attributes:
        upward: ``Linear``, ``W`` (4H, I), ``b`` (4H,); row 4u + g is gate g of unit u, in the order
            a, i, f, o.
        lateral: ``Linear``, ``W`` (4H, H), with rows in the same order.
        c, h: the state, (B, H) variables, or None after ``reset_state``.
        persistent_state: whether serializers also write and read ``c`` and ``h``, so that a resumed
            run continues from the same state.  Default: False, as in Chainer, which can read
            either file.

    Raises:
        TypeError: a size is not an integer, a ratio not a number.
        ValueError: a size is not positive, or a ratio is out of range.

    Example:
        >>> import numpy
        >>> lstm = StatefulZoneoutLSTM(10, 20, c_ratio=0.5, h_ratio=0.1)
        >>> lstm(numpy.ones((3, 10), 'f')).shape
        (3, 20)
    """

    weight_keys = {'W': 'upward/W', 'b': 'upward/b', 'U': 'lateral/W'}

    def __init__(
        self,
        in_size: Optional[int],
        out_size: int,
        c_ratio: float = 0.5,
        h_ratio: float = 0.5,
        **kwargs: Any,
    ) -> None:
        in_size, out_size = size('in_size', in_size, optional=True), size('out_size', out_size)
        c_ratio, h_ratio = _ratio('c_ratio', c_ratio), _ratio('h_ratio', h_ratio)
        super().__init__(in_size, out_size, c_ratio, h_ratio, **kwargs)

    @property
    def cell(self) -> LSTMVariant:  # type: ignore[override]  # the ratios may change
        """The cell with the present ratios."""
        return _cell_of(self.c_ratio, self.h_ratio)

    def cell_weights(self) -> tuple[Any, ...]:
        """Return W, b, U, in the order of ``Cell.weights``."""
        return self.upward.W, self.upward.b, self.lateral.W

    def sized_for(self, x: Any) -> AbstractContextManager[None]:
        """Initialize the parameters that wait for the size of x, see ``parameters.sized_for``."""
        return parameters.sized_for_linear(x, self, self.upward)

    def _is_plain(self) -> bool:
        return parameters.is_plain_cell(self.upward, self.lateral)

    def _step(self, c: Input, h: Optional[Input], x: chainer.Variable) -> State:
        if h is None:
            h = zeros(self, (len(x), self.state_size), x.dtype)
        state = self.cell.State(c, h)
        if self._is_plain():
            return functions.step(self.cell, state, flat(x), self.cell_weights())
        return composed_step(self.cell, state, self.upward(x), {'U': self.lateral})


def _ratio(name: str, value: Any) -> float:
    ratio = number(name, value, 0)
    if ratio > 1:
        raise ValueError(f'expected {name} to be from 0 to 1, got {ratio}')
    return ratio


@functools.lru_cache(maxsize=32)
def _cell_of(c_ratio: float, h_ratio: float) -> LSTMVariant:
    return LSTMVariant(zoneout=(c_ratio, h_ratio))
