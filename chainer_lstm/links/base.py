"""What the links of the family share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Union

import chainer
import chainer.functions as F
import chainer.links as L
import numpy

from chainer_lstm import functions
from chainer_lstm.functions import outputs
from chainer_lstm.functions.checks import variable
from chainer_lstm.functions.lstm import Input, State
from chainer_lstm.links import checks

_STATE = ('c', 'h')


class CheckedLoading(chainer.Link):
    """A link that a file with missing or misshapen arrays leaves as it was."""

    def serialize(self, serializer: Any) -> None:
        """Reads or writes the parameters.

        Raises:
            KeyError: the file misses a parameter (from HDF5, for a whole link, a ValueError);
                nothing was changed.
            ValueError: the file has one of another shape, or not of real numbers; nothing was
                changed.
        """
        if isinstance(serializer, chainer.Deserializer):
            checks.stored(self, serializer)
        super().serialize(serializer)


class Cell(CheckedLoading):
    """A link whose input goes through the Linear link ``upward``,
    made when the first input shows its size.
    """

    upward: L.Linear

    @contextlib.contextmanager
    def _prepared(self, x: chainer.Variable) -> Iterator[None]:
        """Initializes what waits for the size of the input;
        after an error in the block it waits again.
        """
        upward = self.upward
        if not isinstance(upward, L.Linear) or upward.W.array is not None:
            yield
            return
        before = [(param, param.array.copy()) for param in self.params(include_uninit=False)]
        try:
            with chainer.using_device(self.device):
                self._initialize(chainer.utils.size_of_shape(x.shape[1:]))
            yield
        except BaseException:
            upward.W.grad = upward.W.array = None
            for param, array in before:
                param.array[...] = array
            raise

    def _initialize(self, in_size: int) -> None:
        self.upward._initialize_params(in_size)


class KeepsState(CheckedLoading):
    """A link with a state ``c``, ``h`` that moves with it and can be written into files.

    Either may be None or, where a program has assigned one, a plain array, as in Chainer.
    """

    persistent_state = False
    c: Optional[Input]
    h: Optional[Input]

    def save_state(self) -> dict[str, numpy.ndarray]:
        """Copies of ``c`` and ``h`` on the CPU, under these names; what is None is left out."""
        cpu = chainer.get_device('@numpy')
        return {
            name: cpu.send(state.array).copy()
            for name, state in zip(_STATE, self._states())
            if state is not None
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Sets what ``save_state`` gave; a state that is left out becomes None.

        Raises:
            KeyError: another key.
            TypeError, ValueError: no dictionary, or as ``set_state``; the state is as before.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f'expected a dictionary of c and h, got {type(state).__name__}')
        for key in state.keys() - set(_STATE):
            raise KeyError(f'{key}: expected c and h, got {sorted(state)}')
        if state:
            self.set_state(
                *(
                    variable(name, state[name]).array.copy() if name in state else None
                    for name in _STATE
                )
            )
        else:
            self.reset_state()

    def device_resident_accept(self, visitor: Any) -> None:
        """Visit the parameters and the state, which are sent to another device."""
        self.c, self.h = self._states()
        super().device_resident_accept(visitor)

    def serialize(self, serializer: Any) -> None:
        """Read or write the parameters and, with ``persistent_state``, the state.

        Raises:
            KeyError, TypeError, ValueError: an array is missing or does not fit; nothing was
                changed.
        """
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

    def _states(self) -> tuple[Optional[chainer.Variable], Optional[chainer.Variable]]:
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

    def _read_state(self, deserializer: chainer.Deserializer) -> tuple:
        """Return the checked state in the file; an array without rows stands for None.

        A file of weights alone leaves the state as it is.
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
        """Return an array of the shape of a state without rows, which stands for None in files."""
        with chainer.using_device(self.device):
            return self.xp.zeros(self._state_shape(0), chainer.get_dtype())

    def _state_shape(self, rows: int) -> tuple[int, ...]:
        raise NotImplementedError

    def _checked_states(self, c: Any, h: Any) -> tuple:
        """Return c and h as variables of the shape of a state, or None.

        Raises:
            TypeError: not a variable or array, or not of floats.
            ValueError: another shape.
        """
        raise NotImplementedError


