"""The protocol of an engine: how a cell is computed on the arrays of one place.

The letters: B rows of a batch, n of them in one time step, I inputs, H units, G gates, P packed
rows of all steps.  Arrays of gates (B, G H) have the gates of a unit side by side.  A state is a
``Cell.State`` of arrays (B, H); None stands for an array that is not given.  Of a projected cell,
h before a stage is (B, O); the h that a stage computes is m (B, H), which the caller multiplies.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, Protocol

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Stage
from chainer_lstm.kernels.packing import Rows

Weights = Mapping[str, Array]
Noise = Mapping[str, Array]  # by name
Kept = dict[str, Array]  # by name, see ``kernels.normalization``
NOTHING: Noise = types.MappingProxyType({})


class Part(NamedTuple):
    """A summand (n, G H), or a bias (G H,), of the pre-activations of G gates of a cell."""

    value: Array
    gates: Sequence[str]


class Shape(NamedTuple):
    """The sizes by which an engine decides whether it computes a sequence as a whole."""

    steps: int
    batch: int
    units: int
    jobs: int


class AdamRates(NamedTuple):
    """The numbers of an update by Adam.

    Attributes:
        scale: of the gradients.
        of_m, of_v: of the differences that are added to m and v, 1 - β₁ and 1 - β₂.
        epsilon: is added to the root of v.
        rate: of the step, corrected for the first updates.
        low, high: the bounds of rate / (√v + epsilon).
        keep: of the parameter, less than 1 with weight decay.
        eta: of the step with respect to the parameter.
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
        states: a ``State`` of buffers (P + B, H), see ``Rows``, which hold the initial states,
            unless ``initial`` does, and get those of all steps.
        noise: arrays (P, H), or (B, H) of those that are the same at all steps; see ``Cell``.
        m: (P, H) of a projected cell, which gets h of all steps before the projection; or None.
        kept: rows that forward keeps of normalized products, and backward gets and adds to.
        initial: a ``State`` of arrays (B, H) that forward writes into the buffers, or None.
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

    def begin(self) -> None:
        """Write the initial states into the buffers, where they are given."""
        if self.initial is not None:
            for buffer, state in zip(self.states, self.initial):
                buffer[self.rows.initial : self.rows.initial + self.rows.batch] = state

    def kept_of(self, now: slice) -> Kept:
        """Return the kept rows of a step."""
        return {name: rows[now] for name, rows in self.kept.items()}


@dataclasses.dataclass(frozen=True)
class Gradients:
    """The gradients with which a layer's backward begins.

    Attributes:
        output: a ``State`` of arrays (P, H), with respect to the states of all steps, or None.
        last: a ``State`` of arrays (B, H), with respect to the last states; they are overwritten.
        h: (P, O) of a projected cell, which gets the gradients with respect to h of all steps, also
            through later ones; or None.
    """

    output: Any
    last: Any
    h: Optional[Array] = None


