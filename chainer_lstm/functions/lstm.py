"""One time step: ``lstm`` on pre-activations, as Chainer's,
and whole steps with their matrix products.
"""

from __future__ import annotations

from typing import Any, Optional

import chainer
import chainer.functions as F
import numpy
from chainer.functions.rnn import lstm as chainers
from chainer.utils import type_check

from chainer_lstm import cells, kernels
from chainer_lstm.chainer_private import argname
from chainer_lstm.functions import outputs
from chainer_lstm.functions.checks import same_dtype, variable
from chainer_lstm.functions.config import is_static_graph
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.signature import Signature, check_axes
from chainer_lstm.functions.step import StepNode, run_step
from chainer_lstm.kernels.engines.types import Part

State = tuple[chainer.Variable, chainer.Variable]


class _Gates(Signature):
    """The states and the pre-activations."""

    def __init__(self) -> None:
        super().__init__(cells.lstm, cells.lstm.stages[0], optional=False)
        self.names = ('c', 'x')


_GATES = _Gates()


class LSTM(StepNode):
    """Inputs c_prev (B0, H), x (B, 4H), the pre-activations."""

    def __init__(self) -> None:
        super().__init__(_GATES)

    @property
    def label(self) -> str:
        """The name in computational graphs and in hooks."""
        return 'LSTM'

    def check_type_forward(self, in_types: Any) -> None:
        argname(in_types, self.names)
        c, x = in_types
        type_check.expect(c.dtype.kind == 'f')
        same_dtype('x', x=x, c=c)
        type_check.expect(
            c.ndim >= 2,
            x.ndim == c.ndim,
        )
        type_check.expect(
            x.shape[0] <= c.shape[0],
            x.shape[1] == 4 * c.shape[1],
        )
        for axis in range(2, type_check.eval(c.ndim)):
            type_check.expect(x.shape[axis] == c.shape[axis])

    def check_broadcasting(self) -> None:
        c, x = self.shapes
        check_axes(self.names, self.shapes, max(len(c), 2))
        if x[0] > c[0] or x[1:] != (4 * c[1], *c[2:]):
            raise ValueError(
                f'expected c (B0, H, …) and x (B, 4H, …), B <= B0, got shapes {c} and {x}'
            )

    def compute(self, engine: kernels.Engine, named: Any, state: Any) -> tuple[Any, Any]:
        return engine.stage_forward(self.cell, self.stage, self.parts(named), state)

    def differentiate(
        self,
        engine: kernels.Engine,
        named: Any,
        state: Any,
        new: Any,
        gradients: Any,
        weights: Any,
        gpre: Any,
        kept: Any,
    ) -> tuple[Any, Any]:
        return gpre, engine.stage_backward(
            self.cell, self.stage, self.gates, state, new, gradients, {}, gpre
        )

    def parts(self, named: Any) -> list[Part]:
        return [Part(named['x'], self.cell.gates)]


def lstm(c_prev: Input, x: Input) -> State:
    """Compute the gates and the new state from pre-activations, as ``chainer.functions.lstm``.

    Gers et al. 2000, eq. 1-6.

    Twice differentiable.

    With σ the logistic function and elementwise products, of the parts x_a, … of x::

        a = tanh(x_a)           i, f, o = σ(x_i), σ(x_f), σ(x_o)
        c = i a + f c_prev      h = o tanh(c)

    Args:
        c_prev: (B0, H, …).
        x: (B, 4H, …), of the same dtype, gates interleaved: gate g of unit u
            is column 4u + g, in the order a (cell input), i (input), f
            (forget), o (output).  With B < B0 the first B rows of c_prev are
            updated and the others are carried over unchanged.

    Returns:
        c (B0, H, …), h (B, H, …).

    Raises:
        chainer.utils.type_check.InvalidType: B > B0, x not four times as wide
            as c_prev, or different ndim or dtype.
        TypeError: an argument is not an array, or a ChainerX array.

    Example:
        >>> import numpy
        >>> c, h = lstm(numpy.zeros((3, 20), 'f'), numpy.ones((3, 80), 'f'))
        >>> c.shape, h.shape
        ((3, 20), (3, 20))
    """
    if is_static_graph():
        # not F.lstm, which may be this function, see installation.py
        return chainers.lstm(c_prev, x)
    c_prev, x = variable('c_prev', c_prev), variable('x', x)
    shape = c_prev.shape
    if len(shape) > 2 and x.shape[1:] == (4 * shape[1], *shape[2:]):
        # the kernels know rows of units only: (B, 4H, R) -> (B, H, R, 4) -> (B, 4HR)
        units, rest = shape[1], int(numpy.prod(shape[2:]))
        x = F.transpose(F.reshape(x, (x.shape[0], units, 4, rest)), (0, 1, 3, 2))
        c, h = LSTM().apply(
            (
                F.reshape(c_prev, (shape[0], units * rest)),
                F.reshape(x, (x.shape[0], 4 * units * rest)),
            )
        )
        return outputs.reshape(c, shape), outputs.reshape(h, (h.shape[0], *shape[1:]))
    return LSTM().apply((c_prev, x))


