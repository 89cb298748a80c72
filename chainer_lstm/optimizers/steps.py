"""Chainer's update rules that kernels can compute, and one step of each."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Sequence
from ctypes import addressof, c_char
from typing import Any, NamedTuple, Optional

import chainer
import numpy
from chainer.optimizers.adam import AdamRule
from chainer.optimizers.momentum_sgd import MomentumSGDRule
from chainer.optimizers.sgd import SGDRule

from chainer_lstm import kernels
from chainer_lstm.arrays import Array
from chainer_lstm.chainer_private import check_eps, has_hooks, initialize_state, loss_scale_of
from chainer_lstm.kernels.engines.engine import AdamRates

Values = dict[str, Any]  # of hyperparameters, by name

_DTYPES = numpy.dtype(numpy.float32), numpy.dtype(numpy.float64)
_METHODS = {'update', 'update_core', 'update_core_cpu'}


class Step(NamedTuple):
    """The update of a parameter.

    Attributes:
        rule: its update rule; None if only the gradients are scaled.
        values: the hyperparameters of the rule, the same object for rules that share them.
        arrays: the parameter, its gradient and the states of the rule; without a rule the gradient.
    """

    rule: Any
    values: Values
    arrays: tuple[Any, ...]


class _Kind(NamedTuple):
    """An update rule of Chainer.

    Attributes:
        methods: the methods that an update calls, as Chainer defines them.
        states: the names of its states, by its hyperparameters.
        rates: returns the numbers for its kernel from the rule, its hyperparameters and a dtype.
        step: calls the kernel with the arrays of a step, the scale of the gradients and the rates.
    """

    methods: tuple[Any, ...]
    states: Callable[[Values], tuple[str, ...]]
    rates: Callable[[Any, Values, numpy.dtype], tuple[float, ...]]
    step: Callable[[kernels.Engine, Sequence[Array], float, tuple[float, ...]], None]


def take(steps: Sequence[Step], engine: kernels.Engine, scale: float) -> None:
    """Scale the gradients, and update the parameters."""
    rates: dict[Any, tuple[float, ...]] = {}  # computed once for rules with shared hyperparameters
    for rule, values, arrays in steps:
        if rule is None:
            gradient = arrays[0]
            if scale != 1:
                gradient *= scale
            continue
        rule.t += 1
        kind, dtype = _KINDS[type(rule)], arrays[0].dtype
        key = type(rule), id(values), rule.t, dtype
        if key not in rates:
            rates[key] = kind.rates(rule, values, dtype)
        kind.step(engine, arrays, scale, rates[key])


def steps_of(params: Sequence[Any]) -> Optional[list[Step]]:
    """Return the updates of all parameters, or None if Chainer's code has to update them."""
    shared: dict[int, Values] = {}
    found = []
    for param in params:
        rule = param.update_rule
        if param.array is None:
            return None
        if rule is None or not rule.enabled:
            step = Step(None, {}, (param.grad,))
        elif _has_plain_rule(param):
            values = _values(rule.hyperparam, shared)
            step = Step(rule, values, _arrays(param, rule, values))
        else:
            return None
        if not _are_alike(step.arrays):
            return None
        found.append(step)
    values_of_all = itertools.chain.from_iterable(values.values() for values in shared.values())
    if not all(isinstance(value, numbers.Real) for value in values_of_all):
        return None
    return None if _overlap([x for step in found for x in step.arrays]) else found


def _has_plain_rule(param: Any) -> bool:
    """Return whether kernels compute the rule of a parameter, and no other code takes part."""
    rule = param.update_rule
    cls = type(rule)
    return (
        cls in _KINDS
        and _methods(cls) == _KINDS[cls].methods
        and vars(rule).keys().isdisjoint(_METHODS)
        and type(param).update is chainer.Parameter.update
        and not has_hooks(rule)
        and loss_scale_of(param) is None
    )


def _methods(cls: Any) -> tuple[Any, ...]:
    return cls.update, cls.update_core, cls.update_core_cpu


def _values(hyperparam: Any, shared: dict[int, Values]) -> Values:
    """Return hyperparameters by name; a rule without values of its own shares its parent's."""
    own = hyperparam if len(vars(hyperparam)) > 1 else hyperparam.parent
    if id(own) not in shared:
        shared[id(own)] = own.get_dict()
    return shared[id(own)]


def _arrays(param: Any, rule: Any, values: Values) -> tuple[Any, ...]:
    """Return the parameter, its gradients and the states of its rule; None for what is missing."""
    if rule.state is None:
        initialize_state(rule, param)
    states = rule.state or {}
    return (param.array, param.grad, *map(states.get, _KINDS[type(rule)].states(values)))


def _are_alike(arrays: Sequence[Any]) -> bool:
    """Return whether kernels can update arrays together."""
    first = arrays[0]
    return is_dense(first) and all(
        is_dense(x) and x.shape == first.shape and x.dtype == first.dtype for x in arrays[1:]
    )


def is_dense(x: Any) -> bool:
    """Return whether kernels can read and write an array where it is."""
    return type(x) is numpy.ndarray and x.dtype in _DTYPES and x.flags.carray


def _overlap(arrays: Sequence[Any]) -> bool:
    """Return whether dense arrays share memory: then the order of updates would matter."""
    places = sorted([(addressof(c_char.from_buffer(x)), x.nbytes) for x in arrays if x.size])
    return any(start + size > other for (start, size), (other, _) in itertools.pairwise(places))


def _adam_rates(rule: AdamRule, values: Values, dtype: numpy.dtype) -> tuple[float, ...]:
    check_eps(rule, dtype)
    low, high = rule.bounds if values['adabound'] else (-numpy.inf, numpy.inf)
    of_m, of_v, eta = 1 - values['beta1'], 1 - values['beta2'], values['eta']
    keep = 1 - eta * values['weight_decay_rate']
    return of_m, of_v, values['eps'], rule.alpha_t, low, high, keep, eta


def _step_of_sgd(
    engine: kernels.Engine, arrays: Sequence[Array], scale: float, rates: tuple[float, ...]
) -> None:
    x, g, *v = arrays
    engine.sgd(x, g, v[0] if v else None, scale, *rates)


def _step_of_adam(
    engine: kernels.Engine, arrays: Sequence[Array], scale: float, rates: tuple[float, ...]
) -> None:
    x, g, m, v, *most = arrays
    engine.adam(x, g, m, v, most[0] if most else None, AdamRates(scale, *rates))


_KINDS = {
    SGDRule: _Kind(
        _methods(SGDRule),
        lambda values: (),
        lambda rule, values, dtype: (values['lr'], 0),
        _step_of_sgd,
    ),
    MomentumSGDRule: _Kind(
        _methods(MomentumSGDRule),
        lambda values: ('v',),
        lambda rule, values, dtype: (values['lr'], values['momentum']),
        _step_of_sgd,
    ),
    AdamRule: _Kind(
        _methods(AdamRule),
        lambda values: ('m', 'v', 'vhat') if values['amsgrad'] else ('m', 'v'),
        _adam_rates,
        _step_of_adam,
    ),
}
