"""How many autograd nodes a call makes, and Chainer's hook ``rnn``, for which it makes more."""

import collections

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest

from chainer_lstm import cells, functions, links
from tests.cells import CELLS
from tests.support.arrays import assert_close, gradients, uniforms, variables
from tests.support.links import INPUT, UNITS

pytestmark = pytest.mark.pairwise

BATCH, TIME = 4, 5
LENGTHS = {
    'equal lengths': (3, 3),
    'ragged': (4, 2, 1),
    'unsorted': (1, 4, 2),
    'one sequence': (3,),
    'a sequence of length 0': (2, 0, 3),
}
EACH_CELL = pytest.mark.parametrize('cell', CELLS.values(), ids=CELLS)
BOTH = pytest.mark.parametrize('name', ['NStepLSTM', 'NStepBiLSTM'])


def nodes(*outputs):
    """How many nodes of each kind are reachable from variables, or lists of them."""
    found = set()
    left = {creator for y in outputs for creator in _creators(y)}
    while left:
        node = left.pop()
        found.add(node)
        left |= {x.creator_node for x in node.inputs} - found - {None}
    return dict(collections.Counter(type(node).__name__ for node in found))


def _creators(y):
    ys = y if isinstance(y, (list, tuple)) else [y]
    return {v.creator_node for v in ys} - {None}


def random(*shapes):
    return variables(uniforms(shapes, 'f'))


# A single step


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize(
    ('name', 'kinds'),
    [
        ('LSTM', ['StepNode']),
        # h is a function of the variable c, as in Chainer, whose programs cut the graph at c
        ('StatefulPeepholeLSTM', ['FirstStage', 'SecondStage']),
    ],
)
def test_steps_of_a_stateful_link(name, kinds, count):
    link = getattr(links, name)(INPUT, UNITS)
    for x in random(*[(BATCH, INPUT)] * count):
        link(x)
    assert nodes(link.c, link.h) == dict.fromkeys(kinds, count)


def test_a_smaller_batch_splits_h_and_joins_it_again():
    link = links.LSTM(INPUT, UNITS)
    for x in random((BATCH, INPUT), (BATCH - 1, INPUT)):
        link(x)
    assert nodes(link.c, link.h) == {'StepNode': 2, 'SplitAxis': 1, 'Concat': 1}


@pytest.mark.parametrize('given', [False, True], ids=['no state', 'a state'])
def test_stateless_lstm(given):
    c, h, x = random((BATCH, UNITS), (BATCH, UNITS), (BATCH, INPUT))
    link = links.StatelessLSTM(INPUT, UNITS)
    assert nodes(*link(*((c, h) if given else (None, None)), x)) == {'StepNode': 1}


@EACH_CELL
def test_step(cell):
    shapes = [*[(BATCH, UNITS)] * len(cell.states), (BATCH, INPUT)]
    *state, x = random(*shapes)
    new = functions.step(cell, state, x, random(*cell.shapes(INPUT, UNITS).values()))
    kinds = ['StepNode'] if len(cell.stages) == 1 else ['FirstStage', 'SecondStage']
    assert nodes(*new) == dict.fromkeys(kinds, 1)


# Sequences


@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('batches', [None, (3, 3), (3, 2, 1)], ids=['array', 'list', 'ragged'])
def test_forward_sequence(name, batches):
    link = getattr(links, name)(INPUT, UNITS)
    (dense,) = random((TIME, 3, INPUT))
    xs = dense if batches is None else random(*((batch, INPUT) for batch in batches))
    for count in (1, 2):
        ys = link.forward_sequence(xs)
        last = ys if batches is None else list(ys)
        assert nodes(last, link.c, link.h) == {'SequenceNode': count}


@BOTH
@pytest.mark.parametrize('layers', [1, 2])
@pytest.mark.parametrize('given', [False, True], ids=['no state', 'a state'])
@pytest.mark.parametrize('lengths', LENGTHS.values(), ids=LENGTHS)
def test_n_step(name, layers, given, lengths):
    link = getattr(links, name)(layers, INPUT, UNITS, 0.5)
    state = [None, None]
    if given:
        state = random(*[(layers * link.direction, len(lengths), UNITS)] * 2)
    outputs = link(*state, random(*((length, INPUT) for length in lengths)))
    assert nodes(*outputs) == {'SequenceNode': 1}


@BOTH
def test_n_step_cuts_a_state_of_more_rows_than_sequences(name):
    link = getattr(links, name)(1, INPUT, UNITS, 0)
    hx, cx, x = random(*[(link.direction, 3, UNITS)] * 2, (2, INPUT))
    assert nodes(*link(hx, cx, [x])) == {'GetItem': 2, 'SequenceNode': 1}


