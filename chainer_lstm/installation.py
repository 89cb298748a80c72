"""Puts these links and functions in the place of Chainer's, for code that is not to be changed.

The names are replaced in ``chainer.links`` and ``chainer.functions``, and the
modules that define them by ones that have the replaced names too.  Chainer's
own classes stay as they are: ours are made of them, and links that exist
already go on working.
"""
from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

from chainer_lstm import functions
from chainer_lstm import links

# the modules that define Chainer's family, and what takes its place there and in chainer.links or chainer.functions
_REPLACEMENTS = {
    'chainer.links.rnn.lstm': (links.LSTM, links.StatelessLSTM),
    'chainer.links.rnn.n_step_lstm': (links.NStepLSTM, links.NStepBiLSTM),
    'chainer.links.rnn.peephole': (links.StatefulPeepholeLSTM,),
    'chainer.functions.rnn.lstm': (functions.lstm,),
    'chainer.functions.rnn.n_step_lstm': (functions.n_step_lstm, functions.n_step_bilstm),
}

_replaced: list[tuple[Any, str, Any]] = []  # (module, name, what was there); empty when not installed


class _Module(types.ModuleType):
    """A module of Chainer with some names replaced.

    Not the module itself, because the methods in it look their classes up
    there: ``super(LSTM, self)`` has to find Chainer's.
    """

    def __init__(self, original: types.ModuleType, names: dict[str, Any]) -> None:
        super().__init__(original.__name__, original.__doc__)
        self._original = original
        for name in ('__file__', '__loader__', '__package__', '__spec__'):
            setattr(self, name, getattr(original, name))
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *dir(self._original)})


def install() -> None:
    """Makes ``chainer.links`` and ``chainer.functions`` give this package's LSTM family, until ``uninstall``.

    Links made before, and names that were imported from Chainer before, stay
    Chainer's.  Pickles of Chainer's links are read as links of this package.
    Where it is installed already, nothing changes.
    """
    if _replaced:
        return
    for name, objects in _REPLACEMENTS.items():
        names = {each.__name__: each for each in objects}
        module = _Module(importlib.import_module(name), names)
        for public, value in names.items():
            _replace(sys.modules[name.partition('.rnn.')[0]], public, value)
        package, _, last = name.rpartition('.')
        _replace(sys.modules[package], last, module)
        _replaced.append((sys.modules, name, sys.modules[name]))
        sys.modules[name] = module


def uninstall() -> None:
    """Gives Chainer its own classes and functions back; links that exist stay what they are."""
    while _replaced:
        place, name, original = _replaced.pop()
        if place is sys.modules:
            sys.modules[name] = original
        else:
            setattr(place, name, original)


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """``install`` for the block of a ``with``; what was installed before stays so."""
    before = bool(_replaced)
    install()
    try:
        yield
    finally:
        if not before:
            uninstall()


def _replace(place: types.ModuleType, name: str, value: Any) -> None:
    _replaced.append((place, name, getattr(place, name)))
    setattr(place, name, value)
