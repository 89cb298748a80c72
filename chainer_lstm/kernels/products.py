"""The products of a cell, on any engine: into its gates, and the gradients through them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Stage
from chainer_lstm.kernels.engines.engine import Engine, Part, Weights

Rows = Mapping[str, Array]


def gates_of(cell: Cell, parts: Sequence[Part]) -> Any:
    """Return the sums of parts as ``cell.Gates``, (n, H) each: arrays, or variables of Chainer.

    Raises:
        ValueError: parts of the same gates have different widths, or a gate has no part.
    """
    sums: dict[tuple[str, ...], Array] = {}
    for value, names in parts:
        key = tuple(names)
        if key not in sums:
            sums[key] = value
        elif sums[key].shape[-1:] == value.shape[-1:]:
            sums[key] = sums[key] + value
        else:
            raise ValueError(
                f'expected pre-activations of one width, got arrays of shapes {sums[key].shape} '
                f'and {value.shape}'
            )
    found: dict[str, Array] = {}
    for names, value in sums.items():
        for g, name in enumerate(names):
            gate = value if len(names) == 1 else value[:, g :: len(names)]
            found[name] = found[name] + gate if name in found else gate
    missing = set(cell.gates) - found.keys()
    if missing:
        raise ValueError(f'expected parts of all gates of {cell.name}, got none of {missing}')
    return cell.Gates(**found)


def columns(x: Array, gates: Sequence[str], wanted: Sequence[str]) -> Array:
    """Return the columns of some gates of an array (n, G H) of ``gates``: a view where one or all
    are wanted.
    """
    if tuple(wanted) == tuple(gates):
        return x
    if len(wanted) == 1:
        return x[:, gates.index(wanted[0]) :: len(gates)]
    indexes = [gates.index(name) for name in wanted]
    units = x.shape[1] // len(gates)
    parts = x.reshape(len(x), units, len(gates))[:, :, indexes]
    return parts.reshape(len(x), units * len(wanted))


def parts_of(e: Engine, stage: Stage, state: Any, weights: Weights) -> list[Part]:
    """Return the products of the states that are given."""
    found = []
    for product in stage.products:
        value = getattr(state, product.state)
        if value is not None:
            bias = None if product.bias is None else weights[product.bias]
            found.append(Part(e.linear(value, weights[product.weight], bias), product.gates))
    return found


def add_gradients(
    e: Engine,
    cell: Cell,
    stage: Stage,
    gpre: Array,
    gradients: Any,
    weights: Weights,
    room: Optional[Any] = None,
) -> Any:
    """Add the gradients through the products of a stage.

    Args:
        e: the engine.
        cell, stage: the stage of the cell.
        gpre: (n, G H), the gradients with respect to the gates before activation.
        gradients: a ``State`` of those with respect to the states before the stage, None for zeros;
            they are added to in place.
        weights: those whose products count.
        room: a ``State`` of arrays for gradients that are None, or None for new arrays.

    Returns:
        The sums.
    """
    for product in stage.products:
        if product.weight not in weights:
            continue
        part = columns(gpre, cell.gates, product.gates)
        W, before = weights[product.weight], getattr(gradients, product.state)
        if before is None:
            out = None if room is None else getattr(room, product.state)
            gradients = gradients._replace(**{product.state: e.matmul(part, W, out)})
        else:
            before += e.matmul(part, W)
    return gradients


@functools.lru_cache(maxsize=256)
def weight_gradients(
    cell: Cell, stage: Stage, gates: tuple[str, ...]
) -> dict[str, Callable[[Engine, Rows], Array]]:
    """Return, by the name of each weight of a stage, the function that computes its gradient.

    The functions take the engine and rows by name, of one step or of many: ``gpre`` (P, G H), the
    gradients with respect to ``gates`` before activation, ``x`` in the first stage, and the states
    before the stage; in the last stage of a projected cell ``gh`` (P, O), the gradients with respect
    to h, and ``m`` (P, H).
    """

    def matrix(wanted: Sequence[str], of: str) -> Callable[[Engine, Rows], Array]:
        return lambda e, rows: e.matmul(columns(rows['gpre'], gates, wanted).T, rows[of])

    def vector(wanted: Sequence[str]) -> Callable[[Engine, Rows], Array]:
        return lambda e, rows: e.column_sums(columns(rows['gpre'], gates, wanted))

    found = {}
    if stage is cell.stages[0]:
        found = {'W': matrix(cell.inputs, 'x'), 'b': vector(cell.inputs)}
    for product in stage.products:
        found[product.weight] = matrix(product.gates, product.state)
        if product.bias is not None:
            found[product.bias] = vector(product.gates)
    if cell.projection is not None and stage is cell.stages[-1]:
        found[cell.projection] = lambda e, rows: e.matmul(rows['gh'].T, rows['m'])
    return found