@pytest.mark.parametrize('directions', [1, 2])
def test_n_step_functions(directions):
    function = functions.n_step_lstm if directions == 1 else functions.n_step_bilstm
    link = (links.NStepLSTM if directions == 1 else links.NStepBiLSTM)(2, INPUT, UNITS, 0)
    hx, cx, *xs = random(*[(2 * directions, 3, UNITS)] * 2, (3, INPUT), (2, INPUT))
    assert nodes(*function(2, 0.5, hx, cx, link.ws, link.bs, xs)) == {'SequenceNode': 1}


@EACH_CELL
@pytest.mark.parametrize('dense', [True, False], ids=['array', 'ragged'])
def test_sequence(cell, dense):
    *states, xs = random(*[(2, 3, UNITS)] * len(cell.states), (TIME, 3, INPUT))
    weights = [random(*cell.shapes(INPUT, UNITS).values()) for _ in range(2)]
    given = xs if dense else random((3, INPUT), (1, INPUT))
    new, ys = functions.sequence(cell, states, given, weights, bidirectional=True)
    assert nodes(list(new), ys if dense else list(ys)) == {'SequenceNode': 1}


@pytest.mark.parametrize('cell', [cells.lstm, cells.peephole], ids=lambda cell: cell.name)
def test_lstm_sequence(cell):
    hx, cx, xs = random((3, UNITS), (3, UNITS), (TIME, 3, INPUT))
    weights = [random(*cell.shapes(INPUT, UNITS).values())]
    assert nodes(*functions.lstm_sequence(hx, cx, xs, weights)) == {'SequenceNode': 1}


# SequenceLSTM

STEPS = {
    'all steps': {},
    'lengths': {'lengths': [3, TIME, 0, 2]},
    'masks': {'mask': numpy.arange(TIME) >= numpy.array([[2], [0], [5], [4]])},
}
STACKS = {'one layer': (1, False), 'both directions': (1, True), 'two layers': (2, False)}


def x_of(batch_first):
    return random((BATCH, TIME, INPUT) if batch_first else (TIME, BATCH, INPUT))[0]


@EACH_CELL
@pytest.mark.parametrize(('n_layers', 'bidirectional'), STACKS.values(), ids=STACKS)
@pytest.mark.parametrize('steps', STEPS.values(), ids=STEPS)
@pytest.mark.parametrize('batch_first', [True, False], ids=['batch first', 'time first'])
@pytest.mark.parametrize('all_steps', [True, False], ids=['sequences', 'last'])
def test_sequence_lstm(cell, n_layers, bidirectional, steps, batch_first, all_steps):
    link = links.SequenceLSTM(
        INPUT,
        UNITS,
        n_layers=n_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        return_sequences=all_steps,
        return_state=True,
        dropout=0.5,
        cell=cell,
    )
    assert nodes(*link(x_of(batch_first), **steps)) == {'SequenceNode': 1}
    link.return_state = False
    assert nodes(link(x_of(batch_first), **steps)) == {'SequenceNode': 1}


@EACH_CELL
def test_a_second_call_of_a_stateful_link_adds_one(cell):
    link = links.SequenceLSTM(INPUT, UNITS, n_layers=2, stateful=True, cell=cell)
    for count in (1, 2):
        y = link(x_of(True))
        kept = [getattr(link, name) for name in cell.states]
        assert nodes(y, kept) == {'SequenceNode': count}


@EACH_CELL
@pytest.mark.parametrize('stateful', [False, True])
def test_initial_state(cell, stateful):
    link = links.SequenceLSTM(INPUT, UNITS, n_layers=2, stateful=stateful, cell=cell)
    state = tuple(random(*[(2, BATCH, UNITS)] * len(cell.states)))
    assert nodes(link(x_of(True), state)) == {'SequenceNode': 1}


@EACH_CELL
def test_states_of_one_layer_without_its_axis(cell):
    """A stateful link keeps (1, B, H), others compute in the shape that is given."""
    count = len(cell.states)
    state = tuple(random(*[(BATCH, UNITS)] * count))
    link = links.SequenceLSTM(INPUT, UNITS, return_state=True, cell=cell)
    assert nodes(*link(x_of(True), state)) == {'SequenceNode': 1}
    link = links.SequenceLSTM(INPUT, UNITS, stateful=True, cell=cell)
    assert nodes(link(x_of(True), state)) == {'SequenceNode': 1, 'Reshape': count}
    assert nodes(link.h) == {'SequenceNode': 1, 'Reshape': count}


@EACH_CELL
def test_states_of_one_layer_are_returned_without_its_axis(cell):
    link = links.SequenceLSTM(INPUT, UNITS, return_state=True, stateful=True, cell=cell)
    y, *state = link(x_of(True))
    assert nodes(y) == {'SequenceNode': 1}
    assert nodes(y, state) == {'SequenceNode': 1, 'Reshape': len(cell.states)}


