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

from chainer_lstm import cells, initializers
from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import initializer, setting
from chainer_lstm.functions import checks, outputs
from chainer_lstm.functions.composed import Rearranging
from chainer_lstm.functions.n_step_lstm import run, unrecorded_run
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.step import is_recorded
from chainer_lstm.functions.weights import n_step_weights_of
from chainer_lstm.kernels.packing import Packing, packing_of_steps
from chainer_lstm.kernels.ragged import packing_of_rows, packing_of_sequences
from chainer_lstm.links.loading import CheckedLoading
from chainer_lstm.links.options import cell_of
from chainer_lstm.links.parameters import reinitialize, sized_for
from chainer_lstm.links.state import repeated, zeros

Result = tuple[chainer.Variable, chainer.Variable, list[chainer.Variable]]
_FORGET = 1  # w1, b1: the input matrix and bias of f


class _NStep(CheckedLoading, NStepLSTMBase):
    """The common base of both links: checks, options, and sequences of any length, including 0."""

    ws: list
    bs: list
    n_layers: int
    direction: int
    out_size: int
    dropout: float
    cell: Cell = cells.lstm
    return_cells = False

    def __init__(
        self,
        n_layers: int,
        in_size: Optional[int],
        out_size: int,
        dropout: float,
        *,
        initialW: Any = None,
        initial_bias: Any = None,
        forget_bias_init: Any = None,
        lateral_init: Any = None,
        upward_init: Any = None,
        bias_init: Any = None,
        proj_size: Optional[int] = None,
        cell_clip: Optional[float] = None,
        zoneout: tuple[float, float] = (0.0, 0.0),
        recurrent_dropout: float = 0.0,
        return_cells: bool = False,
        learn_initial_state: bool = False,
        **kwargs: Any,
    ) -> None:
        n_layers = checks.size('n_layers', n_layers)
        in_size = checks.size('in_size', in_size, optional=True)
        out_size = checks.size('out_size', out_size)
        options = {
            'cell_clip': cell_clip,
            'zoneout': zoneout,
            'recurrent_dropout': recurrent_dropout,
        }
        cell = cell_of(cells.lstm, proj_size, **options)
        if cell != self.cell:  # set only if needed, so that attributes are those of Chainer's link
            self.cell = cell
        if return_cells:
            self.return_cells = return_cells
        checks.dropout(dropout, n_layers)
        initializers.check(
            initialW=initialW,
            initial_bias=initial_bias,
            forget_bias_init=forget_bias_init,
            lateral_init=lateral_init,
            upward_init=upward_init,
            bias_init=bias_init,
        )
        if initial_bias is None:
            initial_bias = bias_init
        elif bias_init is not None:
            raise ValueError('expected initial_bias or bias_init, got both')
        super().__init__(
            n_layers,
            in_size or 1,
            out_size,
            dropout,
            initialW=initialW,
            initial_bias=initial_bias,
            **kwargs,
        )
        self._init_matrices(in_size, initialW, upward_init, lateral_init)
        if forget_bias_init is not None:
            for b in self.bs:
                reinitialize(b[_FORGET], initializer(forget_bias_init))
        if learn_initial_state:
            with self.init_scope():
                for name in self.cell.states:
                    shape = len(self.ws), self._width(name)
                    setattr(self, f'{name}0', chainer.Parameter(0, shape))

    def _init_matrices(
        self, in_size: Optional[int], initialW: Any, upward_init: Any, lateral_init: Any
    ) -> None:
        """Draw the matrices again whose initializers or shapes differ from Chainer's."""
        form, outputs = n_step_weights_of(self.cell), self._width('h')
        for k, layer in enumerate(self):
            inputs = in_size if k < self.direction else self.direction * outputs
            for j, shape in enumerate(form.shapes(inputs or 1, self.out_size)[: form.matrices]):
                given = upward_init if j < 4 else lateral_init
                waits = inputs is None and j < 4
                if self.cell.projection is None and given is None and not waits:
                    continue
                if waits:
                    layer.input_rows = self.out_size  # for ``loading.check``
                init = initializer(initialW if given is None else given)
                with layer.init_scope():
                    setattr(layer, f'w{j}', chainer.Parameter(init, None if waits else shape))
        self._list_matrices()

    def _list_matrices(self) -> None:
        matrices = range(n_step_weights_of(self.cell).matrices)
        self.ws = [[getattr(layer, f'w{j}') for j in matrices] for layer in self]

    def _initialize(self, in_size: int) -> None:
        for W in self._input_matrices():
            W.initialize((self.out_size, in_size))

    def _input_matrices(self) -> list[Any]:
        """Return the matrices of the first layer's input, which may wait for its size."""
        return [W for ws in self.ws[: self.direction] for W in ws[:4]]

    def copy(self, mode: str = 'share') -> Any:
        """Return a copy, as in Chainer."""
        link = super().copy(mode)
        link._list_matrices()
        return link

    def _width(self, state: str) -> int:
        return self.cell.width(state, self.out_size)

    def forward(
        self,
        hx: Optional[Input],
        cx: Optional[Input],
        xs: Sequence[Input],
        *,
        resets: Optional[Sequence[Any]] = None,
        **kwargs: Any,
    ) -> Any:
        """Run all layers over sequences of any lengths, in any order.

        Args:
            hx, cx: (S, B, H), for both directions (2S, B, H), or None for the learned state, or 0.
                Rows after the first B are ignored, as in Chainer, so that a smaller last batch can
                continue from the state of a larger one.
            xs: B sequences, xs[k] (L_k, I); L_k may be 0.
            resets: for each sequence (L_k,) of 0 and 1 or booleans: 1 resets the state before a
                step to the learned state, or 0, as in ``SequenceLSTM``.

        Returns:
            hy, cy (S, B, H), for both directions (2S, B, H), and ys with
            ys[k] (L_k, H), for both directions (L_k, 2H).  A sequence of
            length 0 keeps its state.  With ``proj_size`` hx, hy and ys have P
            in place of H.  With ``return_cells`` the last item has c of all steps, in the form
            of ys.

        Raises:
            ValueError: xs is empty, a shape does not fit, or an argument is no longer supported by
                Chainer.
            TypeError: xs is not a list or tuple of arrays, or hx or cx is not an array.
            chainer.utils.type_check.InvalidType: a dtype does not fit.
        """
        if kwargs:
            argument.check_unexpected_kwargs(
                kwargs, train='train argument is not supported anymore. Use chainer.using_config'
            )
            argument.assert_kwargs_empty(kwargs)
        if resets is None and not is_recorded(self.cell):
            found = self._unrecorded(hx, cx, xs)
            if found is not None:
                return found
        xs, lengths = self._sequences(xs)
        packing = _packing(lengths, resets)
        hx, cx = (
            self._state(f'{name}x', name, value, xs, packing.resets)
            for name, value in (('h', hx), ('c', cx))
        )
        with sized_for(xs[0], self, self._initialize, *self._input_matrices()):
            if self._has_own('rnn', _NStep):
                return self._run_hook(hx, cx, xs, packing)
            arguments = packing, self.dropout, hx, cx, self.ws, self.bs, xs
            hy, cy, found = run(*arguments, self.direction, self.cell, self.return_cells)
        ys, cs = list(found[: len(xs)]), list(found[len(xs) :])
        return (hy, cy, ys, cs) if self.return_cells else (hy, cy, ys)

    def _unrecorded(
        self, hx: Optional[Input], cx: Optional[Input], xs: Sequence[Input]
    ) -> Optional[Result]:
        """Compute without a node; None where that cannot be done."""
        if self.return_cells or not isinstance(xs, (list, tuple)) or not xs:
            return None
        if self._has_own('rnn', _NStep) or self._has_own('init_hx', NStepLSTMBase):
            return None
        if checks.dropout(self.dropout, self.n_layers) and setting('train'):
            return None
        groups = self.n_layers * self.direction
        if hasattr(self, 'c0') or not groups == len(self.ws) == len(self.bs):
            return None
        found = unrecorded_run(
            hx, cx, self.ws, self.bs, xs, self.direction, self.cell, self.out_size
        )
        if found is None:
            return None
        hy, cy, ys = found
        return hy, cy, list(ys)

    def _has_own(self, name: str, base: type) -> bool:
        """Return whether a method is not that of the base."""
        return getattr(type(self), name) is not getattr(base, name) or name in vars(self)

    def _run_hook(self, hx: Any, cx: Any, xs: list[chainer.Variable], packing: Packing) -> Result:
        """Call an overridden ``rnn`` on sorted, time-major sequences."""
        if self.return_cells:
            raise ValueError('expected no return_cells of a link with its own rnn, got it')
        xp = Rearranging(self.xp)
        x = packing.pack(xp, F.concat(xs, axis=0))
        cuts = numpy.cumsum(packing.sizes)[:-1]
        steps = F.split_axis(x, cuts, axis=0) if packing.sizes else ()
        hx, cx = (packing.begin(xp, state, self.direction) for state in (hx, cx))
        hy, cy, ys = self.rnn(self.n_layers, self.dropout, hx, cx, self.ws, self.bs, steps)
        if packing.sizes:
            y = packing.unpack(xp, F.concat(ys, axis=0), ())
        else:
            y = zeros(self, (0, self.direction * self._width('h')), xs[0].dtype)
        ends = numpy.cumsum([len(x) for x in xs])[:-1]
        ys = F.split_axis(y, ends, axis=0)
        hy, cy = (packing.end(xp, state, self.direction) for state in (hy, cy))
        return outputs.checked(hy), outputs.checked(cy), list(map(outputs.checked, ys))

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
        """Run ``n_step_lstm`` or ``n_step_bilstm`` on sorted, time-major sequences,
        as in Chainer's links.
        """
        if not len(xs):
            return chainer.as_variable(hx), chainer.as_variable(cx), ()
        packing = packing_of_steps(tuple([x.shape[0] for x in xs]), hx.shape[1])
        return run(packing, dropout, hx, cx, ws, bs, xs, self.direction, self.cell)

    def _sequences(self, xs: Sequence[Input]) -> tuple[list[chainer.Variable], list[int]]:
        """Return the sequences as variables, and their lengths."""
        if not checks.sequence('xs', xs, 'sequences'):
            raise ValueError('expected at least one sequence in xs, got an empty list')
        found: list[Any] = [*xs]
        # properties of variables are slow: for hundreds of short sequences they would take half of
        # the time
        arrays: list[Any] = [x.array if isinstance(x, chainer.Variable) else None for x in xs]
        for k, array in enumerate(arrays):
            if array is None:
                found[k] = checks.variable(f'xs[{k}]', xs[k])
                arrays[k] = found[k].array
        first = self.ws[0][0]
        if first.array is None:
            in_size = found[0].shape[-1] if found[0].ndim == 2 else 0
            in_size = in_size or 'at least 1'
        elif first.ndim == 2 and first.shape[0] == self.out_size:
            in_size = first.shape[1]
        else:
            raise ValueError(
                f'expected ws[0][0] of shape ({self.out_size}, inputs), got {first.shape}'
            )
        dtype = self.bs[0][0].dtype
        for k, x in enumerate(arrays):
            if x.ndim != 2 or x.shape[1] != in_size:
                raise ValueError(f'expected xs[{k}] of shape (length, {in_size}), got {x.shape}')
            if x.dtype.kind != 'f':
                raise type_check.InvalidType('x.dtype.kind == f', f'{x.dtype.kind} ({x.dtype})')
            if x.dtype != dtype:
                checks.same_dtype(f'xs[{k}]', **{f'xs[{k}]': x, 'bs[0][0]': self.bs[0][0]})
        return found, [len(x) for x in arrays]

    def _state(
        self, name: str, state: str, value: Any, xs: list[chainer.Variable], resets: bool
    ) -> chainer.Variable:
        """Return hx or cx with a row for each sequence; with resets, the learned row follows."""
        shape = (self.n_layers * self.direction, len(xs), self._width(state))
        learned = getattr(self, f'{state}0', None)
        if value is not None:
            value = checks.variable(name, value)
            if value.ndim != 3 or value.shape[::2] != shape[::2] or value.shape[1] < len(xs):
                raise ValueError(
                    f'expected {name} of shape {shape}, got {value.shape}: '
                    'give one row for each sequence; further rows are left out'
                )
            value = value[:, : len(xs)] if value.shape[1] > len(xs) else value
        elif learned is not None:
            value = repeated(learned, len(xs))
        elif shape[2] == self.out_size:
            value = self.init_hx(xs)
        else:
            value = zeros(self, shape, xs[0].dtype)
        if resets and learned is not None:
            value = F.concat((value, F.expand_dims(learned, 1)), axis=1)
        return value


