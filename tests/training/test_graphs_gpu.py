"""Updates by CUDA graphs beside those without."""

import types

import chainer
import chainer.links as L
import numpy
import pytest
from chainer import serializers

from chainer_lstm import functions, kernels
from chainer_lstm.models import RNNForLM
from chainer_lstm.training import (
    BPTTUpdater,
    LanguageModelEvaluator,
    ParallelSequentialIterator,
)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures('cupy')]

WORDS, UNITS, BATCH, LENGTH, UPDATES = 50, 32, 4, 6, 20
TEXT = numpy.random.RandomState(0).randint(0, WORDS, 1000).astype('i')
OPTIMIZERS = {
    'sgd': lambda: chainer.optimizers.SGD(0.5),
    'momentum': lambda: chainer.optimizers.MomentumSGD(0.1),
    'adam': lambda: chainer.optimizers.Adam(1e-2),
}


@pytest.fixture(autouse=True)
def _same_engine():
    """Lets the same engine compute all updates; 'auto' would choose it by times."""
    with chainer.using_config('lstm_engine', 'cupy'):
        yield


class Training:
    """The training of a small language model, with its losses."""

    def __init__(self, graph, optimizer='sgd', predictor=RNNForLM, dropout=0.0, **options):
        chainer.get_device('@cupy:0').use()
        numpy.random.seed(0)
        self.rnn = predictor(WORDS, UNITS, dropout=dropout)
        self.model = L.Classifier(self.rnn, functions.softmax_cross_entropy)
        self.model.compute_accuracy = False
        self.model.to_device('@cupy:0')
        self.optimizer = OPTIMIZERS[optimizer]().setup(self.model)
        self.optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(0.5))
        words = ParallelSequentialIterator(TEXT, BATCH)
        self.updater = BPTTUpdater(words, self.optimizer, LENGTH, '@cupy:0', graph=graph, **options)
        self.losses = []
        self._reporter = chainer.Reporter()
        self._reporter.add_observer('main', self.model)

    def run(self, updates=UPDATES):
        for _ in range(updates):
            observation = {}
            with self._reporter.scope(observation):
                self.updater.update()
            self.losses.append(observation['main/loss'])

    def results(self):
        return {
            'losses': numpy.array([float(loss) for loss in self.losses]),
            **{name: p.array.get() for name, p in self.model.namedparams()},
            **{f'gradient{name}': p.grad.get() for name, p in self.model.namedparams()},
            **{
                f'state {name}{lstm.name}': value
                for lstm in self.rnn.lstms
                for name, value in lstm.save_state().items()
            },
        }


def check(run, replays, **options):
    """Compare a training with graphs, which has to replay them so often, with one without."""
    expected, actual = Training(False, **options), Training(True, **options)
    for training in expected, actual:
        training.rnn.xp.random.seed(0)
        run(training)
    assert actual.updater.replays == replays
    found = actual.results()
    for name, value in expected.results().items():
        numpy.testing.assert_allclose(found[name], value, 2e-4, 2e-5, err_msg=name)


@pytest.mark.parametrize('stepwise', [False, True])
@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_same_updates(optimizer, stepwise):
    check(Training.run, UPDATES - 4, optimizer=optimizer, stepwise=stepwise)


def test_same_dropout():
    check(Training.run, UPDATES - 4, dropout=0.5)


@pytest.mark.parametrize('precision', ['highest', 'high'])
def test_same_updates_by_the_persistent_engine(cupy, precision):
    if int(cupy.cuda.Device().compute_capability) < 80:
        pytest.skip('the persistent engine needs compute capability 8.0')
    with (
        chainer.using_config('lstm_engine', 'persistent'),
        chainer.using_config('lstm_matmul_precision', precision),
    ):
        check(Training.run, UPDATES - 4, dropout=0.5)


def test_changes_between_updates():
    """Another rate, states that the program sets, other arrays, an evaluation of the model."""

    def run(training):
        training.run(10)
        training.optimizer.lr /= 2
        training.run(2)
        c = numpy.full((BATCH, UNITS), 0.5, 'f')
        training.rnn.l1.set_state(c, -c)
        training.run(2)
        LanguageModelEvaluator(TEXT[:100], training.model, BATCH)()
        training.run(4)
        training.rnn.l2.upward.W.array = training.rnn.l2.upward.W.array.copy()
        training.run(6)

    # after the evaluation begins a state, and other weights are warmed up anew
    check(run, 10 + 2 + 2 + 3 + 3 - 4)


def test_chunks_of_several_lengths():
    def run(training):
        for length in (LENGTH, 3, LENGTH, 3, LENGTH):
            training.updater.bprop_len = length
            training.run(6)

    check(run, 30 - 1 - 3 - 3)


def test_training_from_a_snapshot(tmp_path):
    def run(training):
        for lstm in training.rnn.lstms:
            lstm.persistent_state = True
        training.run(8)
        path = tmp_path / 'snapshot.npz'
        serializers.save_npz(path, training.updater)
        training.run(3)
        serializers.load_npz(path, training.updater)
        training.run(6)

    check(run, 8 + 3 + 6 - 4, optimizer='adam')


class Counting(RNNForLM):
    """A model that has a number of its own for each call."""

    def __init__(self, *args, **kwds):
        super().__init__(*args, **kwds)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) / self.calls


