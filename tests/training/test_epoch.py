import chainer
import chainer.functions as F
import numpy
import pytest

import chainer_lstm.links as L
from chainer_lstm.datasets import RandomChunks, SequentialChunks
from chainer_lstm.models import CharacterModel, RNNForLM
from chainer_lstm.training import train_epoch

IDS = numpy.random.RandomState(0).randint(5, size=60).astype('i')


def model_and_optimizer(lr=0.5, clip=None, kind=L.LSTM):
    numpy.random.seed(0)
    with chainer.using_config('dtype', numpy.float64):
        model = CharacterModel(kind(5, 4), 5)
    optimizer = chainer.optimizers.SGD(lr).setup(model)
    if clip is not None:
        optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(clip))
    return model, optimizer


def expected_epoch(model, chunks, lr, clip):
    """Step by step with states as plain arrays; clipping and SGD by hand.  -> the perplexity."""
    total, tokens, state = 0, 0, (None, None)
    for x, t in chunks:
        model.reset_state()
        if chunks.continues and state[0] is not None:
            model.lstm.set_state(*state)
        losses = [F.softmax_cross_entropy(model(x), t) for x, t in zip(x, t)]
        loss = sum(losses) / len(x)
        model.cleargrads()
        loss.backward()
        norm = numpy.sqrt(sum((p.grad**2).sum() for p in model.params()))
        for param in model.params():
            param.array -= lr * param.grad * min(1, clip / norm)
        state = model.lstm.c.array, model.lstm.h.array
        total, tokens = total + float(loss.array) * t.size, tokens + t.size
    return numpy.exp(total / tokens)


@pytest.mark.parametrize('link', [L.LSTM, L.StatefulPeepholeLSTM])
@pytest.mark.parametrize('kind', [SequentialChunks, RandomChunks])
def test_state_gradients_and_perplexity(kind, link):
    model, optimizer = model_and_optimizer(clip=0.2, kind=link)
    expected = model.copy(mode='copy')
    chunks = [kind(IDS, 3, 4, numpy.random.RandomState(1)) for _ in range(2)]
    for _ in range(2):
        found = train_epoch(model, optimizer, chunks[0])
        perplexity = expected_epoch(expected, chunks[1], 0.5, 0.2)
        assert found.perplexity == pytest.approx(perplexity, rel=1e-10)
        assert found.tokens % 12 == 0
        assert found.seconds > 0
    for own, other in zip(model.params(), expected.params()):
        numpy.testing.assert_allclose(own.array, other.array, rtol=1e-9, atol=1e-12)


def test_no_graph_is_left():
    model, optimizer = model_and_optimizer()
    train_epoch(model, optimizer, SequentialChunks(IDS, 3, 4))
    assert model.lstm.c.creator is model.lstm.h.creator is None


def test_model_of_words_learns():
    numpy.random.seed(0)
    model = RNNForLM(5, 8, dropout=0)
    optimizer = chainer.optimizers.Adam(0.02).setup(model)
    chunks = SequentialChunks(numpy.arange(100, dtype='i') % 5, 4, 5)
    found = [train_epoch(model, optimizer, chunks).perplexity for _ in range(20)]
    assert found[-1] < 1.1 < 4 < found[0]


def test_wrong_chunks_and_models():
    model, optimizer = model_and_optimizer()
    with pytest.raises(TypeError, match='SequentialChunks or RandomChunks, got list'):
        train_epoch(model, optimizer, [(IDS[:, None], IDS[:, None])])
    with pytest.raises(TypeError, match='a model with reset_state, got Linear'):
        train_epoch(chainer.links.Linear(3, 3), optimizer, SequentialChunks(IDS, 3, 4))
