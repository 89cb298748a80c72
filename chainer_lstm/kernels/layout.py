"""The order of the gates.  Inside the package it is interleaved a, i, f, o; this is the only converter."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Array = Any

# where a, i, f, o are among separate blocks in another order
N_STEP = (2, 0, 1, 3)  # i, f, a, o: Chainer's NStepLSTM (its docstring says i, f, o, a, wrongly)


def interleave(xp: Any, blocks: Sequence[Array], order: tuple[int, ...] = N_STEP) -> Array:
    """Four (H, …) blocks, one a gate -> (4H, …), row 4u + g for gate g of unit u."""
    a = blocks[order[0]]
    return xp.reshape(xp.stack([blocks[k] for k in order], axis=1), (4 * a.shape[0], *a.shape[1:]))
