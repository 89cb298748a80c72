"""The orders of the gates in weights, and the conversions between them.  The order inside of the
package is interleaved a, i, f, o.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainer_lstm.arrays import Array

Gates = Any  # an array, or for N_STEP a sequence of four

INTERLEAVED = 'interleaved'  # (4H, …), row 4u + g for gate g of unit u
# four (H, …) in the order i, f, a, o: Chainer's NStepLSTM (its docstring says i, f, o, a, wrongly)
N_STEP = 'n_step'
# (4H, …), one gate's rows after the other's
PLANAR = 'planar'  # a, i, f, o
# i, f, a, o: torch, and Keras, which writes c for a and lays its matrices transposed
TORCH = 'torch'
ONNX = 'onnx'  # i, o, f, a: ONNX, which writes c for a
TENSORFLOW = 'tensorflow'  # i, a, f, o: cells of TensorFlow 1, which write j for a

# the positions of a, i, f, o
_PLACES = {
    N_STEP: (2, 0, 1, 3),
    PLANAR: (0, 1, 2, 3),
    TORCH: (2, 0, 1, 3),
    ONNX: (3, 0, 2, 1),
    TENSORFLOW: (1, 0, 2, 3),
}


def split(x: Gates, order: str) -> list[Any]:
    """Return the parts of a, i, f, o, each (H, …); views if x is an array."""
    if order == INTERLEAVED:
        return [x[g::4] for g in range(4)]
    if order == N_STEP:
        return [x[k] for k in _PLACES[order]]
    units = x.shape[0] // 4
    return [x[k * units : (k + 1) * units] for k in _PLACES[order]]


def planar(x: Array) -> Array:
    """(4H, …) interleaved -> planar, by one copy at most."""
    by_unit = x.reshape(len(x) // 4, 4, *x.shape[1:])
    return by_unit.transpose(1, 0, *range(2, by_unit.ndim)).reshape(x.shape)


def gates(x: Array, order: str) -> list[Array]:
    """Return (n, 4H) as a, i, f, o, each (n, H): views."""
    return [gate.T for gate in split(x.T, order)]


def join(xp: Any, gates: Sequence[Array], order: str) -> Gates:
    """Return gates joined in an order: the inverse of ``split``."""
    if order == INTERLEAVED:
        a = gates[0]
        return xp.reshape(xp.stack(gates, axis=1), (4 * a.shape[0], *a.shape[1:]))
    parts = [gates[_PLACES[order].index(k)] for k in range(4)]
    return parts if order == N_STEP else xp.concatenate(parts)


def convert(xp: Any, x: Gates, source: str, target: str) -> Gates:
    """Return x converted from one order to another; x itself if they are the same."""
    return x if source == target else join(xp, split(x, source), target)
