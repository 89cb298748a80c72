"""What models refuse: arguments, words, files."""

import pathlib

import chainer
import numpy
import pytest
from chainer.utils.type_check import InvalidType

from chainer_lstm.models import CharacterModel, RNNForLM
from tests.support.arrays import zeros
from tests.support.sizes import SIZES

NAN = float('nan')
CALLS = {
    'RNNForLM n_vocab': lambda size: RNNForLM(size, 3),
    'RNNForLM n_units': lambda size: RNNForLM(5, size),
    'RNNForLM n_layers': lambda size: RNNForLM(5, 3, n_layers=size),
    'CharacterModel n_vocab': lambda size: CharacterModel(RNNForLM(5, 3).l1, size),
}


def words(*shape):
    return numpy.zeros(shape, 'i')


@pytest.mark.parametrize('name', CALLS)
@SIZES
def test_size(refuses, name, size, error, message):
    message = f'expected {name.split()[-1]} to be {message}'
    draws = name.startswith('Character')  # a model is made for it
    refuses(lambda: CALLS[name](size), error, message, draws=draws)


@pytest.mark.parametrize(
    ('option', 'value', 'error', 'message'),
    (
        ('dropout', 1, ValueError, 'expected dropout to be at least 0 and less than 1, got 1'),
        ('dropout', NAN, ValueError, 'got nan'),
        ('dropout', 'x', TypeError, "expected dropout to be a number, got 'x'"),
        ('dropout', None, TypeError, 'got None'),
        ('init', -1, ValueError, 'expected init .* got -1'),
        ('init', NAN, ValueError, 'got nan'),
        ('init', float('inf'), ValueError, 'got inf'),
        ('init', 'x', TypeError, "expected init to be a number, got 'x'"),
        ('tie_embeddings', 'x', TypeError, "tie_embeddings: expected True or False, got 'x'"),
        ('tie_embeddings', None, TypeError, 'got None'),
        ('tie_embeddings', 1, TypeError, 'got 1'),
    ),
)
def test_option(refuses, option, value, error, message):
    refuses(lambda: RNNForLM(5, 3, **{option: value}), error, message)


WORDS = {
    'None': (None, TypeError, 'expected x to be an array or a variable, got NoneType'),
    'a list': ([0, 1], TypeError, 'got list'),
    'a string': ('ab', TypeError, 'got str'),
    'no data': (chainer.Variable(), TypeError, 'got a variable without data'),
    'floats': (zeros(2), InvalidType, r'dtype\.kind == i\nActual: f != i'),
    'a word that is not there': (
        words(2) + 5,
        ValueError,
        'x: expected word ids from 0 to 4, got 5; an EmbedID',
    ),
    'a negative word': (words(2) - 1, ValueError, 'word ids from 0 to 4, got -1; an EmbedID'),
    'one wrong word in a chunk': (numpy.array([[4, 0], [0, -3]]), ValueError, '0 to 4, got -3'),
    'no axis': (words(), ValueError, r'word ids of shape \(batch,\) or \(time, batch\), got \(\)'),
    'three axes': (words(1, 1, 1), ValueError, r'got \(1, 1, 1\)'),
    'a larger batch': (words(3), TypeError, 'Expected at most 2, got 3'),
    'a chunk of a larger batch': (words(2, 3), TypeError, 'Expected at most 2, got 3'),
}


@pytest.mark.parametrize(('x', 'error', 'message'), WORDS.values(), ids=WORDS)
def test_words(refuses, x, error, message):
    model = RNNForLM(5, 3, dropout=0)
    model(words(2))
    refuses(lambda: model(x), error, message, model)


PATHS = {
    'None': (None, TypeError, 'NoneType'),
    'no file': ('none', FileNotFoundError, 'none'),
    'a folder': ('.', IsADirectoryError, 'directory'),
}


@pytest.mark.parametrize(('path', 'error', 'message'), PATHS.values(), ids=PATHS)
def test_path_of_an_npz_file(refuses, path, error, message):
    refuses(lambda: RNNForLM.from_npz(path), error, message)


def test_file_that_is_no_npz_file(refuses):
    pathlib.Path('model.npz').write_bytes(b'weights')
    message = 'expected an npz file of a model in'
    refuses(lambda: RNNForLM.from_npz('model.npz'), ValueError, message)


FILES = {
    'other arrays': ({'W': zeros(3)}, r"weights of an RNNForLM in .*, got \['W'\]"),
    'a vector to embed': ({'embed/W': zeros(3)}, 'the weights of an RNNForLM'),
    'None to embed': ({'embed/W': numpy.asarray(None)}, 'the weights of an'),
    'no layers': ({'embed/W': zeros(3, 4)}, 'expected n_layers .* got 0'),
    'half a layer': ({'embed/W': zeros(3, 4), 'l1/lateral/W': zeros(16, 4)}, 'l1/upward'),
}


@pytest.mark.parametrize('name', FILES)
def test_arrays_of_an_npz_file(refuses, name):
    arrays, message = FILES[name]
    numpy.savez('model.npz', **arrays)
    draws = name == 'half a layer'
    refuses(lambda: RNNForLM.from_npz('model.npz'), ValueError, message, draws=draws)


def test_two_arrays_for_one_parameter(refuses):
    chainer.serializers.save_npz('other.npz', RNNForLM(5, 3))
    model = RNNForLM(5, 3, tie_embeddings=True)
    message = 'l3/W: expected the values of embed/W, the same parameter here, got others; load'
    refuses(lambda: chainer.serializers.load_npz('other.npz', model), ValueError, message, model)
