"""The state of ``SequenceLSTM`` for all layers and directions: given, kept or learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import chainer
import chainer.functions as F
from chainer import initializers

from chainer_lstm.cells import Cell
from chainer_lstm.functions import checks
from chainer_lstm.functions.node import Input
from chainer_lstm.links.state import KeepsState, repeated, zeros


class SequenceState(KeepsState, chainer.Chain):
    """A link over whole sequences that may keep its state and may learn its initial state.

    Attributes:
        cell: the cell of all layers.
        cell_names: a name for each layer and direction, index ``D * layer + direction``.
        out_size: H.
        stateful: whether the state is kept.
        learn_initial_state: whether the initial state is a parameter.
        c0, h0: (S * D, H), the learned initial state.
        c, h: the kept state, (S * D, B, H) variables, or None; c is None if the cell has none.
    """

    cell: Cell
    cell_names: list[str]
    out_size: int
    stateful: bool
    learn_initial_state: bool
    c: Optional[chainer.Variable] = None
    h: Optional[chainer.Variable] = None

    def _init_states(self, learn: bool) -> None:
        self.learn_initial_state = learn
        if learn:
            with self.init_scope():
                for name in self.cell.states:
                    shape = len(self.cell_names), self._width(name)
                    setattr(self, f'{name}0', chainer.Parameter(initializers.Zero(), shape))

    def _width(self, state: str) -> int:
        return self.cell.width(state, self.out_size)

    def device_resident_accept(self, visitor: Any) -> None:
        """Visit the parameters and the state when the link moves to another device."""
        super().device_resident_accept(visitor)
        for state in (self.c, self.h):
            if state is not None:
                visitor.visit_variable(state)

    def set_state(self, c: Optional[Input], h: Input) -> None:
        """Set the initial state of the next call, and move it to the link's device.

        Args:
            c, h: (S * D, B, H), or (B, H) if S * D is 1; c is None if the cell has none.

        Raises:
            TypeError: a state is not a variable or array, or not of floats.
            ValueError: a state has another shape, or the link is not stateful; nothing was changed.
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

    def first_state(
        self, batch: int, dtype: Any, given: Any, resets: bool
    ) -> Sequence[chainer.Variable]:
        """Return the initial states of a call, (S D, B, H) each, or (B, H) for one layer and
        direction; with resets and a learned state, that state is an additional row.
        """
        if not (resets and self.learn_initial_state):
            return self._given_state(batch, dtype, given)
        groups = len(self.cell_names)
        found = []
        for name, state in zip(self.cell.states, self._given_state(batch, dtype, given)):
            state = F.reshape(state, (groups, batch, state.shape[-1]))
            found.append(F.concat((state, self._first(name, 1, dtype)), axis=1))
        return found

    def _first(self, name: str, rows: int, dtype: Any) -> chainer.Variable:
        if self.learn_initial_state:
            return repeated(getattr(self, f'{name}0'), rows)
        return zeros(self, (len(self.cell_names), rows, self._width(name)), dtype)

    def _given_state(self, batch: int, dtype: Any, given: Any) -> Sequence[chainer.Variable]:
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
        if len(self.cell_names) == 1 and not self.stateful and not self.learn_initial_state:
            return [zeros(self, (batch, self._width(name)), dtype) for name in names]
        return [self._first(name, batch, dtype) for name in names]

    def _state(
        self, name: str, value: Any, batch: Optional[int] = None, dtype: Any = None
    ) -> chainer.Variable:
        """Return a checked state (S * D, B, H); without ``stateful`` (B, H) stays if S * D is 1."""
        groups, width = len(self.cell_names), self._width(name)
        value = checks.variable(name, value)
        shape = (1, *value.shape) if value.ndim == 2 and groups == 1 else value.shape
        if len(shape) != 3 or shape[::2] != (groups, width) or batch not in (None, shape[1]):
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
