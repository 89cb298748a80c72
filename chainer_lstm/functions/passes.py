"""A dictionary for each backward pass, through which nodes hand each other rows and gradients."""

from __future__ import annotations

import sys
import types
import weakref
from typing import Any, Optional

from chainer_lstm.chainer_private import BACKWARD_LOOPS

_handed: weakref.WeakKeyDictionary[Any, dict[Any, dict[int, Any]]] = weakref.WeakKeyDictionary()


def handed() -> Optional[dict[Any, dict[int, Any]]]:
    """Return the dictionary of the running backward pass, by receiver, then by giver;
    None outside of a pass.

    The dictionary lives as long as the pass, also if an error or Ctrl-C aborts it: neither a later
    pass over the same nodes nor a nested pass of a hook sees its entries.  Chainer gives a node no
    handle of the pass, so it is found by its frame.  Only ``backward`` of a node may call this
    function: the loop of the pass is two frames above it.
    """
    try:
        frame: Optional[types.FrameType] = sys._getframe(3)
    except ValueError:  # the stack is too short to have a loop
        return None
    while frame is not None and frame.f_code not in BACKWARD_LOOPS:
        frame = frame.f_back
    return None if frame is None else _handed.setdefault(frame.f_locals['grads'], {})
