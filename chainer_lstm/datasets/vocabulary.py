"""Tokens and their ids."""

from __future__ import annotations

import collections
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy

from chainer_lstm.functions import checks

UNKNOWN = '<unk>'


class Vocabulary:
    """Ids of tokens, such as characters or words: 0 for unknown tokens, then by falling count.

    Tokens of equal count are in alphabetical order.

        >>> vocabulary = Vocabulary('the time traveller')
        >>> vocabulary['t'], vocabulary[['t', 'h', '?']]
        (2, [2, 7, 0])
        >>> vocabulary.to_tokens([2, 7, 0])
        ['t', 'h', '<unk>']

    Args:
        tokens: the tokens of a text; of a string, its characters.
        min_count: tokens that appear less often are unknown.
        reserved: tokens that get the ids from 1 on, even if they do not occur.

    Attributes:
        tokens: the tokens in the order of their ids.

    Raises:
        TypeError: min_count is not an integer, or a token not a string.
        ValueError: min_count is not positive.
    """

    def __init__(
        self, tokens: Iterable[str], *, min_count: int = 1, reserved: Iterable[str] = ()
    ) -> None:
        min_count = checks.size('min_count', min_count)
        counts = collections.Counter(tokens)
        first = [UNKNOWN, *reserved]
        for token in (*first, *counts):
            _check_token(token)
        frequent = [token for token, count in counts.items() if count >= min_count]
        frequent.sort(key=lambda token: (-counts[token], token))
        self.tokens: list[str] = [*dict.fromkeys([*first, *frequent])]
        self._ids = {token: k for k, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __getitem__(self, tokens: Any) -> Any:
        """Return the id of a token, or a list of the ids of a list or tuple of tokens.

        Raises:
            TypeError: tokens are neither a string nor a list of strings.
        """
        if isinstance(tokens, (list, tuple)):
            return [self[token] for token in tokens]
        _check_token(tokens)
        return self._ids.get(tokens, 0)

    def to_tokens(self, ids: Any) -> Any:
        """Return the token of an id, or a list of the tokens of a list or array of ids.

        Raises:
            TypeError: an id is not an integer.
            ValueError: an id is negative or too large.
        """
        if isinstance(ids, (list, tuple)) or numpy.ndim(ids):
            return [self.to_tokens(k) for k in ids]
        k = operator.index(ids)
        if not 0 <= k < len(self):
            raise ValueError(f'expected ids from 0 to {len(self) - 1}, got {k}')
        return self.tokens[k]


def _check_token(token: Any) -> None:
    if not isinstance(token, str):
        raise TypeError(f'expected tokens, which are strings, got {token!r}')
