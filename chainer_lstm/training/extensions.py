"""Extensions of Chainer's ``Trainer`` for language models."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import chainer
import numpy
from chainer.training import extension, extensions

from chainer_lstm.functions import checks
from chainer_lstm.training.bptt import BPTTUpdater


class PerplexityLog:
    """``postprocess`` of a ``LogReport``:
    adds ``perplexity``, ``val_perplexity`` and ``words/sec`` of updates.

    Args:
        updater: the updater whose words and seconds are counted.
    """

    def __init__(self, updater: BPTTUpdater) -> None:
        self._updater = updater
        self._words, self._seconds = updater.words, updater.seconds

    def __call__(self, result: dict[str, Any]) -> None:
        result['perplexity'] = perplexity(result['main/loss'])
        if 'validation/main/loss' in result:
            result['val_perplexity'] = perplexity(result['validation/main/loss'])
        words, seconds = self._updater.words, self._updater.seconds
        if seconds > self._seconds:
            result['words/sec'] = (words - self._words) / (seconds - self._seconds)
        self._words, self._seconds = words, seconds


def perplexity(loss: float) -> float:
    """Return exp(loss), infinite where that overflows.

    Args:
        loss: the mean loss of a word.
    """
    return math.exp(loss) if loss < 700 else math.inf  # a diverged run goes on to say so


class LanguageModelEvaluator(extensions.Evaluator):
    """Mean loss over a text, every word but the first predicted once, nothing else.

    The text is cut into ``batch_size`` streams of equal length, each read from
    an empty state, a chunk at a time.

    Args:
        words: (n,) word ids.
        target: a model that takes chunks, x (T, B) and t (T * B,), with a
            ``predictor`` that has ``reset_state``, such as
            ``Classifier(RNNForLM(...))``; a copy with a state of its own
            leaves the training's state alone.
        batch_size: number of streams.
        length: steps a chunk; only memory and speed depend on it.
        communicator: ChainerMN's, for ``batch_size`` streams in every rank;
            all ranks evaluate at the same time and get the same result.

    Raises:
        TypeError: a target without such a predictor, or a size that is no integer.
        ValueError: fewer than two words, or a size that is not positive.

    Example:
        >>> import numpy
        >>> from chainer_lstm.models import RNNForLM
        >>> model = chainer.links.Classifier(RNNForLM(50, 16))
        >>> model.compute_accuracy = False
        >>> words = numpy.arange(200, dtype='i') % 50
        >>> loss = LanguageModelEvaluator(words, model, batch_size=4)()['main/loss']
        >>> 40 < perplexity(loss) < 60  # untrained: a blind guess among 50
        True
    """

    def __init__(
        self,
        words: numpy.ndarray,
        target: chainer.Link,
        batch_size: int = 20,
        length: int = 35,
        communicator: Any = None,
    ) -> None:
        if not hasattr(getattr(target, 'predictor', None), 'reset_state'):
            raise TypeError(
                'expected a target with a predictor that has reset_state, '
                f'got {type(target).__name__}'
            )
        super().__init__({}, target)
        words = numpy.asarray(words)
        if words.ndim != 1 or len(words) < 2:
            raise ValueError(f'expected at least 2 words to evaluate on, (n,), got {words.shape}')
        self._words = words
        self._batch_size = checks.size('batch_size', batch_size)
        self._length = checks.size('length', length)
        self._communicator = communicator

    def evaluate(self) -> dict[str, float]:
        """Reads the whole text.

        Returns:
            A dictionary of the mean loss, under the name ``main/loss``.
        """
        model = self.get_target('main')
        total = 0.0
        model.predictor.reset_state()
        with chainer.no_backprop_mode():
            for x, t in self._chunks():
                mean = model(model.device.send(x), model.device.send(t.ravel()))
                total += float(mean.array) * x.size
        model.predictor.reset_state()
        if self._communicator is not None:
            total = self._communicator.allreduce_obj(total)
        observation: dict[str, float] = {}
        with chainer.reporter.report_scope(observation):
            chainer.report({'loss': total / (len(self._words) - 1)}, model)
        return observation

    def _chunks(self) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
        """Chunks (current words, next words) of this rank;
        in all of them every word but the first is next once.

        Where the streams cannot be equally long, the first ones are one longer.
        """
        rank = 0 if self._communicator is None else self._communicator.rank
        ranks = 1 if self._communicator is None else self._communicator.size
        streams = min(self._batch_size * ranks, len(self._words) - 1)
        length, longer = divmod(len(self._words) - 1, streams)
        own = numpy.arange(streams)[rank * self._batch_size : (rank + 1) * self._batch_size]
        starts = own * length + numpy.minimum(own, longer)
        if not len(own):
            return
        for t in range(0, length, self._length):
            steps = starts + numpy.arange(t, min(t + self._length, length))[:, None]
            yield self._words[steps], self._words[steps + 1]
        steps = starts[None, own < longer] + length
        if steps.size:
            yield self._words[steps], self._words[steps + 1]


class PrintReport(extensions.PrintReport):
    """Print entries of the log, into a file or a pipe without escape sequences.

    On a terminal it is Chainer's ``PrintReport``.

    Args:
        entries: names of the entries.
        log_report: the ``LogReport``, or its name in the trainer.
        out: stream to print to; None for the standard output.
    """

    def __init__(
        self, entries: Sequence[str], log_report: Any = 'LogReport', out: Any = None
    ) -> None:
        out = sys.stdout if out is None else out
        is_terminal = getattr(out, 'isatty', lambda: False)()
        super().__init__(entries, log_report, out if is_terminal else _WithoutEscapes(out))


class _WithoutEscapes:
    """A stream's text without the sequences that move a terminal's cursor and erase its lines."""

    _SEQUENCE = re.compile('\033\\[[0-9;]*[A-Za-z]')

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        self._stream.write(self._SEQUENCE.sub('', text))

    def flush(self) -> None:
        if hasattr(self._stream, 'flush'):
            self._stream.flush()


class RandomState(extension.Extension):
    """Puts the state of NumPy's global generator into snapshots,
    so that a resumed run draws on from there.
    """

    def __call__(self, trainer: chainer.training.Trainer) -> None:
        pass

    def serialize(self, serializer: Any) -> None:
        name, keys, position, has_gauss, gauss = numpy.random.get_state()
        keys = serializer('keys', keys)
        position = serializer('position', position)
        has_gauss = serializer('has_gauss', has_gauss)
        gauss = serializer('gauss', gauss)
        if isinstance(serializer, chainer.Deserializer):
            numpy.random.set_state((name, keys, position, has_gauss, gauss))
