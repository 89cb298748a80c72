"""Chainer's ``GradientMethod.update`` by the engine's kernels."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import chainer
import numpy
from chainer import optimizer as chainers
from chainer.backends import cuda
from chainer.optimizer_hooks import GradientClipping

from chainer_lstm import kernels
from chainer_lstm.arrays import Array
from chainer_lstm.chainer_private import clears_gradients, hooks, loss_scale
from chainer_lstm.functions.config import engine_of
from chainer_lstm.optimizers import steps

_CHAINERS = chainers.GradientMethod.update
_FILL_IN = chainers.GradientMethod.reallocate_cleared_grads


class _Scaling(NamedTuple):
    """Gradients that still have to be scaled, and their factor; None for no factor."""

    gradients: list[Array]
    scale: Any


def update(
    optimizer: chainer.Optimizer, lossfun: Optional[Callable] = None, *args: Any, **kwds: Any
) -> None:
    """Update the parameters of a model as ``optimizer.update`` does, in less time.

    Parameters, gradients and states are the same as Chainer's, to rounding.  On the CPU the norm
    for ``GradientClipping`` is computed in one multithreaded pass over the gradients.  A second
    pass scales each gradient and updates its parameter by ``SGD``, ``MomentumSGD``, ``Adam`` or one
    of Adam's variants.  Chainer makes one pass for each arithmetic operation.  On a GPU one launch
    computes the norm, and one more updates up to 64 parameters of one dtype with the same
    hyperparameters; Chainer launches four kernels for each parameter.

    Chainer's code updates all parameters if one of them

    - is of float16 or not C-contiguous, shares memory with another, or is on another device than
      the current one;
    - has another update rule, or one with hooks or a scaled loss.

    The ``update`` of an optimizer that overrides it, such as ChainerMN's, is called instead.

    Args:
        optimizer: set up with a link.
        lossfun: computes the loss; its gradients replace the present ones.  None if the gradients
            have been computed already.
        *args, **kwds: the arguments of ``lossfun``.

    Example:
        >>> import numpy
        >>> from chainer_lstm.links import LSTM
        >>> lstm = LSTM(10, 20)
        >>> optimizer = chainer.optimizers.SGD(0.1).setup(lstm)
        >>> optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(5))
        >>> update(optimizer, lambda x: chainer.functions.sum(lstm(x)), numpy.ones((3, 10), 'f'))
        >>> optimizer.t
        1
    """
    if has_plain_update(optimizer):
        update_method(optimizer, lossfun, *args, **kwds)
    else:
        optimizer.update(lossfun, *args, **kwds)


def has_plain_update(optimizer: chainer.Optimizer) -> bool:
    """Return whether an optimizer updates as Chainer's gradient methods do."""
    plain = type(optimizer).update in (_CHAINERS, update_method)
    return plain and 'update' not in vars(optimizer)


def update_method(self: Any, lossfun: Optional[Callable] = None, *args: Any, **kwds: Any) -> None:
    """Replace ``GradientMethod.update``; see ``update``."""
    if not calls_hooks_as_chainer(self):
        return _CHAINERS(self, lossfun, *args, **kwds)
    if lossfun is not None:
        _compute_gradients(self, lossfun(*args, **kwds))
    params = list(self.target.params())
    engine = engine_for(params)
    if engine is None:
        return _CHAINERS(self)
    fill_in_gradients(self, params)
    self.check_nan_in_grads()
    scaling = _call_pre_hooks(self, engine, params)
    self.t += 1
    safe = self.is_safe_to_update()
    found = steps.steps_of(params, engine) if safe else None
    if found is None:
        _scale(scaling, engine)
        for param in self.target.params() if safe else ():
            param.update()
    else:
        steps.take(found, engine, scaling.scale)
    fill_in_gradients(self, params)
    self.call_hooks('post')
    self.update_loss_scale()


def engine_for(params: Sequence[chainer.Parameter]) -> Optional[kernels.Engine]:
    """Return the engine for parameters; None where none has an array, and where the configuration
    names an engine for other arrays.
    """
    x = next((param.array for param in params if param.array is not None), None)
    if not isinstance(x, (numpy.ndarray, cuda.ndarray)):
        return None
    try:
        return engine_of(x)
    except ValueError:
        return None


def fill_in_gradients(optimizer: Any, params: Sequence[chainer.Parameter]) -> None:
    """Let an optimizer make gradients that are missing, for which it walks over all links."""
    method = getattr(optimizer.reallocate_cleared_grads, '__func__', None)
    missing = any(param.grad is None for param in params if param.array is not None)
    if missing or method is not _FILL_IN:
        optimizer.reallocate_cleared_grads()


def calls_hooks_as_chainer(optimizer: Any) -> bool:
    """Return whether an optimizer is set up, and calls its hooks by Chainer's methods."""
    cls = type(optimizer)
    return (
        hooks(optimizer, 'pre') is not None
        and cls.call_hooks is chainers.Optimizer.call_hooks
        and cls.call_hook is chainers.GradientMethod.call_hook
    )


def _compute_gradients(optimizer: Any, loss: chainer.Variable) -> None:
    if clears_gradients(optimizer):
        optimizer.target.cleargrads()
    else:
        optimizer.target.zerograds()
    loss.backward(loss_scale=loss_scale(optimizer))


def _call_pre_hooks(
    optimizer: Any, engine: kernels.Engine, params: list[chainer.Parameter]
) -> _Scaling:
    """Call the hooks before the update; return the scaling that the update has to apply."""
    scaling = _Scaling([], None)
    for hook in hooks(optimizer, 'pre') or ():
        _scale(scaling, engine)
        scaling = _Scaling([], None)
        gradients = _gradients(params, engine) if clips(hook) else None
        if gradients is None:
            optimizer.call_hook(hook)
            params[:] = optimizer.target.params()
        else:
            threshold = functools.partial(getattr, hook, 'threshold')
            scaling = _Scaling(gradients, engine.clipping(gradients, threshold))
    return scaling


def clips(hook: Any) -> bool:
    """Return whether a hook does what kernels compute: scale gradients to a norm."""
    return type(hook) is GradientClipping and isinstance(hook.threshold, numbers.Real)


def _gradients(params: Sequence[Any], engine: kernels.Engine) -> Optional[list[Array]]:
    """Return the gradients of all parameters that have arrays, if kernels can scale them."""
    found = [param.grad for param in params if param.array is not None]
    return found if found and steps.are_apart(found, engine) else None


def _scale(scaling: _Scaling, engine: kernels.Engine) -> None:
    if scaling.scale is not None:
        steps.scale_gradients(scaling.gradients, engine, scaling.scale)
