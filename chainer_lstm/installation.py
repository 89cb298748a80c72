"""Replace Chainer's LSTM family by this package's, for programs that are not to be changed.

The names are replaced in ``chainer.links`` and ``chainer.functions``.  The modules that define them
are replaced by modules with the new classes.  Chainer's own classes stay as they are: this
package's are derived from them, and existing links keep working.  Chainer's optimizers update by
``optimizers.update``.
"""

from __future__ import annotations

import contextlib
import copyreg
import importlib
import sys
from collections.abc import Iterator
from typing import Any

from chainer import optimizer
from chainer.functions.connection import embed_id

from chainer_lstm import functions, links
from chainer_lstm.compat import devices
from chainer_lstm.compat.replacements import Module, Replacements, original_of
from chainer_lstm.functions.embedding import EmbedIDFunction
from chainer_lstm.optimizers.update import update_method


def _links() -> dict[str, list[type]]:
    """Return the links that replace one of Chainer's, by the module that defines it."""
    found: dict[str, list[type]] = {}
    for name in links.__all__:
        for base in getattr(getattr(links, name), '__mro__', ()):  # a function has none
            if base.__name__ == name and base.__module__.startswith('chainer.'):
                found.setdefault(base.__module__, []).append(getattr(links, name))
    return found


# the modules that define Chainer's family, and the replacements there and in chainer.links
# or chainer.functions
_REPLACEMENTS: dict[str, list[Any]] = {
    **_links(),
    'chainer.functions.rnn.lstm': [functions.lstm],
    'chainer.functions.rnn.slstm': [functions.slstm],
    'chainer.functions.rnn.tree_lstm': [functions.tree_lstm],
    'chainer.functions.rnn.n_step_lstm': [functions.n_step_lstm, functions.n_step_bilstm],
}

_family = Replacements()  # of Chainer's links and functions by this package's
_v1 = Replacements()  # of v7's interface by v1's


def install(*, v1: bool = False) -> None:
    """Replace the LSTM family in ``chainer.links`` and ``chainer.functions`` by this package's.

    Chainer's optimizers update by ``chainer_lstm.optimizers`` from then on.  ``uninstall`` ends
    both.

    Links made before, and names that were imported from Chainer before, stay Chainer's.  Pickles of
    such links can be read only with this package.  Other pickles of Chainer's links are read as
    links of this package.  A second call changes nothing, except that ``v1=True`` adds v1's
    interface.

    Args:
        v1: let programs of Chainer v1 run too: its arguments, flags, defaults
            and names, which take the place of v7's where the two differ.
    """
    if not _family:
        devices.install(_family)
        _family.set(optimizer.GradientMethod, 'update', update_method)
        _family.set(embed_id, 'EmbedIDFunction', EmbedIDFunction)
        for name, objects in _REPLACEMENTS.items():
            names = {each.__name__: each for each in objects}
            original = importlib.import_module(name)
            module = Module(original, names)
            for public, value in names.items():
                if isinstance(value, type):
                    _family.set(copyreg.dispatch_table, getattr(original, public), _reduce)
                _family.set(sys.modules[name.partition('.rnn.')[0]], public, value)
            package, _, last = name.rpartition('.')
            _family.set(sys.modules[package], last, module)
            _family.set(sys.modules, name, module)
    if v1 and not _v1:
        importlib.import_module('chainer_lstm.compat.v1').install(_v1)


def uninstall() -> None:
    """Restore Chainer's own classes, functions and interface.

    Existing links stay as they are.
    """
    _v1.undo()
    _family.undo()


@contextlib.contextmanager
def installed(*, v1: bool = False) -> Iterator[None]:
    """Install for the block of a ``with``; what was installed before stays installed."""
    before = [replacements for replacements in (_family, _v1) if replacements]
    install(v1=v1)
    try:
        yield
    finally:
        for replacements in (_v1, _family):
            if replacements not in before:
                replacements.undo()


def _reduce(link: Any) -> tuple[Any, ...]:
    """Pickle and copy a link of Chainer's own class, whose name now means this package's class."""
    _, _, *state = link.__reduce_ex__(2)
    return (_new, (type(link).__module__, type(link).__name__), *state)


def _new(module: str, name: str) -> Any:
    """Return a link of Chainer's own class, without its attributes."""
    found = importlib.import_module(module)
    cls = getattr(original_of(found), name)
    return cls.__new__(cls)
