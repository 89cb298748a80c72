"""Layer normalization (Ba, Kiros and Hinton, 2016) of rows, in array code."""

from __future__ import annotations

import dataclasses
from typing import Any

from chainer_lstm.arrays import Array


@dataclasses.dataclass(frozen=True)
class Norm:
    """Layer normalization of a product before it is added to gates.

    Each row, over all its gates, is shifted to mean 0, scaled to variance 1 and multiplied by a
    gain.

    Attributes:
        gain: the name of the weight (G H,), 1 at first.
        epsilon: is added to the variance.
    """

    gain: str
    epsilon: float = 1e-5


def normalized(xp: Any, x: Array, epsilon: float) -> tuple[Array, Array]:
    """Return rows (n, N) normalized to mean 0 and variance 1, and the scales (n, 1) by which the
    differences from the mean were multiplied.

    Args:
        xp: the module of array functions.
        x: (n, N).
        epsilon: what is added to the variance.
    """
    centred = x - xp.mean(x, axis=1, keepdims=True)
    scale = (xp.mean(centred * centred, axis=1, keepdims=True) + epsilon) ** -0.5
    return centred * scale, scale


def normalized_gradient(xp: Any, y: Array, scale: Array, gradient: Array) -> Array:
    """Return the gradient with respect to rows from that with respect to ``normalized`` rows y.

    Args:
        xp: the module of array functions.
        y: (n, N), the normalized rows.
        scale: (n, 1), the scales that ``normalized`` returned.
        gradient: (n, N), with respect to y.
    """
    along = xp.mean(gradient * y, axis=1, keepdims=True)
    return (gradient - xp.mean(gradient, axis=1, keepdims=True) - y * along) * scale
