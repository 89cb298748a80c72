"""Truncated backpropagation through time over one long sequence, read by several streams."""

from __future__ import annotations

import functools
import operator
import time
from typing import Any, Optional

import chainer
import numpy

from chainer_lstm import optimizers
from chainer_lstm.chainer_private import loss_scale
from chainer_lstm.functions import checks
from chainer_lstm.training.graphs import STATES, CapturedUpdate


class ParallelSequentialIterator(chainer.dataset.Iterator):
    """Read a long sequence by ``batch_size`` streams, whose offsets are equally far apart.

    With a communicator each rank of the job reads ``batch_size`` streams.

    ``next()`` returns a list of pairs (current word, next word), one for each stream, as in
    Chainer's example; ``chunk`` returns several steps as arrays.  An epoch ends when every word has
    been read once.

    Args:
        dataset: (n,) word ids.
        batch_size: number of streams.
        repeat: whether to start again after an epoch.
        communicator: ChainerMN's, or None for a process that trains alone.

    Attributes:
        ranks: number of processes.

    Raises:
        TypeError: the batch size is no integer.
        ValueError: the sequence is shorter than the batch of all ranks, or has another number of
            axes.

    Example:
        >>> import numpy
        >>> words = ParallelSequentialIterator(numpy.arange(100), batch_size=4)
        >>> [(int(word), int(after)) for word, after in words.next()]
        [(0, 1), (25, 26), (50, 51), (75, 76)]
    """

    def __init__(
        self, dataset: Any, batch_size: int, repeat: bool = True, communicator: Any = None
    ) -> None:
        rank = 0 if communicator is None else communicator.rank
        ranks = 1 if communicator is None else communicator.size
        dataset = numpy.asarray(dataset)
        if dataset.ndim != 1:
            raise ValueError(f'expected words of shape (n,), got {dataset.shape}')
        places = operator.index(batch_size) * ranks
        if not 1 <= places <= len(dataset):
            of_ranks = f' x {ranks} ranks' if ranks > 1 else ''
            raise ValueError(
                f'expected a batch size between 1 and the {len(dataset)} words, '
                f'got {batch_size}{of_ranks}'
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.ranks = ranks
        self.repeat = repeat
        self.epoch = 0
        self.is_new_epoch = False
        self.iteration = 0  # steps read, not updates
        self._previous_epoch_detail = -1.0
        self._offsets = (
            numpy.arange(rank * batch_size, (rank + 1) * batch_size) * len(dataset) // places
        )

    def __next__(self) -> list[tuple[Any, Any]]:
        (x,), (t,) = self.chunk(1)
        return list(zip(x, t))

    def chunk(self, length: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return several steps at once.

        Args:
            length: the number of steps.

        Returns:
            The current words and the next words, each (length, B).

        Raises:
            TypeError, ValueError: length is no positive integer.
            StopIteration: the epoch is over and ``repeat`` is False; the last chunk may be shorter.
        """
        checks.size('length', length)
        if not self.repeat:
            length = min(
                length, -(-len(self.dataset) // (self.batch_size * self.ranks)) - self.iteration
            )
            if length < 1:
                raise StopIteration
        steps = self.iteration + numpy.arange(length + 1)[:, None]
        words = self.dataset[(self._offsets + steps) % len(self.dataset)]
        self._previous_epoch_detail = self.epoch_detail
        self.iteration += length
        epoch = int(self.epoch_detail)
        self.is_new_epoch = self.epoch < epoch
        self.epoch = epoch
        return words[:-1], words[1:]

    @property
    def epoch_detail(self) -> float:
        """How many times the sequence was read, as a fraction."""
        return self.iteration * self.batch_size * self.ranks / len(self.dataset)

    @property
    def previous_epoch_detail(self) -> Optional[float]:
        """``epoch_detail`` before the last step or chunk."""
        return None if self._previous_epoch_detail < 0 else self._previous_epoch_detail

    def serialize(self, serializer: Any) -> None:
        """Write or read the position.

        Raises:
            ValueError: the snapshot is of another batch size or number of ranks.
        """
        for name in ('batch_size', 'ranks'):
            expected = getattr(self, name)
            found = serializer(name, expected)
            if found != expected:
                raise ValueError(
                    f'expected a snapshot of a run with {name} {expected}, got {found}'
                )
        self.iteration = serializer('iteration', self.iteration)
        self.epoch = serializer('epoch', self.epoch)
        self._previous_epoch_detail = serializer(
            'previous_epoch_detail', self._previous_epoch_detail
        )


class BPTTUpdater(chainer.training.updaters.StandardUpdater):
    """Update once every ``bprop_len`` steps, by the sum of their losses; the state is kept.

    The loss is scaled as ``optimizer.loss_scaling()`` says, as by Chainer's ``StandardUpdater``.
    As there, hooks of the optimizer such as ``GradientClipping`` get the scaled gradients.

    Args:
        train_iter: a ``ParallelSequentialIterator``.
        optimizer: set up with a model that takes (x, t) and returns the mean
            loss: x (T, B) and t (T * B,), or both (B,) with ``stepwise``.
        bprop_len: steps per chunk.
        device: the device of the model, to which the words are sent.
        stepwise: call the model with one step at a time, as Chainer's example
            does; the losses and gradients are the same.
        graph: on a GPU, capture an update as a CUDA graph after a few ordinary ones, and replay it
            for all chunks of one shape: the GPU no longer waits for Python.  Losses, parameters and
            states are the same.  A RuntimeWarning says once why there can be no graph.  A replay
            writes states and gradients into the same arrays as the one before, and runs no Python
            code of the model: what that computes on the host stays as it was at the capture, until
            an attribute of a link changes, which leads to another graph.

    Attributes:
        words: number of words trained on, in all ranks.
        seconds: time spent in updates.
        replays: the number of updates that replayed a graph.

    Raises:
        TypeError: the iterator has no ``chunk``, the optimizer is not one, or bprop_len is not an
            integer.
        ValueError: bprop_len is not positive, or the optimizer is not set up.

    Example:
        >>> import numpy
        >>> from chainer_lstm.models import RNNForLM
        >>> model = chainer.links.Classifier(RNNForLM(50, 16))
        >>> model.compute_accuracy = False
        >>> optimizer = chainer.optimizers.SGD(1).setup(model)
        >>> words = ParallelSequentialIterator(numpy.arange(400, dtype='i') % 50, batch_size=4)
        >>> updater = BPTTUpdater(words, optimizer, bprop_len=10, device='@numpy')
        >>> updater.update()
        >>> updater.words
        40
    """

    def __init__(
        self,
        train_iter: ParallelSequentialIterator,
        optimizer: chainer.Optimizer,
        bprop_len: int,
        device: Any,
        stepwise: bool = False,
        graph: bool = False,
    ) -> None:
        # before the model is moved to the device
        self.bprop_len = checks.size('bprop_len', bprop_len)
        if not hasattr(train_iter, 'chunk'):
            raise TypeError(
                f'expected a ParallelSequentialIterator, got {type(train_iter).__name__}'
            )
        if not hasattr(optimizer, 'target'):  # ChainerMN's are no chainer.Optimizer
            raise TypeError(f'expected an optimizer, got {type(optimizer).__name__}')
        if optimizer.target is None:
            raise ValueError(
                f'expected an optimizer set up with a model, got a bare {type(optimizer).__name__}'
            )
        super().__init__(train_iter, optimizer, device=device)
        self.stepwise = stepwise
        self._captured = CapturedUpdate(optimizer, self._compute_gradients) if graph else None
        self.words = 0
        self.seconds = 0.0

    @property
    def replays(self) -> int:
        """The number of updates that were replayed as a CUDA graph."""
        return 0 if self._captured is None else self._captured.replays

    def update_core(self) -> None:
        start = time.perf_counter()
        optimizer = self.get_optimizer('main')
        iterator = self.get_iterator('main')
        epoch = iterator.epoch
        x, t = self.device.send(iterator.chunk(self.bprop_len))
        if self._captured is None:
            self._compute_gradients(x, t)
            optimizers.update(optimizer)
        else:
            self._captured(x, t)
        if self.auto_new_epoch:
            for _ in range(epoch, iterator.epoch):
                optimizer.new_epoch(auto=True)
        self.words += x.size * iterator.ranks
        self.seconds += time.perf_counter() - start

    def _compute_gradients(self, x: Any, t: Any) -> None:
        """Compute the gradients of a chunk."""
        optimizer = self.get_optimizer('main')
        if self.stepwise:
            losses = [optimizer.target(*step) for step in zip(x, t)]
            loss = functools.reduce(operator.add, losses)
        else:
            loss = optimizer.target(x, t.ravel()) * len(x)
        # of the whole chunk; the model has reported that of its last call
        chainer.report({'loss': loss.array / len(x)}, optimizer.target)
        optimizer.target.cleargrads()
        loss.backward(loss_scale=loss_scale(optimizer))
        loss.unchain_backward()
        unchain_states(optimizer.target)


def unchain_states(model: chainer.Link) -> None:
    """Cut the graph at the states after a chunk: they are not part of its loss, so
    ``loss.unchain_backward`` does not reach them.
    """
    for link in model.links():
        for name in STATES:
            if isinstance(getattr(link, name, None), chainer.Variable):
                getattr(link, name).unchain()
