"""Find modules of Chainer v1 to v6 under the names that they had there.

The LSTM family and its kin moved to ``chainer.functions.rnn`` and
``chainer.links.rnn`` in v7.  An old name is a module that looks everything up
in the new one, so it has this package's classes while these are installed.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import pathlib
import sys
import types
from collections.abc import Sequence
from typing import Any


def _modules(root: str, *packages: str) -> list[str]:
    """Return the names of the modules of a package, without importing it."""
    spec = importlib.machinery.PathFinder.find_spec(root)
    if spec is None or spec.origin is None:
        return []
    folder = pathlib.Path(spec.origin).parent.joinpath(*packages)
    return sorted(file.stem for file in folder.glob('[!_]*.py'))


# old name -> new name
MOVED = {
    **{
        f'chainer.functions.activation.{name}': f'chainer.functions.rnn.{name}'
        for name in ('lstm', 'slstm', 'tree_lstm')
    },
    **{
        f'chainer.functions.connection.{name}': f'chainer.functions.rnn.{name}'
        for name in ('n_step_gru', 'n_step_lstm', 'n_step_rnn')
    },
    **{
        f'chainer.links.connection.{name}': f'chainer.links.rnn.{name}'
        for name in _modules('chainer', 'links', 'rnn')
    },
    'chainer.functions.caffe': 'chainer.links.caffe',
    'chainer.functions.math.squared_difference': 'chainer.functions.loss.squared_error',
    'chainer.functions.pooling.max_pooling_2d': 'chainer.functions.pooling.max_pooling_nd',
    'chainer.training.triggers.interval': 'chainer.training.triggers.interval_trigger',
}

# functions that further modules had imported
_IMPORTED = {
    'argsort_list_descent': 'chainer.links.rnn.n_step_rnn',
    'permutate_list': 'chainer.links.rnn.n_step_rnn',
}


class _Moved(types.ModuleType):
    """A module under an old name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        new = _new(self.__name__)
        if name in _IMPORTED and not hasattr(new, name):
            new = importlib.import_module(_IMPORTED[name])
        return getattr(new, name)

    def __dir__(self) -> list[str]:
        return dir(_new(self.__name__))


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Find the modules in ``MOVED`` and no others."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Moved(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        _new(module.__name__)


def install() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _new(name: str) -> types.ModuleType:
    importlib.import_module(MOVED[name])
    return sys.modules[MOVED[name]]
