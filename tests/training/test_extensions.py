import io
import math
import types

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import serializers

from chainer_lstm.models import RNNForLM
from chainer_lstm.training import LanguageModelEvaluator, PerplexityLog, PrintReport, RandomState


@pytest.fixture
def model():
    model = L.Classifier(RNNForLM(9, 5))
    model.compute_accuracy = False
    return model


def words(n):
    return numpy.random.RandomState(n).randint(0, 9, n).astype(numpy.int32)


@pytest.mark.parametrize(
    ('n', 'batch_size'), [(2, 1), (20, 1), (20, 19), (20, 30), (21, 4), (23, 4), (24, 7)]
)
def test_evaluation_predicts_every_word_but_the_first_once(model, n, batch_size):
    text = words(n)
    loss = LanguageModelEvaluator(text, model, batch_size, 3)()['main/loss']

    length, longer = divmod(n - 1, min(batch_size, n - 1))
    total, targets, start = 0.0, 0, 0
    while start < n - 1:
        size = length + (longer > 0)
        longer -= 1
        model.predictor.reset_state()
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            for k in range(start, start + size):
                y = model.predictor(text[k : k + 1])
                total += float(F.softmax_cross_entropy(y, text[k + 1 : k + 2]).array)
                targets += 1
        start += size
    assert targets == n - 1
    assert loss == pytest.approx(total / targets, rel=1e-5)


def test_evaluation_begins_from_an_empty_state_and_leaves_one(model):
    evaluator = LanguageModelEvaluator(words(30), model, 4)
    first = evaluator()
    assert model.predictor.l1.h is None
    model.predictor(words(4))
    assert evaluator() == first


def test_evaluation_of_a_copy_leaves_the_state_of_training_alone(model):
    model.predictor(words(4))
    h = model.predictor.l2.h
    LanguageModelEvaluator(words(30), model.copy(), 4)()
    assert model.predictor.l2.h is h


def test_evaluation_of_one_word(model):
    with pytest.raises(ValueError, match=r'at least 2 words to evaluate on, \(n,\), got \(1,\)'):
        LanguageModelEvaluator(words(1), model)


def test_random_state_goes_on_where_it_was_saved(tmp_path):
    path = str(tmp_path / 'random.npz')
    numpy.random.seed(1)
    numpy.random.normal(size=3)  # an odd number, so that the generator holds a spare one
    serializers.save_npz(path, RandomState())
    expected = numpy.random.normal(size=5), numpy.random.rand(700)
    numpy.random.seed(2)
    serializers.load_npz(path, RandomState())
    for array, other in zip((numpy.random.normal(size=5), numpy.random.rand(700)), expected):
        numpy.testing.assert_array_equal(array, other)


def test_log_of_perplexity_and_words_a_second():
    updater = types.SimpleNamespace(words=100, seconds=1.0)
    log = PerplexityLog(updater)
    updater.words, updater.seconds = 400, 3.0
    result = {'main/loss': 2.0, 'validation/main/loss': 1000.0}
    log(result)
    assert result['perplexity'] == pytest.approx(math.e**2)
    assert result['val_perplexity'] == math.inf
    assert result['words/sec'] == pytest.approx(150)
    updater.words, updater.seconds = 500, 4.0
    log(result)
    assert result['words/sec'] == pytest.approx(100)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize('make', [io.StringIO, Terminal])
def test_report_has_escape_sequences_on_terminals_only(make):
    out, log = make(), types.SimpleNamespace(log=[{'epoch': 1, 'loss': 0.5}])
    report = PrintReport(['epoch', 'loss'], out=out)
    trainer = types.SimpleNamespace(get_extension=lambda name: log)
    report(trainer)
    log.log.append({'epoch': 2, 'loss': 0.25})
    report(trainer)
    assert ('\x1b' in out.getvalue()) == out.isatty()
    lines = [line.split() for line in out.getvalue().replace('\x1b[J', '').splitlines()]
    assert lines == [['epoch', 'loss'], ['1', '0.5'], ['2', '0.25']]


def test_report_goes_to_the_standard_output_of_the_moment(capsys):
    report = PrintReport(['epoch'])
    log = types.SimpleNamespace(log=[{'epoch': 1}])
    report(types.SimpleNamespace(get_extension=lambda name: log))
    assert capsys.readouterr().out.split() == ['epoch', '1']
