"""Finds the reason why the native engine has no library, for error messages."""

from __future__ import annotations

import ctypes
import json
import pathlib
import urllib.parse
import urllib.request
from importlib import metadata

from chainer_lstm.kernels import native

_HERE = pathlib.Path(__file__).resolve().parent


def why_missing() -> str:
    """Return why ``native.library()`` is None and, where possible, how to mend it."""
    error = _loading_error()
    if error is not None:
        return f'not loaded: {error}'
    source = _HERE.parents[2]
    installed = _installed_folders()
    if _HERE not in installed and any(native.built_in(folder) for folder in installed):
        return (
            f'not built: the source folder {source} shadows the installed package, which has '
            'it; run from another folder, or build it in place with pip install -e .'
        )
    if not installed:
        return f'not built: {source} is a source folder; build it in place with pip install -e .'
    return (
        "not built: a C++ compiler or Python's headers (python3-dev) were missing, or it failed, "
        'when the package was installed'
    )


def _loading_error() -> str | None:
    file = native.library_file()
    if file is not None:
        try:
            return native.mismatch(ctypes.CDLL(str(file)))
        except OSError as error:
            return str(error)
    return None


def _installed_folders() -> list[pathlib.Path]:
    """Return this folder as it is in every installed distribution of the package."""
    folders = []
    for distribution in metadata.distributions(name='chainer-lstm'):
        if distribution.read_text('RECORD') is not None:  # without it, a remnant of a build
            root = _root(distribution)
            folders.append((root / 'chainer_lstm' / 'kernels' / 'native').resolve())
    return folders


def _root(distribution: metadata.Distribution) -> pathlib.Path:
    """Return the folder that a distribution is imported from."""
    origin = json.loads(distribution.read_text('direct_url.json') or '{}')
    if origin.get('dir_info', {}).get('editable'):
        path = urllib.parse.urlsplit(origin['url']).path
        return pathlib.Path(urllib.request.url2pathname(path))
    return pathlib.Path(str(distribution.locate_file('')))
