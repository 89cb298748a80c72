"""The inputs and outputs of the node of a stage, which follow from the cell."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Optional

from chainer_lstm.cells import Cell, Product, Stage
from chainer_lstm.kernels import products


class Signature:
    """The inputs and outputs of the node of a stage.

    Args:
        cell, stage: the stage of the cell.
        optional: whether states that are read by products alone are inputs, with their weights;
            a first step has neither.

    Attributes:
        names: the names of the inputs, in their order; optional ones last.
        like: the index of the input that has the rows and the dtype of the outputs.
        states: the index of each state among the inputs, or None.
        writes: (name, index in a ``State``, index among the inputs or None) of each new state; None
            for a projected one, which has no more rows than x.
        retained: the indexes of the outputs that backward needs.
        pending: the gates that a later stage activates, which are outputs too.
        gates: the gates whose gradients before activation backward computes.
        weights: by name, (engine, rows) -> gradient.
        vectors: the names of the weights of diagonal products, ``Stage.vectors`` and the gains of
            normalized products.
        biases: the names of weights of one axis, which have the dtype of x.
        projection: the name of the weight of the projection, or None in all but the last stage of
            a projected cell.
    """

    def __init__(self, cell: Cell, stage: Stage, optional: bool = True) -> None:
        self.cell = cell
        self.stage = stage
        self.first = stage is cell.stages[0]
        self.projection = cell.projection if stage is cell.stages[-1] else None
        pending = tuple([name for name in cell.gates if name not in cell.stages[0].gates])
        of_x = products.of_x(cell)
        given = ('x', 'W', *vectors_of(of_x)) if self.first else pending
        names = [*stage.reads, *given, *stage.vectors]
        last: list[str] = []
        for product in stage.products:
            found = [product.weight, *vectors_of(product)]
            if product.new or product.state in stage.reads:
                names += found
            elif product.bias is None and {*product.gates} <= {*cell.inputs}:
                last += [product.state, *found]
            else:
                names += [product.state, *found]
        if self.projection is not None:
            names.append(self.projection)
        self.names = tuple(dict.fromkeys([*names, *(last if optional else ())]))
        self.like = self.names.index('x') if self.first else 0
        self.states = tuple([self._index(name) for name in cell.states])
        self.writes = tuple(
            [self._write(name, k) for k, name in enumerate(cell.states) if name in stage.writes]
        )
        needed = {*stage.needs, *(product.state for product in stage.products if product.new)}
        self.retained = tuple([k for k, name in enumerate(stage.writes) if name in needed])
        self.pending = pending if self.first else ()
        self.gates = tuple(cell.gates if self.first else stage.gates)
        self.weights = products.weight_gradients(cell, stage, self.gates)
        self.vectors = [product.weight for product in stage.products if product.diagonal]
        self.vectors += [*stage.vectors, *(norm.gain for norm in cell.norms)]
        self._through: dict[tuple[int, ...], frozenset[str]] = {}
        self.biases = ('b', *(product.bias for product in stage.products), *self.vectors)

    def _write(self, name: str, k: int) -> tuple[str, int, Optional[int]]:
        """Return the entry of a state in ``writes``."""
        is_projected = self.projection is not None and k == len(self.cell.states) - 1
        return name, k, None if is_projected else self._index(name)

    def through(self, indexes: Sequence[int]) -> frozenset[str]:
        """Return the names of the vectors, and of the weights by which backward multiplies to get
        the gradients with respect to these inputs.
        """
        key = tuple(indexes)
        if key not in self._through:
            wanted = {self.names[i] for i in indexes}
            found = {p.weight for p in self.stage.products if p.state in wanted}
            found.update(self.vectors)
            if 'x' in wanted:
                found.add('W')
            self._through[key] = frozenset(found.intersection(self.names))
        return self._through[key]

    def _index(self, name: str) -> Optional[int]:
        return self.names.index(name) if name in self.names else None


def vectors_of(product: Product) -> list[str]:
    """Return the names of the vectors (G H,) of a product."""
    gain = None if product.norm is None else product.norm.gain
    return [name for name in (product.bias, gain) if name is not None]


@functools.lru_cache(maxsize=256)
def signature(cell: Cell, index: int, optional: bool = True) -> Signature:
    """Return the signature of the index-th stage of a cell."""
    return Signature(cell, cell.stages[index], optional)


def check_axes(
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    axes: int,
    biases: Sequence[Optional[str]] = (),
) -> None:
    """Expect arrays of a number of axes, biases of one.

    Raises:
        ValueError: an array has another number of axes.
    """
    for name, shape in zip(names, shapes):
        expected = 1 if name in biases else axes
        if len(shape) != expected:
            raise ValueError(f'expected {name} of {expected} axes, got shape {shape}')
