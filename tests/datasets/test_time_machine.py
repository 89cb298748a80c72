import numpy
import pytest

from chainer_lstm.datasets import load_time_machine
from chainer_lstm.datasets.time_machine import random_chunks, sequential_chunks

TEXT = numpy.arange(200)


def test_letters_in_order_of_frequency(tmp_path):
    path = tmp_path / 'text.txt'
    path.write_text('Ab, b\n\n  b--a\nB2c\n')
    text, vocabulary = load_time_machine(path)
    assert vocabulary == ['<unk>', 'b', ' ', 'a', 'c']
    assert ''.join(vocabulary[k] for k in text) == 'ab bb ab c'
    assert text.dtype == numpy.int32
    assert len(load_time_machine(path, 3)[0]) == 3
    assert load_time_machine(path, 3)[1] == vocabulary  # of the whole text


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'12\n', 'expected letters in'),
        (b'\xff', 'expected text in UTF-8'),
    ],
)
def test_no_text(tmp_path, content, message):
    path = tmp_path / 'text.txt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_time_machine(path)


@pytest.mark.parametrize('seed', range(5))
def test_sequential_chunks_go_on_where_the_last_one_ended(seed):
    chunks = list(sequential_chunks(TEXT, 3, 7, numpy.random.RandomState(seed)))
    assert len(chunks) >= 8
    for x, t in chunks:
        assert x.shape == t.shape == (7, 3)
        numpy.testing.assert_array_equal(t, x + 1)
    x = numpy.concatenate([x for x, _ in chunks])
    numpy.testing.assert_array_equal(x, x[0] + numpy.arange(len(x))[:, None])
    assert x[0, 0] == numpy.random.RandomState(seed).randint(7)
    assert len(numpy.unique(x)) == x.size


@pytest.mark.parametrize('seed', range(5))
def test_random_chunks_are_those_of_one_cut_in_another_order(seed):
    chunks = list(random_chunks(TEXT, 3, 7, numpy.random.RandomState(seed)))
    for x, t in chunks:
        numpy.testing.assert_array_equal(x, x[0] + numpy.arange(7)[:, None])
        numpy.testing.assert_array_equal(t, x + 1)
    starts = numpy.concatenate([x[0] for x, _ in chunks])
    assert len({*(starts % 7)}) == 1
    assert len({*starts}) == len(starts) >= 24
    assert (numpy.diff(starts) != 7).any()


@pytest.mark.parametrize('chunks', [sequential_chunks, random_chunks])
def test_text_for_one_chunk_and_shorter(chunks):
    for seed in range(20):
        assert len(list(chunks(TEXT[:28], 3, 7, numpy.random.RandomState(seed)))) >= 1
    with pytest.raises(ValueError, match='at least 28 characters for chunks of 7 by 3, got 27'):
        next(chunks(TEXT[:27], 3, 7, numpy.random.RandomState(0)))
