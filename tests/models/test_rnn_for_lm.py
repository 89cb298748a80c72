import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import link_hooks, serializers

from chainer_lstm.models import RNNForLM

WORDS, UNITS = 11, 6
X = numpy.array([3, 1, 10, 0], numpy.int32)


class ChainerModel(chainer.Chain):
    """The model as people have it in their scripts, from Chainer's own links."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(WORDS, UNITS)
            self.l1 = L.LSTM(UNITS, UNITS)
            self.l2 = L.LSTM(UNITS, UNITS)
            self.l3 = L.Linear(UNITS, WORDS)
        for param in self.params():
            param.array[...] = numpy.random.uniform(-0.1, 0.1, param.shape)

    def __call__(self, x):
        h = self.embed(x)
        for layer in (self.l1, self.l2, self.l3):
            h = layer(F.dropout(h))
        return h


def seeded(make):
    numpy.random.seed(0)
    return make()


@pytest.fixture
def pair():
    return seeded(ChainerModel), seeded(lambda: RNNForLM(WORDS, UNITS))


def test_weights_of_chainers_example_under_one_seed(pair):
    expected, model = (dict(link.namedparams()) for link in pair)
    assert sorted(model) == sorted(expected)
    for name, param in model.items():
        numpy.testing.assert_array_equal(param.array, expected[name].array)


@pytest.mark.parametrize('train', [True, False])
def test_steps_of_chainers_example_with_the_same_dropout(pair, train):
    # bit for bit where NumPy computes, as it does for Chainer
    with chainer.using_config('train', train), chainer.using_config('lstm_engine', 'numpy'):
        results = [seeded(lambda link=link: [link(X).array for _ in range(3)]) for link in pair]
    for expected, y in zip(*results):
        numpy.testing.assert_array_equal(y, expected)


def test_v1_train_flag_warns_and_decides(pair):
    with pytest.warns(DeprecationWarning, match='the train flag of RNNForLM is that of Chainer v1'):
        model = RNNForLM(WORDS, UNITS, train=False)
    first = model(X).array
    model.reset_state()
    numpy.testing.assert_array_equal(
        model(X).array, first
    )  # no dropout, though chainer.config.train
    model.train = True
    model.reset_state()
    assert (model(X).array != first).any()


def test_reset_state_forgets():
    model = RNNForLM(WORDS, UNITS, dropout=0)
    first = model(X).array
    assert (model(X).array != first).any()
    model.reset_state()
    numpy.testing.assert_array_equal(model(X).array, first)


def test_chunk_is_its_steps():
    steps, chunk = (seeded(lambda: RNNForLM(WORDS, UNITS, dropout=0)) for _ in range(2))
    x = numpy.array([[3, 1], [10, 0], [3, 3]], numpy.int32)
    for part in (x, x[:2, :1]):  # a batch may shrink
        expected = numpy.concatenate([steps(words).array for words in part])
        numpy.testing.assert_allclose(chunk(part).array, expected, rtol=1e-5, atol=1e-7)
        numpy.testing.assert_allclose(chunk.l2.h.array, steps.l2.h.array, rtol=1e-5, atol=1e-7)


def test_output_layer_that_was_hooked_or_replaced_is_called():
    model = RNNForLM(WORDS, UNITS, dropout=0)
    expected = model(X).array
    model.reset_state()
    hook = link_hooks.TimerHook()
    model.l3.add_hook(hook)
    numpy.testing.assert_allclose(model(X).array, expected, rtol=1e-5, atol=1e-7)
    assert [link for link, _ in hook.call_history] == ['Linear']
    model.l3 = L.Linear(UNITS, 2, nobias=True)
    assert model(X).shape == (4, 2)


def test_words_with_three_axes():
    with pytest.raises(
        ValueError, match=r'of shape \(batch,\) or \(time, batch\), got \(1, 1, 1\)'
    ):
        RNNForLM(WORDS, UNITS)(numpy.zeros((1, 1, 1), numpy.int32))


def test_layers_and_init():
    model = RNNForLM(WORDS, UNITS, n_layers=3, init=0.01)
    assert [lstm.name for lstm in model.lstms] == ['l1', 'l2', 'l3']
    assert model.l4.W.shape == (WORDS, UNITS)
    assert all(abs(param.array).max() <= 0.01 for param in model.params())


@pytest.mark.parametrize('n_layers', [1, 2])
@pytest.mark.parametrize(
    'wrap', [lambda model: model, L.Classifier], ids=['alone', 'in a classifier']
)
def test_from_npz_finds_sizes_and_weights(tmp_path, n_layers, wrap):
    model = RNNForLM(WORDS, UNITS, n_layers=n_layers)
    path = tmp_path / 'model.npz'
    serializers.save_npz(str(path), wrap(model))
    loaded = RNNForLM.from_npz(path)
    with chainer.using_config('train', False):
        numpy.testing.assert_array_equal(loaded(X).array, model(X).array)


def test_from_npz_of_something_else(tmp_path):
    path = tmp_path / 'model.npz'
    serializers.save_npz(str(path), L.Linear(2, 3))
    with pytest.raises(
        ValueError, match=r"expected the weights of an RNNForLM in .*, got \['W', 'b'\]"
    ):
        RNNForLM.from_npz(path)


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut', b'no archive'])
def test_from_npz_of_a_damaged_file(tmp_path, content):
    path = tmp_path / 'model.npz'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='expected an npz file of a model in'):
        RNNForLM.from_npz(path)


@pytest.mark.parametrize('words', [(0,), (2, 0), (0, 2)])
def test_no_words(words):
    model = RNNForLM(WORDS, UNITS)
    first = model(X[:2])
    y = model(numpy.zeros(words, 'i'))
    assert y.shape == (0, WORDS)
    (F.sum(first) + F.sum(y)).backward()
    assert model.l1.h.shape == (2, UNITS)


@pytest.mark.parametrize('words', [[-1, 0], [0, -1], [WORDS, 0], [[0, 1], [-1, 2]]])
def test_words_that_are_not_there_leave_the_state(words):
    model = RNNForLM(WORDS, UNITS)
    model(X[:2])
    before = model.l1.h
    message = f'x: expected word ids from 0 to {WORDS - 1}, got (-1|{WORDS})'
    with pytest.raises(ValueError, match=message):
        model(numpy.array(words, 'i'))
    assert model.l1.h is before


def test_first_and_last_word():
    assert RNNForLM(WORDS, UNITS)(numpy.array([0, WORDS - 1], 'i')).shape == (2, WORDS)


@pytest.mark.parametrize('label', [-1, WORDS])
def test_label_that_the_embedding_ignores(label):
    model = RNNForLM(WORDS, UNITS, dropout=0)
    model.embed = L.EmbedID(WORDS, UNITS, ignore_label=label)
    model.cleargrads()
    F.sum(model(numpy.array([[0, label], [label, 2]], 'i'))).backward()
    assert abs(model.embed.W.grad[[0, 2]]).min() > 0
    message = f'from 0 to {WORDS - 1}, or {label} for those to ignore, got -2'
    with pytest.raises(ValueError, match=message):
        model(numpy.array([label, -2], 'i'))


class Hashing(L.EmbedID):
    """An embedding that takes any integer."""

    def forward(self, x):
        return super().forward(x.array % WORDS)


def test_embedding_of_the_users_own_checks_its_words_itself():
    model = RNNForLM(WORDS, UNITS)
    model.embed = Hashing(WORDS, UNITS)
    assert model(numpy.array([-1, WORDS], 'i')).shape == (2, WORDS)
