"""Text generation by a language model."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import Any, Union

import chainer
import numpy

from chainer_lstm.datasets import Vocabulary
from chainer_lstm.functions import checks
from chainer_lstm.models import RNNForLM
from chainer_lstm.models.rnn_for_lm import check_words


def generate(
    model: chainer.Link,
    prime: Sequence[int],
    *,
    temperature: float = 1.0,
    sample: bool = True,
    random: numpy.random.RandomState | None = None,
) -> Iterator[int]:
    """Yield word ids that continue ``prime``, endlessly.

    The prime is read once, from an empty state, without building a graph.

    Args:
        model: a language model such as ``RNNForLM``, of word ids (B,), with
            ``reset_state``; its state is reset and advanced.
        prime: word ids to continue, at least one.
        temperature: divides the scores; below 1 likely words become likelier.
        sample: draw words; otherwise always take the likeliest word.
        random: the generator to draw from; None for NumPy's global generator.

    Raises:
        TypeError: the prime is not of integers, or the model has no ``reset_state``.
        ValueError: the prime is empty or has a word that is not among those of
            an ``RNNForLM``, the temperature is not positive, or a score is NaN
            or infinite.

    Example:
        >>> import itertools
        >>> from chainer_lstm.models import RNNForLM
        >>> stream = generate(RNNForLM(50, 16), [3, 7], temperature=0.8)
        >>> words = list(itertools.islice(stream, 5))
        >>> len(words)
        5
    """
    if not hasattr(model, 'reset_state'):
        raise TypeError(f'expected a model with reset_state, got {type(model).__name__}')
    prime = [operator.index(word) for word in prime]
    if not prime:
        raise ValueError('expected at least one word to begin after, got none')
    if isinstance(model, RNNForLM):
        check_words('prime', numpy.array(prime, object), model.embed)
    if not temperature > 0:
        raise ValueError(f'expected a positive temperature, got {temperature}')
    return _words(model, prime, temperature, sample, numpy.random if random is None else random)


def _words(
    model: chainer.Link, prime: list[int], temperature: float, sample: bool, random: Any
) -> Iterator[int]:
    model.reset_state()
    *before, word = prime
    for each in before:
        _scores(model, each)
    while True:
        scores = _scores(model, word)
        if not numpy.isfinite(scores.max()):
            raise ValueError(
                f'expected finite scores of words, got {scores.max()}: the model has diverged'
            )
        if sample:
            p = numpy.exp((scores - scores.max()) / temperature)
            word = int(random.choice(len(p), p=p / p.sum()))
        else:
            word = int(scores.argmax())
        yield word


def _scores(model: chainer.Link, word: int) -> numpy.ndarray:
    """Return the scores (V,) after a word, float64 on the CPU.  The configuration is set for each
    word, because a suspended generator must not leave it set.
    """
    with chainer.no_backprop_mode(), chainer.using_config('train', False):
        x = model.device.send(numpy.array([word], numpy.int32))
        return chainer.backend.CpuDevice().send(model(x).array)[0].astype(numpy.float64)


def predict(
    model: chainer.Link, prefix: Union[str, list[str]], vocabulary: Vocabulary, length: int = 50
) -> Any:
    """Return a prefix continued by the likeliest tokens, each of which the model reads in turn.

    Args:
        model: of token ids (B,), with ``reset_state``; its state is reset and updated.
        prefix: a string for a model of characters, or a list of tokens; not empty.
        vocabulary: of the model.
        length: the number of tokens to add.

    Returns:
        A string, or a list of tokens, as the prefix.

    Raises:
        TypeError: a token is not a string, or length not an integer.
        ValueError: the prefix is empty, length is not positive, or a score is NaN or infinite.

    Example:
        >>> import chainer_lstm.links as L
        >>> from chainer_lstm.models import CharacterModel
        >>> vocabulary = Vocabulary('time traveller')
        >>> model = CharacterModel(L.LSTM(len(vocabulary), 16), len(vocabulary))
        >>> len(predict(model, 'time', vocabulary, 10))
        14
    """
    length = checks.size('length', length)
    words = generate(model, vocabulary[[*prefix]], sample=False)
    tokens = [*prefix, *vocabulary.to_tokens([*itertools.islice(words, length)])]
    return ''.join(tokens) if isinstance(prefix, str) else tokens
