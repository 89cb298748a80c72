"""Initializers for matrices whose rows are the interleaved gates of an LSTM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

import chainer

from chainer_lstm.chainer_private import initializer

__all__ = ['GateBias', 'PerGate']

Initializer = Callable[[Any], None]


def check(**given: Any) -> None:
    """Check that arguments are initializers: None, numbers, arrays or callables.

    Raises:
        TypeError: one is something else; it is named in the error.
    """
    for name, value in given.items():
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
    """Apply an initializer to the matrix of each gate.

    Chainer's ``LSTM`` calls an initializer on four consecutive blocks of H
    rows, in which the four gates are mixed, so with ``Orthogonal`` no gate
    gets an orthogonal matrix.  ``PerGate(Orthogonal())`` makes each gate's matrix orthogonal:

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
        """Set an array (4H, I) gate by gate, in the order a, i, f, o.

        Raises:
            ValueError: the array does not have two axes, or its number of rows is not 4H.
        """
        _check_gates(array, 2)
        rows = array.reshape(array.shape[0] // 4, 4, *array.shape[1:])  # a view
        for g in range(4):
            self.initializer(rows[:, g])


class GateBias(chainer.Initializer):
    """Initialize a bias (G H,) of interleaved gates.

    Args:
        bias_init: initializer for all gates but f; a number, an array (H,) or a
            callable.  Default: 0.
        forget_bias_init: the initializer for f.  Default: as bias_init.
        gates: the letters of the gates, in order.

    Raises:
        TypeError: an argument is not an initializer.

    Example:
        >>> import numpy
        >>> GateBias(0, 1)(b := numpy.empty(8, 'f'))                # two units, a i f o each
        >>> b.tolist()
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """

    def __init__(
        self,
        bias_init: Optional[Any] = None,
        forget_bias_init: Optional[Any] = None,
        gates: Sequence[str] = 'aifo',
    ) -> None:
        super().__init__()
        check(bias_init=bias_init, forget_bias_init=forget_bias_init)
        bias_init = 0 if bias_init is None else bias_init
        forget_bias_init = bias_init if forget_bias_init is None else forget_bias_init
        self._gates = [
            initializer(forget_bias_init if gate == 'f' else bias_init) for gate in gates
        ]

    def __call__(self, array: Any) -> None:
        _check_gates(array, 1, len(self._gates))
        for g, init in enumerate(self._gates):
            init(array[g :: len(self._gates)])


def _check_gates(array: Any, ndim: int, gates: int = 4) -> None:
    if array.ndim < ndim or array.shape[0] % gates:
        raise ValueError(
            f'expected an array of {ndim} axes, the first that of {gates} gates ({gates}H), '
            f'got {array.shape}'
        )
