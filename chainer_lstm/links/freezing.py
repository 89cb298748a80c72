"""Weights that are constant for a time, for faster inference."""

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
    """Make the parameters of a link on the CPU read-only in a block, and keep the weights of single
    steps packed from the first step that is faster with them, one of more than a few rows.

    In the block, code that writes into a parameter's array, such as an optimizer or ``load_npz``,
    raises NumPy's ValueError.  A parameter whose array is replaced is computed with the new array.
    Blocks may be nested and overlap in any threads.  Existing views of the arrays stay writable; do
    not write into them.

    Args:
        link: the link, with all of its children.

    Returns:
        A context manager, for one ``with`` statement.

    Raises:
        TypeError: link is not a link.
        ValueError: a parameter waits for the size of the first input.

    Example:
        >>> import numpy
        >>> from chainer_lstm.links import LSTM
        >>> lstm = LSTM(10, 20)
        >>> with chainer.no_backprop_mode(), frozen(lstm):
        ...     h = lstm(numpy.ones((32, 10), 'f'))
        >>> h.shape
        (32, 20)
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
    """Yield the weight matrices of the links that compute single steps."""
    for each in link.links():
        if isinstance(each, (Stateful, LSTMWeights)):
            for weight in each.cell_weights():
                if weight is not None and getattr(weight.array, 'ndim', 0) == 2:
                    yield weight.array
