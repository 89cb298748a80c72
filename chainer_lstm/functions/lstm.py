"""One time step: ``lstm`` on pre-activations, as Chainer's,
and whole steps with their matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional, Union

import chainer
import chainer.functions as F
import numpy
from chainer.functions.rnn import lstm as chainers
from chainer.utils import type_check

from chainer_lstm import kernels
from chainer_lstm.functions import outputs, passes
from chainer_lstm.functions.checks import same_dtype, variable
from chainer_lstm.functions.config import engine_of
from chainer_lstm.functions.node import Chained, StepNode, as_variable, check_unchanged, full, own
from chainer_lstm.kernels import reference, steps

Input = Union[chainer.Variable, numpy.ndarray, Any]  # Any: cupy.ndarray, where there is CuPy
State = tuple[chainer.Variable, chainer.Variable]


class LSTM(StepNode):
    """Inputs c_prev (B0, H), x (B, 4H)."""

    step = kernels.LSTM

    def check_type_forward(self, in_types):
        type_check._argname(in_types, ('c', 'x'))
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

    def check_broadcasting(self):
        c, x = self.shapes
        _check_axes(self.names, self.shapes, max(len(c), 2))
        if x[0] > c[0] or x[1:] != (4 * c[1], *c[2:]):
            raise ValueError(
                f'expected c (B0, H, …) and x (B, 4H, …), B <= B0, got shapes {c} and {x}'
            )


class LSTMStep(StepNode):
    """Inputs c_prev (B0, H), x (B, I), W (4H, I), b (4H,) and, after the first step, h (B, H),
    U (4H, H).
    """

    step = kernels.LSTM_STEP
    peepholes: tuple[str, ...] = ()

    def check_type_forward(self, in_types):
        peepholes = len(self.peepholes)
        type_check._argname(in_types, self.names[: len(in_types)])
        c, x, W, b, *others = in_types
        type_check.expect(x.dtype.kind == 'f', W.dtype.kind == 'f')
        same_dtype('x', b=b, x=x)
        same_dtype('c', c=c, x=x)
        type_check.expect(
            x.ndim == 2,
            W.ndim == 2,
            b.ndim == 1,
            c.ndim == 2,
        )
        type_check.expect(
            x.shape[1] == W.shape[1],
            W.shape[0] == 4 * c.shape[1],
            b.shape[0] == W.shape[0],
            x.shape[0] <= c.shape[0],
        )
        for P in others[:peepholes]:
            check_peephole(P, c)
        if len(others) > peepholes:
            h, U = others[peepholes:]
            same_dtype('h', h=h, x=x)
            type_check.expect(
                U.dtype.kind == 'f',
                h.ndim == 2,
                U.ndim == 2,
            )
            type_check.expect(
                h.shape[0] == x.shape[0],
                h.shape[1] == c.shape[1],
                U.shape[0] == W.shape[0],
                U.shape[1] == c.shape[1],
            )

    def check_broadcasting(self):
        _check_axes(self.names, self.shapes, 2)
        c, x, W, *_ = self.shapes
        if x[0] > c[0] or W[0] != 4 * c[1]:
            raise ValueError(
                f'expected c (B0, H), x (B, I) and W (4H, I), B <= B0, got shapes {c}, {x} and {W}'
            )


def _check_axes(names, shapes, matrix):
    for name, shape in zip(names, shapes):
        axes = 1 if name == 'b' else matrix
        if len(shape) != axes:
            raise ValueError(f'expected {name} of {axes} axes, got shape {shape}')


class PeepholeLSTMStep(LSTMStep):
    """The first half of a step with peepholes:
    inputs as ``LSTMStep``, with P_i, P_f (H, H) after b.

    Outputs c (B0, H) and o (B, H), the output gate before its peephole and its activation.
    """

    step = kernels.PEEPHOLE_CELL
    peepholes = ('P_i', 'P_f')
    _outputs = None

    def backward(self, indexes, grad_outputs):
        """Hand the gradient of c_prev to the node that made h of it,
        which will run later and adds its own.

        Chainer would add the two, for which it makes a node.
        """
        given = passes.handed()
        gradients, output = self._backward(indexes, grad_outputs, given), self.output_before()
        both = 0 in indexes and len(self.inputs) - 2 in indexes  # c_prev and h
        if chainer.config.enable_backprop or output is None or given is None or not both:
            return gradients
        given.setdefault((id(output), 'gc'), {})[id(self)] = gradients[0].array
        return None, *gradients[1:]

    @property
    def outputs(self):
        """References to c and o, as Chainer sets them;
        a dead one for c where the graph was cut at it.

        This node runs all the same, for o, and would take the gradient of c for itself.
        """
        found = self._outputs
        if found is None or found[0]() is None or found[0]().creator_node is self:
            return found
        return _dead, *found[1:]

    @outputs.setter
    def outputs(self, references):
        self._outputs = references

    def output_before(self):
        """Return the node that made h of this node's c_prev;
        None for the first step and where either was replaced.
        """
        output = self.inputs[-2].creator_node if len(self.inputs) == len(self.names) else None
        return (
            output
            if type(output) is PeepholeOutput and output.inputs[0] is self.inputs[0]
            else None
        )


class PeepholeOutput(Chained):
    """The second half: inputs c (B0, H), o (B, H), P_o (H, H) -> h (B, H).

    A node of its own, because h is a function of the variable c, as in
    Chainer: programs cut the graph there or take gradients.

    It is chained through the h that the first half has got: the node that made
    that h receives its gradient from there, after this node has run.

    Args:
        cell: the first half.
    """

    names = ('c', 'o', 'P_o')
    weights = {'P_o': steps.gP_o}

    def __init__(self, cell: PeepholeLSTMStep) -> None:
        super().__init__()
        self._gates = cell.saved

    def check_type_forward(self, in_types):
        type_check._argname(in_types, self.names)
        c, _, P_o = in_types
        check_peephole(P_o, c)

    def forward(self, inputs):
        self.retain_inputs((0, 1, 2))
        self.shapes = [x.shape for x in inputs]
        c, o, P_o = inputs
        self._gates, h = steps.peephole_out_forward(engine_of(c), self._gates, c[: len(o)], P_o)
        return (h,)

    def backward(self, indexes, grad_outputs):
        given = passes.handed()
        if grad_outputs[0] is None:
            return (None,) * len(indexes)
        check_unchanged(self)
        if chainer.config.enable_backprop:
            return self._differentiable(indexes, grad_outputs)
        c, o, P_o = inputs = [node.data for node in self.inputs]  # what was retained
        gh = full(grad_outputs[0].array, (len(o), c.shape[1]), c.dtype)
        engine = engine_of(c)
        go, gc, rows = steps.peephole_out_backward(engine, self._gates, c[: len(o)], gh, P_o)
        before = self._output_before() if 0 in indexes and 1 in indexes else None
        found: dict[int, Any] = self._weight_gradients(engine, rows, inputs, indexes, before, given)
        of_c = given.pop((id(self), 'gc'), {}) if given else {}  # from the steps after this one
        found[0] = sum(of_c.values(), self._of_all_rows(engine.cast(gc, c.dtype), c))
        found[1] = go
        return tuple([as_variable(found.get(i)) for i in indexes])

    def _differentiable(self, indexes, grad_outputs):
        c, o, P_o = own(self.get_retained_inputs())
        now = F.cast(c[: len(o)], o.dtype)
        h = reference.sigmoid(F, o + F.linear(now, F.cast(P_o, o.dtype))) * F.tanh(now)
        gh = full(grad_outputs[0], h.shape, h.dtype)
        return chainer.grad(
            [h], [(c, o, P_o)[i] for i in indexes], [gh], enable_double_backprop=True
        )

    def _output_before(self):
        """Return the node that made the h of the first half, if it has this one's P_o."""
        cell = self.inputs[1].creator_node
        if cell is None or len(cell.inputs) < len(cell.names):  # cut off, or the first step
            return None
        before = cell.inputs[-2].creator_node
        return before if self._is_of_same_weights(before) else None

    def _of_all_rows(self, gc, c):
        """Return gc with zeros for the rows of c that the step has carried."""
        if len(gc) == len(c):
            return gc
        found = chainer.backend.get_array_module(c).zeros(c.shape, gc.dtype)
        found[: len(gc)] = gc
        return found


