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
    """Add ``perplexity``, ``val_perplexity`` and ``words/sec`` of updates to a log; an argument
    ``postprocess`` for Chainer's ``LogReport``.

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
    """Return exp(loss), infinity if that overflows.

    Args:
        loss: the mean loss of a word.
    """
    return math.exp(loss) if loss < 700 else math.inf  # of a diverged run, which must not fail


class LanguageModelEvaluator(extensions.Evaluator):
    """Compute the mean loss over a text, in which every word but the first is predicted once.

    The text is cut into ``batch_size`` streams of equal length.  Each stream
    starts from an empty state and is read in chunks.

    Args:
        words: (n,) word ids.
        target: a model that takes chunks, x (T, B) and t (T * B,), with a
            ``predictor`` that has ``reset_state``, such as
            ``Classifier(RNNForLM(...))``; pass a copy if the state of the
            model in training must not change.
        batch_size: number of streams.
        length: steps per chunk; it affects only memory and speed.
        communicator: ChainerMN's, for ``batch_size`` streams in every rank;
            all ranks evaluate at the same time and get the same result.

    Raises:
        TypeError: the target has no such predictor, or a size is not an integer.
        ValueError: there are fewer than two words, or a size is not positive.

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
        """Read the whole text.

        Returns:
            A dictionary with the mean loss under ``main/loss``.
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
        """Yield the chunks (current words, next words) of this rank; over all chunks and ranks
        every word but the first is a next word once.

        If the streams cannot have equal lengths, the first ones are one word longer.
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
    """Print entries of the log like Chainer's ``PrintReport``; a file or a pipe gets no escape
    sequences.

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
    """Write to a stream without the escape sequences that move the cursor and erase lines."""

    _SEQUENCE = re.compile('\033\\[[0-9;]*[A-Za-z]')

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        self._stream.write(self._SEQUENCE.sub('', text))

    def flush(self) -> None:
        if hasattr(self._stream, 'flush'):
            self._stream.flush()


class RandomState(extension.Extension):
    """Save the state of NumPy's global generator in snapshots, so that a resumed run draws the same
    numbers.
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
