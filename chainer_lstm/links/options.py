"""The cell of a link from options of an LSTM."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from chainer_lstm import cells
from chainer_lstm.cells import Cell
from chainer_lstm.functions import checks
from chainer_lstm.functions.step import check_cell

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(cells.LSTMVariant)}


def cell_of(cell: Cell, proj_size: Optional[int] = None, **options: Any) -> Cell:
    """Return a cell with options.

    Args:
        cell: the cell without options.
        proj_size: P, the width of its projection, or None.
        **options: of ``cells.LSTMVariant``; or ``peephole='full'`` alone, for ``cells.peephole``.

    Raises:
        TypeError: cell is not a cell, or an option has another type.
        ValueError: an option is out of range, or cannot be combined with another option or with
            this cell.
    """
    check_cell(cell)
    for name, value in options.items():
        if getattr(value, 'ndim', 0):
            raise TypeError(f'expected {name} to be no array, got one of shape {value.shape}')
    given = {name: value for name, value in options.items() if value != _DEFAULTS[name]}
    if given:
        if cell != cells.lstm:
            raise ValueError(
                f'expected cell or options of an LSTM, got {cell.name} and {", ".join(given)}'
            )
        if given.get('peephole') != 'full':
            cell = cells.LSTMVariant(**given)
        elif len(given) > 1:
            raise ValueError(f"expected peephole='full' alone, got it with {', '.join(given)}")
        else:
            cell = cells.peephole
    if proj_size is None:
        return cell
    return dataclasses.replace(cell, outputs=checks.size('proj_size', proj_size))