class Carrying(RNNForLM):
    """A model that has a state of its own."""

    def __init__(self, *args, **kwds):
        super().__init__(*args, **kwds)
        self.carried = None

    def forward(self, x):
        y = super().forward(x)
        before, self.carried = self.carried, y.array
        return y if before is None else y + 0.1 * before


class Remembering(RNNForLM):
    """A model that has a state of its own, in a list."""

    def __init__(self, *args, **kwds):
        super().__init__(*args, **kwds)
        self.carried = [0]

    def forward(self, x):
        y = super().forward(x)
        before, self.carried[0] = self.carried[0], y.array
        return y + 0.1 * before


class Memory(RNNForLM):
    """A model whose state is in an object that is no link."""

    def __init__(self, *args, **kwds):
        super().__init__(*args, **kwds)
        self.memory = types.SimpleNamespace(y=0)

    def forward(self, x):
        y = super().forward(x)
        before, self.memory.y = self.memory.y, y.array
        return y + 0.1 * before


class Drawing(RNNForLM):
    """A model that draws a random number on the host."""

    def forward(self, x):
        y = super().forward(x)
        return y if numpy.random.rand() < 1 else -y


class DrawingOfItsOwn(RNNForLM):
    """The same with its own generator."""

    def __init__(self, *args, **kwds):
        super().__init__(*args, **kwds)
        self.random = numpy.random.default_rng(0)

    def forward(self, x):
        y = super().forward(x)
        return y if self.random.random() < 1 else -y


class DrawingFromCuPy(RNNForLM):
    """A model that draws by a kernel of CuPy to which the host passes a seed."""

    def forward(self, x):
        y = super().forward(x)
        return y * self.xp.random.binomial(1, 1, y.shape).astype('f')


class Waiting(RNNForLM):
    """A model that looks at its scores."""

    def forward(self, x):
        y = super().forward(x)
        return y / (1 + abs(float(y.array.max())))


@pytest.mark.parametrize(
    'predictor',
    [Counting, Carrying, Remembering, Memory, Drawing, DrawingOfItsOwn, DrawingFromCuPy, Waiting],
)
def test_model_that_cannot_be_captured(predictor):
    expected, actual = Training(False, predictor=predictor), Training(True, predictor=predictor)
    expected.run()
    with pytest.warns(RuntimeWarning, match='without a CUDA graph: the capture failed'):
        actual.run()
    assert actual.updater.replays == 0
    numpy.testing.assert_allclose(actual.results()['losses'], expected.results()['losses'], 1e-4)


def test_hooks_see_every_call():
    training = Training(True)
    training.run(6)
    hook = chainer.function_hooks.TimerHook()
    with pytest.warns(RuntimeWarning, match='hooks'), hook:
        training.run(2)
    assert hook.call_history
    training.run(2)
    assert training.updater.replays == 4


def test_time_out(cupy):
    """A replay finds that a kernel before it timed out; later ones go on."""
    with chainer.using_config('lstm_engine', 'persistent'):
        training = Training(True)
        training.run(8)
        cupy.cuda.Device().synchronize()
        kernels.engine_of(cupy.zeros(1), 'persistent')._error()[0] = 1
        with pytest.raises(RuntimeError, match='timed out'):
            training.run(1)
        training.run(5)
    assert training.updater.replays == 4 + 5


def test_states_that_change_places():
    class Swapping(RNNForLM):
        def forward(self, x):
            y = super().forward(x)
            self.l1.h, self.l2.h = self.l2.h, self.l1.h
            self.l1.c, self.l2.c = self.l2.c, self.l1.c
            return y

    check(Training.run, UPDATES - 4, predictor=Swapping)


def test_reported_losses_are_arrays_of_their_own():
    training = Training(True)
    training.run(10)
    assert len({loss.data.ptr for loss in training.losses}) == 10


def test_attributes_changed_in_place():
    class Scaled(RNNForLM):
        def __init__(self, *args, **kwds):
            super().__init__(*args, **kwds)
            self.options = {'scale': [1.0]}

        def forward(self, x):
            return super().forward(x) * self.options['scale'][0]

    def run(training):
        training.run(8)
        training.rnn.options['scale'][0] = 2.0
        training.run(6)

    check(run, 8 - 4 + 6 - 3, predictor=Scaled)


def test_parameters_of_one_gradient():
    """Chainer's code updates them, which a graph must not replay with the rate of the capture."""

    class Summed(RNNForLM):
        def __init__(self, *args, **kwds):
            super().__init__(*args, **kwds)
            with self.init_scope():
                self.p, self.q = (chainer.Parameter(numpy.zeros((1, WORDS), 'f')) for _ in 'pq')

        def forward(self, x):
            y = super().forward(x)
            return y + chainer.functions.broadcast_to(self.p + self.q, y.shape)

    def run(training):
        training.optimizer.remove_hook('GradientClipping')
        training.run(8)
        training.optimizer.lr /= 4
        training.run(6)

    check(run, 8 + 6 - 4, predictor=Summed)


def test_optimizer_of_another_model():
    training = Training(True)
    for _ in range(2):
        training.optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(0.1))
        training.run(1)
        replays = training.updater.replays
        training.run(6)
        assert training.updater.replays >= replays + 3
        other = training.model.copy('copy')
        training._reporter.add_observer('main', other)
        training.optimizer.setup(other)
    training.run(1)
    assert training.updater.replays == 2 * 3
