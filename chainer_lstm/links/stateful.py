"""Base of the links of one cell that keep their state: single steps and whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Optional, Union

import chainer
import chainer.functions as F
import numpy

from chainer_lstm.cells import Cell
from chainer_lstm.chainer_private import arrays_of
from chainer_lstm.functions import outputs
from chainer_lstm.functions.checks import flags_of_each, variable
from chainer_lstm.functions.lstm import State
from chainer_lstm.functions.node import Input
from chainer_lstm.functions.sequence import run, unrecorded_sequence
from chainer_lstm.functions.step import is_recorded, unrecorded_step
from chainer_lstm.links import checks
from chainer_lstm.links.state import KeepsState, repeated, zeros

_STATE_ARGUMENTS = 'cx', 'hx'


class Stateful(KeepsState):
    """A link of one cell that keeps the state ``c`` and ``h``, both (B, state_size) or None.

    A subclass defines ``cell``, ``cell_weights``, ``sized_for``, ``_is_plain`` and ``_step``.

    Attributes:
        learn_initial_state: whether the initial state is a parameter.
        c0, h0: (H,), the learned initial state.
    """

    cell: Cell
    state_size: int
    learn_initial_state = False

    def forward(self, x: Input) -> chainer.Variable:
        """Compute one time step and update the state.

        Args:
            x: (B, I), or (B, …), which is flattened to it.

        Returns:
            h (B, H).

        Raises:
            TypeError: the batch is larger than the state.
            chainer.utils.type_check.InvalidType: a shape or dtype does not fit.
        """
        y = None if is_recorded(self.cell) else self._unrecorded(x)
        if y is not None:
            return y
        x = checks.batch(x)
        rows, c, h = self._rows(len(x)), self.c, self.h
        if c is None:
            c = self._first('c', rows, x.dtype)
        if h is None and (rows > len(x) or self.learn_initial_state):
            h = self._first('h', rows, x.dtype)
        h, h_rest = _active_rows(h, len(x))
        with self.sized_for(x):
            c, y = self._step(c, h, x)
            self.c, self.h = c, outputs.all_rows(y, h_rest)
        return y

    def _unrecorded(self, x: Input) -> Optional[chainer.Variable]:
        """Compute a step without a node and return h; None if a node is needed."""
        state = c, h = self.c, self.h
        learned = self.learn_initial_state and (c is None or h is None)
        if learned or not self._is_plain():
            return None
        if c is None:
            (first,) = arrays_of([x])
            if type(first) is not numpy.ndarray or not first.ndim:
                return None
            state = numpy.zeros((len(first), self.state_size), first.dtype), h
        new = unrecorded_step(self.cell, state, x, self.cell_weights())
        if new is None:
            return None
        c, h = new
        self._advance(c, h)
        return h

    def _advance(self, c: chainer.Variable, h: chainer.Variable) -> None:
        """Set the state past ``__setattr__`` of links, which looks for parameters and links."""
        object.__setattr__(self, 'c', c)
        object.__setattr__(self, 'h', h)

    def _unrecorded_sequence(self, xs: Input) -> Optional[chainer.Variable]:
        """Take steps (T, B, I) without a node and return their h; None where that cannot be
        done.
        """
        learned = self.learn_initial_state and (self.c is None or self.h is None)
        if learned or not self._is_plain():
            return None
        state, weights = (self.c, self.h), self.cell_weights()
        found = unrecorded_sequence(self.cell, state, xs, weights, self.state_size)
        if found is None:
            return None
        (c, h), y = found
        self._advance(c, h)
        return y

    def forward_sequence(
        self,
        xs: Union[Input, Sequence[Input]],
        *,
        return_cells: bool = False,
        resets: Any = None,
    ) -> Any:
        """Compute all steps in one node; the state is the same as after calling the link with each
        step.

        For a list of steps the last output is the variable ``h``, as after a
        single step, if its batch is that of the state and a graph is built.

        Args:
            xs: (T, B, I), or T steps (B_t, I) or (B_t, …) whose batches do not grow.
            return_cells: whether to return c of all steps too.
            resets: (T, B), or T (B_t,), of 0 and 1 or booleans: 1 resets the state of a sequence
                before a step, as ``reset_state`` does.  The state must have as many rows as the
                first step.

        Returns:
            (T, B, H), or a tuple of T (B_t, H); with ``return_cells`` a pair of them.

        Raises:
            TypeError: the first batch is larger than the state.
            ValueError: batches grow in time, xs is not such an array or is an empty list, or resets
                do not fit.
            chainer.utils.type_check.InvalidType: a shape or dtype does not fit.
        """
        if isinstance(xs, (list, tuple)):
            return self._forward_steps(xs, return_cells, resets)
        if resets is None and not return_cells and not is_recorded(self.cell):
            y = self._unrecorded_sequence(xs)
            if y is not None:
                return y
        x: Any = variable('xs', xs)
        if x.ndim < 3:
            raise ValueError(
                f'expected xs of shape (time, batch, inputs) or a list of steps, got {x.shape}'
            )
        if not len(x):
            with chainer.using_device(self.device):
                y = chainer.Variable(self.xp.zeros((0, x.shape[1], self.state_size), x.dtype))
            return (y, y) if return_cells else y
        first = x.array[0]
        checks.floats(first)
        rows = self._rows(len(first), resets)
        if not self._is_plain():
            ys, cs = self._each(x, resets)
            return (F.stack(ys), F.stack(cs)) if return_cells else F.stack(ys)
        if x.ndim > 3:
            x = F.reshape(x, (*x.shape[:2], chainer.utils.size_of_shape(x.shape[2:])))
        found = self._run(first, rows, x, return_cells, resets)
        return found if return_cells else found[0]

    def _forward_steps(self, xs: Sequence[Input], return_cells: bool, resets: Any) -> Any:
        if not xs:
            raise ValueError('expected at least one time step in xs, got an empty list')
        steps = [flat(checks.batch(x)) for x in xs]
        rows = self._rows(len(steps[0]), resets)
        if not self._is_plain():
            ys, cs = self._each(xs, resets)
            return (ys, cs) if return_cells else ys
        found = self._run(steps[0], rows, steps, return_cells, resets)
        ys = found[0]
        if chainer.config.enable_backprop and len(ys[-1]) == rows:
            # so that unchaining h cuts the graph at the same place as after single steps
            self.h = ys[-1]
        return found if return_cells else ys

    def _each(self, xs: Any, resets: Any) -> tuple[tuple, tuple]:
        """Call the link with each step; return h and c of all steps."""
        sizes = [len(x) for x in xs]
        if resets is not None:
            resets = flags_of_each('resets', resets, sizes, 'steps')
        ys, cs = [], []
        for t, x in enumerate(xs):
            if resets is not None:
                rows = numpy.zeros(self._rows(len(x)), bool)
                rows[: len(x)] = resets[t]
                self.reset_state(rows)
            ys.append(self(x))
            assert self.c is not None
            cs.append(self.c[: len(x)])
        return tuple(ys), tuple(cs)

    def _run(
        self, first: Any, rows: int, steps: Any, return_cells: bool, resets: Any
    ) -> Sequence[Any]:
        """Return h and, if requested, c of all steps, and keep the state.  ``first`` is the input
        of the first step.
        """
        states = [
            self._first(name, rows, first.dtype) if state is None else state
            for name, state in (('c', self.c), ('h', self.h))
        ]
        if resets is not None and self.learn_initial_state:
            states = [
                F.concat((state, self._first(name, 1, first.dtype)), axis=0)
                for name, state in zip('ch', states)
            ]
        with self.sized_for(first):
            (c, h), *found = run(
                self.cell,
                [variable(name, s) for name, s in zip(_STATE_ARGUMENTS, states)],
                steps,
                [self.cell_weights()],
                return_cells=return_cells,
                resets=resets,
            )
        self.c = c
        if len(first) or self.h is None:
            self.h = h
        return found

    def _learn(self, learn: bool) -> None:
        """Make the initial state a parameter, if ``learn``."""
        if learn:  # set only if needed, so that attributes are those of Chainer's link
            self.learn_initial_state = learn
            with self.init_scope():
                self.c0, self.h0 = (chainer.Parameter(0, self.state_size) for _ in 'ch')

    def _first(self, name: str, rows: int, dtype: Any) -> chainer.Variable:
        """Return the initial state."""
        if not self.learn_initial_state:
            return zeros(self, (rows, self.state_size), dtype)
        return repeated(getattr(self, f'{name}0'), rows)

    def _rows(self, batch: int, resets: Any = None) -> int:
        """Return the number of rows of the state, for a batch.

        Raises:
            TypeError: the batch is larger than the state.
            ValueError: with resets, the batch is smaller than the state.
        """
        given = self.c if self.h is None else self.h
        rows = batch if given is None else len(given)
        if rows < batch:
            raise TypeError(
                'The batch size of x must be equal to or less than the size of the previous state '
                f'h. Expected at most {rows}, got {batch}.'
            )
        if resets is not None and rows > batch:
            raise ValueError(
                f'expected a first step of {rows} rows, as the state has, with resets, got {batch}'
            )
        return rows

    def cell_weights(self) -> tuple[Any, ...]:
        """Return the parameters of the cell, in the order of ``Cell.weights``."""
        raise NotImplementedError

    def sized_for(self, x: Any) -> AbstractContextManager[None]:
        """Initialize the parameters that wait for the size of x, see ``parameters.sized_for``."""
        raise NotImplementedError

    def _is_plain(self) -> bool:
        """Return whether the links inside may be bypassed, using only their weights."""
        raise NotImplementedError

    def _step(self, c: Input, h: Optional[Input], x: chainer.Variable) -> State:
        """Compute c (B0, H), h (B, H) from c (B0, H), h (B, H) or None, x (B, …)."""
        raise NotImplementedError

    def _state_shape(self, rows: int) -> tuple[int, ...]:
        return rows, self.state_size

    def _checked_states(self, c: Any, h: Any) -> checks.States:
        return checks.states(c, h, ('batch', self.state_size))


def flat(x: Any) -> chainer.Variable:
    """Return (B, …) as (B, I)."""
    return x if x.ndim == 2 else F.reshape(x, (len(x), chainer.utils.size_of_shape(x.shape[1:])))


def _active_rows(h: Optional[Input], batch: int) -> tuple:
    """Return the rows of h that a batch updates and the other rows; None for no rows."""
    if h is None or h.shape[0] == batch:
        return h, None
    if batch == 0:
        return None, h
    return F.split_axis(h, [batch], axis=0)
