import numpy
import pytest

from chainer_lstm.datasets import Vocabulary


def test_ids_by_falling_count_then_in_alphabetical_order():
    vocabulary = Vocabulary('cabbage')
    assert vocabulary.tokens == ['<unk>', 'a', 'b', 'c', 'e', 'g'] == [*vocabulary]
    assert len(vocabulary) == 6
    assert (vocabulary['a'], vocabulary['g']) == (1, 5)
    assert vocabulary[['g', 'a']] == vocabulary[('g', 'a')] == [5, 1]
    assert vocabulary[[['g'], []]] == [[5], []]


def test_unknown_tokens():
    vocabulary = Vocabulary('cabbage')
    assert vocabulary['x'] == vocabulary['<unk>'] == 0
    assert vocabulary[['a', 'x', 'ca']] == [1, 0, 0]
    assert 'x' not in vocabulary
    assert 'a' in vocabulary


def test_words_of_a_minimal_count_and_reserved_ones():
    words = ['the', 'time', 'the', 'machine', 'the', 'time']
    vocabulary = Vocabulary(words, min_count=2, reserved=['<pad>', 'time'])
    assert vocabulary.tokens == ['<unk>', '<pad>', 'time', 'the']
    assert vocabulary['machine'] == 0
    assert Vocabulary([]).tokens == ['<unk>']


@pytest.mark.parametrize('ids', [[1, 0, 3], (1, 0, 3), numpy.array([1, 0, 3], 'i')])
def test_tokens_of_ids(ids):
    vocabulary = Vocabulary('cabbage')
    assert vocabulary.to_tokens(ids) == ['a', '<unk>', 'c']
    assert vocabulary.to_tokens(ids[2]) == 'c'
    assert vocabulary.to_tokens([ids]) == [['a', '<unk>', 'c']]


def test_there_and_back():
    vocabulary = Vocabulary('the time traveller')
    ids = vocabulary[[*'travel time']]
    assert ''.join(vocabulary.to_tokens(ids)) == 'travel time'


@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        (lambda v: v[3], TypeError, 'expected tokens, which are strings, got 3'),
        (lambda v: v[['a', None]], TypeError, 'strings, got None'),
        (lambda v: v.to_tokens(6), ValueError, 'expected ids from 0 to 5, got 6'),
        (lambda v: v.to_tokens([0, -1]), ValueError, 'expected ids from 0 to 5, got -1'),
        (lambda v: v.to_tokens('a'), TypeError, 'str'),
        (lambda v: v.to_tokens(1.5), TypeError, 'float'),
        (lambda v: Vocabulary([1, 2]), TypeError, 'strings, got 1'),
        (lambda v: Vocabulary('a', reserved=[1]), TypeError, 'strings, got 1'),
        (lambda v: Vocabulary('a', min_count=0), ValueError, 'expected min_count to be a positive'),
    ],
)
def test_wrong_tokens_and_ids(call, error, message):
    with pytest.raises(error, match=message):
        call(Vocabulary('cabbage'))
