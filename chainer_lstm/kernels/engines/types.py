"""Arguments and results of engines: layers of a sequence, gradients, summands, and numbers of
updates.

Sizes are those of ``engine``.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell
from chainer_lstm.kernels.packing import Rows

Weights = Mapping[str, Array]
Noise = Mapping[str, Array]  # by name
Kept = dict[str, Array]  # by name, see ``kernels.normalization``
NOTHING: Noise = types.MappingProxyType({})
Number = Callable[[], float]  # computes it anew for each replay of a captured CUDA graph
Scale = Any  # of ``Engine.clipping``; None for 1


class Part(NamedTuple):
    """A summand (n, G H), or a bias (G H,), of the pre-activations of G gates of a cell."""

    value: Array
    gates: Sequence[str]


class Shape(NamedTuple):
    """The sizes by which an engine decides whether it runs a whole sequence in its own kernels."""

    steps: int
    batch: int
    units: int
    jobs: int


class Losses(NamedTuple):
    """How a softmax cross entropy adds up the losses of its rows.

    Attributes:
        ignore_label: the class of rows whose loss is 0.
        mean: whether there is one loss, else one for each row.
        normalize: whether the mean is that of the rows that are not ignored.
    """

    ignore_label: int
    mean: bool
    normalize: bool


class SgdRates(NamedTuple):
    """The numbers of an update by SGD.

    Attributes:
        scale: of the gradients.
        rate: of the step.
        momentum: of the last step.
    """

    scale: float
    rate: float
    momentum: float


class AdamRates(NamedTuple):
    """The numbers of an update by Adam.

    Attributes:
        scale: factor of the gradients.
        of_m, of_v: 1 - β₁ and 1 - β₂, the factors of the differences added to m and v.
        epsilon: is added to √v.
        rate: learning rate, corrected for the bias of the first updates.
        low, high: bounds of rate / (√v + epsilon).
        keep: factor of the parameter, less than 1 with weight decay.
        eta: factor of the step.
    """

    scale: float
    of_m: float
    of_v: float
    epsilon: float
    rate: float
    low: float
    high: float
    keep: float
    eta: float


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer in one direction over packed sequences.

    Attributes:
        cell: the cell.
        weights: its weights by name, in one dtype.
        rows: where the rows of each step lie.
        x: (P, I), the input.
        states: a ``State`` of buffers (P + B, H), see ``Rows``, for the states of all steps; they
            also hold the initial states, unless ``initial`` does.
        noise: arrays (P, H), or (B, H) for noise that is the same at all steps; see ``Cell``.
        m: (P, H), receives h of all steps before the projection; None without a projection.
        kept: rows of normalized products, saved by forward for backward, which adds more.
        initial: a ``State`` of arrays (B, H) that forward writes into the buffers, or None.
        last: with ``initial``, a ``State`` of C-contiguous arrays (B, H) that forward writes the
            last states into; or None.
    """

    cell: Cell
    weights: Weights
    rows: Rows
    x: Array
    states: Any
    noise: Noise = dataclasses.field(default_factory=dict)
    m: Optional[Array] = None
    kept: Kept = dataclasses.field(default_factory=dict)
    initial: Any = None
    last: Any = None

    def begin(self) -> None:
        """Write ``initial``, if given, into the buffers."""
        if self.initial is not None:
            for buffer, state in zip(self.states, self.initial):
                buffer[self.rows.initial : self.rows.initial + self.rows.batch] = state

    def end(self, xp: Any) -> None:
        """Write the last states out of the buffers, where they are wanted."""
        if self.last is not None:
            for buffer, state in zip(self.states, self.last):
                state[...] = self.rows.last(xp, buffer)

    def kept_of(self, now: slice) -> Kept:
        """Return the kept rows of a step."""
        return {name: rows[now] for name, rows in self.kept.items()}


@dataclasses.dataclass(frozen=True)
class Gradients:
    """The gradients with which a layer's backward begins.

    Attributes:
        output: a ``State`` of arrays (P, H), with respect to the states of all steps, or None.
        last: a ``State`` of arrays (B, H), with respect to the last states; overwritten.
        h: (P, O), receives the gradients with respect to h of all steps, including those through
            later steps; None without a projection.
        from_zeros: whether ``last`` means zeros, and its values are not read.
        of_weights: receives, by name, the gradients with respect to weights that the engine's
            kernels compute on the way.
    """

    output: Any
    last: Any
    h: Optional[Array] = None
    from_zeros: bool = False
    of_weights: dict[str, Array] = dataclasses.field(default_factory=dict)

    def begin(self) -> None:
        """Write the zeros that ``last`` stands for."""
        if self.from_zeros:
            for gradient in self.last:
                gradient.fill(0)