def _packing(lengths: Sequence[int], resets: Optional[Sequence[Any]]) -> Packing:
    """Return the packing of sequences of these lengths, one after the other."""
    if resets is None:
        return packing_of_sequences(tuple(lengths))
    steps = numpy.zeros((len(lengths), max(lengths)), bool)
    of_each = checks.flags_of_each('resets', resets, lengths, 'sequences')
    for k, of_sequence in enumerate(of_each):
        steps[k, : len(of_sequence)] = of_sequence
    if not steps.any():
        return packing_of_sequences(tuple(lengths))
    places = numpy.cumsum([0, *lengths[:-1]])[:, None] + numpy.arange(max(lengths))
    return packing_of_rows(lengths, places, steps)


class NStepLSTM(_NStep, L.NStepLSTM):
    """Stacked LSTMs over a list of sequences of any lengths, as ``chainer.links.NStepLSTM``.

    Sequences are sorted and packed inside of the link; the call is one autograd node.

    Of a layer, with σ the logistic function and elementwise products (Gers et al. 2000)::

        i = σ(w0 x + b0 + w4 h + b4)        f = σ(w1 x + b1 + w5 h + b5)
        a = tanh(w2 x + b2 + w6 h + b6)     o = σ(w3 x + b3 + w7 h + b7)
        c' = i a + f c                      h' = o tanh(c')

    Args:
        n_layers: S, the number of layers.
        in_size: I, the size of the input, or None to take it from the first call.
        out_size: H, the number of units.
        dropout: ratio between the layers, in training.  A single layer does not use it and accepts
            any value, as in Chainer.
        initialW: initializer of all weights.  Default: ``LeCunNormal``.
        initial_bias: initializer of all biases.  Default: 0.
        forget_bias_init: initializer of b1, the input bias of f (its other bias, b5, is added to
            it).  Default: as initial_bias.
        lateral_init, upward_init: initializers of the weights of h and of x.  Default: as initialW.
        bias_init: another name for initial_bias.
        proj_size: P, to project h (Sak et al. 2014): h = (o tanh(c)) Vᵀ is (…, P).
        cell_clip: the bound of the new cell's absolute value; None for no bound.
        zoneout: the probabilities with which a unit keeps its c and its h in training.
        recurrent_dropout: the probability with which a unit of h is dropped, in training, in all
            products of a sequence.
        return_cells: return ``(hy, cy, ys, cs)``, with c of all steps.
        learn_initial_state: whether the default initial state is a parameter instead of zeros.

    Attributes:
        ws, bs: for every layer eight weights (H, I) or (H, H) and eight biases (H,),
            each four in the order i, f, a, o.  With ``proj_size`` the weights of h are (H, P), and
            a ninth weight, ``w8``, is the projection (P, H).
        h0, c0: (S, H), 0 at first; only with ``learn_initial_state``.

    Raises:
        TypeError: a size is not an integer, dropout of several layers not a number, or an
            initializer not callable.
        ValueError: a size is not positive, or dropout of several layers not in [0, 1).

    Example:
        >>> import numpy
        >>> rnn = NStepLSTM(2, 10, 20, 0.2)
        >>> hy, cy, ys = rnn(None, None, [numpy.ones((t, 10), 'f') for t in (5, 0, 3)])
        >>> hy.shape, [y.shape for y in ys]
        ((2, 3, 20), [(5, 20), (0, 20), (3, 20)])
    """


