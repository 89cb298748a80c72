"""Exponential decay of the learning rate of any optimizer."""

from __future__ import annotations

import inspect
import numbers
import operator
from typing import Any, Optional

import chainer
from chainer.training import extension

from chainer_lstm.functions import checks

_RATES = ('lr', 'alpha')  # RMSprop has both, and its alpha is no learning rate


class ExponentialDecay(extension.Extension):
    """Multiply the learning rate by ``decay`` after each epoch from the ``first``-th on.

    This is the schedule of Zaremba et al. 2014.  The rate depends only on the number of epochs, so
    a resumed run continues with the same rate.

    Args:
        decay: factor an epoch.
        first: number of epochs with the full rate.
        attr: name of the optimizer's attribute to decay; None for its learning
            rate, ``lr`` or, of Adam and its variants, ``alpha``.  ``eta`` of
            AdamW decays its weight decay as well.
        optimizer: the optimizer to adjust; None for the updater's main one,
            which is checked when the training begins.

    Raises:
        TypeError: decay is not a number, first not an integer, attr not a name, or optimizer not
            an optimizer.
        ValueError: decay or first is negative, decay not finite, or the optimizer has no such
            attribute.

    Example:
        >>> decay = ExponentialDecay(0.5, first=4)                  # trainer.extend(decay)
    """

    trigger = (1, 'epoch')

    def __init__(
        self,
        decay: float,
        first: int,
        attr: Optional[str] = None,
        optimizer: Optional[chainer.Optimizer] = None,
    ) -> None:
        self._decay = checks.number('decay', decay, 0)
        self._first = checks.number('first', operator.index(first), 0)
        if not isinstance(attr, (str, type(None))):
            raise TypeError(f"attr: expected a name such as 'lr' or None, got {attr!r}")
        self._attr = attr
        self._optimizer = optimizer
        self._updater: Any = None  # until the training begins
        if optimizer is not None:
            if not hasattr(optimizer, 'target'):
                got = type(optimizer).__name__
                raise TypeError(f'optimizer: expected an optimizer or None, got {got}')
            _attribute_to_decay(optimizer, attr)

    def initialize(self, trainer: chainer.training.Trainer) -> None:
        self._updater = trainer.updater
        if self._optimizer is None:
            self._optimizer = trainer.updater.get_optimizer('main')
        self._name = _attribute_to_decay(self._optimizer, self._attr)
        self._full = getattr(self._optimizer, self._name)
        self._set_rate()

    def __call__(self, trainer: chainer.training.Trainer) -> None:
        self._set_rate()

    def serialize(self, serializer: Any) -> None:
        # a snapshot that is loaded when the training begins (autoload) is loaded after initialize
        if self._updater is not None and isinstance(serializer, chainer.Deserializer):
            self._set_rate()

    def _set_rate(self) -> None:
        decays = max(0, self._updater.epoch + 1 - self._first)
        setattr(self._optimizer, self._name, self._full * self._decay**decays)


def _attribute_to_decay(optimizer: Any, attr: Optional[str]) -> str:
    """Return the name of the attribute to decay, ``lr`` or ``alpha`` for None.

    Raises:
        ValueError: the optimizer has no such number that can be set.
    """
    optimizer = getattr(optimizer, 'actual_optimizer', optimizer)  # inside ChainerMN's
    names = _RATES if attr is None else (attr,)
    for name in names:
        if _is_number_to_set(optimizer, name):
            return name
    kind = type(optimizer).__name__
    others = [name for name in _hyperparameters(optimizer) if _is_number_to_set(optimizer, name)]
    expected = ' or '.join(map(repr, others)) or 'the name of a number'
    message = f'attr: expected {expected} for {kind}, got {attr!r}'
    if attr is None:
        message += f': {kind} has no learning rate; name one of these, or do without the decay'
    raise ValueError(message)


def _is_number_to_set(optimizer: Any, name: str) -> bool:
    """Return whether it is a number that can be set; ``lr`` of Chainer's Adam is read-only."""
    found = inspect.getattr_static(optimizer, name, None)
    if isinstance(found, property) and found.fset is None:
        return False
    value = getattr(optimizer, name, None)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _hyperparameters(optimizer: Any) -> list[str]:
    hyperparam = getattr(optimizer, 'hyperparam', None)
    return [] if hyperparam is None else sorted(hyperparam.get_dict())
