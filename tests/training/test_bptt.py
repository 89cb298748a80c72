import chainer
import chainer.links as L
import numpy
import pytest
from chainer import serializers

from chainer_lstm.models import RNNForLM
from chainer_lstm.training import BPTTUpdater
from chainer_lstm.training import ParallelSequentialIterator


def test_iterator_reads_from_equally_distant_places_and_wraps():
    iterator = ParallelSequentialIterator(numpy.arange(7), 3)
    batches = [next(iterator) for _ in range(4)]
    assert batches[0] == [(0, 1), (2, 3), (4, 5)]
    assert batches[1] == [(1, 2), (3, 4), (5, 6)]
    assert batches[3] == [(3, 4), (5, 6), (0, 1)]


def test_chunks_are_the_steps_at_once_and_end_with_the_epoch():
    chunks, steps = (ParallelSequentialIterator(numpy.arange(7), 3, repeat=False) for _ in range(2))
    x, t = chunks.chunk(2)
    assert [list(zip(*pair)) for pair in zip(x, t)] == [next(steps), next(steps)]
    assert (chunks.epoch_detail, chunks.previous_epoch_detail, chunks.is_new_epoch) == (6 / 7, 0, False)
    x, t = chunks.chunk(2)
    assert [list(zip(*pair)) for pair in zip(x, t)] == [next(steps)]
    assert chunks.is_new_epoch
    for ended in (lambda: chunks.chunk(2), lambda: next(steps)):
        with pytest.raises(StopIteration):
            ended()


def test_iterator_counts_epochs():
    iterator = ParallelSequentialIterator(numpy.arange(6), 3)
    seen = []
    for _ in range(4):
        assert iterator.previous_epoch_detail == (seen[-2][1] if len(seen) > 1 else 0 if seen else None)
        next(iterator)
        seen.append((iterator.epoch, iterator.epoch_detail, iterator.is_new_epoch))
    assert seen == [(0, .5, False), (1, 1., True), (1, 1.5, False), (2, 2., True)]


def test_iterator_without_repeat_ends():
    assert len(list(ParallelSequentialIterator(numpy.arange(7), 3, repeat=False))) == 3


@pytest.mark.parametrize('batch_size', [0, 6])
def test_iterator_with_an_impossible_batch_size(batch_size):
    with pytest.raises(ValueError, match=f'between 1 and the 5 words, got {batch_size}'):
        ParallelSequentialIterator(numpy.arange(5), batch_size)


def test_iterator_goes_on_where_it_was_saved(tmp_path):
    path = str(tmp_path / 'iterator.npz')
    saved, loaded = (ParallelSequentialIterator(numpy.arange(50), 4) for _ in range(2))
    for _ in range(20):
        next(saved)
    serializers.save_npz(path, saved)
    serializers.load_npz(path, loaded)
    assert (loaded.epoch, loaded.previous_epoch_detail) == (saved.epoch, saved.previous_epoch_detail)
    assert next(loaded) == next(saved)


def make(words, n_words=9):
    numpy.random.seed(0)
    model = L.Classifier(RNNForLM(n_words, 5, dropout=0))
    model.compute_accuracy = False
    optimizer = chainer.optimizers.SGD(lr=0.5).setup(model)
    return model, optimizer, ParallelSequentialIterator(words, 2)


@pytest.mark.parametrize('stepwise', [True, False])
def test_updater_trains_as_a_loop_over_steps_does(stepwise):
    words = numpy.random.RandomState(1).randint(0, 9, 40).astype(numpy.int32)
    model, optimizer, iterator = make(words)
    updater = BPTTUpdater(iterator, optimizer, 3, chainer.get_device('@numpy'), stepwise)
    expected, expected_optimizer, iterator = make(words)
    reporter = chainer.Reporter()
    reporter.add_observer('main', model)
    for _ in range(4):
        observation = {}
        with reporter.scope(observation):
            updater.update()
        loss = 0
        for _ in range(3):
            x, t = numpy.array(next(iterator)).T
            loss += expected(numpy.ascontiguousarray(x), numpy.ascontiguousarray(t))
        expected.cleargrads()
        loss.backward()
        loss.unchain_backward()
        expected_optimizer.update()
        assert observation['main/loss'] == pytest.approx(float(loss.array) / 3, rel=1e-6)
    assert (updater.words, updater.iteration) == (4 * 3 * 2, 4)
    assert updater.seconds > 0
    for param, other in zip(model.params(), expected.params()):
        if stepwise:
            numpy.testing.assert_array_equal(param.array, other.array)
        else:
            numpy.testing.assert_allclose(param.array, other.array, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('stepwise', [True, False])
def test_updater_keeps_no_graph_between_chunks(stepwise):
    model, optimizer, iterator = make(numpy.arange(9, dtype=numpy.int32))
    BPTTUpdater(iterator, optimizer, 2, chainer.get_device('@numpy'), stepwise).update()
    assert all(state.creator is None for lstm in model.predictor.lstms for state in (lstm.c, lstm.h))


def test_updater_with_an_empty_chunk():
    _, optimizer, iterator = make(numpy.arange(9, dtype=numpy.int32))
    with pytest.raises(ValueError, match='expected bprop_len to be a positive integer, got 0'):
        BPTTUpdater(iterator, optimizer, 0, chainer.get_device('@numpy'))
