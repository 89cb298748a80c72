import itertools

import numpy
import pytest

from chainer_lstm.datasets import Vocabulary
from chainer_lstm.models import RNNForLM
from chainer_lstm.training import generate, predict


class Counting:
    """Scores word k + 1 highest after word k, and remembers what it read."""

    device = RNNForLM(2, 2).device
    n_vocab = 5

    def __init__(self):
        self.read = []

    def reset_state(self):
        self.read = []

    def __call__(self, x):
        import chainer

        assert not chainer.config.enable_backprop
        assert not chainer.config.train
        self.read += x.tolist()
        scores = numpy.zeros((1, self.n_vocab), numpy.float32)
        scores[0, (x[0] + 1) % self.n_vocab] = 2
        return chainer.Variable(scores)


def take(n, stream):
    return list(itertools.islice(stream, n))


def test_prime_is_read_once_and_each_word_after_it():
    model = Counting()
    assert take(4, generate(model, [1, 2], sample=False)) == [3, 4, 0, 1]
    assert model.read == [1, 2, 3, 4, 0]


def test_configuration_is_as_before_between_words():
    import chainer

    stream = generate(Counting(), [0])
    next(stream)
    assert chainer.config.train
    assert chainer.config.enable_backprop


def test_draws_follow_seed_and_scores():
    def draw(seed, n=2000, **options):
        return take(n, generate(Counting(), [0], random=numpy.random.RandomState(seed), **options))

    assert draw(0, 50) == draw(0, 50) != draw(1, 50)
    words = numpy.array([0, *draw(0)])
    follows = numpy.mean(words[1:] == (words[:-1] + 1) % 5)
    assert follows == pytest.approx(numpy.e**2 / (numpy.e**2 + 4), abs=0.04)
    words = numpy.array([0, *draw(0, temperature=0.5)])
    follows = numpy.mean(words[1:] == (words[:-1] + 1) % 5)
    assert follows == pytest.approx(numpy.e**4 / (numpy.e**4 + 4), abs=0.04)


def test_no_graph_grows():
    model = RNNForLM(7, 4)
    take(5, generate(model, [0]))
    assert all(lstm.h.creator is None for lstm in model.lstms)


def test_empty_prime_and_temperature_zero():
    with pytest.raises(ValueError, match='at least one word to begin after, got none'):
        generate(Counting(), [])
    with pytest.raises(ValueError, match='a positive temperature, got 0'):
        generate(Counting(), [0], temperature=0)


def test_prediction_goes_on_from_a_prefix():
    model, vocabulary = Counting(), Vocabulary('dcba')  # a to d are 1 to 4, unknown ones 0
    assert predict(model, 'ab', vocabulary, 4) == 'abcd<unk>a'
    assert model.read == [1, 2, 3, 4, 0]
    assert predict(model, ['a', '?'], vocabulary, 2) == ['a', '?', 'a', 'b']
    assert len(predict(model, ['c'], vocabulary)) == 51


@pytest.mark.parametrize(
    ('prefix', 'error', 'message'),
    [
        ('', ValueError, 'at least one word'),
        ([3], TypeError, 'expected tokens, which are strings, got 3'),
    ],
)
def test_prefix_that_is_none(prefix, error, message):
    with pytest.raises(error, match=message):
        predict(Counting(), prefix, Vocabulary('abcd'))