def _dead() -> None:
    """Stand for a weak reference to what is gone."""


def composed_peephole_step(
    c_prev: chainer.Variable,
    pre: chainer.Variable,
    peep_i: Callable,
    peep_f: Callable,
    peep_o: Callable,
) -> State:
    """Compute ``peephole_lstm_step`` by Chainer's own functions.

    Args:
        c_prev: (B0, H).
        pre: (B, 4H), x Wᵀ + b + h_prev Uᵀ.
        peep_i, peep_f, peep_o: from a state to its product with P_i, P_f, P_o.

    Returns:
        c (B0, H), h (B, H).
    """
    c, rest = (
        (c_prev, None) if len(c_prev) == len(pre) else F.split_axis(c_prev, [len(pre)], axis=0)
    )
    gates, c = reference.peephole_cell_fwd(F, pre, peep_i(c), peep_f(c), c)
    _, h = reference.peephole_out_fwd(F, gates, peep_o(c), c)
    return outputs.all_rows(c, rest), h


def check_peephole(P: Any, c: Any) -> None:
    """Expect a matrix (H, H) for a state (B, H)."""
    type_check.expect(P.dtype.kind == 'f', P.ndim == 2)
    type_check.expect(P.shape[0] == c.shape[1], P.shape[1] == c.shape[1])


