"""Cells with a mistake: an error says what is wrong, and nothing is computed with it."""

import chainer
import pytest

from chainer_lstm import functions, links
from chainer_lstm.cells import Cell, Product
from tests.cells.coupled import Coupled
from tests.functions.cell_cases import INPUT, UNITS, Stack, check, state_of, weights_of
from tests.support.arrays import uniform

pytestmark = pytest.mark.pairwise

GATES = ('a', 'f', 'o')


@pytest.mark.parametrize('name', ['W', 'b', 'x', 'c', 'U'])
def test_a_weight_of_a_name_that_is_taken(name):
    class Wrong(Coupled):
        products = (Product('U', 'h', GATES), Product(name, 'c', ('f',)))

    with pytest.raises(ValueError, match='expected weights of different names'):
        Wrong().shapes(INPUT, UNITS)


def test_a_weight_that_is_a_method_of_a_link():
    class Wrong(Coupled):
        products = (Product('params', 'h', GATES),)

    with pytest.raises(ValueError, match='other than attributes of links, got params'):
        links.SequenceLSTM(INPUT, UNITS, cell=Wrong())


def changed(gates=lambda gates: gates, state=lambda state: state):
    """Return what changes the result of a method."""
    return lambda found: (gates(found[0]), state(found[1]))


RESULTS = {
    'one too few': changed(gates=lambda gates: gates[:2]),
    'one too many': changed(gates=lambda gates: (*gates, gates[0])),
    'one of one column': changed(gates=lambda gates: (gates[0][:, :1], *gates[1:])),
    'one of one row': changed(gates=lambda gates: (gates[0][:1], *gates[1:])),
    'None': changed(gates=lambda gates: (None, *gates[1:])),
    'a state of one column': changed(state=lambda state: state._replace(c=state.c[:, :1])),
    'no c': changed(state=lambda state: state._replace(c=None)),
    'a tuple of states': changed(state=tuple),
}


@pytest.mark.parametrize('sequence', [False, True], ids=['step', 'sequence'])
@pytest.mark.parametrize('method', ['forward', 'backward'])
@pytest.mark.parametrize('result', RESULTS)
def test_what_a_method_returns(result, method, sequence, engine):
    class Wrong(Coupled):
        pass

    def wrong(self, *args):
        return RESULTS[result](getattr(super(Wrong, self), method)(*args))

    setattr(Wrong, method, wrong)
    cell, x = Wrong(), chainer.Variable(uniform((3, INPUT)))
    state, weights = state_of(cell, 3), weights_of(cell)

    def run():
        if sequence:
            return functions.sequence(cell, state, [x], [weights])[0].c
        return functions.step(cell, state, x, weights).c

    if method == 'forward':
        with pytest.raises(ValueError, match='coupled: forward: expected .* of shape'):
            run()
        return
    y = run()
    with pytest.raises(ValueError, match='coupled: backward: expected .* of shape'):
        chainer.grad([y], [x], [y])


class Residual(Cell):
    """Its gradients with respect to the states are the given ones, which may be the number 0; its
    weights have the names of its gates.
    """

    name = 'residual'
    gates = ['a', 'i']
    products = (Product('a', 'h', ('a',)), Product('i', 'h', ('i',)))

    def forward(self, xp, gates, before):
        a, i = xp.tanh(gates.a), xp.tanh(gates.i)
        return (a, i), self.State(before.c + a * i, before.h + a)

    def backward(self, xp, gates, before, new, gradients):
        a, i = gates
        ga = (gradients.c * i + gradients.h) * (1 - a * a)
        return (ga, gradients.c * a * (1 - i * i)), self.State(gradients.c, gradients.h)


@pytest.mark.parametrize('output', [0, 1], ids=['c', 'h'])
def test_gradients_that_are_the_number_0(output, engine):
    cell = Residual()
    inputs = [*state_of(cell, UNITS), chainer.Variable(uniform((UNITS, INPUT))), *weights_of(cell)]

    def step(*given):
        return functions.step(cell, given[:2], given[2], given[3:])[output : output + 1]

    arrays = tuple(v.array for v in inputs)
    check(step, arrays, [uniform((UNITS, UNITS))], False)
    stack = Stack(cell, (3, 3, 1), 2)
    check(stack.function, tuple(v.array for v in stack.inputs), stack.outputs(), False)
