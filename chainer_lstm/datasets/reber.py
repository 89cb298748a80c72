"""Strings of the embedded Reber grammar, which has a long-range dependency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

SYMBOLS = 'BTPSXVE'

# for each state: the symbols that may follow, each with the next state; None ends the string
_GRAMMAR: tuple[dict[str, int | None], ...] = (
    {'B': 1},
    {'T': 2, 'P': 3},
    {'S': 2, 'X': 4},
    {'T': 3, 'V': 5},
    {'X': 3, 'S': 6},
    {'P': 4, 'V': 6},
    {'E': None},
)

Example = tuple[numpy.ndarray, numpy.ndarray]


def embedded_reber_string(random: numpy.random.RandomState) -> tuple[str, list[str]]:
    """Draw a string; return it and, for each symbol but the last, the symbols that may follow.

    All choices are equally likely.
    """
    outer = 'TP'[random.randint(2)]
    inner, follow = _reber_string(random)
    # the outer symbol is repeated after the inner string
    return f'B{outer}{inner}{outer}E', ['TP', 'B', *follow, outer, 'E']


def _reber_string(random: numpy.random.RandomState) -> tuple[str, list[str]]:
    string = 'B'
    follow: list[str] = []
    state = _GRAMMAR[0]['B']
    while state is not None:
        follow.append(''.join(_GRAMMAR[state]))
        symbol = follow[-1][random.randint(len(follow[-1]))]
        string += symbol
        state = _GRAMMAR[state][symbol]
    return string, follow


def encode(symbols: Sequence[str]) -> numpy.ndarray:
    """Return n symbols, or sets of symbols, as (n, 7) float32, with ones for those in the set.

    Raises:
        ValueError: a symbol is not in the grammar.
    """
    unknown = set().union(*symbols) - set(SYMBOLS)
    if unknown:
        raise ValueError(f'expected symbols of {SYMBOLS}, got {sorted(unknown)}')
    return numpy.array([[symbol in some for symbol in SYMBOLS] for some in symbols], numpy.float32)


def embedded_reber(n: int, random: numpy.random.RandomState) -> list[Example]:
    """Draw examples of the embedded Reber grammar, for the prediction of the next symbols.

    B T <Reber string> T E or B P <Reber string> P E: the last symbol but one
    repeats the second.  Reber 1967; embedded by Fahlman 1991; the task as in
    Hochreiter and Schmidhuber 1997.

    Args:
        n: the number of examples.
        random: the generator to draw from; all choices are equally likely.

    Returns:
        n pairs of x (T, 7) float32, the string without its end as one-hot
        vectors of B, T, P, S, X, V, E, and t (T, 7) int32, ones for all
        symbols that may follow.

    Raises:
        ValueError: n is negative.

    Example:
        >>> (x, t), = embedded_reber(1, numpy.random.RandomState(0))
        >>> ''.join(SYMBOLS[k] for k in x.argmax(axis=1))
        'BTBPVPSET'
        >>> x.shape == t.shape
        True
    """
    if n < 0:
        raise ValueError(f'expected a number of examples from 0 on, got {n}')
    examples = []
    for _ in range(n):
        string, follow = embedded_reber_string(random)
        examples.append((encode(string[:-1]), encode(follow).astype(numpy.int32)))
    return examples
