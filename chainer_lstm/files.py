"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def written(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a path to write to; after the block its content replaces the file.

    If the block raises, the file stays as it was.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        yield path  # a device, not to be replaced
        return
    temporary = path.with_name(f'{path.name}.part')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
