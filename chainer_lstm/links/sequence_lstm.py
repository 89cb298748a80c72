"""``SequenceLSTM``: layers over a whole batch of sequences in one call, as Keras, NNabla,
Gluon and torch have them.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any, Optional, Union

import chainer
import chainer.functions as F
import numpy
from chainer import initializers
from chainer.backends import cuda

from chainer_lstm import cells
from chainer_lstm import initializers as ours
from chainer_lstm.cells import Cell
from chainer_lstm.functions import checks, outputs
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.sequence import apply
from chainer_lstm.functions.sequence_node import Output, Plan
from chainer_lstm.functions.step import check_cell
from chainer_lstm.functions.weights import weights_of
from chainer_lstm.kernels.packing import packing_of_padded, packing_of_steps
from chainer_lstm.links.lstm import StatelessLSTM
from chainer_lstm.links.state import KeepsState
from chainer_lstm.links.weights import CellWeights


class SequenceLSTM(KeepsState, chainer.Chain):
    """Stacked layers of an LSTM, or of another cell, in one or both directions over (B, T, I), the
    whole call one node.

    A state is a pair in the order c, h, or has the states of the cell, each (S * D, B, H) with
    index ``D * layer + direction``, or (B, H) where S * D is 1.

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
            ``StatelessLSTM``, for every layer and direction; ``forget_bias_init``
            for an LSTM only.
        cell: what each layer computes, see ``chainer_lstm.cells``.
        proj_size: P, to project h (Sak et al., 2014): h = (o tanh(c)) Vᵀ.  Then h is (…, P) instead
            of (…, H), the output (…, D * P), and later layers take D * P inputs.  Usually less
            than H; recurrent weights are (4H, P), with fewer parameters and products.

    Attributes:
        l0, l0_reverse, l1, …: for each layer and direction a ``StatelessLSTM``, of another or of a
            projected cell ``CellWeights``, such as ``l0/W``, ``l0/b``, ``l0/U`` (4H, P) and
            ``l0/V`` (P, H).  They hold the weights and are not called themselves.
        cell: as above, with ``outputs`` of ``proj_size``.
        cell_names: the names of these, index ``D * layer + direction``.
        directions: D.
        c0, h0: (S * D, H), 0 at first; only with ``learn_initial_state``.
        c, h: the kept state, (S * D, B, H) variables, or None; c is None where the cell has none.
        persistent_state: whether the state is serialized too, as in ``LSTM``;
            without ``stateful`` there is none.

    Raises:
        TypeError: a size is not an integer, dropout no number, an initializer not callable, or
            ``cell`` no cell.
        ValueError: a size is not positive, dropout not in [0, 1), or ``forget_bias_init`` given
            for a cell that is not the LSTM; or the cell reads h, other than by products, and cannot
            be projected.
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
        cell: Cell = cells.lstm,
        proj_size: Optional[int] = None,
    ) -> None:
        super().__init__()
        check_cell(cell)
        if proj_size is not None:
            cell = dataclasses.replace(cell, outputs=checks.size('proj_size', proj_size))
        if forget_bias_init is not None and cell.unprojected != cells.lstm:
            raise ValueError(f'expected forget_bias_init of the LSTM only, got it for {cell.name}')
        self.cell = cell
        if cell.projection is not None and cell.unprojected == cells.lstm:
            if forget_bias_init is None:
                forget_bias_init = chainer.config.lstm_forget_bias
            bias_init = ours.GateBias(bias_init, forget_bias_init)
        in_size = checks.size('in_size', in_size, optional=True)
        self.out_size = checks.size('out_size', out_size)
        self.n_layers = checks.size('n_layers', n_layers)
        self.dropout = checks.dropout(dropout)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.stateful = stateful
        self.batch_first = batch_first
        self.learn_initial_state = learn_initial_state
        self.directions = 2 if bidirectional else 1
        self.cell_names = [
            f'l{layer}{end}'
            for layer in range(self.n_layers)
            for end in ('', '_reverse')[: self.directions]
        ]
        with self.init_scope():
            for k, name in enumerate(self.cell_names):
                size = in_size if k < self.directions else self.directions * self._width('h')
                inits = lateral_init, upward_init, bias_init
                if cell == cells.lstm:
                    child: Any = StatelessLSTM(size, self.out_size, *inits, forget_bias_init)
                else:
                    child = CellWeights(cell, size, self.out_size, *inits)
                setattr(self, name, child)
            if learn_initial_state:
                for name in cell.states:
                    shape = len(self.cell_names), self._width(name)
                    setattr(self, f'{name}0', chainer.Parameter(initializers.Zero(), shape))

    def _width(self, state: str) -> int:
        return self.cell.width(state, self.out_size)

    def device_resident_accept(self, visitor: Any) -> None:
        """Visit the parameters and the state, which are sent to another device."""
        super().device_resident_accept(visitor)
        for state in (self.c, self.h):
            if state is not None:
                visitor.visit_variable(state)

    def set_state(self, c: Optional[Input], h: Input) -> None:
        """Sets the state that the next call begins with, and moves it to the link's device.

        Args:
            c, h: (S * D, B, H), or (B, H) where S * D is 1; c is None where the cell has none.

        Raises:
            TypeError: not a variable or array, or not of floats.
            ValueError: another shape, or a link that is not stateful; the state is as before.
        """
        if not self.stateful:
            raise ValueError('expected a link with stateful=True, got one that keeps no state')
        given = {'c': c, 'h': h}
        for name in self.cell.states:
            given[name] = checks.variable(name, given[name])
        self._keep(*self._checked_states(**given))

    def _checked_states(self, c: Any, h: Any) -> tuple:
        c, h = (s if s is None else self._state(name, s) for name, s in (('c', c), ('h', h)))
        if 'c' not in self.cell.states:
            if c is not None:
                raise ValueError(f'expected no c, which {self.cell.name} has not, got one')
            return c, h
        shapes = [None if s is None else s.shape for s in (c, h)]
        rows = [None if s is None else s[:-1] for s in shapes]
        if rows[0] != rows[1]:
            kind = 'shape' if self.cell.projection is None else 'number of rows'
            raise ValueError(f'expected c and h of one {kind}, got {shapes[0]} and {shapes[1]}')
        return c, h

    def _persists_state(self) -> bool:
        return self.stateful and self.persistent_state

    def _state_shape(self, rows: int) -> tuple[int, ...]:
        return len(self.cell_names), rows, self.out_size

    def forward(
        self,
        x: Input,
        initial_state: Optional[Sequence[Input]] = None,
        *,
        lengths: Any = None,
        mask: Any = None,
    ) -> Any:
        """Runs all layers over all steps.

        A masked step leaves the state as it is, and its output is the one
        before it in the direction's order, h0 before the first valid step.

        Args:
            x: (B, T, I), or (T, B, I) with ``batch_first=False``.
            initial_state: (c, h), or the states of the cell; default: the kept state, the learned
                one, or 0.
            lengths: (B,) integers, 0 to T: all later steps are masked.
            mask: (B, T) or (B, T, 1), also with ``batch_first=False``; 0 or
                False for masked steps, anywhere.  Both are read on the CPU.

        Returns:
            y (B, D * H), h of the last layer after the last valid step, for
            the reverse direction after the first; with ``return_sequences``
            (B, T, D * H) or (T, B, D * H).  With ``return_state`` (y, c, h), or y and the states
            of the cell, each (S * D, B, H), or (B, H) where S * D is 1.

        Raises:
            TypeError, ValueError, chainer.utils.type_check.InvalidType: a type, shape, value or
                dtype does not fit; parameters and state are as before.
        """
        children = self.cells()
        x = self._checked(x, children[0])
        time, batch = x.shape[1::-1] if self.batch_first else x.shape[:2]
        valid = _valid_steps(batch, time, lengths, mask)
        if valid is not None and valid.all():
            valid = None
        state = self._first_state(batch, x.dtype, initial_state)
        if valid is not None:
            packing = packing_of_padded(valid, self.batch_first)
        else:
            packing = packing_of_steps((batch,) * time, batch)
        plan = Plan(
            self.cell,
            packing,
            weights_of(self.cell),
            self.directions,
            self.dropout,
            swapped=self.batch_first and valid is None,
            output=Output.ALL if self.return_sequences else Output.LAST,
        )
        rows = x.array.reshape(time * batch, x.shape[2])
        with contextlib.ExitStack() as stack:
            for child in children:
                stack.enter_context(child.sized_for(rows))
            weights = [w for child in children for w in child.cell_weights()]
            new, (y,) = apply(plan, state, (x,), weights)
        if self.stateful:
            for name, value in zip(self.cell.states, new):
                setattr(self, name, value)
        if not self.return_state:
            return y
        if len(children) == 1:
            new = new._make(outputs.reshape(s, s.shape[-2:]) for s in new)
        return y, *new

    def cells(self) -> list[Union[StatelessLSTM, CellWeights]]:
        """Return the links that hold the weights, in the order of ``cell_names``.

        Raises:
            TypeError: one was replaced or hooked.
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
        """Return x as a variable of a shape that fits the weights of the first layer."""
        x, W = checks.variable('x', x), child.cell_weights()[0]
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

    def _first_state(self, batch: int, dtype: Any, given: Any) -> Sequence[chainer.Variable]:
        """Return the states that a call begins with, (S D, B, H) each, or (B, H) of one layer and
        direction.
        """
        names = self.cell.states
        if given is not None:
            if not isinstance(given, (tuple, list)) or len(given) != len(names):
                got = (
                    f'{len(given)} items'
                    if isinstance(given, (tuple, list))
                    else type(given).__name__
                )
                kind = 'a pair' if len(names) == 2 else f'a tuple of {len(names)}'
                raise ValueError(
                    f'expected initial_state to be {kind} ({", ".join(names)}), got {got}'
                )
            return [self._state(name, s, batch, dtype) for name, s in zip(names, given)]
        if self.stateful and self.h is not None:
            if self.h.shape[1] != batch:
                raise ValueError(
                    f'expected a batch of {self.h.shape[1]}, the size of the kept state '
                    f'(reset_state forgets it), got {batch}'
                )
            return [getattr(self, name) for name in names]
        groups = len(self.cell_names)
        shapes: list[tuple[int, ...]] = [(groups, batch, self._width(name)) for name in names]
        if self.learn_initial_state:
            learned = [F.expand_dims(getattr(self, f'{name}0'), 1) for name in names]
            return [F.broadcast_to(s, shape) for s, shape in zip(learned, shapes)]
        if groups == 1 and not self.stateful:
            shapes = [shape[1:] for shape in shapes]
        with chainer.using_device(self.device):
            return [chainer.Variable(self.xp.zeros(shape, dtype)) for shape in shapes]

    def _state(
        self, name: str, value: Any, batch: Optional[int] = None, dtype: Any = None
    ) -> chainer.Variable:
        """(S * D, B, H), or (B, H) where S * D is 1; with ``stateful`` always the first."""
        groups, width = len(self.cell_names), self._width(name)
        value = checks.variable(name, value)
        shape = (1, *value.shape) if value.ndim == 2 and groups == 1 else value.shape
        if (
            len(shape) != 3
            or shape[::2] != (groups, width)
            or batch not in (None, shape[1])
        ):
            rows = 'batch' if batch is None else batch
            raise ValueError(
                f'expected {name} of shape ({groups}, {rows}, {width}), got {value.shape}'
            )
        if value.dtype.kind != 'f' or (dtype is not None and value.dtype != dtype):
            hint = '' if dtype is None else f' ({checks.conversion(name, value.dtype, dtype)})'
            raise TypeError(
                f'expected {name} of dtype {"float" if dtype is None else dtype}, '
                f'got {value.dtype}{hint}'
            )
        return F.reshape(value, shape) if self.stateful else value


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
