"""``LSTM`` and ``StatelessLSTM``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Optional

import chainer
import chainer.links as L
from chainer.links.rnn.lstm import LSTMBase

from chainer_lstm import cells, functions, initializers
from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import initialize_linear, initializer
from chainer_lstm.functions.checks import size
from chainer_lstm.functions.lstm import State
from chainer_lstm.functions.node import Input
from chainer_lstm.links import checks, parameters
from chainer_lstm.links.loading import CheckedLoading
from chainer_lstm.links.state import zeros
from chainer_lstm.links.stateful import Stateful, flat


class LSTMWeights(LSTMBase):
    """The common base of ``LSTM`` and ``StatelessLSTM``: checks, initializers per gate, ``copy``
    that initializes, and one step.

    Attributes:
        cell: the cell.
        weight_keys: the keys of the cell's weights in files, by name.
    """

    cell: Cell = cells.lstm
    weight_keys = {'W': 'upward/W', 'b': 'upward/b', 'U': 'lateral/W'}

    def __init__(
        self,
        in_size: Optional[int],
        out_size: Optional[int] = None,
        lateral_init: Any = None,
        upward_init: Any = None,
        bias_init: Any = None,
        forget_bias_init: Any = None,
    ) -> None:
        if out_size is None:
            in_size, out_size = None, in_size
        if forget_bias_init is None:
            forget_bias_init = chainer.config.lstm_forget_bias
        inits = {
            'lateral_init': lateral_init,
            'upward_init': upward_init,
            'bias_init': bias_init,
            'forget_bias_init': forget_bias_init,
        }
        initializers.check(**inits)
        super().__init__(
            size('in_size', in_size, optional=True), size('out_size', out_size), **inits
        )

    def cell_weights(self) -> tuple[Any, ...]:
        """Return W, b, U, in the order of ``Cell.weights``."""
        return self.upward.W, self.upward.b, self.lateral.W

    def is_as_made(self) -> bool:
        """Return whether ``upward`` and ``lateral`` are the original links, without hooks."""
        linears = ((self.upward, False), (self.lateral, True))
        return all(parameters.is_as_made(linear, nobias) for linear, nobias in linears)

    def sized_for(self, x: Any) -> AbstractContextManager[None]:
        """Initialize the parameters that wait for the size of x, see ``parameters.sized_for``."""
        return parameters.sized_for(x, self, self._initialize, parameters.weight_of(self.upward))

    def _initialize(self, in_size: int) -> None:
        initialize_linear(self.upward, in_size)
        self._initialize_params()

    def _initialize_params(self) -> None:
        units = self.state_size
        for g in range(4):
            # drawn in Chainer's order, so that the same seed gives the same weights
            for init, linear in (
                (self.lateral_init, self.lateral),
                (self.upward_init, self.upward),
            ):
                W = linear.W.array
                if isinstance(init, initializers.PerGate):
                    init.initializer(W.reshape(units, 4, -1)[:, g])
                else:
                    initializer(init)(W[g * units : (g + 1) * units])
        biases = self.upward.b.array.reshape(
            1, units, 4, 1
        )  # (1, units, 1) for each gate, the shape that Chainer gives to initializers
        for g, init in enumerate(
            (self.bias_init, self.bias_init, self.forget_bias_init, self.bias_init)
        ):
            initializer(init)(biases[:, :, g])

    def copy(self, mode: str = 'share') -> Any:
        """Return a copy as Chainer's ``copy``, but 'init' draws the weights as for a new link;
        in Chainer they are zero.

        Args:
            mode: 'share' for the same parameters, 'copy' for copies of them, 'init' for new ones.
        """
        link = super().copy(mode)
        linears = (link.upward, link.lateral)
        if mode == 'init' and all(
            type(linear) is L.Linear and linear.W.array is not None for linear in linears
        ):
            with chainer.using_device(link.device):
                link._initialize_params()
        return link

    def _step(self, c: Input, h: Optional[Input], x: chainer.Variable) -> State:
        if self._is_plain():
            return functions.lstm_step(c, h, flat(x), *self.cell_weights())
        pre = self.upward(x)
        if h is not None:
            pre += self.lateral(h)
        return functions.lstm(c, pre)

    def _is_plain(self) -> bool:
        return parameters.is_plain_cell(self.upward, self.lateral)


class StatelessLSTM(LSTMWeights, CheckedLoading, L.StatelessLSTM):
    """One LSTM step whose state the caller keeps, as ``chainer.links.StatelessLSTM``.

    With σ the logistic function and elementwise products (Gers et al. 2000)::

        a = tanh(W_a x + b_a + U_a h)       i, f, o = σ(W x + b + U h)
        c' = i a + f c                      h' = o tanh(c')

    Args:
        in_size: I, or None to take it from the first input.  One size alone is out_size.
        out_size: H, the number of units.
        lateral_init, upward_init: initializers of the weights of h and of x, called on four
            consecutive blocks of H rows, in which the interleaved gates are mixed, as in Chainer;
            ``initializers.PerGate`` for one call per gate.  Default: ``LeCunNormal``.
        bias_init: initializer of the biases of a, i and o.  Default: 0.
        forget_bias_init: initializer of the bias of f.  Default:
            ``chainer.config.lstm_forget_bias``, which is 1.

    Attributes:
        upward: ``Linear``, ``W`` (4H, I), ``b`` (4H,); row 4u + g is gate g of unit u, in the order
            a, i, f, o.
        lateral: ``Linear``, ``W`` (4H, H), with rows in the same order.

    Raises:
        TypeError: a size is not an integer, an initializer not callable.
        ValueError: a size is not positive.

    Example:
        >>> import numpy
        >>> lstm = StatelessLSTM(10, 20)
        >>> c, h = lstm(None, None, numpy.ones((3, 10), 'f'))
        >>> c, h = lstm(c, h, numpy.ones((3, 10), 'f'))
        >>> c.shape, h.shape
        ((3, 20), (3, 20))
    """

    def forward(self, c: Optional[Input], h: Optional[Input], x: Input) -> State:
        """Compute one time step from a state that the caller keeps.

        Args:
            c: (B0, H), or None for zeros.  With B < B0 the other rows are carried over unchanged.
            h: (B, H), or None for zeros.
            x: (B, I), or (B, …), which is flattened to it.  Either h or x may have a single row,
                which is used for all B rows.

        Returns:
            c (B0, H), h (B, H).

        Raises:
            chainer.utils.type_check.InvalidType: a shape or dtype does not fit.
        """
        x = checks.batch(x)
        c = zeros(self, (len(x), self.state_size), x.dtype) if c is None else c
        with self.sized_for(x):
            rows = getattr(h, 'shape', x.shape)[:1]
            if rows != x.shape[:1] and 1 in (*rows, len(x)):
                return functions.lstm(
                    c, self.upward(x) + self.lateral(h)
                )  # a single row is used for all
            return self._step(c, h, x)


class LSTM(LSTMWeights, Stateful, L.LSTM):
    """One LSTM step that keeps its state, as ``chainer.links.LSTM``.

    With σ the logistic function and elementwise products (Gers et al. 2000)::

        a = tanh(W_a x + b_a + U_a h)       i, f, o = σ(W x + b + U h)
        c' = i a + f c                      h' = o tanh(c')

    A batch may be smaller than the state: the first rows of the state are updated, the others stay.
    So sequences sorted by length, longest first, can be passed as one batch per time step.
    ``reset_state()`` forgets the state; ``copy('share')`` returns a link with the same parameters
    and a state of its own.

    Args:
        in_size: I, or None to take it from the first input.  One size alone is out_size.
        out_size: H, the number of units.
        lateral_init, upward_init: initializers of the weights of h and of x, called on four
            consecutive blocks of H rows, in which the interleaved gates are mixed, as in Chainer;
            ``initializers.PerGate`` for one call per gate.  Default: ``LeCunNormal``.
        bias_init: initializer of the biases of a, i and o.  Default: 0.
        forget_bias_init: initializer of the bias of f.  Default:
            ``chainer.config.lstm_forget_bias``, which is 1.
        learn_initial_state: whether the initial state is a parameter instead of zeros.

    Attributes:
        upward: ``Linear``, ``W`` (4H, I), ``b`` (4H,); row 4u + g is gate g of unit u, in the order
            a, i, f, o.
        lateral: ``Linear``, ``W`` (4H, H), with rows in the same order.
        c0, h0: (H,), 0 at first; only with ``learn_initial_state``.
        c, h: the state, (B, H) variables, or None after ``reset_state``.
        persistent_state: whether serializers also write and read ``c`` and ``h``, so that a resumed
            run continues from the same state.  Default: False, as in Chainer, which can read
            either file.

    Raises:
        TypeError: a size is not an integer, an initializer not callable.
        ValueError: a size is not positive.

    Example:
        >>> import numpy
        >>> lstm = LSTM(10, 20)
        >>> h = lstm(numpy.ones((3, 10), 'f'))                      # one step
        >>> ys = lstm.forward_sequence(numpy.ones((7, 3, 10), 'f'))  # seven more, in one node
        >>> h.shape, ys.shape
        ((3, 20), (7, 3, 20))
    """

    def __init__(
        self,
        in_size: Optional[int],
        out_size: Optional[int] = None,
        lateral_init: Any = None,
        upward_init: Any = None,
        bias_init: Any = None,
        forget_bias_init: Any = None,
        *,
        learn_initial_state: bool = False,
    ) -> None:
        inits = lateral_init, upward_init, bias_init, forget_bias_init
        super().__init__(in_size, out_size, *inits)
        self._learn(learn_initial_state)
