"""Variables used as arrays, which weights such as ``F.Linear(2, 3).W`` were before Chainer v1.5."""

from __future__ import annotations

from typing import Any

import chainer

from chainer_lstm.compat.replacements import Replacements


def install(replacements: Replacements) -> None:
    """Let variables be converted to numbers and set by index.

    They do not become NumPy's arrays: ``numpy.sum`` of a list of losses is a loss.
    """
    for method in (__float__, __int__, __setitem__):
        replacements.set(chainer.Variable, method.__name__, method)


def __float__(self: chainer.Variable) -> float:
    return float(self.array.item())


def __int__(self: chainer.Variable) -> int:
    return int(self.array.item())


def __setitem__(self: chainer.Variable, index: Any, value: Any) -> None:
    self.array[index] = chainer.as_array(value)
