"""The plan of a sequence: cell, packing, form of the weights and options."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from chainer_lstm.cells import Cell
from chainer_lstm.functions.weights import WeightForm
from chainer_lstm.kernels.packing import Packing, Rows


class Output(enum.Enum):
    """The output of a sequence: of all steps, or (B, D H) of the last step of each sequence, the
    first one for the reverse direction.
    """

    ALL = 'all'
    LAST = 'last'


class Plan(NamedTuple):
    """All arguments of a sequence that are not arrays.

    Attributes:
        cell: the cell of all layers.
        packing: how the caller's arrays are packed.
        form: how weights are given.
        directions: D, 1 or 2.
        dropout: ratio, on the inputs of every layer but the first.
        swapped: whether the input and the output are (B, T, …), of sequences of one length.
        output: the output that is wanted.
        cells: whether c is an output too, besides h.
    """

    cell: Cell
    packing: Packing
    form: WeightForm
    directions: int = 1
    dropout: float = 0.0
    swapped: bool = False
    output: Output = Output.ALL
    cells: bool = False

    @property
    def kind(self) -> tuple[Hashable, ...]:
        """A key of all that the shapes of states and weights depend on, and the dropout."""
        return self.cell, self.form, self.directions, self.dropout, self.packing.rows_of_states

    @property
    def outputs(self) -> list[str]:
        """The states that are outputs."""
        return ['h', 'c'] if self.cells else ['h']

    def groups(self, weights: Sequence[Any]) -> list[Sequence[Any]]:
        """Return the weights of each layer and direction."""
        count = self.form.count
        return [weights[k : k + count] for k in range(0, len(weights), count)]

    def rows(self, group: int) -> Rows:
        """Return the layout of the rows of a layer and direction."""
        return self.packing.rows_of_direction(self.is_reverse(group))

    def is_reverse(self, group: int) -> bool:
        """Return whether a layer and direction computes the last time step first."""
        return group % self.directions == 1


def state_names(cell: Cell) -> list[str]:
    """Return the names of the initial states, as arguments of functions have them."""
    return [f'{name}x' for name in cell.states]
