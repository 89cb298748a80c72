"""Weights that do not change for a time, for serving."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import chainer
import numpy

from chainer_lstm.functions.config import engine_of
from chainer_lstm.kernels import frozen as kept
from chainer_lstm.links.lstm import LSTMWeights
from chainer_lstm.links.stateful import Stateful


def frozen(link: chainer.Link) -> AbstractContextManager[None]:
    """Keep the parameters of a link on the CPU unchanged in a block, and the weights of single
    steps packed from the first one on that is faster with them, one of more than a few rows.

    In the block the arrays of the parameters are read-only: what writes into them, such as an
    optimizer or ``load_npz``, raises NumPy's ValueError.  An array that replaces one of them is
    computed with.  Blocks may be nested and overlap in any threads.  Views of the arrays that were
    made before are not made read-only: do not write into these.

    Args:
        link: the link, with all of its children.

    Returns:
        A context manager, for one ``with`` statement.

    Raises:
        TypeError: it is no link.
        ValueError: a parameter waits for the size of the first input.
    """
    if not isinstance(link, chainer.Link):
        raise TypeError(f'expected link to be a chainer.Link, got {type(link).__name__}')
    arrays: dict[int, Any] = {}
    for name, param in link.namedparams():
        if param.array is None:
            raise ValueError(
                f'expected parameters that are initialized, got {name} without values: '
                'call the link once before'
            )
        if isinstance(param.array, numpy.ndarray):
            arrays[id(param.array)] = param.array, None
    for W in _matrices(link):
        if id(W) in arrays:
            arrays[id(W)] = W, engine_of(W).pack
    return kept.frozen([*arrays.values()])


def _matrices(link: chainer.Link) -> Iterator[Any]:
    """Yield the arrays of the matrices of links that take single steps."""
    for each in link.links():
        if isinstance(each, (Stateful, LSTMWeights)):
            for weight in each.cell_weights():
                if weight is not None and getattr(weight.array, 'ndim', 0) == 2:
                    yield weight.array
