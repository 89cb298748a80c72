"""``StatefulPeepholeLSTM``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Optional

import chainer
import chainer.links as L

from chainer_lstm import cells, functions, initializers
from chainer_lstm.chainer_private import initializer
from chainer_lstm.functions.checks import size
from chainer_lstm.functions.lstm import State
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.step import composed_step
from chainer_lstm.links import parameters
from chainer_lstm.links.stateful import Stateful, flat


class StatefulPeepholeLSTM(Stateful, L.StatefulPeepholeLSTM):
    """One step of an LSTM with full peephole matrices, which keeps its state, as
    ``chainer.links.StatefulPeepholeLSTM``.

    With σ the logistic function and elementwise products (Gers and Schmidhuber 2000, with vectors
    in place of the matrices P)::

        a = tanh(W_a x + b_a + U_a h)       i, f = σ(W x + b + U h + P c)
        c' = i a + f c                      o = σ(W_o x + b_o + U_o h + P_o c')
        h' = o tanh(c')

    A batch may be smaller than the state: the first rows of the state are updated, the others stay.
    So sequences sorted by length, longest first, can be passed as one batch per time step.
    ``reset_state()`` forgets the state; ``copy('share')`` returns a link with the same parameters
    and a state of its own.

    Args:
        in_size: I, or None to take it from the first input.
        out_size: H, the number of units.
        lateral_init, upward_init, peep_init: initializers of the weights of h, of x and of c.
            Default: ``LeCunNormal``.
        bias_init: initializer of the biases of a, i and o.  Default: 0.
        forget_bias_init: initializer of the bias of f.  Default: as bias_init.
        learn_initial_state: whether the initial state is a parameter instead of zeros.

    Attributes:
        upward: ``Linear``, ``W`` (4H, I), ``b`` (4H,); row 4u + g is gate g of unit u, in the order
            a, i, f, o.
        lateral: ``Linear``, ``W`` (4H, H), with rows in the same order.
        peep_i, peep_f, peep_o: ``Linear``, ``W`` (H, H).
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
        >>> lstm = StatefulPeepholeLSTM(10, 20)
        >>> lstm(numpy.ones((3, 10), 'f')).shape
        (3, 20)
    """

    cell = cells.peephole
    weight_keys = {'W': 'upward/W', 'b': 'upward/b', 'U': 'lateral/W'} | {
        f'P_{gate}': f'peep_{gate}/W' for gate in 'ifo'
    }

    def __init__(
        self,
        in_size: Optional[int],
        out_size: int,
        *,
        lateral_init: Any = None,
        upward_init: Any = None,
        peep_init: Any = None,
        bias_init: Any = None,
        forget_bias_init: Any = None,
        learn_initial_state: bool = False,
    ) -> None:
        in_size, out_size = size('in_size', in_size, optional=True), size('out_size', out_size)
        initializers.check(
            lateral_init=lateral_init,
            upward_init=upward_init,
            peep_init=peep_init,
            bias_init=bias_init,
            forget_bias_init=forget_bias_init,
        )
        super().__init__(in_size, out_size)
        for linear, init in (
            (self.upward, upward_init),
            (self.lateral, lateral_init),
            *((peep, peep_init) for peep in self._peepholes()),
        ):
            if init is not None:
                parameters.reinitialize(linear.W, initializer(init))
        if bias_init is not None or forget_bias_init is not None:
            parameters.reinitialize(
                self.upward.b, initializers.GateBias(bias_init, forget_bias_init)
            )
        self._learn(learn_initial_state)

    def _peepholes(self) -> tuple[L.Linear, L.Linear, L.Linear]:
        return self.peep_i, self.peep_f, self.peep_o

    def cell_weights(self) -> tuple[Any, ...]:
        """Return W, b, U, P_i, P_f, P_o, in the order of ``Cell.weights``."""
        upward = self.upward
        return upward.W, upward.b, self.lateral.W, *(peep.W for peep in self._peepholes())

    def sized_for(self, x: Any) -> AbstractContextManager[None]:
        """Initialize the parameters that wait for the size of x, see ``parameters.sized_for``."""
        return parameters.sized_for_linear(x, self, self.upward)

    def _step(self, c: Input, h: Optional[Input], x: chainer.Variable) -> State:
        if self._is_plain():
            return functions.peephole_lstm_step(c, h, flat(x), *self.cell_weights())
        return self._composed_step(c, h, x)

    def _is_plain(self) -> bool:
        return parameters.is_plain_cell(self.upward, self.lateral, *self._peepholes())

    def _composed_step(self, c: Any, h: Optional[Input], x: chainer.Variable) -> State:
        """Compute a step by calling the links inside, which a program may have replaced."""
        pre = self.upward(x)
        if h is not None:
            pre += self.lateral(h)
        products: dict[str, Any] = dict(zip(('P_i', 'P_f', 'P_o'), self._peepholes()))
        return composed_step(cells.peephole, cells.peephole.State(c), pre, products)
