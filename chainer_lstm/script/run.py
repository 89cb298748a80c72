"""Run a script or a module as ``python`` runs it.

``runpy`` does not fit: it restores ``sys.modules['__main__']`` when the code has ended, but
threads, functions of atexit and pickles of the program's classes need it until the interpreter
ends.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import types
from typing import Any

from chainer_lstm.script import own_code

Program = tuple[types.CodeType, dict[str, Any]]  # the code of __main__, and its first globals


class NotFoundError(Exception):
    """There is no such script or module, or nothing in it that can be run."""


def check_script(path: str) -> None:
    """Check that there is such a file; a folder or an archive needs a ``__main__``.

    Raises:
        NotFoundError: there is none.
    """
    if path == '-':
        return
    if not os.path.exists(path):
        raise NotFoundError(f'expected a script, but there is no file {path!r}')
    _main_inside(path)


def script(path: str, arguments: list[str]) -> Program:
    """Return the program of a file, a folder, a zip archive, or of stdin for ``-``."""
    sys.argv[:] = [path, *arguments]
    if path == '-':
        _set_first_path('')
        code = own_code.compiled(sys.stdin.buffer.read(), '<stdin>')
        return code, {'__file__': '<stdin>', '__loader__': importlib.machinery.BuiltinImporter}
    file = os.path.join(os.getcwd(), path)  # not normalized, as python's __file__
    spec = _main_inside(file)
    if spec is not None:
        _set_first_path(os.path.abspath(path), always=True)
        return _of_spec(spec)
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    kind = importlib.machinery.SourcelessFileLoader if path.endswith('.pyc') else own_code.Loader
    loader = kind('__main__', file)
    return _code(loader, '__main__'), {'__file__': file, '__loader__': loader}


def module(name: str, arguments: list[str]) -> Program:
    """Return the program of a module, or of the ``__main__`` of a package.

    Raises:
        NotFoundError: there is no such module.
    """
    sys.argv[:] = ['-m', *arguments]  # as python has it while it imports the packages above
    spec = _find(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = _find(f'{name}.__main__')
    if spec is None or spec.loader is None:
        raise NotFoundError(f'expected a module, but there is no {name!r} to run')
    sys.argv[0] = spec.origin or name
    return _of_spec(spec)


def run(code: types.CodeType, names: dict[str, Any]) -> None:
    """Run the code in a new ``__main__``, which stays until the interpreter ends."""
    main = types.ModuleType('__main__')
    main.__dict__.update({'__builtins__': builtins, '__cached__': None}, **names)
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    sys.modules['__main__'] = main
    exec(code, main.__dict__)


def _main_inside(path: str) -> importlib.machinery.ModuleSpec | None:
    """Return the ``__main__`` of a folder or an archive; None for a file.

    Raises:
        NotFoundError: there is none in it.
    """
    importer = pkgutil.get_importer(path)
    if importer is None:
        return None
    spec = importer.find_spec('__main__')
    if spec is None:
        raise NotFoundError(f'expected a script, but there is no __main__.py in {path!r}')
    return spec


def _find(name: str) -> importlib.machinery.ModuleSpec | None:
    """Find a module; the packages that contain it are imported."""
    if not name or name.startswith('.'):
        return None
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        # one of the packages that contain it; others are missed by the program
        if error.name is not None and f'{name}.'.startswith(f'{error.name}.'):
            return None
        raise


def _of_spec(spec: importlib.machinery.ModuleSpec) -> Program:
    own_code.adopt(spec)
    return _code(spec.loader, spec.name), {
        '__file__': spec.origin,
        '__cached__': spec.cached,
        '__loader__': spec.loader,
        '__package__': spec.parent,
        '__spec__': spec,
    }


def _code(loader: Any, name: str) -> types.CodeType:
    code = loader.get_code(name)
    if code is None:
        raise NotFoundError(f'expected a module with Python code, but {name!r} has none')
    return code


def _set_first_path(folder: str, always: bool = False) -> None:
    """Set ``sys.path[0]``, which is the working directory after ``python -m chainer_lstm``.

    With -P or -I there is no such entry, and python adds only that of a folder or an archive.
    """
    if not getattr(sys.flags, 'safe_path', sys.flags.isolated):
        sys.path[0] = folder
    elif always:
        sys.path.insert(0, folder)
