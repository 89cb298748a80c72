"""What iterators, updaters, evaluators and generators of text refuse."""

import chainer
import numpy
import pytest

from chainer_lstm import datasets, training
from chainer_lstm.models import RNNForLM
from tests.support.sizes import SIZES

WORDS = numpy.arange(9, dtype='i') % 5
NAN = float('nan')
CLASSIFIER = chainer.links.Classifier(RNNForLM(5, 3, dropout=0))
CALLS = {
    'chunk length': lambda size: training.ParallelSequentialIterator(WORDS, 2).chunk(size),
    'BPTTUpdater bprop_len': lambda size: updater(CLASSIFIER, bprop_len=size),
    'LanguageModelEvaluator batch_size': lambda size: training.LanguageModelEvaluator(
        WORDS, CLASSIFIER, size
    ),
    'LanguageModelEvaluator length': lambda size: training.LanguageModelEvaluator(
        WORDS, CLASSIFIER, 2, size
    ),
    'predict length': lambda size: training.predict(
        CLASSIFIER.predictor, 'a', datasets.Vocabulary('abcd'), size
    ),
}


def words(*shape):
    return numpy.zeros(shape, 'i')


def model():
    made = RNNForLM(5, 3, dropout=0)
    made(words(2))
    return made


def updater(classifier, **changed):
    """Make one with an argument changed, of a model that would be moved to the device."""
    given = {
        'train_iter': training.ParallelSequentialIterator(WORDS, 2),
        'bprop_len': 3,
        'optimizer': chainer.optimizers.SGD().setup(classifier),
        'device': '@numpy',
        **changed,
    }
    return training.BPTTUpdater(**given)


@pytest.mark.parametrize('name', CALLS)
@SIZES
def test_size(refuses, name, size, error, message):
    message = f'expected {name.split()[-1]} to be {message}'
    refuses(lambda: CALLS[name](size), error, message)


@pytest.mark.parametrize(
    ('argument', 'value', 'error', 'message'),
    (
        ('prime', [], ValueError, 'expected at least one word to begin after, got none'),
        ('prime', None, TypeError, None),
        (
            'prime',
            [1, 5],
            ValueError,
            'prime: expected word ids from 0 to 4, got 5; an EmbedID',
        ),
        ('prime', [-1], ValueError, 'prime: expected word ids from 0 to 4, got -1'),
        ('prime', [2**70], ValueError, 'got 1180591620717411303424'),
        ('prime', [1.5], TypeError, 'float'),
        ('prime', ['a'], TypeError, 'str'),
        ('temperature', 0, ValueError, 'expected a positive temperature, got 0'),
        ('temperature', -1, ValueError, 'got -1'),
        ('temperature', NAN, ValueError, 'got nan'),
        ('temperature', 'x', TypeError, None),
        ('model', None, TypeError, 'expected a model with reset_state, got NoneType'),
        (
            'model',
            chainer.links.Linear(2, 3),
            TypeError,
            'expected a model with reset_state, got Linear',
        ),
    ),
)
def test_generate(refuses, argument, value, error, message):
    made = model()
    given = {'model': made, 'prime': [1], argument: value}
    refuses(lambda: next(training.generate(**given)), error, message, made)


ITERATORS = {
    'batch 0': ((WORDS, 0), ValueError, 'expected a batch size between 1 and the 9 words, got 0'),
    'larger batch': ((WORDS, 10), ValueError, 'between 1 and the 9 words, got 10'),
    'batch 2.5': ((WORDS, 2.5), TypeError, 'float'),
    'batch None': ((WORDS, None), TypeError, 'NoneType'),
    'no words': (([], 1), ValueError, 'the 0 words, got 1'),
    'None': ((None, 1), ValueError, r'\(n,\), got \(\)'),
    'a number': ((5, 1), ValueError, r'got \(\)'),
    'two axes': ((words(5, 2), 1), ValueError, r'got \(5, 2\)'),
}


@pytest.mark.parametrize(('arguments', 'error', 'message'), ITERATORS.values(), ids=ITERATORS)
def test_parallel_sequential_iterator(refuses, arguments, error, message):
    refuses(lambda: training.ParallelSequentialIterator(*arguments), error, message)


UPDATERS = {
    'another iterator': (
        {'train_iter': chainer.iterators.SerialIterator(WORDS, 2)},
        TypeError,
        'expected a ParallelSequentialIterator, got SerialIterator',
    ),
    'no iterator': ({'train_iter': None}, TypeError, 'got NoneType'),
    'no optimizer': ({'optimizer': None}, TypeError, 'expected an optimizer, got NoneType'),
    'bare optimizer': (
        {'optimizer': chainer.optimizers.SGD()},
        ValueError,
        'set up with a model, got a bare SGD',
    ),
    'unknown device': ({'device': '@gpu:0'}, ValueError, 'gpu'),
    'a device of no kind': ({'device': 'abacus'}, RuntimeError, 'abacus'),
}


@pytest.mark.parametrize(('changed', 'error', 'message'), UPDATERS.values(), ids=UPDATERS)
def test_bptt_updater(refuses, changed, error, message):
    classifier = chainer.links.Classifier(model())
    refuses(lambda: updater(classifier, **changed), error, message, classifier)


EVALUATORS = {
    'one word': (
        (words(1), CLASSIFIER),
        ValueError,
        r'at least 2 words to evaluate on, \(n,\), got \(1,\)',
    ),
    'None': ((None, CLASSIFIER), ValueError, r'got \(\)'),
    'two axes': ((words(3, 3), CLASSIFIER), ValueError, 'got'),
    'no model': ((WORDS, None), TypeError, 'a predictor that has reset_state, got NoneType'),
    'a bare model': (
        (WORDS, RNNForLM(5, 3)),
        TypeError,
        'a predictor that has reset_state, got RNNForLM',
    ),
}


@pytest.mark.parametrize(('arguments', 'error', 'message'), EVALUATORS.values(), ids=EVALUATORS)
def test_language_model_evaluator(refuses, arguments, error, message):
    refuses(lambda: training.LanguageModelEvaluator(*arguments), error, message)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    (
        ((-1, 1), ValueError, 'expected decay to be at least 0 .* got -1'),
        ((NAN, 1), ValueError, 'got nan'),
        (('x', 1), TypeError, "expected decay to be a number, got 'x'"),
        ((None, 1), TypeError, 'got None'),
        ((0.5, -1), ValueError, 'expected first to be at least 0 .* got -1'),
        ((0.5, 1.5), TypeError, 'float'),
        ((0.5, 1, 5), TypeError, "attr: expected a name such as 'lr' or None, got 5"),
        ((0.5, 1, None, 'SGD'), TypeError, 'optimizer: expected an optimizer or None, got str'),
    ),
)
def test_exponential_decay(refuses, arguments, error, message):
    refuses(lambda: training.ExponentialDecay(*arguments), error, message)


def test_exponential_decay_of_an_optimizer_without_a_learning_rate(refuses):
    optimizer = chainer.optimizers.AdaDelta()
    message = "attr: expected 'eps' or 'rho' for AdaDelta, got None"
    refuses(
        lambda: training.ExponentialDecay(0.5, 1, optimizer=optimizer),
        ValueError,
        message,
        optimizer,
    )
