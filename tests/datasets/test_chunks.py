import numpy
import pytest

from chainer_lstm.datasets import RandomChunks, SequentialChunks

IDS = numpy.arange(200)


@pytest.mark.parametrize('seed', range(5))
def test_sequential_chunks_go_on_where_the_last_one_ended(seed):
    chunks = list(SequentialChunks(IDS, 3, 7, numpy.random.RandomState(seed)))
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
    chunks = list(RandomChunks(IDS, 3, 7, numpy.random.RandomState(seed)))
    for x, t in chunks:
        numpy.testing.assert_array_equal(x, x[0] + numpy.arange(7)[:, None])
        numpy.testing.assert_array_equal(t, x + 1)
    starts = numpy.concatenate([x[0] for x, _ in chunks])
    assert len({*(starts % 7)}) == 1
    assert len({*starts}) == len(starts) >= 24
    assert (numpy.diff(starts) != 7).any()


@pytest.mark.parametrize('kind', [SequentialChunks, RandomChunks])
def test_each_iteration_is_another_epoch(kind):
    chunks = kind(IDS, 3, 7, numpy.random.RandomState(0))
    assert len({next(iter(chunks))[0][0, 0] for _ in range(20)}) > 4


@pytest.mark.parametrize('kind', [SequentialChunks, RandomChunks])
def test_global_generator(kind):
    numpy.random.seed(5)
    default = list(kind([*IDS], 3, 7))
    expected = list(kind(IDS, 3, 7, numpy.random.RandomState(5)))
    numpy.testing.assert_array_equal(default, expected)


@pytest.mark.parametrize('kind', [SequentialChunks, RandomChunks])
def test_text_for_one_chunk_and_shorter(kind):
    for seed in range(20):
        assert len(list(kind(IDS[:28], 3, 7, numpy.random.RandomState(seed)))) >= 1
    with pytest.raises(ValueError, match='at least 28 tokens for chunks of 7 by 3, got 27'):
        kind(IDS[:27], 3, 7)
    with pytest.raises(ValueError, match=r'expected ids of shape \(n,\), got \(100, 2\)'):
        kind(IDS.reshape(100, 2), 3, 7)
