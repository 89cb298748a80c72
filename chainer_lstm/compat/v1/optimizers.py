"""Optimizers as in Chainer v1: their methods, those that programs define, and their files."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy
from chainer import optimizer, optimizer_hooks, serializer

from chainer_lstm.arrays import Array
from chainer_lstm.compat.replacements import Replacements


def install(replacements: Replacements) -> None:
    """Add what v1's optimizers had."""
    for method in (zero_grads, clip_grads, weight_decay, compute_grads_norm, accumulate_grads):
        replacements.set(optimizer.Optimizer, method.__name__, method)
    replacements.set(optimizer.Optimizer, 'serialize', _serialize(optimizer.Optimizer.serialize))
    cls = optimizer.GradientMethod
    replacements.set(cls, 'reallocate_cleared_grads', _preparing(cls.reallocate_cleared_grads))
    replacements.set(cls, '_use_fp32_update', False)  # where __init__ was not called
    for step in (create_update_rule, init_state, update_one):
        replacements.set(cls, step.__name__, step)


def zero_grads(self: optimizer.Optimizer) -> None:
    """Fill all gradients of the target with zeros."""
    self.target.zerograds()


def clip_grads(self: optimizer.Optimizer, maxnorm: float) -> None:
    """Scale all gradients of the target, at once, so that their norm is at most ``maxnorm``."""
    optimizer_hooks.GradientClipping(maxnorm)(self)


def weight_decay(self: optimizer.Optimizer, decay: float) -> None:
    """Add ``decay`` times the parameter to each gradient of the target, at once."""
    hook = optimizer_hooks.WeightDecay(decay)
    for parameter in self.target.params():
        hook(parameter.update_rule, parameter)


def compute_grads_norm(self: optimizer.Optimizer) -> float:
    """Return the norm of all gradients of the target."""
    gradients = [parameter.grad.ravel() for parameter in self.target.params()]
    return math.sqrt(sum(float(gradient.dot(gradient)) for gradient in gradients))


def accumulate_grads(self: optimizer.Optimizer, grads: Iterable[Array]) -> None:
    """Add arrays to the gradients of the target, in the order of its parameters."""
    for parameter, gradient in zip(self.target.params(), grads):
        parameter.grad += parameter.device.send(gradient)


class _Snapshot(serializer.Deserializer):
    """An optimizer's part of a file, in which parameters may count no updates, as in v1."""

    def __init__(self, deserializer: serializer.Deserializer, updates: int) -> None:
        self._deserializer = deserializer
        self._updates = updates

    def __getitem__(self, key: str) -> _Snapshot:
        return _Snapshot(self._deserializer[key], self._updates)

    def __call__(self, key: str, value: Any) -> Any:
        try:
            return self._deserializer(key, value)
        except KeyError:
            if key != 't':
                raise
            return self._updates


def _serialize(serialize: Callable) -> Callable:
    @functools.wraps(serialize)
    def call(self: optimizer.Optimizer, target: Any) -> None:
        if isinstance(target, serializer.Deserializer):
            target = _Snapshot(target, int(target('t', self.t)))
        serialize(self, target)

    return call


class UpdateRule(optimizer.UpdateRule):
    """Update a parameter by the methods of an optimizer that the program defines."""

    def __init__(self, own: optimizer.GradientMethod) -> None:
        super().__init__()
        self._optimizer = own

    def init_state(self, param: Any) -> None:
        """Let the optimizer fill the dictionary of the parameter's state."""
        self._optimizer.init_state(param, self.state)

    def update_core(self, param: Any) -> None:
        """Let the optimizer change the parameter."""
        self._optimizer.update_one(param, self.state)


def create_update_rule(self: optimizer.GradientMethod) -> UpdateRule:
    """Return the rule of an optimizer that has none: it defines v1's methods."""
    return UpdateRule(self)


def init_state(self: optimizer.GradientMethod, param: Any, state: dict[str, Any]) -> None:
    """Fill the state by the method for the parameter's device, if there is one."""
    initialize = getattr(self, f'init_state_{_kind(param)}', None)
    if initialize is not None:
        initialize(param, state)


def update_one(self: optimizer.GradientMethod, param: Any, state: dict[str, Any]) -> None:
    """Update a parameter by the method for its device."""
    getattr(self, f'update_one_{_kind(param)}')(param, state)


def _kind(param: Any) -> str:
    return 'cpu' if param.device.xp is numpy else 'gpu'


def _preparing(reallocate: Callable) -> Callable:
    """Before an update, add the parameters that came after ``setup``, and v1's methods.

    A program may have defined these methods for a class derived from ``Adam`` or the like.
    """

    @functools.wraps(reallocate)
    def reallocate_cleared_grads(self: optimizer.GradientMethod) -> None:
        own = type(self).update_one is not update_one or hasattr(self, 'update_one_cpu')
        for parameter in self.target.params():
            if own and not isinstance(parameter.update_rule, UpdateRule):
                parameter.update_rule = UpdateRule(self)
            elif parameter.update_rule is None:
                parameter.update_rule = self.create_update_rule()
        reallocate(self)

    return reallocate_cleared_grads
