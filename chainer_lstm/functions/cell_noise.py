"""Noise of a cell, drawn once for each call in training."""

from __future__ import annotations

from typing import Any

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell


def draw(cell: Cell, xp: Any, rows: int, batch: int, units: int, dtype: Any) -> dict[str, Array]:
    """Return the noise of a call by name.

    Args:
        cell: the cell.
        xp: the module of array functions.
        rows: P, of all steps.
        batch: B, the number of sequences.
        units: H.
        dtype: of the arrays.

    Raises:
        ValueError: ``Cell.draw`` returned another number of arrays, or other shapes.
    """
    found: dict[str, Array] = {}
    masked = [p.state for p in cell.products if p.mask in cell.sequence_noise]
    width = cell.width(masked[0], units) if masked else units
    for names, method, shape in (
        (cell.noise, cell.draw, (rows, units)),
        (cell.sequence_noise, cell.draw_sequence, (batch, width)),
    ):
        values = method(xp, shape, dtype) if names else ()
        if [x.shape for x in values] != [shape] * len(names):
            raise ValueError(
                f'{cell.name}: expected noise {", ".join(names)} of shape {shape}, '
                f'got {[x.shape for x in values]}'
            )
        found.update(zip(names, values))
    return found