class NStepBiLSTM(_NStep, L.NStepBiLSTM):
    """Stacked LSTMs over a list of sequences in both directions, as
    ``chainer.links.NStepBiLSTM``.

    Outputs are (T, 2H), the forward columns first; layers after the first take 2H inputs.

    Of a layer, with σ the logistic function and elementwise products (Gers et al. 2000)::

        i = σ(w0 x + b0 + w4 h + b4)        f = σ(w1 x + b1 + w5 h + b5)
        a = tanh(w2 x + b2 + w6 h + b6)     o = σ(w3 x + b3 + w7 h + b7)
        c' = i a + f c                      h' = o tanh(c')

    Args:
        n_layers: S, the number of layers.
        in_size: I, the size of the input, or None to take it from the first call.
        out_size: H, the number of units.
        dropout: ratio between the layers, in training.  A single layer does not use it and accepts
            any value, as in Chainer.
        initialW: initializer of all weights.  Default: ``LeCunNormal``.
        initial_bias: initializer of all biases.  Default: 0.
        forget_bias_init: initializer of b1, the input bias of f (its other bias, b5, is added to
            it).  Default: as initial_bias.
        lateral_init, upward_init: initializers of the weights of h and of x.  Default: as initialW.
        bias_init: another name for initial_bias.
        proj_size: P, to project h (Sak et al. 2014): h = (o tanh(c)) Vᵀ is (…, P).
        cell_clip: the bound of the new cell's absolute value; None for no bound.
        zoneout: the probabilities with which a unit keeps its c and its h in training.
        recurrent_dropout: the probability with which a unit of h is dropped, in training, in all
            products of a sequence.
        return_cells: return ``(hy, cy, ys, cs)``, with c of all steps.
        learn_initial_state: whether the default initial state is a parameter instead of zeros.

    Attributes:
        ws, bs: for every layer and direction, index 2s + direction, eight weights (H, I) or (H, H)
            and eight biases (H,), each four in the order i, f, a, o.  With ``proj_size`` the
            weights of h are (H, P), and a ninth weight, ``w8``, is the projection (P, H).
        h0, c0: (2S, H), 0 at first; only with ``learn_initial_state``.

    Raises:
        TypeError: a size is not an integer, dropout of several layers not a number, or an
            initializer not callable.
        ValueError: a size is not positive, or dropout of several layers not in [0, 1).

    Example:
        >>> import numpy
        >>> rnn = NStepBiLSTM(1, 10, 20, 0)
        >>> hy, cy, ys = rnn(None, None, [numpy.ones((t, 10), 'f') for t in (5, 3)])
        >>> hy.shape, [y.shape for y in ys]
        ((2, 2, 20), [(5, 40), (3, 40)])
    """
