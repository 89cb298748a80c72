"""An epoch of truncated backpropagation through time, without Chainer's ``Trainer``."""

from __future__ import annotations

import time
from typing import NamedTuple, Union

import chainer

from chainer_lstm import functions, optimizers
from chainer_lstm.datasets import RandomChunks, SequentialChunks
from chainer_lstm.training.bptt import unchain_states
from chainer_lstm.training.extensions import perplexity


class Epoch(NamedTuple):
    """The figures of one epoch.

    Attributes:
        perplexity: exp of the mean loss of a token, measured while the weights change.
        tokens: the number of tokens predicted.
        seconds: the time that the epoch took.
    """

    perplexity: float
    tokens: int
    seconds: float


def train_epoch(
    model: chainer.Link,
    optimizer: chainer.Optimizer,
    chunks: Union[SequentialChunks, RandomChunks],
) -> Epoch:
    """Update a language model once for every chunk of a text, with the mean loss of its tokens.

    A sequential chunk starts from the state after the previous chunk, without its gradients; a
    random chunk, and the first one, from an empty state.  To clip gradients, add
    ``chainer.optimizer_hooks.GradientClipping`` to the optimizer.

    Args:
        model: takes ids (T, B), returns scores (T * B, V), and has ``reset_state``:
            ``CharacterModel``, ``RNNForLM``.
        optimizer: set up with the model.
        chunks: the text.

    Returns:
        The perplexity, the number of tokens and the time.

    Raises:
        TypeError: chunks are of another class, or the model has no ``reset_state``.

    Example:
        >>> import numpy
        >>> import chainer_lstm.links as L
        >>> from chainer_lstm.models import CharacterModel
        >>> model = CharacterModel(L.LSTM(5, 16), 5)
        >>> optimizer = chainer.optimizers.SGD(1).setup(model)
        >>> optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(1))
        >>> ids = numpy.arange(1000) % 5
        >>> chunks = SequentialChunks(ids, batch_size=4, length=10)
        >>> first = train_epoch(model, optimizer, chunks).perplexity
        >>> train_epoch(model, optimizer, chunks).perplexity < first
        True
    """
    if not hasattr(chunks, 'continues'):
        raise TypeError(f'expected SequentialChunks or RandomChunks, got {type(chunks).__name__}')
    if not hasattr(model, 'reset_state'):
        raise TypeError(f'expected a model with reset_state, got {type(model).__name__}')
    total, tokens, start = 0.0, 0, time.perf_counter()
    model.reset_state()
    for x, t in chunks:
        if not chunks.continues:
            model.reset_state()
        x, t = model.device.send((x, t.ravel()))
        loss = functions.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        unchain_states(model)
        optimizers.update(optimizer)
        total += float(loss.array) * t.size
        tokens += t.size
    return Epoch(perplexity(total / tokens), tokens, time.perf_counter() - start)
