"""Initialization of parameters at the first call, and the test whether a link may be bypassed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Optional

import chainer
import chainer.links as L

from chainer_lstm.chainer_private import has_hooks_or_forward, initialize_linear, link_hooks
from chainer_lstm.functions.config import is_static_graph

_NOTHING_WAITS = contextlib.nullcontext()


def sized_for(
    x: Any, link: chainer.Link, initialize: Callable[[int], None], *waiting: Optional[Any]
) -> contextlib.AbstractContextManager[None]:
    """Initialize the parameters of a link that wait for the size of its input.

    After an error in the block they wait again, and all other parameters have their old values.

    Args:
        x: the input (B, …).
        link: the link.
        initialize: called with the size of the input; initializes the waiting parameters and may
            draw others again.
        *waiting: the parameters that may wait; None for a link without such a parameter.
    """
    found = [W for W in waiting if W is not None and W.array is None]
    return _sized_for(x, link, initialize, found) if found else _NOTHING_WAITS


@contextlib.contextmanager
def _sized_for(
    x: Any, link: chainer.Link, initialize: Callable[[int], None], waiting: list[Any]
) -> Iterator[None]:
    params: Any = link.params(include_uninit=False)
    before = [(param, param.array.copy()) for param in params]
    try:
        with chainer.using_device(link.device):
            initialize(chainer.utils.size_of_shape(x.shape[1:]))
        yield
    except BaseException:
        for W in waiting:
            W.grad = W.array = None
        for param, array in before:
            param.array[...] = array
        raise


def sized_for_linear(
    x: Any, link: chainer.Link, linear: chainer.Link
) -> contextlib.AbstractContextManager[None]:
    """Call ``sized_for`` for a link in which only this ``Linear`` may wait."""
    return sized_for(x, link, functools.partial(initialize_linear, linear), weight_of(linear))


def weight_of(link: chainer.Link) -> Optional[Any]:
    """Return the weight of a ``Linear``; None for a link of the program in its place."""
    return link.W if isinstance(link, L.Linear) else None


def reinitialize(param: Any, initializer: Any) -> None:
    """Draw a parameter again, now and whenever it is initialized later."""
    param.initializer = initializer
    if param.array is not None:
        param.initialize(param.shape)


def is_as_made(linear: chainer.Link, nobias: bool) -> bool:
    """Return whether a link is a ``Linear`` without hooks, and without a bias if ``nobias``."""
    return type(linear) is L.Linear and not linear.local_link_hooks and (linear.b is None) == nobias


def is_plain(*links: Any, cls: Any = L.Linear) -> bool:
    """Return whether the parameters of links of a class may be used without calling the links.

    The links must be called if one of them was replaced, has a hook or a ``forward`` of its own, or
    if a static graph is recorded.
    """
    if link_hooks() or is_static_graph():
        return False
    for link in links:  # noqa: SIM110, all() of a generator takes twice as long
        if type(link) is not cls or has_hooks_or_forward(link):
            return False
    return True


def is_plain_cell(upward: Any, *others: Any) -> bool:
    """Return ``is_plain`` of links; the first must have a bias, and the others must not."""
    if not is_plain(upward, *others) or upward.b is None:
        return False
    for linear in others:  # noqa: SIM110
        if linear.b is not None:
            return False
    return True
