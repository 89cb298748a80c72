"""Updates whose kernels a captured CUDA graph replays.

The kernels of ``update`` read hyperparameters anew at each replay, see ``kernels.captured``.  The
rest is Python's, which a replay does not run: ``frozen`` tells whether the graph still is the
update of an optimizer, and ``advance`` counts the update.
"""

from __future__ import annotations

from typing import Any, Optional

import chainer
from chainer.optimizer import GradientMethod

from chainer_lstm import kernels
from chainer_lstm.chainer_private import hooks, loss_scale
from chainer_lstm.optimizers import steps
from chainer_lstm.optimizers.update import (
    calls_hooks_as_chainer,
    clips,
    engine_for,
    fill_in_gradients,
    has_plain_update,
)

_CALLED = ('check_nan_in_grads', 'is_safe_to_update', 'update_loss_scale')


def advance(optimizer: chainer.GradientMethod) -> None:
    """Count an update that a CUDA graph replays, in an optimizer and its parameters' rules.

    The numbers of Adam depend on it: call it before they are computed for the replay.

    Args:
        optimizer: set up with a link.
    """
    optimizer.t += 1
    for param in optimizer.target.params():
        rule = param.update_rule
        if rule is not None and rule.enabled:
            rule.t += 1


def frozen(optimizer: chainer.GradientMethod) -> Optional[tuple[Any, ...]]:
    """Return everything that an update depends on and that replays do not read again.

    Replays are right as long as this is equal to what it was at the capture.

    Args:
        optimizer: set up with a link; it has updated it before, so that the states are there.

    Returns:
        The hooks, and for each parameter the rule, the owner of its hyperparameters, how many
        updates it has left out, and where its arrays lie; None where an update runs other code
        than the kernels'.
    """
    if loss_scale(optimizer) is not None or not _runs_no_other_code(optimizer):
        return None
    before = hooks(optimizer, 'pre') or ()
    params = list(optimizer.target.params())
    engine = engine_for(params)
    if engine is None or hooks(optimizer, 'post') or not all(map(clips, before)):
        return None
    of_params = []
    shared: dict[int, Any] = {}
    for param in params:
        step = steps.step_of(param, shared)
        if step is None:
            return None
        of_params.append(_of(step, optimizer.t, engine))
    return (*before, *of_params)


def by_kernels(optimizer: chainer.GradientMethod) -> bool:
    """Return whether kernels can update by the present gradients.

    Two parameters may have one gradient, or a gradient may be a view; Chainer's code then updates
    all of them, by hyperparameters that a graph would not read again.

    Args:
        optimizer: one for which ``frozen`` is not None; missing gradients are filled in.
    """
    params = list(optimizer.target.params())
    fill_in_gradients(optimizer, params)
    engine = engine_for(params)
    return engine is not None and steps.steps_of(params, engine) is not None


def _runs_no_other_code(optimizer: chainer.GradientMethod) -> bool:
    """Return whether an update calls no methods of the optimizer but those of Chainer."""
    cls = type(optimizer)
    plain = all(getattr(cls, name) is getattr(GradientMethod, name) for name in _CALLED)
    return plain and has_plain_update(optimizer) and calls_hooks_as_chainer(optimizer)


def _of(step: steps.Step, t: int, engine: kernels.Engine) -> Any:
    """Return the state of a parameter that its captured update depends on."""
    if step.rule is None:
        return None
    spans = map(engine.span, step.arrays[1:])  # those of gradients are in the graph
    return step.rule, steps.owner(step.rule.hyperparam), t - step.rule.t, *spans
