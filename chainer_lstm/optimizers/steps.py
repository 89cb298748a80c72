"""Chainer's update rules that kernels can compute, and one step of each."""

from __future__ import annotations

import functools
import itertools
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Optional

import chainer
import numpy
from chainer.optimizers.adam import AdamRule
from chainer.optimizers.momentum_sgd import MomentumSGDRule
from chainer.optimizers.sgd import SGDRule

from chainer_lstm import kernels
from chainer_lstm.arrays import Array
from chainer_lstm.chainer_private import check_eps, has_hooks, initialize_state, loss_scale_of

Values = dict[str, Any]  # of hyperparameters, by name

_METHODS = ('update', 'update_core', 'update_core_cpu', 'update_core_gpu')


class Step(NamedTuple):
    """The update of a parameter.

    Attributes:
        rule: its update rule; None if only the gradients are scaled.
        values: the hyperparameters of the rule, the same object for rules that share them.
        arrays: its gradient, the parameter and the states of the rule; without a rule the gradient.
    """

    rule: Any
    values: Values
    arrays: tuple[Any, ...]


class _Kind(NamedTuple):
    """An update rule of Chainer.

    Attributes:
        methods: the methods that an update calls, as Chainer defines them.
        kernel: the name for ``Engine.update``.
        states: the names of its states, by its hyperparameters.
        rates: the numbers of the kernel, each computed from the rule.
    """

    methods: tuple[Any, ...]
    kernel: str
    states: Callable[[Values], tuple[str, ...]]
    rates: tuple[Callable[[Any], float], ...]


def take(steps: Sequence[Step], engine: kernels.Engine, scale: Any) -> None:
    """Scale the gradients, and update the parameters, those of the same numbers together."""
    for step in steps:
        if step.rule is not None:
            step.rule.t += 1
    for group in _groups(steps):
        rule, arrays = group[0].rule, [step.arrays for step in group]
        if rule is None:
            engine.update('scale', arrays, scale, ())
            continue
        if type(rule) is AdamRule:
            check_eps(rule, arrays[0][0].dtype)
        kind = _KINDS[type(rule)]
        rates = [functools.partial(rate, rule) for rate in kind.rates]
        engine.update(kind.kernel, arrays, scale, rates)


def scale_gradients(gradients: Sequence[Array], engine: kernels.Engine, scale: Any) -> None:
    """Scale gradients alone."""
    for group in _groups([Step(None, {}, (g,)) for g in gradients]):
        engine.update('scale', [step.arrays for step in group], scale, ())


def _groups(steps: Sequence[Step]) -> Iterable[list[Step]]:
    """Return the steps that a kernel can take together: of one dtype, and of the same numbers."""
    groups: dict[Any, list[Step]] = {}
    for step in steps:
        rule, values, arrays = step
        of_rule = None
        if rule is not None:
            of_rule = type(rule), id(values), rule.t, vars(rule).get('initial_alpha')
        groups.setdefault((arrays[0].dtype, of_rule), []).append(step)
    return groups.values()


def steps_of(params: Sequence[Any], engine: kernels.Engine) -> Optional[list[Step]]:
    """Return the updates of all parameters, or None where Chainer's code has to update them."""
    shared: dict[int, Optional[Values]] = {}
    found = []
    for param in params:
        step = step_of(param, shared)
        if step is None or not _are_alike(step.arrays):
            return None
        found.append(step)
    return found if are_apart((x for step in found for x in step.arrays), engine) else None


def step_of(param: Any, shared: dict[int, Optional[Values]]) -> Optional[Step]:
    """Return the update of a parameter, its arrays not looked at; None where it is Chainer's.

    Args:
        param: the parameter.
        shared: the hyperparameters of the steps before it; gets those of this one.
    """
    rule = param.update_rule
    if param.array is None:
        return None
    if rule is None or not rule.enabled:
        return Step(None, {}, (param.grad,))
    if not _has_plain_rule(param):
        return None
    values = _values(rule.hyperparam, shared)
    return None if values is None else Step(rule, values, _arrays(param, rule, values))


def are_apart(arrays: Iterable[Any], engine: kernels.Engine) -> bool:
    """Return whether kernels can update arrays, and no two of them share memory, in which the order
    of updates would count.
    """
    spans = [engine.span(x) for x in arrays]
    known = sorted([span for span in spans if span is not None])
    return len(known) == len(spans) and all(
        start + size <= other for (start, size), (other, _) in itertools.pairwise(known)
    )


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
    return tuple([getattr(cls, name) for name in _METHODS])


def _values(hyperparam: Any, shared: dict[int, Optional[Values]]) -> Optional[Values]:
    """Return hyperparameters by name, one object for those that are read from one; None if they are
    no plain numbers.
    """
    own = owner(hyperparam)
    if id(own) not in shared:
        values = own.get_dict()
        plain = all(isinstance(value, numbers.Real) for value in values.values())
        shared[id(own)] = values if plain else None
    return shared[id(own)]


def owner(hyperparam: Any) -> Any:
    """Return what hyperparameters are read from: their parent, if they have no values."""
    return hyperparam if len(vars(hyperparam)) > 1 else hyperparam.parent


def _arrays(param: Any, rule: Any, values: Values) -> tuple[Any, ...]:
    """Return the gradients, the parameter and the states of its rule; None for what is missing."""
    if rule.state is None:
        initialize_state(rule, param)
    states = rule.state or {}
    return (param.grad, param.array, *map(states.get, _KINDS[type(rule)].states(values)))


def _are_alike(arrays: Sequence[Any]) -> bool:
    """Return whether arrays are given, and of one shape and dtype."""
    if any(x is None for x in arrays):
        return False
    first = arrays[0]
    return all(x.shape == first.shape and x.dtype == first.dtype for x in arrays[1:])


def _bound(index: int, without: float) -> Callable[[Any], float]:
    """Return the function of a bound of AdaBound's steps."""
    return lambda rule: rule.bounds[index] if rule.hyperparam.adabound else without


_KINDS = {
    SGDRule: _Kind(
        _methods(SGDRule),
        'sgd',
        lambda values: (),
        (lambda rule: rule.hyperparam.lr, lambda rule: 0.0),
    ),
    MomentumSGDRule: _Kind(
        _methods(MomentumSGDRule),
        'sgd',
        lambda values: ('v',),
        (lambda rule: rule.hyperparam.lr, lambda rule: rule.hyperparam.momentum),
    ),
    AdamRule: _Kind(
        _methods(AdamRule),
        'adam',
        lambda values: ('m', 'v', 'vhat') if values['amsgrad'] else ('m', 'v'),
        (
            lambda rule: 1 - rule.hyperparam.beta1,
            lambda rule: 1 - rule.hyperparam.beta2,
            lambda rule: rule.hyperparam.eps,
            lambda rule: rule.alpha_t,
            _bound(0, -numpy.inf),
            _bound(1, numpy.inf),
            lambda rule: 1 - rule.hyperparam.eta * rule.hyperparam.weight_decay_rate,
            lambda rule: rule.hyperparam.eta,
        ),
    ),
}
