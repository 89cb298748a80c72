"""Iterators, updaters, the evaluator and extensions as in Chainer v1."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable
from typing import Any, Optional

from chainer import training
from chainer.iterators import _statemachine, order_samplers
from chainer.training import extension, extensions, trainer
from chainer.training.extensions import evaluator
from chainer.training.updaters import standard_updater

from chainer_lstm.compat.replacements import Module, Replacements
from chainer_lstm.compat.v1.arguments import taking
from chainer_lstm.compat.v1.flags import OFF, ON, Flag, variable_of


def install(replacements: Replacements) -> None:
    """Give models variables, and keep evaluators from switching dropout off.

    In v1 a model said ``train=False`` itself, and an evaluator's variables
    were volatile.
    """
    for module, volatile in ((standard_updater, OFF), (evaluator, ON)):
        converter = _giving_variables(module.convert._call_converter, volatile)
        replacements.set(module, 'convert', Module(module.convert, {'_call_converter': converter}))
    replacements.set(
        evaluator,
        'configuration',
        types.SimpleNamespace(using_config=lambda *_: contextlib.nullcontext()),
    )
    replacements.set(order_samplers.ShuffleOrderSampler, '__call__', _shuffled)
    replacements.set(
        _statemachine, 'iterator_statemachine', _ending(_statemachine.iterator_statemachine)
    )
    _install_extensions(replacements)


def _shuffled(
    self: order_samplers.ShuffleOrderSampler, current_order: Any, current_position: int
) -> Any:
    """Shuffle the order of the previous epoch; v7 draws a new permutation."""
    order = current_order.copy()
    self._random.shuffle(order)
    return order


def _ending(statemachine: Callable) -> Callable:
    """Do not shuffle when an iterator ends; v7 draws an order that is not used."""

    @functools.wraps(statemachine)
    def call(
        state: Any, batch_size: int, repeat: bool, order_sampler: Any, dataset_len: int
    ) -> Any:
        if not repeat:
            order_sampler = _unchanged
        return statemachine(state, batch_size, repeat, order_sampler, dataset_len)

    return call


def _unchanged(current_order: Any, current_position: int) -> Any:
    return current_order


def _giving_variables(call_converter: Callable, volatile: Flag) -> Callable:
    @functools.wraps(call_converter)
    def call(*args: Any) -> Any:
        arrays = call_converter(*args)
        if isinstance(arrays, tuple):
            return tuple(variable_of(x, volatile) for x in arrays)
        if isinstance(arrays, dict):
            return {name: variable_of(x, volatile) for name, x in arrays.items()}
        return variable_of(arrays, volatile)

    return call


def _install_extensions(replacements: Replacements) -> None:
    for name, names in (
        ('snapshot', 'savefun filename trigger'),
        ('snapshot_object', 'target filename savefun trigger'),
    ):
        snapshot = taking(names, ('trigger',), _triggered)(getattr(extensions, name))
        replacements.set(extensions, name, snapshot)
    replacements.set(trainer.Trainer, 'extend', _extend(trainer.Trainer.extend))
    make_extension = _make_extension(extension.make_extension)
    for module in (extension, training):
        replacements.set(module, 'make_extension', make_extension)


def _triggered(snapshot: Callable, args: tuple, kwargs: dict, given: dict[str, Any]) -> Any:
    made = snapshot(*args, **kwargs)
    made.trigger = given['trigger']
    return made


def _extend(extend: Callable) -> Callable:
    @functools.wraps(extend)
    def call(
        self: trainer.Trainer,
        extension: Any,
        name: Any = None,
        trigger: Any = None,
        priority: Any = None,
        invoke_before_training: Optional[bool] = None,
        **kwargs: Any,
    ) -> None:
        if invoke_before_training is None:
            invoke_before_training = getattr(extension, 'invoke_before_training', False)
        # Chainer's own extensions begin by ``initialize`` now
        if invoke_before_training and not type(extension).__module__.startswith('chainer.'):
            kwargs['call_before_training'] = True
        extend(self, extension, name, trigger, priority, **kwargs)

    return call


def _make_extension(make_extension: Callable) -> Callable:
    @functools.wraps(make_extension)
    def call(
        trigger: Any = None,
        default_name: Any = None,
        priority: Any = None,
        invoke_before_training: bool = False,
        finalizer: Any = None,
        **kwargs: Any,
    ) -> Callable:
        decorate = make_extension(trigger, default_name, priority, finalizer, **kwargs)

        def decorator(function: Callable) -> Callable:
            decorated = decorate(function)
            decorated.invoke_before_training = invoke_before_training
            return decorated

        return decorator

    return call
