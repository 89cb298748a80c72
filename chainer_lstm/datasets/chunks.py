"""Chunks of a long text for truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Optional

import numpy

from chainer_lstm.functions import checks

Chunk = tuple[numpy.ndarray, numpy.ndarray]


class _Chunks:
    """What both ways to cut a text have in common."""

    continues: ClassVar[bool]

    def __init__(
        self,
        ids: Any,
        batch_size: int,
        length: int,
        random: Optional[numpy.random.RandomState] = None,
    ) -> None:
        ids = numpy.asarray(ids)
        if ids.ndim != 1:
            raise ValueError(f'expected ids of shape (n,), got {ids.shape}')
        self.batch_size = checks.size('batch_size', batch_size)
        self.length = checks.size('length', length)
        # one chunk, wherever it starts
        least = self.length * (self.batch_size + 1)
        if len(ids) < least:
            raise ValueError(
                f'expected a text of at least {least} tokens for chunks of {length} by '
                f'{batch_size}, got {len(ids)}'
            )
        self.ids = ids
        self._random: Any = numpy.random if random is None else random

    def _from_a_random_start(self) -> numpy.ndarray:
        return self.ids[self._random.randint(self.length) :]


class SequentialChunks(_Chunks):
    """Sequential partitioning: each chunk goes on where the one before it ended.

    The text is cut into ``batch_size`` streams, which are read side by side.  An iteration is one
    epoch of pairs x, t (length, batch_size): tokens, and the tokens after them.  It begins at a
    random place among the first ``length`` tokens, so that each epoch has other chunks.

    Args:
        ids: (n,) token ids.
        batch_size: number of streams.
        length: time steps of a chunk.
        random: the generator to draw from; None for NumPy's global one.

    Attributes:
        continues: True: the state after a chunk is the state to begin the next one with.
        ids, batch_size, length: as above.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is not positive, the text too short for one chunk, or of another
            number of axes.

    Example:
        >>> chunks = SequentialChunks(numpy.arange(100), batch_size=4, length=6)
        >>> [x.shape for x, t in chunks][0]
        (6, 4)
        >>> all((t == x + 1).all() for x, t in chunks)
        True
    """

    continues = True

    def __iter__(self) -> Iterator[Chunk]:
        ids = self._from_a_random_start()
        n = (len(ids) - 1) // self.batch_size
        x = ids[: n * self.batch_size].reshape(self.batch_size, n).T
        t = ids[1 : n * self.batch_size + 1].reshape(self.batch_size, n).T
        for k in range(0, n - self.length + 1, self.length):
            yield x[k : k + self.length], t[k : k + self.length]


class RandomChunks(_Chunks):
    """Random sampling: chunks of an epoch in random order, each to be read from an empty state.

    An iteration is one epoch of pairs x, t (length, batch_size): tokens, and the tokens after them.

    Args:
        ids: (n,) token ids.
        batch_size: number of pieces of the text in a chunk.
        length: time steps of a chunk.
        random: the generator to draw from; None for NumPy's global one.

    Attributes:
        continues: False: a chunk is read from an empty state.
        ids, batch_size, length: as above.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is not positive, the text too short for one chunk, or of another
            number of axes.

    Example:
        >>> chunks = RandomChunks(numpy.arange(100), batch_size=4, length=6)
        >>> [x.shape for x, t in chunks][0]
        (6, 4)
    """

    continues = False

    def __iter__(self) -> Iterator[Chunk]:
        ids = self._from_a_random_start()
        starts = self._random.permutation((len(ids) - 1) // self.length) * self.length
        for k in range(0, len(starts) - self.batch_size + 1, self.batch_size):
            places = starts[k : k + self.batch_size] + numpy.arange(self.length)[:, None]
            yield ids[places], ids[places + 1]
