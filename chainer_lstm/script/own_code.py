"""Change the code of the program's own files when it is compiled.

Installed libraries and the standard library are left as they are.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import os
import pathlib
import runpy
import sys
import sysconfig
import types
from collections.abc import Sequence

_INSTALLED = {'site-packages', 'dist-packages'}
_LIBRARIES = tuple(
    os.path.join(os.path.realpath(folder), '')
    for folder in (
        sysconfig.get_path('stdlib'),
        sysconfig.get_path('platstdlib'),
        pathlib.Path(__file__).parents[1],
    )
)

# rewrite the syntax tree of each of the program's own files, in this order
_transformers: list[ast.NodeTransformer] = []


@functools.cache
def is_own(filename: str) -> bool:
    """Return whether a file belongs to the program, not to a library or to Python."""
    if filename.startswith('<'):
        return filename == '<stdin>'
    path = os.path.realpath(filename)
    return _INSTALLED.isdisjoint(pathlib.Path(path).parts) and not path.startswith(_LIBRARIES)


def add_transformer(transformer: ast.NodeTransformer) -> None:
    """Rewrite the program's own files that are compiled from now on."""
    if not _transformers:
        # runpy, by which processes of multiprocessing import the main script, has no loader
        runpy.__dict__['compile'] = compiled
        place = sys.meta_path.index(importlib.machinery.PathFinder)
        sys.meta_path.insert(place, _Finder())
    _transformers.append(transformer)


def compiled(source: bytes, filename: str, mode: str = 'exec') -> types.CodeType:
    """Return the code of a file, as ``compile`` does."""
    if not _transformers or not is_own(filename):
        return compile(source, filename, mode, dont_inherit=True)
    tree = ast.parse(source, filename)
    for transformer in _transformers:
        tree = transformer.visit(tree)
    return compile(ast.fix_missing_locations(tree), filename, mode, dont_inherit=True)


class Loader(importlib.machinery.SourceFileLoader):
    """Compile one of the program's own files; ``__pycache__`` holds the code as it was."""

    def get_code(self, fullname: str) -> types.CodeType:
        return compiled(self.get_data(self.path), self.path)


def adopt(spec: importlib.machinery.ModuleSpec | None) -> None:
    """Let one of the program's own modules be compiled by ``Loader``."""
    if not _transformers or spec is None or spec.origin is None:
        return
    if type(spec.loader) is importlib.machinery.SourceFileLoader and is_own(spec.origin):
        spec.loader = Loader(spec.name, spec.origin)


class _Finder(importlib.abc.MetaPathFinder):
    """Find the modules that ``PathFinder`` finds; ``adopt`` those that belong to the program."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        adopt(spec)
        return spec
