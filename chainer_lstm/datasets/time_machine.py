"""H. G. Wells' The Time Machine as characters, as Dive into Deep Learning prepares it."""

from __future__ import annotations

import os
import pathlib
import re
from typing import Optional, Union

import numpy

from chainer_lstm.datasets.download import cached_download
from chainer_lstm.datasets.vocabulary import Vocabulary
from chainer_lstm.functions import checks

_URL = 'https://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt'
_SHA256 = '8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516'


def load_time_machine(
    path: Union[str, os.PathLike[str], None] = None,
    max_tokens: Optional[int] = 10000,
    *,
    edge_blanks: bool = False,
) -> tuple[numpy.ndarray, Vocabulary]:
    """Load the text as character ids.

    Letters become lower case, each run of other characters inside of a line becomes one blank, and
    lines are joined without a separator.

    Args:
        path: the text; None downloads it on first use (Project Gutenberg's,
            in the copy of https://d2l.ai).
        max_tokens: the number of characters; None for all.
        edge_blanks: whether runs of other characters at the ends of a line become blanks too.  The
            text then has double blanks, as in early editions of Dive into Deep Learning, among them
            those with MXNet.

    Returns:
        ids (n,) int32 and the vocabulary of the whole text, ``<unk>`` first.

    Raises:
        OSError: the file cannot be read or downloaded.
        TypeError: max_tokens is not an integer.
        ValueError: the text is not UTF-8 or has no letters, or max_tokens is not positive.
    """
    max_tokens = checks.size('max_tokens', max_tokens, optional=True)
    path = cached_download(_URL, _SHA256) if path is None else pathlib.Path(path)
    try:
        lines = path.read_text(encoding='utf-8').split('\n')
    except UnicodeDecodeError as error:
        raise ValueError(f'expected text in UTF-8 in {path.name!r}: {error}') from error
    lines = [re.sub('[^A-Za-z]+', ' ', line.strip()).lower() for line in lines]
    text = ''.join(line if edge_blanks else line.strip() for line in lines)
    if not text.strip():
        raise ValueError(f'expected letters in {path.name!r}, got none')
    vocabulary = Vocabulary(text)
    return numpy.array(vocabulary[[*text[:max_tokens]]], numpy.int32), vocabulary
