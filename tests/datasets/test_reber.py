import re

import numpy
import pytest

from chainer_lstm.datasets import embedded_reber
from chainer_lstm.datasets.reber import SYMBOLS, embedded_reber_string, encode

# the strings of the inner grammar, written as a regular expression from its drawing
INNER = r'B(TS*X(XT*VP(XT*VP)*(S|XT*VV)|S|XT*VV)|PT*V(P(XT*VP)*(S|XT*VV)|V))E'


@pytest.fixture(scope='module')
def strings():
    random = numpy.random.RandomState(0)
    return [embedded_reber_string(random) for _ in range(2000)]


def test_strings_are_of_the_grammar(strings):
    for string, _ in strings:
        assert re.fullmatch(f'BT{INNER}TE|BP{INNER}PE', string), string


def test_followers_are_all_that_ever_follow(strings):
    """A state of the inner grammar shows in what may follow;
    each of these was seen to follow it.
    """
    seen = {}
    for string, follow in strings:
        assert len(follow) == len(string) - 1
        for symbol, may in zip(string[1:], follow):
            assert symbol in may
            seen.setdefault(may, set()).add(symbol)
        assert follow[-2] == string[1] == string[-2]
    assert {''.join(sorted(may)): ''.join(sorted(symbols)) for may, symbols in seen.items()} == {
        key: key for key in ('PT', 'B', 'SX', 'TV', 'PV', 'E', 'T', 'P')
    }


def test_choices_are_equally_likely(strings):
    for outer in 'TP':
        assert sum(string[1] == outer for string, _ in strings) == pytest.approx(1000, abs=90)
        assert sum(string[3] == outer for string, _ in strings) == pytest.approx(1000, abs=90)


def test_shortest_string():
    assert (
        min(len(embedded_reber_string(numpy.random.RandomState(seed))[0]) for seed in range(200))
        == 9
    )


def test_encoding():
    numpy.testing.assert_array_equal(
        encode(['B', 'TP']), [[1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0]]
    )


def test_examples_are_strings_and_followers():
    examples = embedded_reber(20, numpy.random.RandomState(3))
    random = numpy.random.RandomState(3)
    for x, t in examples:
        string, follow = embedded_reber_string(random)
        assert (x.dtype, t.dtype) == (numpy.float32, numpy.int32)
        assert ''.join(SYMBOLS[k] for k in x.argmax(axis=1)) == string[:-1]
        assert [{SYMBOLS[k] for k in row.nonzero()[0]} for row in t] == [set(may) for may in follow]
