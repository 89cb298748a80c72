"""Ranks as they see each other through a communicator, here one after the other in one process."""

import types

import chainer
import chainer.links as L
import numpy
import pytest

import chainer_lstm.links
from chainer_lstm.models import RNNForLM
from chainer_lstm.training import LanguageModelEvaluator, ParallelSequentialIterator, ranks, script


class Communicator:
    """Rank's view; the ``others`` are what other ranks would give."""

    def __init__(self, rank, size, others=()):
        self.rank, self.size = rank, size
        self.others = others
        self.aborted = None
        self.mpi_comm = types.SimpleNamespace(Abort=self.abort)

    def abort(self, status):
        self.aborted = status

    def allreduce_obj(self, value):
        for other in self.others:
            value = value + other
        return value

    def gather_obj(self, value):
        return [*self.others, value] if self.rank == 0 else None

    def bcast_obj(self, value):
        assert (value is not None) == (self.rank == 0)  # as ChainerMN's
        return value if self.rank == 0 else self.others[0]


@pytest.mark.parametrize(('words', 'batch', 'size'), [(47, 2, 3), (60, 5, 2), (7, 7, 1), (9, 1, 9)])
@pytest.mark.parametrize('repeat', [True, False])
def test_ranks_read_the_places_of_one_iterator(words, batch, size, repeat):
    text = numpy.arange(words)
    whole = ParallelSequentialIterator(text, batch * size, repeat)
    parts = [
        ParallelSequentialIterator(text, batch, repeat, Communicator(rank, size))
        for rank in range(size)
    ]
    for length in (3, 1, 2):
        try:
            expected = whole.chunk(length)
        except StopIteration:
            for part in parts:
                with pytest.raises(StopIteration):
                    part.chunk(length)
            continue
        chunks = [part.chunk(length) for part in parts]
        for found, e in zip(zip(*chunks), expected):
            numpy.testing.assert_array_equal(numpy.concatenate(found, axis=1), e)
        for part in parts:
            assert (
                part.epoch,
                part.is_new_epoch,
                part.epoch_detail,
                part.previous_epoch_detail,
            ) == (whole.epoch, whole.is_new_epoch, whole.epoch_detail, whole.previous_epoch_detail)


def test_batch_of_all_ranks_is_longer_than_the_text():
    with pytest.raises(
        ValueError, match='expected a batch size between 1 and the 9 words, got 5 x 2 ranks'
    ):
        ParallelSequentialIterator(numpy.arange(9), 5, communicator=Communicator(1, 2))


@pytest.mark.parametrize('other', [{'batch_size': 3}, {'communicator': Communicator(0, 2)}])
def test_position_of_another_batch_or_job_is_refused(other):
    saved = chainer.serializers.DictionarySerializer()
    before = ParallelSequentialIterator(numpy.arange(90), 4)
    before.chunk(5)
    before.serialize(saved)
    after = ParallelSequentialIterator(numpy.arange(90), **{'batch_size': 4, **other})
    with pytest.raises(
        ValueError, match='expected a snapshot of a run with (batch_size 3, got 4|ranks 2, got 1)'
    ):
        after.serialize(chainer.serializers.NpzDeserializer(saved.target))
    assert after.iteration == 0


@pytest.mark.parametrize(
    ('n', 'batch', 'size'), [(2, 1, 3), (20, 4, 2), (21, 2, 2), (23, 3, 2), (24, 2, 4), (5, 4, 3)]
)
def test_ranks_evaluate_every_word_but_the_first_once(n, batch, size):
    model = L.Classifier(RNNForLM(9, 5))
    model.compute_accuracy = False
    text = numpy.random.RandomState(n).randint(0, 9, n).astype(numpy.int32)
    expected = LanguageModelEvaluator(text, model, batch * size, 3)()['main/loss']
    losses = [
        LanguageModelEvaluator(text, model, batch, 3, Communicator(rank, size))()['main/loss']
        for rank in range(size)
    ]
    assert sum(losses) == pytest.approx(expected, rel=1e-6)
    total = (sum(losses) - losses[0]) * (n - 1)
    assert LanguageModelEvaluator(text, model, batch, 3, Communicator(0, size, [total]))()[
        'main/loss'
    ] == (pytest.approx(expected, rel=1e-6))


def test_every_rank_gets_its_own_state_back():
    own = []
    for rank in range(2):  # as each would give
        link = chainer_lstm.links.LSTM(3, 4)
        link(numpy.full((5, 3), rank, 'f'))
        numpy.random.seed(rank)
        states = ranks.RankStates(Communicator(0, 1), [link])
        states(None)
        own.append((link.c.array, numpy.random.rand(), *states._gathered))
    extension = ranks.RankStates(Communicator(0, 2, [own[0][2]]), [link])
    numpy.random.seed(1)
    extension(None)
    saved = chainer.serializers.DictionarySerializer()
    extension.serialize(saved)
    for rank in (1, 0):
        link = chainer_lstm.links.LSTM(3, 4)
        ranks.RankStates(Communicator(rank, 2), [link]).serialize(
            chainer.serializers.NpzDeserializer(saved.target)
        )
        numpy.testing.assert_array_equal(link.c.array, own[rank][0])
        assert numpy.random.rand() == own[rank][1]


def test_an_error_of_one_rank_is_told_by_rank_0():
    with (
        pytest.raises(ranks.FailedTogether, match='^rank 1: no such file$'),
        ranks.fail_together(Communicator(0, 2, [['no such file']])),
    ):
        pass
    with (
        pytest.raises(ranks.FailedTogether, match='^here$'),
        ranks.fail_together(Communicator(0, 2, [['there']])),
    ):
        raise OSError('here')
    with ranks.fail_together(Communicator(0, 2, [[None]])):
        pass


@pytest.mark.parametrize(
    ('error', 'status'), [(ranks.FailedTogether('x'), 2), (script.Stopped(2), 130)]
)
def test_what_all_ranks_know_is_told_by_rank_0_alone(error, status):
    for rank in (0, 1):
        communicator = Communicator(rank, 2)
        with (
            pytest.raises(SystemExit if rank else type(error)) as ended,
            ranks.abort_all_on_error(communicator),
        ):
            raise error
        assert communicator.aborted is None
    assert ended.value.code == status


@pytest.mark.parametrize(
    ('error', 'status', 'told'),
    [
        (OSError(28, 'No space left'), 2, 'rank 1: error: [Errno 28] No space left\n'),
        (KeyboardInterrupt(), 130, 'rank 1: interrupted\n'),
        (TypeError('a bug'), 2, 'TypeError: a bug\n'),
    ],
)
def test_an_error_that_others_do_not_know_aborts_them(capsys, error, status, told):
    communicator = Communicator(1, 2)
    with ranks.abort_all_on_error(communicator):
        raise error
    assert communicator.aborted == status
    assert capsys.readouterr().err.endswith(told)
    with pytest.raises(type(error)), ranks.abort_all_on_error(ranks.SingleProcess()):
        raise error


def test_all_ranks_stop_when_rank_0_was_told_to():
    saved = []
    for rank, number in ((0, 15), (1, 0)):
        signals = script.Signals()
        signals.number = number
        stop = ranks.StopOnSignal(signals, [saved.append], Communicator(rank, 2, [[15]]))
        with pytest.raises(script.Stopped) as stopped:
            stop('trainer')
        assert stopped.value.number == 15
    assert saved == ['trainer', 'trainer']
    ranks.StopOnSignal(script.Signals(), [saved.append], ranks.SingleProcess())('trainer')
    assert len(saved) == 2
