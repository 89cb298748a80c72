"""Initializers for matrices whose rows are the interleaved gates of an LSTM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import chainer

from chainer_lstm.chainer_private import initializer

__all__ = ['GateBias', 'PerGate']

Initializer = Callable[[Any], None]


def check(name: str, value: Any) -> None:
    """None, a number, an array or a callable.

    Raises:
        TypeError: anything else.
    """
    try:
        initializer(value)
        valid = not isinstance(value, (str, bytes))  # numpy.isscalar finds strings scalar
    except TypeError:
        valid = False
    if not valid:
        raise TypeError(
            f'expected {name} to be None, a number, an array or a callable, got {value!r}'
        )


class PerGate:
    """Applies an initializer to the matrix of each gate.

    Chainer's ``LSTM`` calls an initializer on four consecutive blocks of H
    rows, in which the four gates are mixed, so with ``Orthogonal`` no gate
    gets an orthogonal matrix.  ``PerGate(Orthogonal())`` makes each one so:

    >>> import numpy
    >>> import chainer_lstm.links as L
    >>> lstm = L.LSTM(100, 200, lateral_init=PerGate(chainer.initializers.Orthogonal(1)))
    >>> forget = lstm.lateral.W.array[2::4]  # rows a, i, f, o, a, i, …
    >>> bool((abs(forget @ forget.T - numpy.eye(200)) < 1e-5).all())
    True

    Args:
        initializer: a callable that takes an array (H, I) and sets its values.

    Raises:
        TypeError: the initializer is not callable.
    """

    def __init__(self, initializer: Initializer) -> None:
        if not callable(initializer):
            raise TypeError(f'expected a callable initializer, got {type(initializer).__name__}')
        self.initializer = initializer

    def __call__(self, array: Any) -> None:
        """Sets an array (4H, I) gate by gate, in the order a, i, f, o.

        Raises:
            ValueError: no two axes, or rows that are not those of four gates.
        """
        _check_gates(array, 2)
        rows = array.reshape(array.shape[0] // 4, 4, *array.shape[1:])  # a view
        for g in range(4):
            self.initializer(rows[:, g])


class GateBias(chainer.Initializer):
    """Initializes a bias (4H,) of interleaved gates.

    Args:
        bias_init: initializer for a, i and o; a number, an array (H,) or a
            callable.  Default: 0.
        forget_bias_init: the same for f.  Default: as bias_init.

    Raises:
        TypeError: an initializer is none.
    """

    def __init__(
        self, bias_init: Optional[Any] = None, forget_bias_init: Optional[Any] = None
    ) -> None:
        super().__init__()
        check('bias_init', bias_init)
        check('forget_bias_init', forget_bias_init)
        bias_init = 0 if bias_init is None else bias_init
        forget_bias_init = bias_init if forget_bias_init is None else forget_bias_init
        self._gates = [
            initializer(init) for init in (bias_init, bias_init, forget_bias_init, bias_init)
        ]

    def __call__(self, array: Any) -> None:
        _check_gates(array, 1)
        for g, init in enumerate(self._gates):
            init(array[g::4])


def _check_gates(array: Any, ndim: int) -> None:
    if array.ndim < ndim or array.shape[0] % 4:
        raise ValueError(
            f'expected an array of {ndim} axes, the first that of four gates (4H), '
            f'got {array.shape}'
        )
