"""The state of a link, which moves to devices with it and can be serialized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import chainer
import chainer.functions as F
import numpy

from chainer_lstm.functions import checks
from chainer_lstm.functions.checks import variable
from chainer_lstm.functions.node import Input, as_variable
from chainer_lstm.links import loading
from chainer_lstm.links.checks import States

_STATE = ('c', 'h')


class KeepsState(chainer.Link):
    """A link with a state ``c``, ``h``, whose loading is checked.

    Each may be None or, as in Chainer, a plain array that a program has assigned.
    A subclass defines ``_first``, ``_state_shape`` and ``_checked_states``.

    Attributes:
        c, h: the state.
        persistent_state: whether it is serialized too.
    """

    persistent_state = False
    _batch_axis = -2  # of c and h
    c: Optional[Input]
    h: Optional[Input]

    def reset_state(self, rows: Any = None) -> None:
        """Forget the state: the next call starts from the initial state.

        Args:
            rows: (B,) of 0 and 1 or booleans: 1 for each sequence to reset, such as an episode that
                has ended; None for all.

        Raises:
            TypeError, ValueError: rows do not fit; the state is unchanged.
        """
        if rows is None:
            self.c = self.h = None
            return
        states = self._states()
        batches = {state.shape[self._batch_axis] for state in states if state is not None}
        if batches:
            chosen = checks.flags('rows', rows, (max(batches),))
            self.c, self.h = (
                state if state is None or not chosen.any() else self._reset(name, state, chosen)
                for name, state in zip(_STATE, states)
            )

    def _reset(self, name: str, state: chainer.Variable, chosen: numpy.ndarray) -> Any:
        """Return a state with some rows replaced by the initial state."""
        axes, shape = [1] * state.ndim, state.shape
        axes[self._batch_axis] = len(chosen)
        first = F.broadcast_to(self._first(name, len(chosen), state.dtype), shape)
        rows = self.xp.asarray(chosen).reshape(axes)
        return F.where(self.xp.broadcast_to(rows, shape), first, state)

    def _first(self, name: str, rows: int, dtype: Any) -> chainer.Variable:
        """Return the initial state of so many rows, or a variable that broadcasts to it."""
        raise NotImplementedError

    def set_state(self, c: Optional[Input], h: Optional[Input]) -> None:
        """Set the state and move it to the link's device.

        Args:
            c, h: variables or arrays of the shape of a state, or None.  If only one is None, zeros
                of the shape of the other are used.

        Raises:
            TypeError: a state is not a variable or array, or not of floats.
            ValueError: a state has another shape; nothing was changed.
        """
        self._keep(*self._checked_states(c, h))

    def save_state(self) -> dict[str, numpy.ndarray]:
        """Return copies of ``c`` and ``h`` on the CPU by name, without those that are None."""
        cpu: Any = chainer.get_device('@numpy')
        return {
            name: cpu.send(state.array).copy()
            for name, state in zip(_STATE, self._states())
            if state is not None
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the result of ``save_state``; a missing state becomes None.

        Raises:
            KeyError: there is another key than c and h.
            TypeError, ValueError: state is not a dictionary, or as in ``set_state``; nothing was
                changed.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f'expected a dictionary of c and h, got {type(state).__name__}')
        for key in state.keys() - set(_STATE):
            raise KeyError(f'{key}: expected c and h, got {sorted(state)}')
        if not state:
            self.reset_state()
            return
        given = {
            name: chainer.as_array(variable(name, state[name])).copy()
            for name in _STATE
            if name in state
        }
        self.set_state(given.get('c'), given.get('h'))

    def device_resident_accept(self, visitor: Any) -> None:
        """Visit the parameters and the state when the link moves to another device."""
        self.c, self.h = self._states()
        super().device_resident_accept(visitor)

    def serialize(self, serializer: Any) -> None:
        """Read or write the parameters and, with ``persistent_state``, the state.

        Raises:
            KeyError, TypeError, ValueError: an array is missing or does not fit; nothing was
                changed.
        """
        loading.check(self, serializer)
        if not self._persists_state():
            super().serialize(serializer)
        elif isinstance(serializer, chainer.Deserializer):
            c, h = self._read_state(serializer)
            super().serialize(serializer)
            self._keep(c, h)
        else:
            super().serialize(serializer)
            for name, state in zip(_STATE, self._states()):
                serializer(name, self._no_rows() if state is None else state.array)

    def _persists_state(self) -> bool:
        return self.persistent_state

    def _states(self) -> States:
        """Return c and h as variables or None."""
        c = None if self.c is None else chainer.as_variable(self.c)
        h = None if self.h is None else chainer.as_variable(self.h)
        return c, h

    def _keep(self, c: Optional[chainer.Variable], h: Optional[chainer.Variable]) -> None:
        """Set a checked state, on the link's device."""
        for state in (c, h):
            if state is not None:
                state.to_device(self.device)
        self.c, self.h = c, h

    def _read_state(self, deserializer: chainer.Deserializer) -> States:
        """Return the checked state of a file; an array without rows stands for None.

        A file without a state keeps the present state.
        """
        try:
            stored = [deserializer(name, None) for name in _STATE]
        except KeyError:
            return self._states()
        if any(state is None for state in stored):  # missing in a file that is not read strictly
            return self._states()
        ndim = len(self._state_shape(0))
        is_none = [state.ndim == ndim and state.shape[-2] == 0 for state in stored]
        c, h = (None if none else chainer.Variable(state) for none, state in zip(is_none, stored))
        return self._checked_states(c, h)

    def _no_rows(self) -> Any:
        """Return an array without rows, which stands for a state that is None in files."""
        with chainer.using_device(self.device):
            return self.xp.zeros(self._state_shape(0), chainer.get_dtype())

    def _state_shape(self, rows: int) -> tuple[int, ...]:
        raise NotImplementedError

    def _checked_states(self, c: Any, h: Any) -> States:
        """Return c and h as variables of the shape of a state, or None.

        Raises:
            TypeError: a state is not a variable or array, or not of floats.
            ValueError: a state has another shape.
        """
        raise NotImplementedError


def repeated(learned: chainer.Variable, rows: int) -> chainer.Variable:
    """Return a learned state (…, H) as (…, rows, H)."""
    axis = learned.ndim - 1
    row = F.expand_dims(learned, axis)
    if rows == 0:  # F.repeat has no gradient for 0 repeats
        return row[..., :0, :]
    # not broadcast_to: a static graph writes into outputs, which are read-only views there
    return F.repeat(row, rows, axis=axis)


def zeros(link: chainer.Link, shape: tuple[int, ...], dtype: Any) -> chainer.Variable:
    """Return zeros on the link's device."""
    if link.xp is numpy:
        return as_variable(numpy.zeros(shape, dtype))
    with chainer.using_device(link.device):
        return chainer.Variable(link.xp.zeros(shape, dtype), requires_grad=False)
