"""``SequenceLSTM``: layers over a whole batch of sequences in one call, as Keras, NNabla,
Gluon and torch have them.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple, Optional

import chainer
import chainer.functions as F
import numpy
from chainer import initializers
from chainer.backends import cuda

from chainer_lstm import functions
from chainer_lstm.functions import checks, outputs
from chainer_lstm.functions.lstm import Input, State
from chainer_lstm.links.lstm import StatelessLSTM
from chainer_lstm.links.state import KeepsState


class SequenceLSTM(KeepsState, chainer.Chain):
    """Stacked LSTM layers in one or both directions over (B, T, I), the whole call one node.

    A state is a pair in the order c, h, each (S * D, B, H) with index
    ``D * layer + direction``, or (B, H) where S * D is 1.

    Args:
        in_size: I, or None to take it from the first input.
        out_size: H, the number of units.
        n_layers: S, the number of layers.
        bidirectional: D = 2 directions instead of 1; outputs are forward beside reverse.
        dropout: ratio, between the layers, in training.
        return_sequences: the outputs of all steps instead of the last one.
        return_state: ``(y, c, h)`` instead of y.
        stateful: a call begins with the state that the one before ended with.
            Gradients go back into that call, until the graph is unchained.
        batch_first: x and the outputs of all steps are (B, T, …) instead of (T, B, …).
        learn_initial_state: the state to begin with is a parameter.
        lateral_init, upward_init, bias_init, forget_bias_init: as in
            ``StatelessLSTM``, for every layer and direction.

    Attributes:
        l0, l0_reverse, l1, …: a ``StatelessLSTM`` for each layer and
            direction.  They hold the weights and are not called themselves.
        cell_names: the names of these, index ``D * layer + direction``.
        directions: D.
        c0, h0: (S * D, H), 0 at first; only with ``learn_initial_state``.
        c, h: the kept state, (S * D, B, H) variables, or None.
        persistent_state: whether the state is serialized too, as in ``LSTM``;
            without ``stateful`` there is none.

    Raises:
        TypeError: a size is not an integer, dropout no number, an initializer not callable.
        ValueError: a size is not positive, or dropout not in [0, 1).
    """

    c: Optional[chainer.Variable] = None
    h: Optional[chainer.Variable] = None

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
        lateral_init: Any = None,
        upward_init: Any = None,
        bias_init: Any = None,
        forget_bias_init: Any = None,
    ) -> None:
        super().__init__()
        in_size = checks.size('in_size', in_size, optional=True)
        self.out_size, self.n_layers = (
            checks.size('out_size', out_size),
            checks.size('n_layers', n_layers),
        )
        self.dropout = checks.dropout(dropout)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.stateful, self.batch_first, self.learn_initial_state = (
            stateful,
            batch_first,
            learn_initial_state,
        )
        self.directions = 2 if bidirectional else 1
        self.cell_names = [
            f'l{layer}{end}'
            for layer in range(self.n_layers)
            for end in ('', '_reverse')[: self.directions]
        ]
        with self.init_scope():
            for k, name in enumerate(self.cell_names):
                size = in_size if k < self.directions else self.directions * self.out_size
                setattr(
                    self,
                    name,
                    StatelessLSTM(
                        size, self.out_size, lateral_init, upward_init, bias_init, forget_bias_init
                    ),
                )
            if learn_initial_state:
                shape = len(self.cell_names), self.out_size
                self.c0 = chainer.Parameter(initializers.Zero(), shape)
                self.h0 = chainer.Parameter(initializers.Zero(), shape)

    def device_resident_accept(self, visitor: Any) -> None:
        """Visit the parameters and the state, which are sent to another device."""
        super().device_resident_accept(visitor)
        for state in (self.c, self.h):
            if state is not None:
                visitor.visit_variable(state)

    def set_state(self, c: Input, h: Input) -> None:
        """Sets the state that the next call begins with, and moves it to the link's device.

        Args:
            c, h: (S * D, B, H), or (B, H) where S * D is 1.

        Raises:
            TypeError: not a variable or array, or not of floats.
            ValueError: another shape, or a link that is not stateful; the state is as before.
        """
        if not self.stateful:
            raise ValueError('expected a link with stateful=True, got one that keeps no state')
        c, h = checks.variable('c', c), checks.variable('h', h)
        self._keep(*self._checked_states(c, h))

    def _checked_states(self, c: Any, h: Any) -> tuple:
        c, h = (s if s is None else self._state(name, s) for name, s in (('c', c), ('h', h)))
        shapes = [None if s is None else s.shape for s in (c, h)]
        if shapes[0] != shapes[1]:
            raise ValueError(f'expected c and h of one shape, got {shapes[0]} and {shapes[1]}')
        return c, h

    def _persists_state(self) -> bool:
        return self.stateful and self.persistent_state

    def _state_shape(self, rows: int) -> tuple[int, ...]:
        return len(self.cell_names), rows, self.out_size

    def forward(
        self,
        x: Input,
        initial_state: Optional[State] = None,
        *,
        lengths: Any = None,
        mask: Any = None,
    ) -> Any:
        """Runs all layers over all steps.

        A masked step leaves the state as it is, and its output is the one
        before it in the direction's order, h0 before the first valid step.

        Args:
            x: (B, T, I), or (T, B, I) with ``batch_first=False``.
            initial_state: (c, h); default: the kept state, the learned one, or 0.
            lengths: (B,) integers, 0 to T: all later steps are masked.
            mask: (B, T) or (B, T, 1), also with ``batch_first=False``; 0 or
                False for masked steps, anywhere.  Both are read on the CPU.

        Returns:
            y (B, D * H), h of the last layer after the last valid step, for
            the reverse direction after the first; with ``return_sequences``
            (B, T, D * H) or (T, B, D * H).  With ``return_state`` (y, c, h),
            each state (S * D, B, H), or (B, H) where S * D is 1.

        Raises:
            TypeError, ValueError, chainer.utils.type_check.InvalidType: a type, shape, value or
                dtype does not fit; parameters and state are as before.
        """
        cells = self.cells()
        xs = self._time_major(x, cells[0].upward.W)
        time, batch, in_size = xs.shape
        valid = _valid_steps(batch, time, lengths, mask)
        c, h = self._first_state(batch, xs.dtype, initial_state)
        rows = F.reshape(xs, (time * batch, in_size))
        with contextlib.ExitStack() as stack:
            for cell in cells:
                stack.enter_context(cell.sized_for(rows))
            weights = [cell.cell_weights() for cell in cells]
            if valid is None or valid.all():
                h, c, y = self._run(h, c, F.reshape(rows, xs.shape), weights)
            else:
                h, c, y = self._run_masked(h, c, rows, weights, _packing(valid))
        if self.stateful:
            self.c, self.h = c, h
        if not self.return_sequences:
            last = h[len(h) - self.directions :]
            y = outputs.reshape(
                F.transpose(last, (1, 0, 2)), (batch, self.directions * self.out_size)
            )
        elif self.batch_first:
            y = outputs.transpose(y, (1, 0, 2))
        if not self.return_state:
            return y
        return (
            (y, c, h) if len(cells) > 1 else (y, *(outputs.reshape(s, s.shape[1:]) for s in (c, h)))
        )

    def _run(self, h, c, xs, weights):
        return functions.lstm_sequence(
            h, c, xs, weights, bidirectional=self.directions == 2, dropout=self.dropout
        )

    def _run_masked(self, h0, c0, rows, weights, packing):
        """rows (T * B, I) -> h, c, and the outputs (T, B, D * H) if they are wanted."""
        order, index, *repeats = (
            self.device.send(i.astype(numpy.int32))
            for i in (packing.order, packing.rows, packing.before, packing.after)
        )
        h0, c0 = (F.permutate(s, order, axis=1) for s in (h0, c0))
        steps = F.split_axis(F.permutate(rows, index), packing.starts[1:], axis=0)[:-1]
        batch, units = h0.shape[1:]
        # no valid step at all: a sequence of no steps, through which the state goes
        h, c, ys = self._run(
            h0, c0, steps or F.reshape(rows[:0], (0, batch, rows.shape[1])), weights
        )
        h, c = (outputs.permutate(s, order, axis=1, inv=True) for s in (h, c))
        if not self.return_sequences:
            return h, c, None
        y = F.concat(ys, axis=0) if steps else F.reshape(ys, (0, self.directions * units))
        repeated = [
            F.concat(
                (h0[len(h0) - self.directions + d], y[:, d * units : (d + 1) * units]), axis=0
            )[repeats[d]]
            for d in range(self.directions)
        ]
        y = F.permutate(F.concat((y, F.concat(repeated, axis=1)), axis=0), index, inv=True)
        return h, c, outputs.reshape(y, (len(rows) // batch, batch, self.directions * units))

    def cells(self) -> list[StatelessLSTM]:
        """Return the links that hold the weights, in the order of ``cell_names``.

        Raises:
            TypeError: one was replaced or hooked.
        """
        cells = [getattr(self, name) for name in self.cell_names]
        for name, cell in zip(self.cell_names, cells):
            if not isinstance(cell, StatelessLSTM) or not cell.is_as_made():
                raise TypeError(
                    f'expected {name} as it was made (it holds the weights and is not called), '
                    f'got {type(cell).__name__} with a link that was replaced or hooked'
                )
        return cells

    def _time_major(self, x: Any, W: chainer.Parameter) -> chainer.Variable:
        x = checks.variable('x', x)
        if W.array is not None and W.ndim != 2:
            raise ValueError(
                f'expected the weights of the input of shape ({4 * self.out_size}, inputs), '
                f'got {W.shape}'
            )
        width = None if W.array is None else W.shape[1]
        if x.ndim != 3 or x.shape[2] != (width or max(x.shape[2], 1)):
            axes = 'batch, time' if self.batch_first else 'time, batch'
            raise ValueError(f'expected x of shape ({axes}, {width or "inputs"}), got {x.shape}')
        if x.dtype.kind != 'f':
            raise TypeError(f'expected x of a float dtype, got {x.dtype}')
        return F.transpose(x, (1, 0, 2)) if self.batch_first else x

    def _first_state(self, batch: int, dtype: Any, given: Any) -> tuple[Any, Any]:
        if given is not None:
            if not isinstance(given, (tuple, list)) or len(given) != 2:
                got = (
                    f'{len(given)} items'
                    if isinstance(given, (tuple, list))
                    else type(given).__name__
                )
                raise ValueError(f'expected initial_state to be a pair (c, h), got {got}')
            return self._state('c', given[0], batch, dtype), self._state(
                'h', given[1], batch, dtype
            )
        if self.stateful and self.c is not None:
            if self.c.shape[1] != batch:
                raise ValueError(
                    f'expected a batch of {self.c.shape[1]}, the size of the kept state '
                    f'(reset_state forgets it), got {batch}'
                )
            return self.c, self.h
        shape = (len(self.cell_names), batch, self.out_size)
        if self.learn_initial_state:
            c0, h0 = (F.expand_dims(s, 1) for s in (self.c0, self.h0))
            return F.broadcast_to(c0, shape), F.broadcast_to(h0, shape)
        with chainer.using_device(self.device):
            c, h = self.xp.zeros(shape, dtype), self.xp.zeros(shape, dtype)
            return chainer.Variable(c), chainer.Variable(h)

    def _state(
        self, name: str, value: Any, batch: Optional[int] = None, dtype: Any = None
    ) -> chainer.Variable:
        """(S * D, B, H), or (B, H) where S * D is 1 -> (S * D, B, H)."""
        groups = len(self.cell_names)
        value = checks.variable(name, value)
        shape = (1, *value.shape) if value.ndim == 2 and groups == 1 else value.shape
        if (
            len(shape) != 3
            or shape[::2] != (groups, self.out_size)
            or batch not in (None, shape[1])
        ):
            rows = 'batch' if batch is None else batch
            raise ValueError(
                f'expected {name} of shape ({groups}, {rows}, {self.out_size}), got {value.shape}'
            )
        if value.dtype.kind != 'f' or (dtype is not None and value.dtype != dtype):
            hint = '' if dtype is None else f' ({checks.conversion(name, value.dtype, dtype)})'
            raise TypeError(
                f'expected {name} of dtype {"float" if dtype is None else dtype}, '
                f'got {value.dtype}{hint}'
            )
        return F.reshape(value, shape)


def _valid_steps(batch: int, time: int, lengths: Any, mask: Any) -> Optional[numpy.ndarray]:
    """Which steps are valid, (B, T) booleans on the CPU, or None for all."""
    if lengths is not None and mask is not None:
        raise ValueError('expected lengths or mask, got both')
    if lengths is not None:
        lengths = _on_cpu(lengths)
        if lengths.dtype.kind not in 'iu' and lengths.size:
            raise TypeError(f'expected lengths to be integers, got {lengths.dtype}')
        if lengths.shape != (batch,):
            raise ValueError(f'expected lengths of shape ({batch},), got {lengths.shape}')
        if ((lengths < 0) | (lengths > time)).any():
            raise ValueError(f'expected lengths of 0 to {time}, got {lengths.tolist()}')
        return numpy.arange(time) < lengths[:, None]
    if mask is None:
        return None
    mask = _on_cpu(mask)
    if mask.dtype.kind not in 'biuf':
        raise TypeError(f'expected mask to be booleans or numbers, got {mask.dtype}')
    if mask.shape not in ((batch, time), (batch, time, 1)):
        raise ValueError(
            f'expected mask of shape ({batch}, {time}) or ({batch}, {time}, 1), got {mask.shape}'
        )
    wrong = mask[(mask != 0) & (mask != 1)]
    if wrong.size:
        raise ValueError(f'expected mask to be of 0 and 1, got {wrong[0]}')
    return mask.reshape(batch, time) == 1


def _on_cpu(values: Any) -> numpy.ndarray:
    values = chainer.as_array(values)
    return numpy.asarray(cuda.to_cpu(values) if isinstance(values, cuda.ndarray) else values)


class _Packing(NamedTuple):
    """Where the rows of masked sequences lie.

    Attributes:
        order: (B,), the sequence with the most valid steps first.
        starts: where the first, second, … valid steps begin in the packed rows, and their end.
        rows: (T * B,), which time-major rows are packed, then which are masked.
        before, after: for each masked row, the place of the valid one before
            and after it, among B initial states and the packed rows.
    """

    order: numpy.ndarray
    starts: numpy.ndarray
    rows: numpy.ndarray
    before: numpy.ndarray
    after: numpy.ndarray


def _packing(valid: numpy.ndarray) -> _Packing:
    """valid (B, T)."""
    batch, time = valid.shape
    counts = valid.sum(axis=1)
    order = numpy.argsort(-counts, kind='stable')
    counts, valid = counts[order], valid[order].T
    starts = numpy.cumsum([0, *((counts > t).sum() for t in range(counts.max(initial=0)))])
    rank, seen = numpy.arange(batch), valid.cumsum(axis=0)  # seen: valid steps, this one included
    packed = starts[seen - 1] + rank
    flat = numpy.arange(time)[:, None] * batch + order
    rows = flat[valid][numpy.argsort(packed[valid])]
    before = numpy.where(seen == 0, rank, batch + packed)
    after = numpy.where(seen == counts, rank, batch + starts[seen] + rank)
    return _Packing(
        order, starts, numpy.concatenate((rows, flat[~valid])), before[~valid], after[~valid]
    )