def lstm_step(
    c_prev: Input, h_prev: Optional[Input], x: Input, W: Input, b: Input, U: Input
) -> State:
    """Compute a whole time step as one node: ``lstm(c_prev, x Wᵀ + b + h_prev Uᵀ)``.

    float16 is computed in float32.

    With σ the logistic function and elementwise products::

        a = tanh(W_a x + b_a + U_a h)       i, f, o = σ(W x + b + U h)
        c' = i a + f c                      h' = o tanh(c')

    Args:
        c_prev: (B0, H).  With B < B0 the first B rows are updated and the others are carried over.
        h_prev: (B, H), or None for zeros.
        x: (B, I), of the dtype of c_prev, h_prev and b.
        W: (4H, I), gates interleaved: gate g of unit u is row 4u + g, in the order a (cell input),
            i (input), f (forget), o (output); it may have another float dtype.
        b: (4H,), in the same order.
        U: (4H, H), in the same order; it may have another float dtype.

    Returns:
        c (B0, H), h (B, H), in the dtype of x.

    Raises:
        chainer.utils.type_check.InvalidType: shapes or dtypes do not fit.
        TypeError: ChainerX arrays.

    Example:
        >>> import numpy
        >>> W, b, U = (numpy.ones(shape, 'f') for shape in ((80, 10), 80, (80, 20)))
        >>> c, h = lstm_step(numpy.zeros((3, 20), 'f'), None, numpy.ones((3, 10), 'f'), W, b, U)
        >>> c.shape, h.shape
        ((3, 20), (3, 20))
    """
    return run_step(cells.lstm, cells.lstm.State(c_prev, h_prev), x, {'W': W, 'b': b, 'U': U})


def peephole_lstm_step(
    c_prev: Input,
    h_prev: Optional[Input],
    x: Input,
    W: Input,
    b: Input,
    U: Input,
    P_i: Input,
    P_f: Input,
    P_o: Input,
) -> State:
    """Compute a whole time step with peepholes: P_i c_prev, P_f c_prev and P_o c enter i, f and o.

    The step is two nodes, because h is a function of the variable c, as in Chainer.

    Gers and Schmidhuber 2000, with full matrices as in
    ``chainer.links.StatefulPeepholeLSTM``.

    With σ the logistic function and elementwise products::

        a = tanh(W_a x + b_a + U_a h)       i, f = σ(W x + b + U h + P c)
        c' = i a + f c                      o = σ(W_o x + b_o + U_o h + P_o c')
        h' = o tanh(c')

    Args:
        c_prev: (B0, H).  With B < B0 the first B rows are updated and the others are carried over.
        h_prev: (B, H), or None for zeros.
        x: (B, I), of the dtype of c_prev, h_prev and b.
        W: (4H, I), gates interleaved: gate g of unit u is row 4u + g, in the order a (cell input),
            i (input), f (forget), o (output); it may have another float dtype.
        b: (4H,), in the same order.
        U: (4H, H), in the same order; it may have another float dtype.
        P_i, P_f, P_o: (H, H); they may have another float dtype.

    Returns:
        c (B0, H), h (B, H), in the dtype of x.

    Raises:
        chainer.utils.type_check.InvalidType: shapes or dtypes do not fit.
        TypeError: ChainerX arrays.

    Example:
        >>> import numpy
        >>> W, b, U = (numpy.ones(shape, 'f') for shape in ((80, 10), 80, (80, 20)))
        >>> P = numpy.zeros((20, 20), 'f')
        >>> c, x = numpy.zeros((3, 20), 'f'), numpy.ones((3, 10), 'f')
        >>> c, h = peephole_lstm_step(c, None, x, W, b, U, P, P, P)
        >>> c.shape, h.shape
        ((3, 20), (3, 20))
    """
    weights = {'W': W, 'b': b, 'U': U, 'P_i': P_i, 'P_f': P_f, 'P_o': P_o}
    return run_step(cells.peephole, cells.peephole.State(c_prev, h_prev), x, weights)
