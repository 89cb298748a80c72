"""Strings of the embedded Reber grammar:
a long-range dependency that a recurrent net has to keep in mind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy

SYMBOLS = 'BTPSXVE'

# from each state: the symbol that may follow, and the state it leads to; None: the string is over
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
    """A string, and for each of its symbols but the last the symbols that may follow.

    Choices are equally likely.
    """
    outer = 'TP'[random.randint(2)]
    inner, follow = _reber_string(random)
    # between the inner string's last symbol and the end stands the outer symbol again
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
    """n symbols, or sets of symbols -> (n, 7) float32, ones for those that are in.

    Raises:
        ValueError: one that the grammar has not.
    """
    unknown = set().union(*symbols) - set(SYMBOLS)
    if unknown:
        raise ValueError(f'expected symbols of {SYMBOLS}, got {sorted(unknown)}')
    return numpy.array([[symbol in some for symbol in SYMBOLS] for some in symbols], numpy.float32)


def embedded_reber(n: int, random: numpy.random.RandomState) -> list[Example]:
    """Examples of the embedded Reber grammar, whose next symbols are to be predicted.

    B T <Reber string> T E or B P <Reber string> P E: the last symbol but one
    repeats the second.  Reber 1967; embedded by Fahlman 1991; the task as in
    Hochreiter and Schmidhuber 1997.

    Args:
        n: how many.
        random: what to draw from; choices are equally likely.

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
