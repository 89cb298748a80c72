"""Chainer's ``GradientMethod.update`` by the engine's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import chainer
import numpy
from chainer import optimizer as chainers
from chainer.optimizer_hooks import GradientClipping

from chainer_lstm import kernels
from chainer_lstm.arrays import Array
from chainer_lstm.chainer_private import clears_gradients, loss_scale, pre_update_hooks
from chainer_lstm.functions.config import engine_of
from chainer_lstm.optimizers import steps

_CHAINERS = chainers.GradientMethod.update
_ANY = numpy.empty(0, numpy.float32)


def update(
    optimizer: chainer.Optimizer, lossfun: Optional[Callable] = None, *args: Any, **kwds: Any
) -> None:
    """Update the parameters of a model as ``optimizer.update`` does, on the CPU in less time.

    Parameters, gradients and states are the same as Chainer's, to rounding.  The norm for
    ``GradientClipping`` is computed in one multithreaded pass over the gradients.  A second pass
    scales each gradient and updates its parameter by ``SGD``, ``MomentumSGD``, ``Adam`` or one of
    Adam's variants.  Chainer makes one pass for each arithmetic operation.

    Chainer's code updates all parameters if one of them

    - is on a GPU, of float16 or not C-contiguous, or shares memory with another;
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
    own = 'update' in vars(optimizer) or type(optimizer).update not in (_CHAINERS, update_method)
    if own:
        optimizer.update(lossfun, *args, **kwds)
    else:
        update_method(optimizer, lossfun, *args, **kwds)


def update_method(self: Any, lossfun: Optional[Callable] = None, *args: Any, **kwds: Any) -> None:
    """Replace ``GradientMethod.update``; see ``update``."""
    engine = _engine()
    if engine is None or not _calls_hooks_as_chainer(self):
        return _CHAINERS(self, lossfun, *args, **kwds)
    if lossfun is not None:
        _compute_gradients(self, lossfun(*args, **kwds))
    self.reallocate_cleared_grads()
    self.check_nan_in_grads()
    scale = _call_pre_hooks(self, engine)
    self.t += 1
    safe = self.is_safe_to_update()
    found = steps.steps_of(list(self.target.params())) if safe else None
    if found is None:
        _scale_gradients(self, scale)
        for param in self.target.params() if safe else ():
            param.update()
    else:
        steps.take(found, engine, scale)
    self.reallocate_cleared_grads()
    self.call_hooks('post')
    self.update_loss_scale()


def _engine() -> Optional[kernels.Engine]:
    """Return the engine for arrays of NumPy; None where the configuration names one for GPUs."""
    try:
        return engine_of(_ANY)
    except ValueError:
        return None


def _calls_hooks_as_chainer(optimizer: Any) -> bool:
    """Return whether an optimizer is set up, and calls its hooks by Chainer's methods."""
    cls = type(optimizer)
    return (
        pre_update_hooks(optimizer) is not None
        and cls.call_hooks is chainers.Optimizer.call_hooks
        and cls.call_hook is chainers.GradientMethod.call_hook
    )


def _compute_gradients(optimizer: Any, loss: chainer.Variable) -> None:
    if clears_gradients(optimizer):
        optimizer.target.cleargrads()
    else:
        optimizer.target.zerograds()
    loss.backward(loss_scale=loss_scale(optimizer))


def _call_pre_hooks(optimizer: Any, engine: kernels.Engine) -> float:
    """Call the hooks before the update; return the factor by which to scale the gradients."""
    scale = 1.0
    for hook in pre_update_hooks(optimizer) or ():
        _scale_gradients(optimizer, scale)
        scale = 1.0
        gradients = _gradients(optimizer) if type(hook) is GradientClipping else None
        if gradients is None:
            optimizer.call_hook(hook)
        else:
            norm = numpy.sqrt(sum(map(engine.sum_of_squares, gradients)))
            scale = min(hook.threshold / norm, scale)
    return scale


def _gradients(optimizer: Any) -> Optional[list[Array]]:
    """Return the gradients of all parameters, if kernels can read them."""
    found = [param.grad for param in optimizer.target.params(False)]
    return found if found and all(map(steps.is_dense, found)) else None


def _scale_gradients(optimizer: Any, scale: float) -> None:
    for param in optimizer.target.params(False) if scale != 1 else ():
        gradient = param.grad
        gradient *= scale