@EACH_CELL
@pytest.mark.parametrize('n_layers', [1, 2])
def test_a_learned_initial_state_is_repeated(cell, n_layers):
    link = links.SequenceLSTM(INPUT, UNITS, n_layers=n_layers, learn_initial_state=True, cell=cell)
    count = len(cell.states)
    expected = {'SequenceNode': 1, 'ExpandDims': count, 'Repeat': count}
    assert nodes(link(x_of(True))) == expected


# Chainer's hook


def hooked(name, module, rnn):
    """A link of a subclass, or one with an attribute, whose ``rnn`` is another."""
    with chainer.using_config('dtype', numpy.float64):
        numpy.random.seed(1)
        link = getattr(module, name)(2, INPUT, UNITS, 0.0)
    link.__class__ = type(name, (type(link),), {'rnn': rnn})
    return link


def calls_the_function(self, *args):
    function = functions.n_step_lstm if self.direction == 1 else functions.n_step_bilstm
    return function(*args)


def calls_chainers_function(self, *args):
    return (F.n_step_lstm if self.direction == 1 else F.n_step_bilstm)(*args)


def changes_the_outputs(self, *args):
    hy, cy, ys = super(type(self), self).rnn(*args)
    return hy * 2, cy, [y * y for y in ys]


def is_another_network(self, n_layers, dropout, hx, cx, ws, bs, xs):
    """A loop of tanh units that carries c along, in place of any LSTM."""
    h, ys = hx[0], []
    for x in xs:
        y = F.tanh(F.linear(x, ws[0][0], bs[0][0]) + F.linear(h[: len(x)], ws[0][4], bs[0][4]))
        h = F.concat((y, h[len(x) :]), axis=0)
        ys.append(F.concat([y] * self.direction, axis=1))
    return F.concat((h[None], hx[1:]), axis=0), cx * 3, ys


RNNS = [calls_the_function, calls_chainers_function, changes_the_outputs, is_another_network]


def results(link, lengths, given, order=1):
    shapes = [*[(2 * link.direction, len(lengths), UNITS)] * 2, *((n, INPUT) for n in lengths)]
    hx, cx, *xs = variables(uniforms(shapes))
    hy, cy, ys = link(*((hx, cx) if given else (None, None)), xs)
    inputs = [*((hx, cx) if given else ()), *xs, *link.params()]
    return [hy, cy, *ys, *gradients([hy, cy, *ys], inputs, order)]


@BOTH
@pytest.mark.parametrize('rnn', RNNS, ids=lambda rnn: rnn.__name__)
@pytest.mark.parametrize('lengths', [(3, 3), (4, 2, 1), (1, 4, 2), (3,)], ids=str)
@pytest.mark.parametrize('given', [False, True], ids=['no state', 'a state'])
@pytest.mark.parametrize('order', [1, 2], ids=['gradients', 'second gradients'])
def test_another_rnn_computes_what_it_computes_in_chainer(name, rnn, lengths, given, order):
    found, expected = (results(hooked(name, m, rnn), lengths, given, order) for m in (links, L))
    assert_close(found, expected)


@BOTH
@pytest.mark.parametrize('kind', ['subclass', 'attribute'])
def test_another_rnn_gets_sorted_time_major_sequences(name, kind):
    calls = []

    def rnn(n_layers, dropout, hx, cx, ws, bs, xs):
        calls.append((n_layers, dropout, hx.shape, cx.shape, [x.shape for x in xs]))
        assert ws is link.ws and bs is link.bs
        return plain(n_layers, dropout, hx, cx, ws, bs, xs)

    link = getattr(links, name)(2, INPUT, UNITS, 0.25)
    plain, expected = link.rnn, nodes(*link(None, None, random((1, INPUT), (3, INPUT))))
    if kind == 'attribute':
        link.rnn = rnn
    else:
        link.__class__ = type(name, (type(link),), {'rnn': lambda self, *args: rnn(*args)})
    shape = 2 * link.direction, 3, UNITS
    with chainer.using_config('train', False):
        outputs = link(None, None, random((1, INPUT), (3, INPUT), (2, INPUT)))
    assert calls == [(2, 0.25, shape, shape, [(3, INPUT), (2, INPUT), (1, INPUT)])]
    assert nodes(*outputs) != expected == {'SequenceNode': 1}


@BOTH
@pytest.mark.parametrize('lengths', [(2, 0, 3), (0, 0), (0,)], ids=str)
def test_another_rnn_with_sequences_of_length_zero(name, lengths):
    """Chainer cannot; the same numbers come without the hook."""
    hook, plain = hooked(name, links, changes_nothing), hooked(name, links, links.NStepLSTM.rnn)
    found, expected = (results(link, lengths, True) for link in (hook, plain))
    assert_close(found, expected)


def changes_nothing(self, *args):
    return super(type(self), self).rnn(*args)
