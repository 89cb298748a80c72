"""Updates of parameters with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import addressof, c_char
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels.engines.types import AdamRates, Number, Scale, SgdRates

_UPDATED = numpy.dtype(numpy.float32), numpy.dtype(numpy.float64)


class NumpyUpdates:
    """The methods of ``NumpyEngine`` for updates."""

    xp: Any = numpy

    def span(self, x: Any) -> Optional[tuple[int, int]]:
        if type(x) is not numpy.ndarray or x.dtype not in _UPDATED or not x.flags.carray:
            return None
        return _address(x), x.nbytes

    def clipping(self, gradients: Sequence[Array], threshold: Number) -> Scale:
        norm = numpy.sqrt(sum(map(self.sum_of_squares, gradients)))
        scale = min(threshold() / norm, 1.0)
        return None if scale == 1 else scale

    def update(
        self, rule: str, given: Sequence[Sequence[Array]], scale: Scale, rates: Sequence[Number]
    ) -> None:
        factor = 1.0 if scale is None else scale
        numbers = [compute() for compute in rates]
        for arrays in given:
            if rule == 'sgd':
                self.sgd(*arrays, rates=SgdRates(factor, *numbers))
            elif rule == 'adam':
                self.adam(*arrays, rates=AdamRates(factor, *numbers))
            else:
                self.scale(arrays[0], factor)

    def sum_of_squares(self, x: Array) -> float:
        """Return the sum of the squares of a C-contiguous array."""
        flat = x.reshape(-1)
        return float(self.xp.vdot(flat, flat))

    def scale(self, g: Array, scale: float) -> None:
        """Multiply gradients by a number."""
        if scale != 1:
            g *= scale

    def sgd(self, g: Array, x: Array, v: Optional[Array] = None, *, rates: SgdRates) -> None:
        """Scale the gradients g, then add momentum * v - rate * g to x, and to v what x got.

        Args:
            g: the gradients, of any shape, C-contiguous, as are x and v.
            x: the parameter.
            v: the last step, or None for none.
            rates: the numbers.
        """
        self.scale(g, rates.scale)
        if v is None:
            x -= rates.rate * g
            return
        v *= rates.momentum
        v -= rates.rate * g
        x += v

    def adam(
        self,
        g: Array,
        x: Array,
        m: Array,
        v: Array,
        most: Optional[Array] = None,
        *,
        rates: AdamRates,
    ) -> None:
        """Scale the gradients g, then update x, m, v and the largest v that there was.

        Args:
            g: the gradients, of any shape, C-contiguous, as are the others.
            x: the parameter.
            m, v: the means of g and of its squares.
            most: the largest v of each number, by which the step is divided; None for v.
            rates: the numbers.
        """
        xp = self.xp
        self.scale(g, rates.scale)
        m += rates.of_m * (g - m)
        v += rates.of_v * (g * g - v)
        if most is not None:
            xp.maximum(most, v, out=most)
        step = rates.rate / (xp.sqrt(v if most is None else most) + rates.epsilon)
        step = xp.clip(step, rates.low, rates.high)  # a number, for a parameter without axes
        step *= m
        step *= rates.eta
        x *= rates.keep
        x -= step


def _address(x: Any) -> int:
    """Return where an array lies, in a fraction of the time of ``x.ctypes``; 0 of an empty one."""
    return addressof(c_char.from_buffer(x)) if x.size else 0
