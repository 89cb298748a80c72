"""``NStepLSTM`` and ``NStepBiLSTM``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
from chainer.links.rnn.n_step_lstm import NStepLSTMBase
from chainer.utils import argument, type_check

from chainer_lstm import cells
from chainer_lstm import initializers as ours
from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import initializer
from chainer_lstm.functions import checks
from chainer_lstm.functions.composed import Rearranging
from chainer_lstm.functions.n_step_lstm import run
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.weights import n_step_weights_of
from chainer_lstm.kernels.packing import Packing, packing_of_sequences, packing_of_steps
from chainer_lstm.links.loading import CheckedLoading
from chainer_lstm.links.parameters import reinitialize
from chainer_lstm.links.state import zeros

Result = tuple[chainer.Variable, chainer.Variable, list[chainer.Variable]]
_FORGET = 1  # w1, b1: the input matrix and bias of f
_MATRICES = 9  # of a projected layer: w8 is the projection


class _NStep(CheckedLoading, NStepLSTMBase):
    """What both links add to Chainer's: checks, forget biases, and sequences of any length,
    zero included.
    """

    ws: list
    bs: list
    n_layers: int
    direction: int
    out_size: int
    dropout: float
    cell: Cell = cells.lstm

    def __init__(
        self,
        n_layers: int,
        in_size: int,
        out_size: int,
        dropout: float,
        *,
        initialW: Any = None,
        initial_bias: Any = None,
        forget_bias_init: Any = None,
        proj_size: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        n_layers, in_size, out_size = (
            checks.size(name, value)
            for name, value in (
                ('n_layers', n_layers),
                ('in_size', in_size),
                ('out_size', out_size),
            )
        )
        proj_size = checks.size('proj_size', proj_size, optional=True)
        checks.dropout(dropout, n_layers)
        for name, value in (
            ('initialW', initialW),
            ('initial_bias', initial_bias),
            ('forget_bias_init', forget_bias_init),
        ):
            ours.check(name, value)
        super().__init__(
            n_layers,
            in_size,
            out_size,
            dropout,
            initialW=initialW,
            initial_bias=initial_bias,
            **kwargs,
        )
        if proj_size is not None:
            self.cell = cells.LSTM(outputs=proj_size)
            self._project(in_size, initialW)
        if forget_bias_init is not None:
            for b in self.bs:
                reinitialize(b[_FORGET], initializer(forget_bias_init))

    def _project(self, in_size: int, initialW: Any) -> None:
        """Replace the matrices by those of a projected cell."""
        form, outputs = n_step_weights_of(self.cell), self._width('h')
        for k, layer in enumerate(self):
            inputs = in_size if k < self.direction else self.direction * outputs
            with layer.init_scope():
                for j, shape in enumerate(form.shapes(inputs, self.out_size)[:_MATRICES]):
                    setattr(layer, f'w{j}', chainer.Parameter(initializer(initialW), shape))
        self._list_matrices()

    def _list_matrices(self) -> None:
        self.ws = [[getattr(layer, f'w{j}') for j in range(_MATRICES)] for layer in self]

    def copy(self, mode: str = 'share') -> Any:
        """As Chainer's."""
        link = super().copy(mode)
        if self.cell.projection is not None:
            link._list_matrices()
        return link

    def _width(self, state: str) -> int:
        return self.cell.width(state, self.out_size)

    def forward(
        self, hx: Optional[Input], cx: Optional[Input], xs: Sequence[Input], **kwargs: Any
    ) -> Result:
        """Runs all layers over sequences of any lengths, in any order.

        Args:
            hx, cx: (S, B, H), for both directions (2S, B, H), or None for zeros.
                Rows after the first B are left out, as in Chainer, so that a
                smaller last batch goes on from the state of a larger one.
            xs: B sequences, xs[k] (L_k, I); L_k may be 0.

        Returns:
            hy, cy (S, B, H), for both directions (2S, B, H), and ys with
            ys[k] (L_k, H), for both directions (L_k, 2H).  A sequence of
            length 0 leaves its state.  With ``proj_size`` hx, hy and ys have P
            in place of H.

        Raises:
            ValueError: xs is empty, a shape does not fit, or an argument is one that Chainer no
                longer supports.
            TypeError: xs is no list or tuple, or something in it, hx or cx no array.
            chainer.utils.type_check.InvalidType: a dtype does not fit.
        """
        if kwargs:
            argument.check_unexpected_kwargs(
                kwargs, train='train argument is not supported anymore. Use chainer.using_config'
            )
            argument.assert_kwargs_empty(kwargs)
        xs = self._sequences(xs)
        hx = self._state('hx', hx, xs, self._width('h'))
        cx = self._state('cx', cx, xs, self._width('c'))
        packing = packing_of_sequences(tuple([len(x) for x in xs]))
        if type(self).rnn is not _NStep.rnn or 'rnn' in vars(self):
            return self._run_hook(hx, cx, xs, packing)
        hy, cy, ys = run(
            packing, self.dropout, hx, cx, self.ws, self.bs, xs, self.direction, self.cell
        )
        return hy, cy, list(ys)

    def _run_hook(self, hx: Any, cx: Any, xs: list[chainer.Variable], packing: Packing) -> Result:
        """Call an ``rnn`` that is not this class's, on sorted, time-major sequences."""
        xp = Rearranging(self.xp)
        x = packing.pack(xp, F.concat(xs, axis=0))
        cuts = numpy.cumsum(packing.sizes)[:-1]
        steps = F.split_axis(x, cuts, axis=0) if packing.sizes else ()
        hx, cx = (packing.begin(xp, state, self.direction) for state in (hx, cx))
        hy, cy, ys = self.rnn(self.n_layers, self.dropout, hx, cx, self.ws, self.bs, steps)
        if packing.sizes:
            y = packing.unpack(xp, F.concat(ys, axis=0), ())
        else:
            y = zeros(self, 0, self.direction * self._width('h'), xs[0].dtype)
        ends = numpy.cumsum([len(x) for x in xs])[:-1]
        ys = F.split_axis(y, ends, axis=0)
        hy, cy = (packing.end(xp, state, self.direction) for state in (hy, cy))
        return hy, cy, list(ys)

    def rnn(
        self,
        n_layers: int,
        dropout: float,
        hx: Input,
        cx: Input,
        ws: list,
        bs: list,
        xs: Sequence[Input],
    ) -> tuple:
        """``n_step_lstm`` or ``n_step_bilstm`` on sorted, time-major sequences,
        as in Chainer's links.
        """
        if not len(xs):
            return chainer.as_variable(hx), chainer.as_variable(cx), ()
        packing = packing_of_steps(tuple([x.shape[0] for x in xs]), hx.shape[1])
        return run(packing, dropout, hx, cx, ws, bs, xs, self.direction, self.cell)

    def _sequences(self, xs: Sequence[Input]) -> list[chainer.Variable]:
        if not checks.sequence('xs', xs, 'sequences'):
            raise ValueError('expected at least one sequence in xs, got an empty list')
        found = [checks.variable(f'xs[{k}]', x) for k, x in enumerate(xs)]
        first = self.ws[0][0]
        if first.ndim != 2 or first.shape[0] != self.out_size:
            raise ValueError(
                f'expected ws[0][0] of shape ({self.out_size}, inputs), got {first.shape}'
            )
        in_size, dtype = first.shape[1], self.bs[0][0].dtype
        for k, x in enumerate(found):
            if x.ndim != 2 or x.shape[1] != in_size:
                raise ValueError(f'expected xs[{k}] of shape (length, {in_size}), got {x.shape}')
            if x.dtype.kind != 'f':
                raise type_check.InvalidType('x.dtype.kind == f', f'{x.dtype.kind} ({x.dtype})')
            if x.dtype != dtype:
                checks.same_dtype(f'xs[{k}]', **{f'xs[{k}]': x, 'bs[0][0]': self.bs[0][0]})
        return found

    def _state(
        self, name: str, value: Any, xs: list[chainer.Variable], width: int
    ) -> chainer.Variable:
        """Return hx or cx with a row for each sequence."""
        if value is None and width == self.out_size:
            return self.init_hx(xs)
        shape = (self.n_layers * self.direction, len(xs), width)
        if value is None:
            with chainer.using_device(self.device):
                return chainer.Variable(self.xp.zeros(shape, xs[0].dtype))
        value = checks.variable(name, value)
        if value.ndim != 3 or value.shape[::2] != shape[::2] or value.shape[1] < len(xs):
            raise ValueError(
                f'expected {name} of shape {shape}, got {value.shape}: '
                'give one row for each sequence; further rows are left out'
            )
        return value[:, : len(xs)] if value.shape[1] > len(xs) else value


