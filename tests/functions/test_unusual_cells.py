"""What the contract of a cell allows, but no cell of the package or of the tests does."""

import functools

import chainer
import chainer.functions as F
import pytest

from chainer_lstm import cells, functions, links
from chainer_lstm.cells import Cell, Peephole, Product, Stage
from tests.cells import zoneout
from tests.cells.coupled import Coupled
from tests.functions.cell_cases import (
    INPUT,
    UNITS,
    Stack,
    arrays,
    check,
    check_that_a_sequence_is_its_steps,
    state_of,
    weights_of,
)
from tests.support.arrays import assert_close, gradients, uniform, variables
from tests.support.engines import CPU_ENGINES

pytestmark = pytest.mark.pairwise


class OtherOrder(Coupled):
    """x enters two of three gates, in another order than theirs."""

    name = 'other order'
    inputs = ('f', 'a')


class Alone(Coupled):
    """Without a product: h is no input."""

    name = 'alone'
    products = ()


class Elman(Cell):
    """h' = tanh(x Wᵀ + b + h Uᵀ): one gate, and a state that enters by a product alone."""

    name = 'elman'
    gates = ('a',)
    states = ('h',)
    products = (Product('U', 'h', gates),)

    def forward(self, xp, gates, before):
        a = xp.tanh(gates.a)
        return (a,), self.State(a)

    def backward(self, xp, gates, before, new, gradients):
        return (gradients.h * (1 - gates.a * gates.a),), self.State(0 * gradients.h)


class Biased(Peephole):
    """Two stages, with a product of c that enters two gates, and biases of the first stage."""

    name = 'biased'
    products = (
        Product('U', 'h', ('a', 'i', 'f', 'o'), bias='d'),
        Product('P', 'c', ('f', 'i'), bias='p'),
    )


class BiasedOutput(Biased):
    """A bias of the second stage."""

    name = 'biased output'

    @functools.cached_property
    def stages(self):
        first, second = super().stages
        products = (Product('P_o', 'c', ('o',), bias='q'),)
        fields = (second.gates, second.reads, second.writes, second.needs)
        return first, Stage(products, *fields, second.forward, second.backward)


class FirstWithoutBackward(Peephole):
    name = 'first without backward'
    backward = None


class SecondWithoutBackward(Peephole):
    name = 'second without backward'
    output_backward = None


CELLS = [
    OtherOrder(),
    Alone(),
    Elman(),
    Biased(),
    BiasedOutput(),
    FirstWithoutBackward(),
    SecondWithoutBackward(),
]


@pytest.fixture(params=CELLS, ids=lambda cell: cell.name)
def cell(request):
    return request.param


def test_finite_differences(cell, engine):
    stack = Stack(cell, (3, 3, 1), 2, 2, 1)
    for double in (False, True):
        check(stack.function, tuple(arrays(stack.inputs)), stack.outputs(), double)
    check_that_a_sequence_is_its_steps(cell)


@pytest.mark.parametrize('more', [0, 2], ids=['same rows', 'rows more'])
def test_gradients_of_chains_do_not_depend_on_how_they_are_made(cell, engine, more):
    weights, first = weights_of(cell), state_of(cell, 3, more)
    xs = variables(uniform((3, INPUT), seed=k) for k in range(4))

    def run(weights_of_step):
        state, outputs = first, []
        for x in xs:
            state = functions.step(cell, state, x, weights_of_step())
            outputs += state
        return outputs

    inputs = [*weights, *xs, *first]
    found = gradients(run(lambda: weights), inputs)
    twice = gradients(run(lambda: weights), inputs, 2)[: len(inputs)]
    apart = gradients(run(lambda: [F.identity(w) for w in weights]), inputs)
    assert_close(found, twice)
    assert_close(found, apart)


@pytest.mark.parametrize('engine', CPU_ENGINES)
def test_forward_of_a_subclass_runs(engine):
    class Halved(cells.LSTM):
        def forward(self, xp, gates, before):
            gates, new = super().forward(xp, gates, before)
            return gates, new._replace(h=new.h * 0.5)

    state, weights = state_of(cells.lstm, 3), weights_of(cells.lstm)
    x = uniform((3, INPUT))
    whole = functions.step(cells.lstm, state, x, weights)
    with chainer.using_config('lstm_engine', engine):
        half = functions.step(Halved(), state, x, weights)
    assert_close(half, whole._replace(h=whole.h * 0.5))


def test_a_subclass_with_other_gates():
    class Fewer(cells.LSTM):
        gates = ('a', 'f', 'o')
        products = (Product('U', 'h', gates),)

    assert Fewer().shapes(INPUT, UNITS)['W'] == (3 * UNITS, INPUT)


class Recorded(chainer.Chain):
    def __init__(self, **options):
        super().__init__()
        with self.init_scope():
            self.rnn = links.SequenceLSTM(INPUT, UNITS, **options)

    @chainer.static_graph(verbosity_level=0)
    def __call__(self, x):
        return self.rnn(x)


def test_noise_in_a_static_graph():
    net, x = Recorded(cell=zoneout), uniform((2, 5, INPUT), 'f')
    with pytest.raises(ValueError, match=r'expected no chainer\.static_graph around zoneout'):
        net(x)
    with chainer.using_config('train', False):
        assert_close([net(x)], [net.rnn(x)])


@pytest.mark.parametrize('options', [{'cell_clip': 1}, {'recurrent_activation': 'hard_sigmoid'}])
def test_clip_in_a_static_graph(options):
    with pytest.raises(ValueError, match=r'chainer\.functions\.clip it does not replay'):
        Recorded(**options)(uniform((2, 5, INPUT), 'f'))


def test_options_in_a_static_graph():
    net = Recorded(coupled=True, peephole='diagonal')
    for seed in range(3):
        x = uniform((2, 5, INPUT), 'f', seed=seed)
        assert_close([net(x)], [net.rnn(x)])
