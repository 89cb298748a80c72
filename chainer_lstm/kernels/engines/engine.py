"""The protocol of an engine, which computes cells on NumPy arrays or on CuPy arrays.

Sizes: B rows of a batch, n of them in one time step, I inputs, H units, G gates, P packed rows of
all steps.  Arrays of gates (B, G H) have the gates of a unit in adjacent columns.  A state is a
``Cell.State`` of arrays (B, H); None stands for an array that is not given.  In a projected cell
h before a stage is (B, O); a stage computes m (B, H), and the caller multiplies it to get h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Protocol

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Stage
from chainer_lstm.kernels.engines.types import (
    NOTHING,
    Gradients,
    Kept,
    Layer,
    Losses,
    Noise,
    Number,
    Part,
    Scale,
    Shape,
    Weights,
)
from chainer_lstm.kernels.packing import Rows


class Engine(Protocol):
    """Computes the parts of a cell: products, stages, steps and sequences."""

    @property
    def xp(self) -> Any:
        """The module of array functions."""
        ...

    @property
    def takes_states(self) -> bool:
        """Whether sequences take ``Layer.initial``, ``Layer.last`` and ``Gradients.from_zeros``."""
        ...

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        """Return the dtype to compute in."""
        ...

    def matmul(self, a: Array, b: Array, out: Optional[Array] = None) -> Array:
        """Return a b, (M, K), (K, N) -> (M, N), of any memory order; ``out`` is C-contiguous."""
        ...

    def linear(self, x: Array, W: Array, b: Optional[Array] = None) -> Array:
        """Return x Wᵀ + b, (P, I), (O, I), (O,) or None -> (P, O)."""
        ...

    def interleaved(self, gates: Sequence[Array]) -> Array:
        """Return a, i, f, o, (H, …) each, as one array in the order ``layout.INTERLEAVED``."""
        ...

    def planar(self, x: Array) -> Array:
        """Return an array (4H, …) in the order ``layout.INTERLEAVED`` in ``layout.PLANAR``."""
        ...

    def column_sums(self, x: Array) -> Array:
        """Return the sums of the columns, (P, N) -> (N,)."""
        ...

    def cross_entropy(self, x: Array, t: Array, losses: Losses, keep: bool) -> tuple[Array, Any]:
        """Compute a softmax cross entropy.

        Args:
            x: (N, V) scores, V > 0.
            t: (N,) classes, int32 or int64.  A GPU reads no score of a class that is not there, the
                loss is NaN then.
            losses: how they are added up.
            keep: whether a gradient will be wanted.

        Returns:
            The loss, () or (N,), and with ``keep`` what ``cross_entropy_gradient`` gets.
        """
        ...

    def cross_entropy_gradient(
        self, x: Array, t: Array, losses: Losses, gy: Array, kept: Any
    ) -> Array:
        """Return the gradient (N, V) with respect to x, of the gradient gy with respect to the
        loss; ``kept`` is used up.
        """
        ...

    def draw_mask(self, shape: tuple[int, ...], dtype: numpy.dtype, ratio: float) -> Any:
        """Draw what a dropout of this ratio multiplies by, 0 or 1 / (1 - ratio), for ``dropout``;
        on a GPU a place in a sequence of random numbers, from which it is computed.
        """
        ...

    def dropout(self, x: Array, mask: Any, out: Optional[Array] = None) -> Array:
        """Multiply by a mask of the shape of x; ``out`` may be x."""
        ...

    def embedding_gradient(
        self, ids: Array, gy: Array, classes: int, ignore_label: Optional[int]
    ) -> Array:
        """Return (V, N), the sums of the rows of gy (P, N) of each id.

        Args:
            ids: (P,) integers; those below 0 count from the last class.
            gy: the rows.
            classes: V.
            ignore_label: the id of rows that are left out, or None.

        Raises:
            IndexError: on the CPU, a row has an id for which there is no class.  A GPU leaves it
                out.
        """
        ...

    def span(self, x: Any) -> Optional[tuple[int, int]]:
        """Return the address and the bytes of an array that ``update`` can read and write in place,
        or None.
        """
        ...

    def clipping(self, gradients: Sequence[Array], threshold: Number) -> Scale:
        """Return min(threshold / norm, 1); on a GPU an object for it, since it stays on the device.

        Args:
            gradients: arrays that have a ``span``; the norm is taken over all their numbers.
            threshold: the largest norm.
        """
        ...

    def update(
        self, rule: str, given: Sequence[Sequence[Array]], scale: Scale, rates: Sequence[Number]
    ) -> None:
        """Scale gradients, and update parameters by a rule.

        Args:
            rule: 'scale' for gradients alone, 'sgd' or 'adam', see ``NumpyEngine``.
            given: the arrays of each parameter, of one shape: for 'sgd' g, x and with momentum v,
                for 'adam' g, x, m, v and with AMSGrad most.  All are of one dtype, have a ``span``
                and lie apart from each other.
            scale: of the gradients.
            rates: the numbers of ``SgdRates`` or ``AdamRates`` after ``scale``.
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
        """Compute a stage of a step whose products, except the diagonal ones, have been computed.

        Args:
            cell: the cell.
            stage: one of its stages.
            parts: the summands of the pre-activations.  The first is the product of x, or in a
                second stage the gates of the first stage; then the products of
                ``stage.products`` whose state is given, and the bias.
            state: the states before the stage.
            more: the noise of these rows (n, H), and the weights of diagonal products and
                ``stage.vectors`` (H,).
            gates: (n, G H), the output; may be the value of the first part.  None for a new array,
                or in a second stage for the gates of the first, which are overwritten.
            new: a ``State`` of C-contiguous arrays to write into, or None for new ones.

        Returns:
            The gates (n, G H), those of the stage activated, and the states; states that the stage
            does not write are unchanged.
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
        """Compute the gradients of a stage, including those through its diagonal products only.

        Args:
            cell, stage, state, more: as in ``stage_forward``.
            gates: (n, G H), activated.
            new: the states after the stage; ``stage.needs`` are read.
            gradients: with respect to the states after the stage; None for zeros.
            gpre: (n, G H), C-contiguous; only the columns of the gates of the stage are written.
                It may be ``gates``.
            out: a ``State`` of C-contiguous arrays to write into, or None for new ones; they may
                be those of ``gradients``.
            kept: receives the rows of ``stage.vectors``.

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
            state: the states before the stage; at a first step a state that is read by products
                alone may be None.
            weights: those of the stage, ``W`` and ``b`` in the first.
            gates: (B, G H), in the second stage the gates of the first; overwritten.
            kept: receives the rows of normalized products, for ``step_backward``.

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
                Shapes and dtypes are checked here; a None among them is refused.

        Returns:
            The new states; None if nothing was computed.
        """
        ...

    def whole_sequence(
        self,
        cell: Cell,
        rows: Rows,
        x: Array,
        weights: Weights,
        states: Sequence[Optional[Array]],
        units: int,
    ) -> Optional[Sequence[Array]]:
        """Compute all steps of a layer without noise, if the engine has a kernel for them that
        reads these arrays as they are.

        Args:
            cell: the cell.
            rows: the layout of the rows.
            x: (P, I).
            weights: by name, or with the rows of each gate apart, see ``takes_gates``.
            states: (B, H), or None for zeros.  As those of the weights, their shapes and dtypes
                need not have been checked.
            units: H.

        Returns:
            A buffer of each state, see ``packing.Rows``, or None.
        """
        ...

    def pack(self, W: Array) -> Optional[Array]:
        """Return a weight (N, K) packed for the products of ``whole_step``, or None."""
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
        """Compute the gradients of a stage of a single step, including those through its products.

        Args:
            cell, stage, gates, state, new, gradients, gpre: as in ``stage_backward``.
            weights: only those by which a requested gradient is multiplied, and the weights of
                diagonal products, gains and ``stage.vectors``.
            noise: of these rows (n, H).
            kept: from ``step_forward``; receives more rows for ``products.weight_gradients``.

        Returns:
            The gradient with respect to x, None without ``W``, and a ``State`` of the gradients
            with respect to the states before the stage, None if there is none.
        """
        ...

    def takes_gates(self, cell: Cell, dtype: Any, shape: Shape) -> bool:
        """Return whether ``sequence_forward`` also takes W, and U of all gates, as separate rows of
        each gate, by names such as ``W_a``, (H, I) each.
        """
        ...

    def check_time_out(self) -> None:
        """See whether a kernel that has ended timed out, without waiting for others.

        Raises:
            RuntimeError: one did; the results of its call are NaN.
        """
        ...

    def supports(self, cell: Cell, dtype: Any, shape: Shape, direction: str) -> bool:
        """Return whether the engine computes such a sequence by kernels of its own.

        If not, the time loop of ``sequence.py`` calls its stages.

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
            The activated gates (P, G H) of each layer; without ``keep`` they may be None.
        """
        ...

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        """Compute the gradients of layers; write the gradients before activation into ``gates``.

        Returns:
            For each layer a ``State`` of gradients (B, H) with respect to its initial states.
        """
        ...
