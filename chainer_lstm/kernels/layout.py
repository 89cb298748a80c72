"""The order of the gates.  Inside the package it is interleaved a, i, f, o; this is the only converter."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Union

Array = Any

INTERLEAVED = 'interleaved'  # (4H, …), row 4u + g for gate g of unit u
PLANAR = 'planar'  # (4H, …), row gH + u
N_STEP = 'n_step'  # four (H, …) in the order i, f, a, o: Chainer's NStepLSTM (its docstring says i, f, o, a, wrongly)

_IN_N_STEP = (2, 0, 1, 3)  # where a, i, f, o are in it


def split(x: Union[Array, Sequence[Array]], order: str) -> list[Array]:
    """-> the parts of a, i, f, o, each (H, …); views where x is an array."""
    if order == N_STEP:
        return [x[k] for k in _IN_N_STEP]
    units = x.shape[0] // 4
    if order == PLANAR:
        return [x[g * units:(g + 1) * units] for g in range(4)]
    return [x[g::4] for g in range(4)]


def gates(x: Array, order: str) -> list[Array]:
    """(n, 4H) -> a, i, f, o, each (n, H): views."""
    return [gate.T for gate in split(x.T, order)]


def join(xp: Any, gates: Sequence[Array], order: str) -> Any:
    """The inverse of ``split``."""
    if order == N_STEP:
        return [gates[_IN_N_STEP.index(k)] for k in range(4)]
    a = gates[0]
    if order == PLANAR:
        return xp.concatenate(gates)
    return xp.reshape(xp.stack(gates, axis=1), (4 * a.shape[0], *a.shape[1:]))


def convert(xp: Any, x: Union[Array, Sequence[Array]], source: str, target: str) -> Any:
    """From one order to another; x itself where they are the same."""
    return x if source == target else join(xp, split(x, source), target)
