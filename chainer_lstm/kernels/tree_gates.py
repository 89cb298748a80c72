"""The gates of tree LSTMs: array code on the CPU, one kernel on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import tree
from chainer_lstm.kernels.cuda import tree as fused


def forward(
    xp: Any, gates: tree.Gates, tanhs: Array, sigmoids: Sequence[Array], cs: Sequence[Array]
) -> tuple[Array, Array, Array]:
    """Activate gates in place; return c, tanh(c) and h.

    Args:
        xp: the module of array functions.
        gates: before activation.
        tanhs, sigmoids: arrays of several gates, contiguous in memory.
        cs: the cell states of the children.
    """
    if _is_fused(xp, gates):
        return fused.forward(xp, gates, cs)
    tree.activate(xp, tanhs, sigmoids)
    return tree.combine(xp, gates, cs)


def backward(xp: Any, gates: tree.Gates, *arguments: Any) -> None:
    """Compute the gradients; further arguments as in ``cells.tree.backward``."""
    compute = fused.backward if _is_fused(xp, gates) else tree.backward
    compute(xp, gates, *arguments)


def _is_fused(xp: Any, gates: tree.Gates) -> bool:
    """Return whether one kernel can compute the gates: on a GPU, if all nodes have all children."""
    return xp is not numpy and all(len(f) == len(gates.o) for f in gates.f)
