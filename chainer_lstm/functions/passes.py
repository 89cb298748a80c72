"""What the nodes of a graph hand each other within one backward pass, past Chainer."""

from __future__ import annotations

import sys
import types
import weakref
from typing import Any, Optional

from chainer_lstm.chainer_private import BACKWARD_LOOPS

_handed: weakref.WeakKeyDictionary[Any, dict[Any, dict[int, Any]]] = weakref.WeakKeyDictionary()


def handed() -> Optional[dict[Any, dict[int, Any]]]:
    """Return what was handed in the running pass, by receiver, then by giver;
    None outside of a pass.

    The dictionary belongs to the pass and ends with it, also where an error or Ctrl-C aborts it:
    a later pass over the same nodes receives nothing of it, nor does one that a hook runs within.
    Chainer does not tell a node which pass it runs in, so the pass is found by its frame.  To be
    called by ``backward`` of a node itself: two frames above it is the loop.
    """
    try:
        frame: Optional[types.FrameType] = sys._getframe(3)
    except ValueError:  # so few that there is no loop among them
        return None
    while frame is not None and frame.f_code not in BACKWARD_LOOPS:
        frame = frame.f_back
    return None if frame is None else _handed.setdefault(frame.f_locals['grads'], {})
