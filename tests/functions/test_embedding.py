"""Against Chainer's, values and gradients of both orders."""

import chainer
import chainer.functions as F
import numpy
import pytest

import chainer_lstm
from chainer_lstm.functions import embed_id
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from tests.support.arrays import assert_close, gradients, uniform, variables

IDS = numpy.array([[3, 0, 3], [2, 3, -1]], 'i')  # -1: the last row, or to ignore


def results(function, x, W, order=1, **options):
    inputs = variables([W])
    y = function(x, *inputs, **options)
    return [y, *gradients([y], inputs, order)]


@pytest.mark.parametrize('engine', ['auto', 'numpy'])
@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
@pytest.mark.parametrize('order', [1, 2])
@pytest.mark.parametrize('label', [None, -1, 3])
@pytest.mark.parametrize('ids', [IDS, IDS[0], IDS.astype(numpy.int64)[:, :, None]], ids=str)
def test_values_and_gradients_of_chainer(ids, label, order, dtype, engine):
    W = uniform((5, 4), dtype)
    with chainer.using_config('lstm_engine', engine):
        found = results(embed_id, ids, W, order, ignore_label=label)
    assert_close(found, results(F.embed_id, ids, W, order, ignore_label=label))


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
@pytest.mark.parametrize('label', [None, -1, 3])
@pytest.mark.parametrize('ids', [IDS, IDS.astype(numpy.int64), IDS.astype(numpy.int8)], ids=str)
def test_on_a_gpu(cupy, ids, label, dtype):
    """Chainer's, on a GPU, writes outside of the gradient for an id below 0."""
    W = uniform((5, 4), dtype)
    found = results(embed_id, cupy.asarray(ids), cupy.asarray(W), 2, ignore_label=label)
    assert_close(found, results(embed_id, ids, W, 2, ignore_label=label))


@pytest.mark.gpu
def test_ids_that_are_not_there_on_a_gpu(cupy):
    W = chainer.Parameter(cupy.zeros((5, 4), 'f'))
    W.cleargrad()
    F.sum(embed_id(cupy.array([1, 5, -6, 2**31 - 1], 'i'), W)).backward()
    assert W.grad.sum(axis=1).tolist() == [0, 4, 0, 0, 0]


def test_a_label_that_is_no_row():
    ids = numpy.array([7, 1, 7], 'i')
    W = uniform((5, 4))
    assert_close(
        results(embed_id, ids, W, ignore_label=7), results(F.embed_id, ids, W, ignore_label=7)
    )


def test_ids_that_are_not_there():
    with pytest.raises(IndexError, match='out of bounds'):
        embed_id(numpy.array([5], 'i'), uniform((5, 4)))


@pytest.mark.parametrize('wrong', [5, -6])
def test_ids_that_change_before_backward(wrong):
    ids, W = chainer.Variable(IDS[0].copy()), chainer.Parameter(uniform((5, 4)))
    y = F.sum(embed_id(ids, W))
    ids.array[1] = wrong
    with pytest.raises(IndexError, match=f'expected ids below 5, got {wrong}'):
        y.backward()


def test_an_id_without_rows():
    W = chainer.Parameter(uniform((5, 4)))
    W.cleargrad()
    F.sum(embed_id(numpy.zeros((0, 2), 'i'), W)).backward()  # Chainer's fails
    assert not W.grad.any()


def test_chainers_links_where_it_is_installed(monkeypatch):
    called = []
    monkeypatch.setattr(
        NumpyEngine,
        'sums_by_class',
        lambda self, of, x, classes: called.append(1) or numpy.zeros((classes, x.shape[1]), 'f'),
    )
    link = chainer.links.EmbedID(5, 4)
    with chainer.using_config('lstm_engine', 'numpy'):
        F.sum(link(IDS)).backward()
        assert not called
        with chainer_lstm.installed():
            F.sum(link(IDS)).backward()
    assert called
