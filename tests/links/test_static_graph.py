"""Inside chainer.static_graph, which records the functions of the first call and replays them."""

import chainer
import chainer.functions as F
import chainer.links
import numpy
import pytest

import chainer_lstm
import chainer_lstm.links
from chainer_lstm import functions
from tests.support.arrays import uniform

SIZES = {'NStepLSTM': (1, 4, 5, 0.0), 'NStepBiLSTM': (1, 4, 5, 0.0)}


class Net(chainer.Chain):
    def __init__(self, module, name):
        super().__init__()
        numpy.random.seed(0)
        with self.init_scope():
            self.cell = getattr(module, name)(*SIZES.get(name, (4, 5)))

    @chainer.static_graph(verbosity_level=0)
    def __call__(self, *xs):
        name = type(self.cell).__name__
        if name in SIZES:
            return self.cell(None, None, list(xs))[0]
        if name == 'StatelessLSTM':
            c = h = None
            for x in xs:
                c, h = self.cell(c, h, x)
            return h
        self.cell.reset_state()
        return [self.cell(x) for x in xs][-1]


def gradients(module, name, length):
    net, random = Net(module, name), numpy.random.RandomState(1)
    for _ in range(3):  # recorded once, replayed twice
        y = net(*(random.randn(2, 4).astype('f') for _ in range(length)))
        net.cleargrads()
        y.grad = numpy.ones_like(y.array)
        y.backward()
        yield {key: param.grad.copy() for key, param in net.namedparams() if param.grad is not None}


@pytest.mark.parametrize('length', [1, 3])
@pytest.mark.parametrize(
    'name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM', 'NStepLSTM', 'NStepBiLSTM']
)
def test_gradients_are_chainers(name, length):
    assert_equal(
        gradients(chainer_lstm.links, name, length), gradients(chainer.links, name, length)
    )


@pytest.mark.parametrize('name', ['LSTM', 'NStepLSTM'])
def test_gradients_are_chainers_where_ours_is_installed(name):
    """Ours hands over to Chainer's functions, which must not be ours again."""
    expected = list(gradients(chainer.links, name, 3))
    with chainer_lstm.installed():
        assert_equal(gradients(chainer.links, name, 3), expected)


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected):
        assert sorted(ours) == sorted(theirs)
        for key, gradient in ours.items():
            numpy.testing.assert_allclose(gradient, theirs[key], rtol=1e-5, atol=1e-6, err_msg=key)


class Step(chainer.Chain):
    """A function of the package on parameters, recorded or not."""

    def __init__(self, function, n_peepholes):
        super().__init__()
        self.function = function
        shapes = [(16, 3), (16,), (16, 4), *[(4, 4)] * n_peepholes]
        with self.init_scope():
            for k, shape in enumerate(shapes):
                setattr(self, f'p{k}', chainer.Parameter(uniform(shape, 'f', seed=k)))
        self.weights = [getattr(self, f'p{k}') for k in range(len(shapes))]

    @chainer.static_graph(verbosity_level=0)
    def __call__(self, *inputs):
        return tuple(self.function(*inputs, self.weights))


FUNCTIONS = {
    'peephole_lstm_step': (
        lambda c, h, x, weights: functions.peephole_lstm_step(c, h, x, *weights),
        3,
    ),
    'lstm_sequence': (
        lambda c, h, x, weights: functions.lstm_sequence(h, c, F.stack((x, x)), [weights]),
        0,
    ),
    'lstm_sequence with peepholes': (
        lambda c, h, x, weights: functions.lstm_sequence(h, c, F.stack((x, x)), [weights]),
        3,
    ),
}


@pytest.mark.parametrize('name', FUNCTIONS)
def test_functions(name):
    """What is replayed is what is computed without recording."""
    function, n_peepholes = FUNCTIONS[name]
    net = Step(function, n_peepholes)
    for call in range(3):
        inputs = [
            uniform(shape, 'f', seed=10 * call + k)
            for k, shape in enumerate(((2, 4), (2, 4), (2, 3)))
        ]
        found = []
        for step in (net, lambda *inputs: function(*inputs, net.weights)):
            net.cleargrads()
            ys = step(*map(chainer.Variable, inputs))
            sum(F.sum(y * y) for y in ys).backward()
            found.append([*(y.array for y in ys), *(weight.grad for weight in net.weights)])
        for one, other in zip(*found):
            numpy.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


LEARNED = {
    'LSTM': lambda link, x: link(x[:, 0]),
    'StatefulPeepholeLSTM': lambda link, x: link(x[:, 0]),
    'SequenceLSTM': lambda link, x: link(x),
    'NStepLSTM': lambda link, x: link(None, None, [x[0], x[1]])[0],
}


class Learning(chainer.Chain):
    """Begins each call with the learned state."""

    def __init__(self, name):
        super().__init__()
        numpy.random.seed(0)
        self.call = LEARNED[name]
        with self.init_scope():
            cls = getattr(chainer_lstm.links, name)
            self.link = cls(*SIZES.get(name, (4, 5)), learn_initial_state=True)
        for k, param in enumerate((self.link.c0, self.link.h0)):
            param.array[...] = uniform(param.shape, 'f', seed=k)

    def plain(self, x):
        if hasattr(self.link, 'reset_state'):
            self.link.reset_state()
        return self.call(self.link, x)

    __call__ = chainer.static_graph(verbosity_level=0)(plain)


@pytest.mark.parametrize('name', LEARNED)
def test_learned_states(name):
    net = Learning(name)
    for k in range(3):
        x, found = chainer.Variable(uniform((2, 3, 4), 'f', seed=k)), []
        for call in (net, net.plain):
            y = call(x)
            net.cleargrads()
            y.grad = numpy.ones_like(y.array)
            y.backward()
            found.append([y.array.copy(), *(p.grad for _, p in sorted(net.namedparams()))])
        for ours, theirs in zip(*found):
            numpy.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
