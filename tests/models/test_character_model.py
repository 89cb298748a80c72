import chainer
import numpy
import pytest

import chainer_lstm.links as L
from chainer_lstm.models import CharacterModel
from tests.support.reference import lstm_step, peephole_step


def model_of(link):
    numpy.random.seed(0)
    with chainer.using_config('dtype', numpy.float64):
        return CharacterModel(link(5, 4), 5)


@pytest.mark.parametrize(
    ('link', 'step'), [(L.LSTM, lstm_step), (L.StatefulPeepholeLSTM, peephole_step)]
)
def test_scores_of_a_chunk_and_of_a_step_equal_the_reference(link, step):
    model = model_of(link)
    x = numpy.random.RandomState(0).randint(5, size=(6, 3))
    weights = [w.array for w in model.lstm.cell_weights()]
    c, h, expected = numpy.zeros((3, 4)), numpy.zeros((3, 4)), []
    for ids in x:
        c, h = step(c, h, numpy.eye(5)[ids], *weights)
        expected.append(h @ model.out.W.array.T + model.out.b.array)
    found = model(x[:4]).array
    assert found.dtype == numpy.float64
    numpy.testing.assert_allclose(found, numpy.concatenate(expected[:4]), rtol=1e-11)
    for k in (4, 5):
        numpy.testing.assert_allclose(model(x[k]).array, expected[k], rtol=1e-11)
    model.reset_state()
    numpy.testing.assert_allclose(model(x[0]).array, expected[0], rtol=1e-11)


@pytest.mark.parametrize(
    ('x', 'error', 'message'),
    [
        (numpy.array([0, 5]), ValueError, 'expected ids from 0 to 4, got 5'),
        (numpy.array([[0], [-1]]), ValueError, 'expected ids from 0 to 4, got -1'),
        (numpy.zeros((1, 1, 1), int), ValueError, r'\(time, batch\), got \(1, 1, 1\)'),
        (numpy.zeros((1, 1)), TypeError, 'expected x of integers, got float64'),
        ([0], TypeError, 'expected x to be an array or a variable, got list'),
    ],
)
def test_wrong_ids_change_nothing(x, error, message):
    model = model_of(L.LSTM)
    model(numpy.array([1, 2]))
    before = model.lstm.h
    with pytest.raises(error, match=message):
        model(x)
    assert model.lstm.h is before


def test_layers_that_are_none():
    with pytest.raises(TypeError, match='a link with forward_sequence, got Linear'):
        CharacterModel(chainer.links.Linear(3, 3), 3)