class NStepLSTM(_NStep, L.NStepLSTM):
    """Stacked LSTMs over a list of sequences, as ``chainer.links.NStepLSTM``.

    Args:
        n_layers: S, the number of layers.
        in_size: I, the size of the input.
        out_size: H, the number of units.
        dropout: ratio, between the layers, in training.  One layer does not
            use it and accepts any value, as in Chainer.
        initialW: initializer of all weights.  Default: ``LeCunNormal``.
        initial_bias: initializer of all biases.  Default: 0.
        forget_bias_init: initializer of b1, the input bias of f (its other
            bias, b5, is added to it).  Default: as initial_bias.
        proj_size: P, to project h to (…, P), as in ``SequenceLSTM``.

    Attributes:
        ws, bs: for every layer eight weights (H, I) or (H, H) and eight
            biases (H,), each four in the order i, f, a, o.  With ``proj_size`` the weights of h
            are (H, P), and a ninth one, ``w8``, is the projection (P, H).

    Raises:
        TypeError: a size is not an integer, dropout of several layers no number, an initializer
            not callable.
        ValueError: a size is not positive, or dropout of several layers not in [0, 1).
    """


class NStepBiLSTM(_NStep, L.NStepBiLSTM):
    """``NStepLSTM`` in both directions, as ``chainer.links.NStepBiLSTM``.

    ``ws`` and ``bs`` have an entry for each layer and direction, index
    2s + direction.  Arguments and errors as ``NStepLSTM``.
    """
