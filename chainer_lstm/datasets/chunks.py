"""Chunks of a long text for truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Optional

import numpy

from chainer_lstm.functions import checks

Chunk = tuple[numpy.ndarray, numpy.ndarray]


class _Chunks:
    """The common base of sequential and random chunks."""

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
        # enough for one chunk after any random start
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
    """Sequential partitioning: each chunk continues where the previous one ended.

    The text is cut into ``batch_size`` streams, which are read in parallel.  An iteration is one
    epoch of pairs x, t (length, batch_size): tokens, and the next tokens.  It starts at a random
    offset below ``length``, so that the chunks differ between epochs.

    Args:
        ids: (n,) token ids.
        batch_size: number of streams.
        length: time steps per chunk.
        random: the generator to draw from; None for NumPy's global one.

    Attributes:
        continues: True: the state after a chunk is the initial state of the next chunk.
        ids, batch_size, length: as above.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is not positive, or ids have another number of axes or are too few for
            one chunk.

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
    """Random sampling: the chunks of an epoch in random order, each read from an empty state.

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
