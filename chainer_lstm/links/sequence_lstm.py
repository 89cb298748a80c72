"""``SequenceLSTM``: layers over a whole batch of sequences in one call, as in Keras and torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import chainer
import chainer.functions as F
import numpy

from chainer_lstm import cells
from chainer_lstm.cells import Cell
from chainer_lstm.functions import checks, outputs
from chainer_lstm.functions.dropout import dropout
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.sequence import apply
from chainer_lstm.functions.sequence_plan import Output, Plan
from chainer_lstm.functions.weights import weights_of
from chainer_lstm.kernels.packing import Packing, packing_of_equal
from chainer_lstm.kernels.ragged import packing_of_padded
from chainer_lstm.links import steps
from chainer_lstm.links.lstm import StatelessLSTM
from chainer_lstm.links.options import cell_of
from chainer_lstm.links.sequence_state import SequenceState
from chainer_lstm.links.weights import CellWeights


class SequenceLSTM(SequenceState):
    """Stacked layers of an LSTM, or of another cell, over (B, T, I), in one or both directions.  A
    call is one autograd node.

    A state is a pair (c, h), or the states of the cell, each (S * D, B, H) with index
    ``D * layer + direction``, or (B, H) if S * D is 1.

    Of an LSTM, with σ the logistic function and elementwise products (Gers et al. 2000)::

        a = tanh(W_a x + b_a + U_a h)       i, f, o = σ(W x + b + U h)
        c' = i a + f c                      h' = o tanh(c')

    Args:
        in_size: I, or None to take it from the first input.
        out_size: H, the number of units.
        n_layers: S, the number of layers.
        bidirectional: D = 2 directions instead of 1; outputs are forward, then reverse columns.
        dropout: ratio between the layers, in training.
        return_sequences: return the outputs of all steps instead of the last output.
        return_state: return ``(y, c, h)`` instead of y.
        stateful: a call starts from the final state of the previous call.  Gradients flow back
            into that call, until the graph is unchained.
        batch_first: x and the outputs of all steps are (B, T, …) instead of (T, B, …).
        learn_initial_state: the initial state is a parameter.
        return_cells: return ``(y, cells)`` instead of y; cells has c in the form of y.
        zero_masked: outputs at masked steps are 0, as in torch and in Keras's ``Bidirectional``.
        go_backwards: compute the last step first, with outputs in that order, as in Keras.
        merge_mode: how the last layer combines both directions, as in Keras: 'concat', 'sum', 'mul'
            or 'ave'; earlier layers always concatenate them.
        weight_dropout: ratio on the recurrent weight matrices, in training, with one mask per call
            (Merity et al. 2018).
        lateral_init, upward_init: initializers of the weights of h and of x, of every layer and
            direction.  Default: ``LeCunNormal``.
        bias_init: initializer of all biases but that of f.  Default: 0.
        forget_bias_init: initializer of the bias of f, only for a cell with a ``forget`` gate.
            Default: ``chainer.config.lstm_forget_bias``, which is 1.
        cell: the cell of each layer, see ``chainer_lstm.cells``.
        proj_size: P, to project h (Sak et al., 2014): h = (o tanh(c)) Vᵀ.  Then h is (…, P) instead
            of (…, H), the output (…, D * P), and later layers take D * P inputs.  P is usually
            less than H, and recurrent weights are (4H, P), with fewer parameters and FLOPs.
        coupled: whether i = 1 - f, of three gates.  This option and those below are of an LSTM
            and combine; ``cells.LSTMVariant`` has their equations and sources.
        cell_clip: the bound of the new cell's absolute value; None for no bound.
        zoneout: the probabilities with which a unit keeps its c and its h in training.
        zoneout_expectation: whether evaluation takes the expectation of zoneout, instead of none.
        peephole: 'diagonal' for weights P_i, P_f, P_o (H,); or 'full' for matrices (H, H), as of
            ``StatefulPeepholeLSTM``, without other options; or None.
        recurrent_dropout: the probability with which a unit of h is dropped, in training, in all
            products of a sequence.
        recurrent_activation: 'sigmoid', or 'hard_sigmoid' for clip(slope x + 0.5, 0, 1).
        hard_sigmoid_slope: the slope: 0.2 as of Keras 2 and ONNX, 1 / 6 as of Keras 3 and torch.
        layer_norm: whether products and cell are normalized over a row, with gains.
        layer_norm_epsilon: what is added to the variance.

    Attributes:
        l0, l0_reverse, l1, …: for each layer and direction a ``StatelessLSTM``; for another or a
            projected cell ``CellWeights``, with parameters such as ``l0/W``, ``l0/b``, ``l0/U``
            (4H, P) and ``l0/V`` (P, H).  They hold the weights and are not called themselves.
        cell: as above, with ``outputs`` of ``proj_size``.
        cell_names: the names of these links, index ``D * layer + direction``.
        directions: D.
        c0, h0: (S * D, H), 0 at first; only with ``learn_initial_state``.
        c, h: the kept state, (S * D, B, H) variables, or None; c is None if the cell has none.
        persistent_state: whether serializers also write and read the kept state; only with
            ``stateful``.

    Raises:
        TypeError: a size is not an integer, dropout not a number, an initializer not callable, or
            ``cell`` not a cell.
        ValueError: a size is not positive, a ratio is out of range, or options cannot be combined
            with each other or with the cell.

    Example:
        >>> import numpy
        >>> rnn = SequenceLSTM(10, 20, n_layers=2, return_sequences=True)
        >>> rnn(numpy.ones((3, 7, 10), 'f'), lengths=[7, 2, 5]).shape
        (3, 7, 20)
    """

    def __init__(
        self,
        in_size: Optional[int],
        out_size: int,
        *,
        n_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0,
        return_sequences: bool = False,
        return_state: bool = False,
        stateful: bool = False,
        batch_first: bool = True,
        learn_initial_state: bool = False,
        return_cells: bool = False,
        zero_masked: bool = False,
        go_backwards: bool = False,
        merge_mode: str = 'concat',
        weight_dropout: float = 0,
        lateral_init: Any = None,
        upward_init: Any = None,
        bias_init: Any = None,
        forget_bias_init: Any = None,
        cell: Cell = cells.lstm,
        proj_size: Optional[int] = None,
        coupled: bool = False,
        cell_clip: Optional[float] = None,
        zoneout: tuple[float, float] = (0.0, 0.0),
        zoneout_expectation: bool = False,
        peephole: Optional[str] = None,
        recurrent_dropout: float = 0.0,
        recurrent_activation: str = 'sigmoid',
        hard_sigmoid_slope: float = 0.2,
        layer_norm: bool = False,
        layer_norm_epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.cell = cell = cell_of(
            cell,
            proj_size,
            coupled=coupled,
            cell_clip=cell_clip,
            zoneout=zoneout,
            zoneout_expectation=zoneout_expectation,
            peephole=peephole,
            recurrent_dropout=recurrent_dropout,
            recurrent_activation=recurrent_activation,
            hard_sigmoid_slope=hard_sigmoid_slope,
            layer_norm=layer_norm,
            layer_norm_epsilon=layer_norm_epsilon,
        )
        in_size = checks.size('in_size', in_size, optional=True)
        self.out_size = checks.size('out_size', out_size)
        self.n_layers = checks.size('n_layers', n_layers)
        self.dropout = checks.dropout(dropout)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.stateful = stateful
        self.batch_first = batch_first
        self.directions = 2 if bidirectional else 1
        self.return_cells = return_cells
        self.zero_masked = zero_masked
        self.go_backwards = go_backwards
        self.merge_mode = merge_mode
        self.weight_dropout = checks.number('weight_dropout', weight_dropout, 0, 1)
        self._check_options()
        self.cell_names = [
            f'l{layer}{end}'
            for layer in range(self.n_layers)
            for end in ('', '_reverse')[: self.directions]
        ]
        with self.init_scope():
            for k, name in enumerate(self.cell_names):
                size = in_size if k < self.directions else self.directions * self._width('h')
                inits = lateral_init, upward_init, bias_init, forget_bias_init
                if cell == cells.lstm:
                    child: Any = StatelessLSTM(size, self.out_size, *inits)
                else:
                    child = CellWeights(cell, size, self.out_size, *inits)
                setattr(self, name, child)
        self._init_states(learn_initial_state)

    def _check_options(self) -> None:
        """Raise a ValueError for options that cannot be combined."""
        if self.merge_mode not in list(_MERGES):  # a list, for values without a hash
            raise ValueError(
                f'expected merge_mode to be one of {", ".join(_MERGES)}, got {self.merge_mode!r}'
            )
        if self.directions == 1 and self.merge_mode != 'concat':
            raise ValueError(
                f'expected merge_mode with bidirectional=True, got {self.merge_mode!r} without'
            )
        if self.directions == 2 and self.go_backwards:
            raise ValueError('expected go_backwards or bidirectional, got both')
        if self.return_cells and 'c' not in self.cell.states:
            raise ValueError(f'expected return_cells of a cell with c, got it for {self.cell.name}')

    def forward(
        self,
        x: Input,
        initial_state: Optional[Sequence[Input]] = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        resets: Any = None,
    ) -> Any:
        """Run all layers over all steps.

        A masked step does not change the state, and its output repeats the previous output in the
        direction's order, h0 before the first valid step.

        Args:
            x: (B, T, I), or (T, B, I) with ``batch_first=False``; or one sequence (T, I), for
                which all other shapes lack the axis B too.
            initial_state: (c, h), or the states of the cell; default: the kept state, the learned
                state, or 0.
            lengths: (B,) integers, 0 to T: all later steps are masked.
            mask: (B, T) or (B, T, 1), also with ``batch_first=False``; 0 or
                False for masked steps, anywhere.
            resets: (B, T) or (B, T, 1), also with ``batch_first=False``; 1 or True resets the state
                before a step to the learned state, or 0, such as at the beginning of an episode or
                a document.  The parts on both sides are computed as two sequences, in both
                directions.  lengths, mask and resets are read on the CPU.

        Returns:
            y (B, D * H), h of the last layer after the last valid step, for
            the reverse direction after the first; with ``return_sequences``
            (B, T, D * H) or (T, B, D * H).  With ``return_cells`` or ``return_state`` a tuple: y;
            c of the same shape; c, h, or the states of the cell, each (S * D, B, H), or (B, H) if
            S * D is 1.

        Raises:
            TypeError, ValueError, chainer.utils.type_check.InvalidType: a type, shape, value or
                dtype does not fit; parameters and state are unchanged.
        """
        children = self.cells()
        x = checks.variable('x', x)
        if x.ndim == 2:
            return self._forward_one(x, initial_state, lengths, mask, resets)
        x = self._checked(x, children[0])
        time, batch = x.shape[1::-1] if self.batch_first else x.shape[:2]
        valid = steps.valid_steps(batch, time, lengths, mask)
        restarts = steps.reset_steps(batch, time, resets, self.go_backwards)
        state = self.first_state(batch, x.dtype, initial_state, restarts is not None)
        if self.go_backwards:
            x = F.flip(x, 1 if self.batch_first else 0)
            valid = None if valid is None else valid[:, ::-1]
        plan = self._plan(batch, time, valid, restarts)
        rows = x.array.reshape(time * batch, x.shape[2])
        with contextlib.ExitStack() as stack:
            for child in children:
                stack.enter_context(child.sized_for(rows))
            new, ys = apply(plan, state, (x,), self._weights(children))
        if self.stateful:
            for name, value in zip(self.cell.states, new):
                setattr(self, name, value)
        found = [_MERGES[self.merge_mode](y) for y in ys]
        if self.return_state:
            found += [outputs.reshape(s, s.shape[-2:]) for s in new] if len(children) == 1 else new
        return tuple(found) if len(found) > 1 else found[0]

    def _plan(
        self,
        batch: int,
        time: int,
        valid: Optional[numpy.ndarray],
        resets: Optional[numpy.ndarray],
    ) -> Plan:
        return Plan(
            self.cell,
            self._packing(batch, time, valid, resets),
            weights_of(self.cell),
            self.directions,
            self.dropout,
            swapped=self.batch_first and valid is None and resets is None,
            output=Output.ALL if self.return_sequences else Output.LAST,
            cells=self.return_cells,
        )

    def _forward_one(self, x: Any, state: Any, lengths: Any, mask: Any, resets: Any) -> Any:
        """Run ``forward`` on one sequence, without the axis B."""
        time_axis = 1 if self.batch_first else 0
        if isinstance(state, (tuple, list)):
            state = [s if s is None else _with_batch(s) for s in state]
        given = {
            name: None if value is None else numpy.expand_dims(checks.on_cpu(value), 0)
            for name, value in (('lengths', lengths), ('mask', mask), ('resets', resets))
        }
        found = self.forward(F.expand_dims(x, 1 - time_axis), state, **given)
        axis = 1 - time_axis if self.return_sequences else 0
        if not isinstance(found, tuple):
            return F.squeeze(found, axis)
        count = 2 if self.return_cells else 1
        ys, states = found[:count], found[count:]
        return (*(F.squeeze(y, axis) for y in ys), *(F.squeeze(s, -2) for s in states))

    def _packing(
        self,
        batch: int,
        time: int,
        valid: Optional[numpy.ndarray],
        resets: Optional[numpy.ndarray],
    ) -> Packing:
        if valid is None and resets is None:
            return packing_of_equal(time, batch)
        shape = (batch, time) if self.batch_first else (time, batch)
        places = numpy.arange(batch * time).reshape(shape)
        places = places if self.batch_first else places.T
        valid = numpy.ones((batch, time), bool) if valid is None else valid
        return packing_of_padded(valid, places, resets, repeats=not self.zero_masked)

    def _weights(self, children: Sequence[Union[StatelessLSTM, CellWeights]]) -> list[Any]:
        """Return the weights of all layers and directions, in training with ``weight_dropout``."""
        found = [w for child in children for w in child.cell_weights()]
        if self.weight_dropout and chainer.config.train:
            matrices = {
                product.weight
                for stage in self.cell.stages
                for product in stage.products
                if product.state == 'h'
            }
            names = self.cell.weights
            found = [
                dropout(w, self.weight_dropout) if names[k % len(names)] in matrices else w
                for k, w in enumerate(found)
            ]
        return found

    def cells(self) -> list[Union[StatelessLSTM, CellWeights]]:
        """Return the links that hold the weights, in the order of ``cell_names``.

        Raises:
            TypeError: a link was replaced or has a hook.
        """
        kind = StatelessLSTM if self.cell == cells.lstm else CellWeights
        found = [getattr(self, name) for name in self.cell_names]
        for name, child in zip(self.cell_names, found):
            is_of_cell = isinstance(child, kind) and child.cell == self.cell
            if not is_of_cell or not child.is_as_made():
                raise TypeError(
                    f'expected {name} as it was made (it holds the weights and is not called), '
                    f'got {type(child).__name__} with a link that was replaced or hooked'
                )
        return found

    def _checked(self, x: Any, child: Union[StatelessLSTM, CellWeights]) -> chainer.Variable:
        """Return x, of a shape that fits the weights of the first layer."""
        W = child.cell_weights()[0]
        if W.array is not None and W.ndim != 2:
            rows = len(self.cell.inputs) * self.out_size
            raise ValueError(
                f'expected the weights of the input of shape ({rows}, inputs), got {W.shape}'
            )
        width = None if W.array is None else W.shape[1]
        if x.ndim != 3 or x.shape[2] != (width or max(x.shape[2], 1)):
            axes = 'batch, time' if self.batch_first else 'time, batch'
            raise ValueError(f'expected x of shape ({axes}, {width or "inputs"}), got {x.shape}')
        if x.dtype.kind != 'f':
            raise TypeError(f'expected x of a float dtype, got {x.dtype}')
        return x


def _halves(y: chainer.Variable) -> Sequence[chainer.Variable]:
    return F.split_axis(y, 2, axis=-1)


_MERGES: dict[str, Callable[[chainer.Variable], chainer.Variable]] = {
    'concat': lambda y: y,
    'sum': lambda y: sum(_halves(y)),
    'mul': lambda y: F.prod(F.stack(_halves(y)), axis=0),
    'ave': lambda y: sum(_halves(y)) * 0.5,
}


def _with_batch(state: Input) -> chainer.Variable:
    """Return (…, H) as (…, 1, H)."""
    return F.expand_dims(checks.variable('initial_state', state), -2)
