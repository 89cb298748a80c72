"""The parts of a cell: products of states with weights, and stages with their array code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Optional

from chainer_lstm.cells.normalization import Norm

Names = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Product:
    """The product of a state with a weight, which is added to some gates before activation.

    A diagonal product multiplies each unit's own state by a number.  Products are added before
    ``forward`` runs.  The exception is a diagonal product of a new state, which ``forward`` first
    has to compute: there ``forward`` adds the product itself, and ``backward`` the gradient with
    respect to the state.  Both get the weight as a keyword argument.

    Attributes:
        weight: the name of the weight (G H, width of the state), with a row for each of the G
            gates of each unit: gate g of unit u is row G u + g; a diagonal weight is (H,).
        state: the name of the state; a second stage reads the new states.
        gates: the names of the G gates, in the order of the rows; a diagonal product has one.
        bias: the name of a vector (G H,) that is added to the product, or None.
        diagonal: whether the product is diagonal.
        new: whether a diagonal product reads the state after the stage.
        mask: the name of a noise array (n, H) by which the state is multiplied before the product,
            in training, or None.
        norm: the normalization of the product before the bias is added; None for none.
    """

    weight: str
    state: str
    gates: Names
    bias: Optional[str] = None
    diagonal: bool = False
    new: bool = False
    mask: Optional[str] = None
    norm: Optional[Norm] = None

    def __post_init__(self) -> None:
        if self.diagonal and (len(self.gates) > 1 or self.bias or self.mask or self.norm):
            raise TypeError(
                f'expected the diagonal product {self.weight} to have one gate, no bias, no mask '
                f'and no norm, got gates {tuple(self.gates)}, bias {self.bias}, mask {self.mask} '
                f'and norm {self.norm}'
            )
        if self.new and not self.diagonal:
            raise TypeError(f'expected the product {self.weight} of a new state to be diagonal')


@dataclasses.dataclass(frozen=True, eq=False)  # compared and hashed by identity, which is fast
class Stage:
    """A part of a time step: its products, then array code.

    A step has one stage, unless it multiplies a new state: then a second stage reads the states
    that the first stage has computed.

    Attributes:
        products: the products that are added to its gates.
        gates: the gates that it activates.
        reads: the states that its array code reads, besides products.
        writes: the states that it computes.
        needs: the states in ``writes`` that ``backward`` reads.
        forward: ``(xp, gates, before, **more)`` -> the activated gates, a sequence in the order of
            ``gates``, and the new ``State``.
        backward: ``(xp, gates, before, new, gradients, **more)`` -> the gradients with respect to
            its gates before activation, the ``State`` of gradients with respect to ``reads`` and,
            for ``vectors``, a sequence with an array (n, H) for each, whose sum over n is the
            gradient.  None to let Chainer differentiate the stage.
        vectors: the names of weights (H,) that both get as keyword arguments.
    """

    products: Sequence[Product]
    gates: Names
    reads: Names
    writes: Names
    needs: Names
    forward: Callable[..., Any]
    backward: Optional[Callable[..., Any]]
    vectors: Names = ()