class Engine(Protocol):
    """How the parts of a cell are computed."""

    @property
    def xp(self) -> Any:
        """The module of array functions."""
        ...

    @property
    def takes_initial(self) -> bool:
        """Whether ``sequence_forward`` takes layers with ``Layer.initial``."""
        ...

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        """Return the dtype to compute in."""
        ...

    def matmul(self, a: Array, b: Array, out: Optional[Array] = None) -> Array:
        """(M, K), (K, N) -> (M, N), of any memory order; ``out`` is C-contiguous."""
        ...

    def linear(self, x: Array, W: Array, b: Optional[Array] = None) -> Array:
        """(P, I), (O, I), (O,) or None -> (P, O)."""
        ...

    def column_sums(self, x: Array) -> Array:
        """(P, N) -> (N,)."""
        ...

    def exponentials(self, x: Array, keep: bool) -> tuple[Optional[Array], Array, Array]:
        """Of scores (N, V), V > 0: exp(x - maxima) (N, V) or None, the maxima (N,) and the sums
        (N,) of exp, of the rows.
        """
        ...

    def sums_by_class(self, of: Array, x: Array, classes: int) -> Array:
        """Return (V, N), the sums of the rows of x (P, N) of each class.

        Args:
            of: (P,) int64, the class of each row, from 0 to V - 1; rows of others are left out.
            x: the rows.
            classes: V.
        """
        ...

    def sum_of_squares(self, x: Array) -> float:
        """Return the sum of the squares of a C-contiguous array."""
        ...

    def sgd(
        self, x: Array, g: Array, v: Optional[Array], scale: float, rate: float, momentum: float
    ) -> None:
        """Scale the gradients g, then add momentum * v - rate * g to x, and to v what x got.

        Args:
            x: the parameter, of any shape, C-contiguous, as are g and v.
            g: the gradients.
            v: the last step, or None for none.
            scale, rate, momentum: numbers.
        """
        ...

    def adam(
        self, x: Array, g: Array, m: Array, v: Array, most: Optional[Array], rates: AdamRates
    ) -> None:
        """Scale the gradients g, then update x, m, v and the largest v that there was.

        Args:
            x: the parameter, of any shape, C-contiguous, as are the others.
            g: the gradients.
            m, v: the means of g and of its squares.
            most: the largest v of each number, by which the step is divided; None for v.
            rates: the numbers.
        """
        ...

    def normalize(
        self, x: Array, gain: Array, b: Optional[Array], epsilon: float
    ) -> tuple[Array, Array, Array]:
        """Return y = rows * gain + b (P, N), the normalized rows (P, N) and the scale (P,) by which
        they were multiplied, of x (P, N), which may be overwritten; gain (N,), b (N,) or None.
        """
        ...

    def normalize_backward(self, gy: Array, gain: Array, rows: Array, scale: Array) -> Array:
        """Return the gradient with respect to x of ``normalize``, (P, N)."""
        ...

    def stage_forward(
        self,
        cell: Cell,
        stage: Stage,
        parts: Sequence[Part],
        state: Any,
        more: Noise = NOTHING,
        gates: Optional[Array] = None,
        new: Any = None,
    ) -> tuple[Array, Any]:
        """Compute a stage of a step, its products made but for the diagonal ones.

        Args:
            cell: the cell.
            stage: one of its stages.
            parts: what is added up to the pre-activations.  The first one is the product of x, or
                in a second stage the gates of the first one; then those of ``stage.products``
                whose state is given, and the bias.
            state: the states before the stage.
            more: the noise of these rows (n, H), and the weights of diagonal products and
                ``stage.vectors`` (H,).
            gates: (n, G H), to write into; may be the value of the first part.  None for a new
                array, or in a second stage for the gates of the first, which are overwritten.
            new: a ``State`` of C-contiguous arrays to write into, or None for new ones.

        Returns:
            The gates (n, G H), those of the stage activated, and the states, where the stage does
            not write them as they were.
        """
        ...

    def stage_backward(
        self,
        cell: Cell,
        stage: Stage,
        gates: Array,
        state: Any,
        new: Any,
        gradients: Any,
        more: Noise,
        gpre: Array,
        out: Any = None,
        kept: Optional[Kept] = None,
    ) -> Any:
        """Compute the gradients of a stage, with those through diagonal products alone.

        Args:
            cell, stage, state, more: as in ``stage_forward``.
            gates: (n, G H), activated.
            new: the states after the stage; ``stage.needs`` are read.
            gradients: with respect to the states after the stage; None for zeros.
            gpre: (n, G H), C-contiguous; the columns of the gates of the stage are written, the
                others are left.  It may be ``gates``.
            out: a ``State`` of C-contiguous arrays to write into, or None for new ones; they may
                be those of ``gradients``.
            kept: gets the rows of ``stage.vectors``.

        Returns:
            The gradients with respect to ``stage.reads`` and the states of diagonal products, None
            for other states.
        """
        ...

    def step_forward(
        self,
        cell: Cell,
        stage: Stage,
        x: Optional[Array],
        state: Any,
        weights: Weights,
        noise: Noise = NOTHING,
        gates: Optional[Array] = None,
        kept: Optional[Kept] = None,
    ) -> tuple[Array, Any]:
        """Compute a stage of a single step, with its products.

        Args:
            cell, stage: as in ``stage_forward``.
            noise: of these rows (n, H).
            x: (B, I) in the first stage, None in the second.
            state: the states before the stage; None where a state is read by products alone, for a
                first step.
            weights: those of the stage, ``W`` and ``b`` in the first.
            gates: (B, G H) in the second stage, those of the first; they are overwritten.
            kept: gets the rows of normalized products, for ``step_backward``.

        Returns:
            As ``stage_forward``.
        """
        ...

    def whole_step(self, cell: Cell, given: Sequence[Optional[Array]]) -> Optional[Sequence[Array]]:
        """Compute all stages of a single step without noise, if the engine has kernels that read
        these arrays as they are.

        Args:
            cell: the cell.
            given: x (B, I), the weights in the order of ``cell.weights``, and the states (B, H).
                The shapes and dtypes need not have been checked; None is refused.

        Returns:
            The new states, or None, and nothing was computed.
        """
        ...

    def whole_sequence(
        self,
        cell: Cell,
        x: Array,
        weights: Sequence[Array],
        states: Sequence[Optional[Array]],
        units: int,
    ) -> Optional[Sequence[Array]]:
        """Compute all steps of a layer without noise, if the engine has a kernel for them that
        reads these arrays as they are.

        Args:
            cell: the cell.
            x: (T, B, I).
            weights: in the order of ``cell.weights``.
            states: (B, H), or None for zeros.  As those of the weights, their shapes and dtypes
                need not have been checked.
            units: H.

        Returns:
            Each state before the first step and after every step (T + 1, B, H), or None.
        """
        ...

    def pack(self, W: Array) -> Optional[Array]:
        """Return a weight (N, K) in the form in which ``whole_step`` multiplies by it, or None."""
        ...

    def step_backward(
        self,
        cell: Cell,
        stage: Stage,
        gates: Array,
        state: Any,
        new: Any,
        gradients: Any,
        weights: Weights,
        noise: Noise,
        gpre: Array,
        kept: Optional[Kept] = None,
    ) -> tuple[Optional[Array], Any]:
        """Compute the gradients of a stage of a single step, with those through its products.

        Args:
            cell, stage, gates, state, new, gradients, gpre: as in ``stage_backward``.
            weights: those whose products a wanted gradient comes through, and those of diagonal
                products, gains and ``stage.vectors``; others are left out.
            noise: of these rows (n, H).
            kept: of ``step_forward``; gets what ``products.weight_gradients`` reads besides.

        Returns:
            The gradient with respect to x, None without ``W``, and a ``State`` of those with
            respect to the states before the stage, None where there is none.
        """
        ...

    def takes_gates(self, cell: Cell, dtype: Any, shape: Shape) -> bool:
        """Return whether ``sequence_forward`` takes W, and U of all gates, also as the rows of each
        gate: by names such as ``W_a``, (H, I) each.
        """
        ...

    def supports(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> bool:
        """Return whether the engine computes such a sequence by kernels of its own.

        Otherwise the time loop of ``sequence.py`` runs on its stages.

        Args:
            cell: the cell.
            dtype: of the arrays.
            shape: the sizes of the sequence.
            direction: 'forward' or 'backward'.
        """
        ...

    def sequence_forward(self, layers: Sequence[Layer], keep: bool) -> list[Optional[Array]]:
        """Compute independent layers of one shape, such as both directions.

        Returns:
            The gates (P, G H) of each, activated; without ``keep`` they may be None.
        """
        ...

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        """Compute the gradients of layers.  The gates become those before activation.

        Returns:
            For each layer a ``State`` of gradients (B, H) with respect to its initial states.
        """
        ...
