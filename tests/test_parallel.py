"""Training in threads and processes gives the bits of the same training alone."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading

import chainer
import chainer.functions as F
import numpy
import pytest

import chainer_lstm.links as L
from chainer_lstm import functions
from chainer_lstm.kernels import native
from tests.support import ROOT
from tests.support.engines import CPU_ENGINES

INPUT, UNITS, BATCH, TIME = 24, 64, 16, 6  # large enough for a team of threads
# of Python 3.12 on: a fork of a process that has threads, which is what is tested
FORKS = pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')


class Net(chainer.Chain):
    """A step at a time, whole sequences, and ragged ones."""

    def __init__(self, random):
        super().__init__(
            steps=L.LSTM(INPUT, UNITS),
            dense=L.SequenceLSTM(UNITS, UNITS, return_sequences=True),
            ragged=L.NStepBiLSTM(1, UNITS, UNITS, 0.0),
            out=L.Linear(2 * UNITS, 3),
        )
        for _, param in sorted(self.namedparams()):  # not from the generator that all threads share
            param.array[...] = random.uniform(-0.1, 0.1, param.shape)

    def forward(self, xs, t):
        """xs (B, T, I), t (B,)."""
        self.steps.reset_state()
        h = F.stack([self.steps(x) for x in F.separate(chainer.as_variable(xs), axis=1)], axis=1)
        hy, _, _ = self.ragged(None, None, [x[: 1 + k % TIME] for k, x in enumerate(self.dense(h))])
        # of our own, as a BLAS may not be forked while it computes
        y = functions.linear(F.concat([hy[0], hy[1]], axis=1), self.out.W, self.out.b)
        return F.softmax_cross_entropy(y, t)


def examples(seed, count=BATCH):
    random = numpy.random.RandomState(seed)
    return [
        (random.uniform(-1, 1, (TIME, INPUT)).astype('f'), numpy.int32(k % 3)) for k in range(count)
    ]


def train(seed, engine, updates=2):
    """-> the weights after some updates."""
    with chainer.using_config('lstm_engine', engine):
        net = Net(numpy.random.RandomState(seed))
        optimizer = chainer.optimizers.Adam().setup(net)
        xs, t = chainer.dataset.concat_examples(examples(seed))
        for _ in range(updates):
            optimizer.update(net, xs, t)
    return weights(net)


def weights(net):
    return {path: param.array.copy() for path, param in net.namedparams()}


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for path, value in expected.items():
        numpy.testing.assert_array_equal(actual[path], value, err_msg=path)


@pytest.fixture(autouse=True)
def _two_threads():
    """A team also where there is one core."""
    library = native.library()
    if library is not None:
        library.chainer_lstm_force_threads(2)
    yield
    if library is not None:
        library.chainer_lstm_force_threads(0)


@pytest.mark.slow
@pytest.mark.parametrize('engine', CPU_ENGINES)
def test_threads(engine):
    """Four at once, each with a net of its own, more than there are teams of native threads."""
    expected = [train(seed, engine) for seed in range(4)]
    together = threading.Barrier(4)

    def run(seed):
        together.wait(60)
        return [train(seed, engine) for _ in range(2)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for seed, results in enumerate(pool.map(run, range(4))):
            for weights in results:
                assert_equal(weights, expected[seed])


@pytest.mark.slow
@pytest.mark.parametrize('engine', CPU_ENGINES)
@pytest.mark.parametrize('method', ['fork', 'spawn'])
@FORKS
def test_processes(engine, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f'this system has no {method}')
    expected = [train(seed, engine) for seed in range(2)]
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        for seed, weights in enumerate(pool.map(train, range(2), [engine] * 2, timeout=120)):
            assert_equal(weights, expected[seed])


def _send(pipe):
    pipe.send(train(0, 'native'))


@pytest.mark.slow
@pytest.mark.skipif(native.library() is None, reason='the native engine was not built')
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system does not fork')
@FORKS
def test_forks_while_another_thread_is_in_a_kernel():
    """The child has no threads of the team, and whatever lock the other thread held is free
    in it.
    """
    expected = train(0, 'native')
    stop, losses, net = threading.Event(), [], Net(numpy.random.RandomState(1))
    xs, t = chainer.dataset.concat_examples(examples(1))

    def compute():  # draws nothing: NumPy's generator has a lock that a fork leaves locked
        with chainer.using_config('lstm_engine', 'native'):
            while not stop.is_set():
                net.cleargrads()
                loss = net(xs, t)
                loss.backward()
                losses.append([loss.array, *(param.grad.copy() for param in net.params())])

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        for _ in range(5):
            context = multiprocessing.get_context('fork')
            ours, theirs = context.Pipe()
            process = context.Process(target=_send, args=(theirs,), daemon=True)
            process.start()
            assert ours.poll(60), 'the forked process hangs'
            assert_equal(ours.recv(), expected)
            process.join(60)
            assert process.exitcode == 0
            assert_equal(train(0, 'native'), expected)  # and the parent still has its team
    finally:
        stop.set()
        thread.join()
    for loss in losses:
        for found, right in zip(loss, losses[0]):
            numpy.testing.assert_array_equal(found, right)


def updated(iterator, updates=5):
    net = Net(numpy.random.RandomState(0))
    updater = chainer.training.updaters.StandardUpdater(
        iterator, chainer.optimizers.SGD(0.1).setup(net)
    )
    for _ in range(updates):
        updater.update()
    updater.finalize()
    return weights(net)


@pytest.mark.parametrize('engine', CPU_ENGINES)
@FORKS
@pytest.mark.filterwarnings('ignore:setDaemon:DeprecationWarning')  # in Chainer
def test_multiprocess_iterator(engine):
    data = examples(0, 40)
    with chainer.using_config('lstm_engine', engine):
        expected = updated(chainer.iterators.SerialIterator(data, 10, shuffle=False))
        train(1, engine)  # there is a team of threads when the iterator forks
        found = updated(
            chainer.iterators.MultiprocessIterator(data, 10, shuffle=False, n_processes=2)
        )
    assert_equal(found, expected)


@pytest.mark.slow
def test_multiprocess_iterator_that_spawns(tmp_path):
    """A script whose first import is chainer_lstm, on systems that do not fork,
    and on all from Python 3.14 on.
    """
    (tmp_path / 'script.py').write_text(
        textwrap.dedent("""
        import chainer_lstm
        import multiprocessing, chainer, numpy

        if __name__ == '__main__':
            multiprocessing.set_start_method('spawn')
            data = numpy.arange(12, dtype='f').reshape(6, 2)
            iterator = chainer.iterators.MultiprocessIterator(
                data, 3, repeat=False, shuffle=False, n_processes=1)
            print([numpy.sum(batch) for batch in iterator] == [data[:3].sum(), data[3:].sum()])
            iterator.finalize()
    """)
    )
    done = subprocess.run(
        [sys.executable, tmp_path / 'script.py'],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert (done.stdout, done.returncode) == ('True\n', 0), done.stderr


def test_configuration_belongs_to_a_thread():
    x, link = numpy.ones((2, 3), 'f'), L.LSTM(3, 4)
    entered, leave = threading.Event(), threading.Event()

    def other():
        found = [
            chainer.config.lstm_engine,
            chainer.config.lstm_matmul_precision,
            chainer.config.lstm_forget_bias,
        ]
        with (
            chainer.using_config('lstm_engine', 'cupy'),
            chainer.using_config('lstm_forget_bias', 3),
        ):
            entered.set()
            leave.wait(60)
            with pytest.raises(ValueError, match='it cannot compute numpy arrays'):
                link.copy()(x)
            return found, L.LSTM(3, 4).upward.b.array[2]

    with (
        chainer.using_config('lstm_engine', 'numpy'),
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        future = pool.submit(other)
        assert entered.wait(60)
        assert chainer.config.lstm_engine == 'numpy'
        assert L.LSTM(3, 4).upward.b.array[2] == 1
        assert link(x).shape == (2, 4)
        leave.set()
        # a thread begins with the global entries, not with those of the thread that started it
        assert future.result() == (['auto', 'highest', 1], 3)
