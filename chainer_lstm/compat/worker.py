"""Worker processes of Chainer's iterators that multiprocessing starts by spawn or forkserver."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any


def start(initialize: Callable[..., None], *args: Any) -> None:
    """Call a function of Chainer as the initializer of a worker process.

    A new interpreter imports the module of each function that it unpickles.  This function is
    unpickled first and imports chainer_lstm, without which Chainer cannot be imported.
    """
    initialize(*args)
