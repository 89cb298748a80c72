"""Processes that multiprocessing starts by spawn or forkserver.

A new interpreter imports the module of each function that it unpickles, so a function of this
module that is unpickled first has chainer_lstm imported before anything of Chainer.
"""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.context
import sys
import weakref
from collections.abc import Callable
from multiprocessing import spawn
from typing import Any


def start(initialize: Callable[..., None], *args: Any) -> None:
    """Call a function of Chainer as the initializer of a worker process of its iterators."""
    initialize(*args)


def terminate_at_exit(loop: Any) -> None:
    """Terminate the loop of a ``MultiprocessIterator`` while its threads still run.

    Chainer does so when the iterator is deleted, which may be after the interpreter has stopped
    them.
    """
    atexit.register(_terminate, weakref.ref(loop))


def _terminate(reference: weakref.ref) -> None:
    loop = reference()
    if loop is not None:
        loop._comm.terminate()
        loop.terminate()


def inherit(function: Callable[..., None], *args: Any) -> None:
    """Let processes that this one starts by multiprocessing call a function first.

    They call it before they import the main script, and so do the processes that they start.  A
    forked process does not call it again.  Processes of ``subprocess`` are separate programs and
    do not call it.

    Args:
        function: a function of a module other than ``__main__``.
        args: its arguments, which are pickled, as the function is.
    """
    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data = original(name)
        data['sys_argv'] = _Argv(data['sys_argv'], function, args)
        return data

    spawn.get_preparation_data = get_preparation_data
    if 'forkserver' in multiprocessing.get_all_start_methods():
        # else Python 3.14 imports the main script in the server, before the function is called
        multiprocessing.set_forkserver_preload([])


def fork_by_default() -> None:
    """Let multiprocessing copy this process on Linux unless the program chooses another way.

    That was the default until Python 3.14.  Programs that start processes outside of
    ``if __name__ == '__main__'`` depend on it: by spawn or forkserver, each of their workers fails
    when it imports the main script, and a pool starts a new one for ever.
    """
    if sys.platform == 'linux':
        default: Any = multiprocessing.context._default_context  # has no public name
        default._default_context = default.get_context('fork')


class _Argv(list):
    """The arguments of the script, whose unpickling calls a function.

    They are in the data by which a new process prepares itself, the first that it unpickles.
    """

    def __init__(
        self, argv: list[str], function: Callable[..., None], args: tuple[Any, ...]
    ) -> None:
        super().__init__(argv)
        self._call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return _begin, (list(self), *self._call)


def _begin(argv: list[str], function: Callable[..., None], args: tuple[Any, ...]) -> list[str]:
    inherit(function, *args)
    function(*args)
    return argv
