"""Downloads into a cache that processes share."""

from __future__ import annotations

import hashlib
import http.client
import pathlib
import re
import shutil
import sys
import urllib.request

import chainer
import filelock

from chainer_lstm.files import written

_TIMEOUT = 60  # seconds without a response


class DownloadError(OSError):
    """A file could not be downloaded; callers may suggest alternatives."""


def cached_download(url: str, sha256: str) -> pathlib.Path:
    """Return the path of a file from the web, downloaded unless the cache has it.

    The cache is a folder of ``chainer.dataset.get_dataset_root()``
    (``$CHAINER_DATASET_ROOT``, by default ``~/.chainer/dataset``).  If several
    processes need a file, one downloads it and the others wait.  A file appears
    there complete and verified, or not at all.

    Args:
        url: an https address; its last part is the name of the file.
        sha256: the hash of the content, in hexadecimal.

    Raises:
        ValueError: the address is not https or names no file, or sha256 is not a hash.
        OSError: the file cannot be downloaded or written, or has another hash
            (``chainer_lstm.datasets.download.DownloadError``).
    """
    if not re.fullmatch(r'https://[^/]+/(.*/)?[^/]*[^/.][^/]*', url):
        raise ValueError(f'expected an https address of a file, got {url}')
    if not re.fullmatch('[0-9a-f]{64}', sha256):
        raise ValueError(f'expected 64 hexadecimal digits of sha256, got {sha256!r}')
    folder = pathlib.Path(chainer.dataset.get_dataset_root()) / 'chainer_lstm'
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / url.rsplit('/', 1)[1]
    with filelock.FileLock(f'{path}.lock'):
        if not (path.exists() and _hash(path) == sha256):
            _download(url, sha256, path)
    return path


def _download(url: str, sha256: str, path: pathlib.Path) -> None:
    """Download and verify a file; the caller holds the lock of the path."""
    print(f'downloading {url}', file=sys.stderr)
    try:
        with written(path) as part:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, part.open('wb') as file:
                shutil.copyfileobj(response, file)
            got = _hash(part)
            if got != sha256:
                raise OSError(f'expected sha256 {sha256}, got {got} (a cut or altered file)')
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f'cannot download {url}: {error}') from error


def _hash(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
