"""Let Chainer's devices be compared with integers, which they were before v6.

``updater.device`` and the like were the number of a GPU, or -1 for the CPU, and programs test
whether it is ``>= 0``.
"""

from __future__ import annotations

import functools
import numbers
import operator
from collections.abc import Callable
from typing import Any

from chainer import backend
from chainer.backends import cuda

from chainer_lstm.compat.replacements import Replacements


def number(device: backend.Device) -> int:
    """Return the number of a GPU, -1 for the CPU."""
    return device.device.id if isinstance(device, backend.GpuDevice) else -1


def install(replacements: Replacements) -> None:
    """Let the devices of NumPy and CuPy be used as integers."""
    for cls in (backend.CpuDevice, backend.GpuDevice):
        replacements.set(cls, '__int__', number)
        replacements.set(cls, '__index__', number)
        for name in ('__eq__', '__lt__', '__le__', '__gt__', '__ge__'):
            replacements.set(cls, name, _comparison(getattr(operator, name), getattr(cls, name)))
    # what to_gpu and get_device take for the number of a GPU
    replacements.set(cuda, '_integer_types', (*cuda._integer_types, backend.GpuDevice))


def _comparison(of_numbers: Callable, of_devices: Callable) -> Callable:
    @functools.wraps(of_devices)
    def compare(self: backend.Device, other: Any) -> Any:
        if isinstance(other, numbers.Integral):
            return of_numbers(number(self), other)
        return of_devices(self, other)

    return compare