class Stateful(KeepsState, Cell):
    """A cell that keeps the state ``c`` and ``h``, both (B, state_size) or None.

    Attributes:
        persistent_state: as in ``LSTM``.
    """

    state_size: int

    def set_state(self, c: Optional[Input], h: Optional[Input]) -> None:
        """Sets the state and moves it to the link's device.

        Args:
            c: (B, H) variable or array, or None.
            h: the same, with the same B if both are given.  If one is None, it is zeros of the
                shape of the other.

        Raises:
            TypeError: not a variable or array, or not of floats.
            ValueError: another shape; the state is as before.
        """
        self._keep(*self._checked_states(c, h))

    def forward(self, x: Input) -> chainer.Variable:
        """One time step; advances the state.

        Args:
            x: (B, I), or (B, …), which is flattened to it.

        Returns:
            h (B, H).

        Raises:
            TypeError: the batch is larger than that of the state.
            chainer.utils.type_check.InvalidType: a shape or dtype does not fit.
        """
        x = checks.batch(x)
        rows, c, h = self._rows(len(x)), self.c, self.h
        if c is None:
            c = zeros(self, rows, self.state_size, x.dtype)
        if h is None and rows > len(x):
            h = zeros(self, rows, self.state_size, x.dtype)
        h, h_rest = _active_rows(h, len(x))
        with self._prepared(x):
            c, y = self._step(c, h, x)
            self.c, self.h = c, outputs.all_rows(y, h_rest)
        return y

    def forward_sequence(self, xs: Union[Input, Sequence[Input]]) -> Union[chainer.Variable, tuple]:
        """The outputs of all steps, and the state as after calling the link with each of them,
        in one node.

        Of a list of steps the last output is the variable ``h``, as after a
        step, if its batch is that of the state and a graph grows.

        Args:
            xs: (T, B, I), or T steps (B_t, I) or (B_t, …) whose batches do not grow.

        Returns:
            (T, B, H), or a tuple of T (B_t, H).

        Raises:
            TypeError: the first batch is larger than that of the state.
            ValueError: batches grow in time, or xs is no such array or an empty list.
            chainer.utils.type_check.InvalidType: a shape or dtype does not fit.
        """
        dense = not isinstance(xs, (list, tuple))
        if dense:
            xs = variable('xs', xs)
            if xs.ndim < 3:
                raise ValueError(
                    f'expected xs of shape (time, batch, inputs) or a list of steps, got {xs.shape}'
                )
            if not len(xs):
                with chainer.using_device(self.device):
                    return chainer.Variable(
                        self.xp.zeros((0, xs.shape[1], self.state_size), xs.dtype)
                    )
        elif not len(xs):
            raise ValueError('expected at least one time step in xs, got an empty list')
        if dense:
            first, steps = xs.array[0], xs
            checks.floats(first)
        else:
            steps = [flat(checks.batch(x)) for x in xs]
            first = steps[0]
        rows = self._rows(len(first))
        if not self._is_plain():
            ys = [self(x) for x in xs]
            return F.stack(ys) if dense else tuple(ys)
        with self._prepared(first):
            nothing = (
                zeros(self, rows, self.state_size, first.dtype)
                if self.c is None or self.h is None
                else None
            )
            c, h = (nothing if s is None else s for s in (self.c, self.h))
            if dense and xs.ndim > 3:
                steps = F.reshape(xs, (*xs.shape[:2], chainer.utils.size_of_shape(xs.shape[2:])))
            h, self.c, ys = functions.lstm_sequence(h, c, steps, [self._weights()])
            # the variable that it is after steps: cutting the graph at h cuts it at the same place
            if chainer.config.enable_backprop and not dense and len(ys[-1]) == rows:
                h = ys[-1]
            elif not len(first) and self.h is not None:
                h = self.h
            self.h = h
        return ys

    def _rows(self, batch: int) -> int:
        """Of the state, which c or h alone says for both.

        Raises:
            TypeError: the batch is larger.
        """
        given = self.c if self.h is None else self.h
        rows = batch if given is None else len(given)
        if rows < batch:
            raise TypeError(
                'The batch size of x must be equal to or less than the size of the previous state '
                f'h. Expected at most {rows}, got {batch}.'
            )
        return rows

    def _is_plain(self) -> bool:
        """Whether the weights may be taken from the links inside; otherwise they are called."""
        raise NotImplementedError

    def _weights(self) -> tuple[chainer.Parameter, ...]:
        """W, b, U and, if there are any, the peepholes."""
        raise NotImplementedError

    def _step(
        self, c: chainer.Variable, h: Optional[chainer.Variable], x: chainer.Variable
    ) -> State:
        """c (B0, H), h (B, H) or None, x (B, …) -> c (B0, H), h (B, H)."""
        raise NotImplementedError

    def _state_shape(self, rows: int) -> tuple[int, ...]:
        return rows, self.state_size

    def _checked_states(self, c: Any, h: Any) -> tuple:
        return checks.states(c, h, self.state_size)


def is_plain(*linears: chainer.Link) -> bool:
    """Nobody has replaced these Linear links, hooked them,
    taken over their forward or records a static graph.

    Only then may a fused step take their parameters; otherwise they are called.
    """
    return (
        not chainer._get_link_hooks()
        and chainer.config.schedule_func is None
        and all(
            type(linear) is L.Linear
            and not linear.local_link_hooks
            and 'forward' not in vars(linear)
            for linear in linears
        )
    )


def zeros(link: chainer.Link, batch: int, units: int, dtype: Any) -> chainer.Variable:
    """(batch, units) of zeros on the link's device."""
    with chainer.using_device(link.device):
        return chainer.Variable(link.xp.zeros((batch, units), dtype), requires_grad=False)


def flat(x: chainer.Variable) -> chainer.Variable:
    """(B, …) -> (B, I)."""
    return x if x.ndim == 2 else F.reshape(x, (len(x), chainer.utils.size_of_shape(x.shape[1:])))


def _active_rows(h: Optional[chainer.Variable], batch: int) -> tuple:
    """The rows of h that a batch advances, and those it leaves; None for none."""
    if h is None or h.shape[0] == batch:
        return h, None
    if batch == 0:
        return None, h
    return F.split_axis(h, [batch], axis=0)


def reinitialize(param: chainer.Parameter, initializer: Any) -> None:
    """Draws a parameter anew, now and whenever it is initialized again."""
    param.initializer = initializer
    if param.array is not None:
        param.initialize(param.shape)