def lstm(c_prev: Input, x: Input) -> State:
    """The gates and the new state from pre-activations, as ``chainer.functions.lstm``.  Gers et al.
    2000, eq. 1-6.

    Twice differentiable.

    Args:
        c_prev: (B0, H, …).
        x: (B, 4H, …), of the same dtype, gates interleaved: gate g of unit u
            is column 4u + g, in the order a (cell input), i (input), f
            (forget), o (output).  With B < B0 the first B rows of c_prev
            advance and the others are carried.

    Returns:
        c (B0, H, …), h (B, H, …).

    Raises:
        chainer.utils.type_check.InvalidType: B > B0, x not four times as wide
            as c_prev, or different ndim or dtype.
        TypeError: no arrays, or ChainerX arrays.
    """
    if is_static():
        return chainers.lstm(
            c_prev, x
        )  # not F.lstm: that may be this function (see installation.py)
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
    """A whole time step as one node: ``lstm(c_prev, x Wᵀ + b + h_prev Uᵀ)``.

    float16 is computed in float32.

    Args:
        c_prev: (B0, H); rows are carried as in ``lstm``.
        h_prev: (B, H), or None for zeros.
        x: (B, I), of the dtype of c_prev, h_prev and b.
        W: (4H, I), gates interleaved as in ``lstm``; it may have another float dtype.
        b: (4H,).
        U: (4H, H); it may have another float dtype.

    Returns:
        c (B0, H), h (B, H), in the dtype of x.

    Raises:
        chainer.utils.type_check.InvalidType: shapes or dtypes do not fit.
        TypeError: ChainerX arrays.
    """
    if is_static():
        pre = F.linear(x, W, b)
        return lstm(c_prev, pre if h_prev is None else pre + F.linear(h_prev, U))
    return LSTMStep().apply((c_prev, x, W, b, *_lateral(h_prev, U)))


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
    """A whole time step with peepholes: i and f also see P_i c_prev and P_f c_prev, o sees P_o c.

    Two nodes, for h is a function of the variable c, as in Chainer.

    Gers and Schmidhuber 2000, with full matrices as in
    ``chainer.links.StatefulPeepholeLSTM``.

    Args:
        c_prev, h_prev, x, W, b, U: as in ``lstm_step``.
        P_i, P_f, P_o: (H, H); they may have another float dtype.

    Returns:
        c (B0, H), h (B, H), in the dtype of x.

    Raises:
        chainer.utils.type_check.InvalidType: shapes or dtypes do not fit.
        TypeError: ChainerX arrays.
    """
    if is_static():
        pre = F.linear(x, W, b)
        pre = pre if h_prev is None else pre + F.linear(h_prev, U)
        peepholes = (lambda state, P=P: F.linear(state, P) for P in (P_i, P_f, P_o))
        return composed_peephole_step(chainer.as_variable(c_prev), pre, *peepholes)
    cell = PeepholeLSTMStep()
    c, o = cell.apply((c_prev, x, W, b, P_i, P_f, *_lateral(h_prev, U)))
    (h,) = PeepholeOutput(cell).apply((c, o, variable('P_o', P_o)))
    return c, h


def is_static() -> bool:
    """Inside ``chainer.static_graph``, which replays functions, and knows Chainer's own only."""
    return chainer.config.schedule_func is not None


def _lateral(h_prev: Optional[Input], U: Input) -> tuple:
    return () if h_prev is None else (h_prev, U)
