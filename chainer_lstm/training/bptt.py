"""Truncated backpropagation through time over one long sequence, read at several places at once."""
from __future__ import annotations

import time
from typing import Any
from typing import Optional

import chainer
import numpy


class ParallelSequentialIterator(chainer.dataset.Iterator):
    """Reads a long sequence at ``batch_size`` places, equally far apart, one step a batch.

    A batch is a list of pairs (current word, next word), one for each place,
    as in Chainer's example.  An epoch is over when every word was read once.

    Args:
        dataset: (n,) word ids.
        batch_size: number of places.
        repeat: whether to begin again after an epoch.

    Raises:
        ValueError: the sequence is shorter than the batch.
    """

    def __init__(self, dataset: Any, batch_size: int, repeat: bool = True) -> None:
        if not 1 <= batch_size <= len(dataset):
            raise ValueError(f'expected a batch size between 1 and the {len(dataset)} words, got {batch_size}')
        self.dataset = dataset
        self.batch_size = batch_size
        self.repeat = repeat
        self.epoch = 0
        self.is_new_epoch = False
        self.iteration = 0  # steps read, not updates
        self._previous_epoch_detail = -1.0
        self._offsets = numpy.arange(batch_size) * len(dataset) // batch_size

    def __next__(self) -> list[tuple[Any, Any]]:
        if not self.repeat and self.iteration * self.batch_size >= len(self.dataset):
            raise StopIteration
        current = self._words()
        self._previous_epoch_detail = self.epoch_detail
        self.iteration += 1
        epoch = int(self.epoch_detail)
        self.is_new_epoch = self.epoch < epoch
        self.epoch = epoch
        return list(zip(current, self._words()))

    def _words(self) -> list[Any]:
        length = len(self.dataset)
        return [self.dataset[k] for k in (self._offsets + self.iteration) % length]

    @property
    def epoch_detail(self) -> float:
        """How many times the sequence was read, as a fraction."""
        return self.iteration * self.batch_size / len(self.dataset)

    @property
    def previous_epoch_detail(self) -> Optional[float]:
        """``epoch_detail`` before the last batch."""
        return None if self._previous_epoch_detail < 0 else self._previous_epoch_detail

    def serialize(self, serializer: Any) -> None:
        self.iteration = serializer('iteration', self.iteration)
        self.epoch = serializer('epoch', self.epoch)
        self._previous_epoch_detail = serializer('previous_epoch_detail', self._previous_epoch_detail)


class BPTTUpdater(chainer.training.updaters.StandardUpdater):
    """One update for every ``bprop_len`` steps, with the sum of their losses; the state goes on.

    Args:
        train_iter: a ``ParallelSequentialIterator``.
        optimizer: set up with a model that takes (x, t) and returns a loss.
        bprop_len: steps a chunk.
        device: where the words are sent.

    Attributes:
        words: number of words trained on.
        seconds: time spent in updates.
    """

    def __init__(self, train_iter: ParallelSequentialIterator, optimizer: chainer.Optimizer, bprop_len: int,
                 device: Any) -> None:
        super().__init__(train_iter, optimizer, device=device)
        if bprop_len < 1:
            raise ValueError(f'expected at least 1 step a chunk, got {bprop_len}')
        self.bprop_len = bprop_len
        self.words = 0
        self.seconds = 0.0

    def update_core(self) -> None:
        start = time.perf_counter()
        iterator, optimizer = self.get_iterator('main'), self.get_optimizer('main')
        loss = 0
        for _ in range(self.bprop_len):
            batch = next(iterator)
            loss += optimizer.target(*self.converter(batch, self.device))
            self.words += len(batch)
        optimizer.target.cleargrads()
        loss.backward()
        loss.unchain_backward()
        optimizer.update()
        self.seconds += time.perf_counter() - start
