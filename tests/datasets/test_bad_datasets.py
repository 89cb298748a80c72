"""What data sets refuse."""

import pathlib

import numpy
import pytest

from chainer_lstm import datasets
from chainer_lstm.datasets import reber
from tests.support.sizes import NO_SIZES, SIZES

RANDOM = numpy.random.RandomState(0)
CALLS = {
    'SequentialChunks batch_size': lambda size: datasets.SequentialChunks(words(50), size, 3),
    'RandomChunks length': lambda size: datasets.RandomChunks(words(50), 2, size),
    'Vocabulary min_count': lambda size: datasets.Vocabulary('a', min_count=size),
}


def words(*shape):
    return numpy.zeros(shape, 'i')


@pytest.mark.parametrize('name', CALLS)
@SIZES
def test_size(refuses, name, size, error, message):
    message = f'expected {name.split()[-1]} to be {message}'
    refuses(lambda: CALLS[name](size), error, message)


@pytest.mark.parametrize(
    ('size', 'error', 'message'),
    [row for row in NO_SIZES if row[0] is not None],  # None: all of it
)
def test_size_of_a_text(refuses, size, error, message):
    message = f'expected max_tokens to be {message}'
    refuses(lambda: datasets.load_time_machine('x', size), error, message)


FOLDERS = {
    'None': (None, TypeError, 'NoneType'),
    'a number': (5, TypeError, 'int'),
    'no folder': (
        'none',
        FileNotFoundError,
        "train.txt or train.txt in the folder 'none', found neither",
    ),
    'an empty folder': ('.', FileNotFoundError, "in the folder '.', found neither"),
}


@pytest.mark.parametrize(('source', 'error', 'message'), FOLDERS.values(), ids=FOLDERS)
def test_folder_of_a_corpus(refuses, source, error, message):
    refuses(lambda: datasets.load_corpus(source), error, message)


def test_file_as_the_folder_of_a_corpus(refuses):
    pathlib.Path('words').write_bytes(b'a b')
    refuses(lambda: datasets.load_corpus('words'), FileNotFoundError, "in the folder 'words'")


@pytest.mark.parametrize(
    ('part', 'content', 'message'),
    [
        ('valid', b'\xff\xfe', "expected text in UTF-8 in 'valid.txt'"),
        ('test', b'', "expected text in 'test.txt', got an empty file"),
    ],
    ids=['Latin letters', 'an empty part'],
)
def test_part_of_a_corpus(refuses, part, content, message):
    for name, text in {'train': b'a b\n', 'valid': b'a\n', 'test': b'b\n', part: content}.items():
        pathlib.Path(f'{name}.txt').write_bytes(text)
    refuses(lambda: datasets.load_corpus('.'), ValueError, message)


TEXTS = {
    'no file': (lambda path: None, FileNotFoundError, 'text'),
    'a folder': (lambda path: path.mkdir(), IsADirectoryError, 'text'),
    'Latin letters': (
        lambda path: path.write_bytes(b'\xff'),
        ValueError,
        "expected text in UTF-8 in 'text'",
    ),
    'digits': (
        lambda path: path.write_bytes(b'1 2'),
        ValueError,
        "expected letters in 'text', got none",
    ),
}


@pytest.mark.parametrize(('make', 'error', 'message'), TEXTS.values(), ids=TEXTS)
def test_text_of_the_time_machine(refuses, make, error, message):
    make(pathlib.Path('text'))
    refuses(lambda: datasets.load_time_machine('text'), error, message)


@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        pytest.param(
            lambda: datasets.SequentialChunks(words(5), 2, 3),
            ValueError,
            'at least 9 tokens .* got 5',
            id='SequentialChunks of a short text',
        ),
        pytest.param(
            lambda: datasets.embedded_reber(-1, RANDOM),
            ValueError,
            'from 0 on, got -1',
            id='embedded_reber -1',
        ),
        pytest.param(
            lambda: datasets.embedded_reber(1.5, RANDOM),
            TypeError,
            'float',
            id='embedded_reber 1.5',
        ),
        pytest.param(
            lambda: reber.encode('BAD'),
            ValueError,
            r"got \['A', 'D'\]",
            id='encode a symbol that is none',
        ),
    ],
)
def test_arguments(refuses, call, error, message):
    refuses(call, error, message)


@pytest.mark.parametrize(
    ('url', 'error', 'message'),
    (
        ('http://x/y', ValueError, 'expected an https address of a file, got http://x/y'),
        ('file:///etc/passwd', ValueError, 'got file:///etc/passwd'),
        ('https://', ValueError, 'got https://'),
        ('https://x', ValueError, 'got https://x'),
        ('https://x/', ValueError, 'got https://x/'),
        ('https://x/..', ValueError, r'got https://x/\.\.'),
        ('', ValueError, 'expected an https address'),
        (None, TypeError, None),
    ),
)
def test_url(refuses, url, error, message):
    refuses(lambda: datasets.cached_download(url, '0' * 64), error, message)


@pytest.mark.parametrize(
    ('sha256', 'error', 'message'),
    (
        ('', ValueError, "64 hexadecimal digits of sha256, got ''"),
        ('z' * 64, ValueError, 'got .zzz'),
        (None, TypeError, None),
    ),
)
def test_sha256(refuses, sha256, error, message):
    refuses(lambda: datasets.cached_download('https://x/y', sha256), error, message)
