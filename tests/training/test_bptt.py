import chainer
import chainer.links as L
import numpy
import pytest
from chainer import serializers

from chainer_lstm.models import RNNForLM
from chainer_lstm.training import BPTTUpdater, ParallelSequentialIterator


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
    assert (chunks.epoch_detail, chunks.previous_epoch_detail, chunks.is_new_epoch) == (
        6 / 7,
        0,
        False,
    )
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
        assert iterator.previous_epoch_detail == (
            seen[-2][1] if len(seen) > 1 else 0 if seen else None
        )
        next(iterator)
        seen.append((iterator.epoch, iterator.epoch_detail, iterator.is_new_epoch))
    assert seen == [(0, 0.5, False), (1, 1.0, True), (1, 1.5, False), (2, 2.0, True)]


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
    assert (loaded.epoch, loaded.previous_epoch_detail) == (
        saved.epoch,
        saved.previous_epoch_detail,
    )
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
    assert all(
        state.creator is None for lstm in model.predictor.lstms for state in (lstm.c, lstm.h)
    )


def test_updater_with_an_empty_chunk():
    _, optimizer, iterator = make(numpy.arange(9, dtype=numpy.int32))
    with pytest.raises(ValueError, match='expected bprop_len to be a positive integer, got 0'):
        BPTTUpdater(iterator, optimizer, 0, chainer.get_device('@numpy'))


def trained(scale, optimizer_class=chainer.optimizers.SGD, updater_class=BPTTUpdater, **options):
    """Train four updates; return the parameters and the optimizer."""
    words = numpy.random.RandomState(1).randint(0, 9, 40).astype(numpy.int32)
    model, _, iterator = make(words)
    optimizer = optimizer_class().setup(model)
    scale(optimizer)
    updater = updater_class(iterator, optimizer, 3, chainer.get_device('@numpy'), **options)
    for _ in range(4):
        updater.update()
    return {name: param.array for name, param in model.namedparams()}, optimizer


SCALINGS = {
    'static': lambda optimizer: optimizer.loss_scaling(scale=1024),
    'static, no power of two': lambda optimizer: optimizer.loss_scaling(scale=1000),
    'dynamic': lambda optimizer: optimizer.loss_scaling(interval=2),
}


@pytest.mark.parametrize('scaling', SCALINGS)
@pytest.mark.parametrize('stepwise', [True, False])
@pytest.mark.parametrize('optimizer_class', [chainer.optimizers.SGD, chainer.optimizers.Adam])
def test_scaled_loss_trains_as_the_plain_one(scaling, stepwise, optimizer_class):
    expected, _ = trained(lambda optimizer: None, optimizer_class, stepwise=stepwise)
    found, optimizer = trained(SCALINGS[scaling], optimizer_class, stepwise=stepwise)
    for name, array in found.items():
        numpy.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert all(param._loss_scale for param in optimizer.target.params())
    if scaling == 'dynamic':
        assert optimizer._loss_scale == 2**4  # doubled by each update: nothing has overflowed yet


class StandardBPTT(chainer.training.updaters.StandardUpdater):
    """Leave the loss and its scale to ``Optimizer.update``, as Chainer's updaters do."""

    def __init__(self, iterator, optimizer, bprop_len, device):
        super().__init__(iterator, optimizer, device=device)
        self._bprop_len = bprop_len

    def update_core(self):
        optimizer = self.get_optimizer('main')
        x, t = self.get_iterator('main').chunk(self._bprop_len)
        optimizer.update(lambda: optimizer.target(x, t.ravel()) * len(x))
        for lstm in optimizer.target.predictor.lstms:
            lstm.c.unchain()
            lstm.h.unchain()


@pytest.mark.parametrize('scaling', SCALINGS)
def test_scaled_gradients_are_those_of_chainers_updater(scaling):
    def with_clipping(optimizer):
        SCALINGS[scaling](optimizer)
        optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(0.5))  # of the scaled gradients

    expected, _ = trained(with_clipping, updater_class=StandardBPTT)
    found, optimizer = trained(with_clipping)
    for name, array in found.items():
        numpy.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert all(param._loss_scale for param in optimizer.target.params())


def test_overflow_skips_the_update_and_halves_the_scale():
    model, optimizer, iterator = make(numpy.arange(9, dtype=numpy.int32))
    optimizer.loss_scaling(interval=2)
    optimizer._loss_scale_max = 1e38  # beyond float32 after a sum of gradients
    optimizer._loss_scale = 1e38
    updater = BPTTUpdater(iterator, optimizer, 50, chainer.get_device('@numpy'))
    before = [param.array.copy() for param in model.params()]
    with numpy.errstate(all='ignore'), pytest.warns(UserWarning, match='Non finite number found'):
        updater.update()
    for param, array in zip(model.params(), before):
        numpy.testing.assert_array_equal(param.array, array)
    assert optimizer._loss_scale == 1e38 / 2
    optimizer._loss_scale = 8.0
    updater.update()
    assert optimizer._loss_scale == pytest.approx(8 * 2**0.5)
    assert all((param.array != array).any() for param, array in zip(model.params(), before))


def test_epochs_of_the_optimizer_are_those_of_the_iterator():
    _, optimizer, iterator = make(numpy.arange(9, dtype=numpy.int32))
    updater = BPTTUpdater(iterator, optimizer, 3, chainer.get_device('@numpy'))
    epochs = []
    for _ in range(4):
        updater.update()
        epochs.append((optimizer.epoch, iterator.epoch))
    assert epochs == [(0, 0), (1, 1), (2, 2), (2, 2)]


class Alone:
    """A communicator of ChainerMN in a job of one process."""

    def bcast_data(self, target):
        pass

    def multi_node_mean_grad(self, target, zero_fill):
        pass


@pytest.mark.parametrize('scaling', SCALINGS)
def test_loss_is_scaled_through_chainermns_optimizer(scaling):
    optimizers = pytest.importorskip('chainermn.optimizers', exc_type=ImportError)

    def multi_node():
        return optimizers.create_multi_node_optimizer(chainer.optimizers.SGD(), Alone())

    expected, _ = trained(lambda optimizer: optimizer.update(), multi_node)
    found, optimizer = trained(
        lambda optimizer: (SCALINGS[scaling](optimizer), optimizer.update()), multi_node
    )
    for name, array in found.items():
        numpy.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert all(param._loss_scale for param in optimizer.target.params())


def test_graph_without_a_gpu_is_a_warning():
    losses = []
    for graph in False, True:
        model, optimizer, iterator = make(numpy.arange(50) % 9)
        updater = BPTTUpdater(iterator, optimizer, 4, '@numpy', graph=graph)
        for _ in range(3):
            if graph and not updater.iteration:
                with pytest.warns(RuntimeWarning, match='needs CuPy and a GPU.*@numpy'):
                    updater.update()
            else:
                updater.update()
        losses.append(float(model.loss.array))
    assert losses[0] == losses[1] and updater.replays == 0
