"""H. G. Wells' The Time Machine as characters, as Dive into Deep Learning prepares it."""

from __future__ import annotations

import collections
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Optional, Union

import numpy

from chainer_lstm.datasets.download import cached_download
from chainer_lstm.functions import checks

UNKNOWN = '<unk>'

_URL = 'https://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt'
_SHA256 = '8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516'


def load_time_machine(
    path: Union[str, os.PathLike[str], None] = None, most: Optional[int] = 10000
) -> tuple[numpy.ndarray, list[str]]:
    """The text as character ids, lines joined without a separator,
    everything but letters one blank.

    Args:
        path: the text; None downloads it on first use (Project Gutenberg's,
            in the copy of https://d2l.ai).
        most: the number of characters; None for all.

    Returns:
        ids (n,) int32 and the vocabulary, a list of ``<unk>`` and then the
        characters, the most frequent first.

    Raises:
        OSError: the file cannot be read or downloaded.
        TypeError: most is no integer.
        ValueError: it is not UTF-8 or holds no letters, or most is not positive.
    """
    most = checks.size('most', most, optional=True)
    path = cached_download(_URL, _SHA256) if path is None else pathlib.Path(path)
    try:
        lines = path.read_text(encoding='utf-8').split('\n')
    except UnicodeDecodeError as error:
        raise ValueError(f'expected text in UTF-8 in {path.name!r}: {error}') from error
    text = ''.join(re.sub('[^A-Za-z]+', ' ', line).strip().lower() for line in lines)
    if not text:
        raise ValueError(f'expected letters in {path.name!r}, got none')
    vocabulary = [UNKNOWN, *(character for character, _ in collections.Counter(text).most_common())]
    ids = {character: k for k, character in enumerate(vocabulary)}
    return numpy.array([ids[character] for character in text[:most]], numpy.int32), vocabulary


def sequential_chunks(
    text: numpy.ndarray, batch_size: int, length: int, random: numpy.random.RandomState
) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """One epoch of chunks x, t (length, batch_size), each going on where the one before it ended.

    The text begins at a random place among its first ``length``, so that the
    chunks of different epochs are cut differently.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is not positive, or the text too short for one chunk.
    """
    text = _from_a_random_start(text, batch_size, length, random)
    n = (len(text) - 1) // batch_size
    x = text[:-1][: n * batch_size].reshape(batch_size, n).T
    t = text[1:][: n * batch_size].reshape(batch_size, n).T
    for k in range(0, n - length + 1, length):
        yield x[k : k + length], t[k : k + length]


def random_chunks(
    text: numpy.ndarray, batch_size: int, length: int, random: numpy.random.RandomState
) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """One epoch of chunks x, t (length, batch_size) from places in random order.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is not positive, or the text too short for one chunk.
    """
    text = _from_a_random_start(text, batch_size, length, random)
    starts = random.permutation((len(text) - 1) // length) * length
    for k in range(0, len(starts) - batch_size + 1, batch_size):
        places = starts[k : k + batch_size] + numpy.arange(length)[:, None]
        yield text[places], text[places + 1]


def _from_a_random_start(
    text: numpy.ndarray, batch_size: int, length: int, random: numpy.random.RandomState
) -> numpy.ndarray:
    checks.size('length', length)
    # one chunk, wherever it starts
    least = length * (checks.size('batch_size', batch_size) + 1)
    if len(text) < least:
        raise ValueError(
            f'expected a text of at least {least} characters for chunks of {length} by '
            f'{batch_size}, got {len(text)}'
        )
    return text[random.randint(length) :]
