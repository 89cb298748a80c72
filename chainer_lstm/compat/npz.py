"""Read npz files for Chainer without running any code in them.

Chainer reads them by ``numpy.load(allow_pickle=True)``, which does run code.  The only object that
Chainer pickles into them is None, for a parameter without a value.  Its bytes are recognized, and
no pickle is ever loaded.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy

# how a pickled array () of the object None ends, whichever NumPy and Python wrote it:
# [None], with marks for a memo
_NONE = re.compile(rb'\](?:q.|r.{4}|\x94)?Nat(?:q.|r.{4}|\x94)?b\.\Z', re.DOTALL)
_MOST_OF_NONE = 1000  # bytes of such a pickle: it has 150
_MOST_PATHS = 3  # that an error lists
_DEFLATE = 1032  # the largest ratio of uncompressed to compressed size
_HEADERS = {
    (1, 0): numpy.lib.format.read_array_header_1_0,
    (2, 0): numpy.lib.format.read_array_header_2_0,
}


class Arrays(Mapping):
    """The arrays of an npz file by their names, each read when it is asked for.

    Args:
        file: a path or a file object.
        path: under which an object is loaded, the argument of ``load_npz``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not an npz file, or one of its arrays is pickled, has ``..`` in its name
            or the name of another array, or declares more elements than the file can hold.  No
            array was read.
    """

    def __init__(self, file: Any, path: str = '') -> None:
        self._path = path
        self._found_any = False
        with _explained('expected an npz file'):
            self._zip = zipfile.ZipFile(file)
        try:
            self._members = _members(self._zip)
            for key, member in self._members.items():
                with _explained(key), self._zip.open(member) as stream:
                    _check_array(stream, member.file_size)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Arrays:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._zip.close()

    def __getitem__(self, key: str) -> numpy.ndarray:
        if key not in self._members:
            raise KeyError(f'{key} is not in the npz file{self.hint(key)}')
        self._found_any = True
        with _explained(key), self._zip.open(self._members[key]) as stream:
            if _header(stream)[1].hasobject:
                return numpy.asarray(None)
        with _explained(key), self._zip.open(self._members[key]) as stream:
            return numpy.lib.format.read_array(stream, allow_pickle=False)

    def hint(self, key: str) -> str:
        """Return the end of an error that says under which path a missing array is, or nothing.

        A wrong path has none of an object's arrays.  After the first array that is found there,
        another one is missing for another reason.
        """
        if self._found_any:
            return ''
        parts = key.removeprefix(self._path).split('/')
        for level in range(len(parts)):
            child, end = '/'.join(parts[:level]), '/'.join(parts[level:])
            paths = self._paths(end)
            if paths:
                into = f' the file into the child {child},' if child else ''
                choice = ' or '.join(f'path={path!r}' for path in paths[:_MOST_PATHS])
                return f'; {paths[0]}{end} is: load{into} with {choice}'
        return ''

    def _paths(self, end: str) -> list[str]:
        """Return the beginnings of the keys with this end, if possible with the path in them."""
        keys = sorted(self._members)
        paths = [key.removesuffix(end) for key in keys if f'/{key}'.endswith(f'/{end}')]
        with_path = [path for path in paths if f'/{path}'.endswith(f'/{self._path}')]
        return with_path or paths

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        key = member.filename.removesuffix('.npy')
        if '..' in re.split(r'[/\\]', key):
            raise ValueError(f'expected names of arrays in the npz file, got {member.filename!r}')
        if key in members:
            raise ValueError(
                f'expected one array of each name in the npz file, got another {key!r}'
            )
        if not member.is_dir():
            members[key] = member
    assert archive.fp is not None  # it is open
    size = archive.fp.seek(0, os.SEEK_END)
    declared = sum(member.file_size for member in members.values())
    if declared > _DEFLATE * size:
        raise ValueError(
            f'expected an npz file, got one of {size} bytes that says it holds {declared}'
        )
    return members


def _check_array(stream: Any, size: int) -> None:
    shape, dtype = _header(stream)
    if dtype.hasobject:
        if shape != () or dtype.char != 'O' or not _NONE.search(stream.read(_MOST_OF_NONE)):
            raise ValueError('expected numbers, got pickled objects, which are not loaded')
        return
    expected = math.prod(shape) * dtype.itemsize
    got = size - stream.tell()
    if expected != got:
        raise ValueError(f'expected {expected} bytes for an array {shape} of {dtype}, got {got}')


def _header(stream: Any) -> tuple[tuple[int, ...], numpy.dtype]:
    version = numpy.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f'expected an array in format 1.0 or 2.0, got {version}')
    try:
        shape, _, dtype = _HEADERS[version](stream)
    # NumPy lets through what its parser stumbles on: TokenError, SyntaxError, TypeError, …
    except Exception as error:
        raise ValueError(f'expected the header of an array: {error}') from error
    return shape, dtype


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn the errors of a damaged file into ValueErrors."""
    try:
        yield
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f'{what}: {error}') from error
