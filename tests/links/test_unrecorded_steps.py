"""Steps and sequences without a graph: no node is made, unless Chainer has to see one or arrays do
not fit.
"""

import contextlib

import chainer
import chainer.links as L
import numpy
import pytest
from chainer.function_hooks import TimerHook
from chainer.link_hooks import TimerHook as LinkTimerHook
from chainer.utils import type_check

from chainer_lstm import cells, functions, links
from chainer_lstm.chainer_private import new_variable
from chainer_lstm.functions.node import Node
from tests.kernels import cases
from tests.support.arrays import uniform
from tests.support.links import INPUT, UNITS

BATCH = 3
LINKS = {
    'LSTM': links.LSTM,
    'peephole': links.StatefulPeepholeLSTM,
    'zoneout': links.StatefulZoneoutLSTM,
}
EACH_LINK = pytest.mark.parametrize('make', LINKS.values(), ids=LINKS)
X = uniform((BATCH, INPUT), 'f')


@pytest.fixture
def nodes(monkeypatch):
    """The labels of the nodes of the package that are applied."""
    cases.native_engine('baseline')
    found = []
    apply = Node.apply

    def recorded(self, inputs):
        found.append(self.label)
        return apply(self, inputs)

    monkeypatch.setattr(Node, 'apply', recorded)
    return found


@contextlib.contextmanager
def evaluation(**entries):
    with contextlib.ExitStack() as stack:
        for name, value in {'enable_backprop': False, 'train': False, **entries}.items():
            stack.enter_context(chainer.using_config(name, value))
        yield


def stepped(make, dtype='f'):
    """A link after a step."""
    with chainer.using_config('dtype', numpy.dtype(dtype)), chainer.no_backprop_mode():
        numpy.random.seed(0)
        link = make(INPUT, UNITS)
        with chainer.using_config('train', False):
            link(X.astype(dtype))
    return link


def state_after(link, x):
    y = link(x)
    numpy.testing.assert_array_equal(y.array, link.h.array[: len(y)])
    assert isinstance(link.c, chainer.Variable)
    return link.c, link.h


@EACH_LINK
@pytest.mark.parametrize('begun', ['new', 'h alone', 'after a step'])
@pytest.mark.parametrize('dtype', 'fd')
def test_no_node_is_made(make, dtype, begun, nodes):
    link, other = stepped(make, dtype), stepped(make, dtype)
    for each in (link, other):
        if begun == 'new':
            each.reset_state()
        elif begun == 'h alone':
            each.c = None
    nodes.clear()
    with evaluation():
        found = state_after(link, X.astype(dtype))
        assert nodes == []
        with TimerHook():
            expected = state_after(other, chainer.Variable(X.astype(dtype)))
        assert nodes
    for y, z in zip(found, expected):
        numpy.testing.assert_array_equal(y.array, z.array)
        assert y.dtype == z.dtype
        assert y.requires_grad == z.requires_grad
        assert y.creator is None


@pytest.mark.parametrize(
    ('make', 'in_size', 'options'),
    [
        *((make, None, {}) for make in LINKS.values()),
        (links.LSTM, INPUT, {'learn_initial_state': True}),
        (links.LSTM, None, {'learn_initial_state': True}),
    ],
)
def test_first_steps(make, in_size, options):
    """Of weights that have no size yet, and from a learned state."""
    found = []
    for backprop in (False, True):
        numpy.random.seed(0)
        link = make(in_size, UNITS, **options)
        if options:
            link.c0.array[:], link.h0.array[:] = 1, 2
        with evaluation(enable_backprop=backprop):
            found.append(link(X).array)
    numpy.testing.assert_array_equal(*found)


def test_first_steps_refuse_what_a_graph_refuses(nodes):
    """A weight of fewer units than the link's, or without axes; no state where it is read."""
    for W, b in ((numpy.ones((8, INPUT), 'f'), numpy.ones(8, 'f')), (numpy.array(1, 'f'), None)):
        link = links.LSTM(INPUT, UNITS)
        link.upward.W.array = W
        if b is not None:
            link.upward.b.array = b
        with evaluation(), pytest.raises(type_check.InvalidType):
            link(X)
        assert link.c is link.h is None
    lstm = links.LSTM(INPUT, UNITS)
    weights = [p.array for p in lstm.cell_weights()]
    with evaluation(), pytest.raises(TypeError, match='expected c to be an array or a variable'):
        functions.step(cells.lstm, cells.lstm.State(None, None), X, weights)
    lstm(X)
    with evaluation(), pytest.raises(type_check.InvalidType):
        lstm(numpy.array(1, 'f'))


def test_a_weight_that_is_not_used_requires_no_gradient():
    lstm = links.LSTM(INPUT, UNITS)
    W, b, U = lstm.cell_weights()
    state = cells.lstm.State(uniform((BATCH, UNITS), 'f'), None)
    for backprop in (False, True):
        with evaluation(enable_backprop=backprop):
            c, h = functions.step(cells.lstm, state, X, [W.array, b.array, U])
        assert not c.requires_grad and not h.requires_grad


@pytest.mark.parametrize('missing', ['P_i', 'P_f', 'P_o'])
def test_missing_diagonal_weights(missing):
    cell = cells.LSTMVariant(peephole='diagonal')
    weights = {n: numpy.ones(s, 'f') for n, s in cell.shapes(INPUT, UNITS).items()}
    weights[missing] = None
    zeros = numpy.zeros((BATCH, UNITS), 'f')
    with evaluation(), pytest.raises(TypeError, match=f'expected {missing} to be an array'):
        functions.step(cell, cell.State(zeros, zeros), X, [*weights.values()])


@pytest.mark.parametrize('begun', [False, True])
def test_stateless_link(begun, nodes):
    link = links.StatelessLSTM(INPUT, UNITS)
    c = h = uniform((BATCH, UNITS), 'f') if begun else None
    with evaluation():
        found = link(c, h, X)
        assert nodes == []
    for y, z in zip(found, link(c, h, X)):
        numpy.testing.assert_array_equal(y.array, z.array)


class Subclass(numpy.ndarray):
    pass


# of x, and whether a node is made of it
FORMS = {
    'fewer rows': (lambda x: x[:2], True),
    'more axes': (lambda x: x[:, :, None], False),
    'backwards': (lambda x: x[:, ::-1], True),
    'subclass': (lambda x: x.view(Subclass), True),
}
ENTRIES = {
    'graph': {'enable_backprop': True},
    'debug': {'debug': True},
    'NumPy engine': {'lstm_engine': 'numpy'},
}


def check_step(make, x, context=contextlib.nullcontext, **entries):
    """A step computes what it does in a graph."""
    link, other = stepped(make), stepped(make)
    with chainer.using_config('train', False):
        expected = state_after(other, numpy.array(x, 'f'))
    with evaluation(**entries), context():
        found = state_after(link, x)
    for y, z in zip(found, expected):
        numpy.testing.assert_allclose(y.array, z.array, rtol=1e-6, atol=1e-6)


@EACH_LINK
@pytest.mark.parametrize(('form', 'has_node'), FORMS.values(), ids=FORMS)
def test_arrays_that_kernels_do_not_read_as_they_are(make, form, has_node, nodes):
    link = stepped(make)
    nodes.clear()
    with evaluation():
        link(form(X))
    assert bool(nodes) == has_node
    check_step(make, form(X))


@EACH_LINK
@pytest.mark.parametrize('entries', ENTRIES.values(), ids=ENTRIES)
def test_chainer_sees_nodes(make, entries, nodes):
    link = stepped(make)
    nodes.clear()
    with evaluation(**entries):
        link(X)
    assert nodes
    check_step(make, X, **entries)
    check_step(make, X, TimerHook)


@EACH_LINK
def test_link_hooks_and_links_of_a_users_own_are_called(make):
    link = stepped(make)
    with evaluation(), LinkTimerHook() as hook:
        link(X)
    assert 'Linear' in hook.summary()
    called = []

    class Own(L.Linear):
        def forward(self, x):
            called.append(x.shape)
            return super().forward(x)

    link.lateral = Own(UNITS, 4 * UNITS, nobias=True)
    with evaluation():
        link(X)
    assert called == [(BATCH, UNITS)]


def test_noise_is_drawn_in_training(nodes):
    link = stepped(links.StatefulZoneoutLSTM)
    with evaluation(train=True):
        link(X)
    assert nodes


@EACH_LINK
@pytest.mark.parametrize(
    ('x', 'error', 'message'),
    [
        (X[:, :-1], type_check.InvalidType, 'x.shape'),
        (X.astype('d'), type_check.InvalidType, r"x.astype\('f'\) converts it"),
        (X.astype('i'), type_check.InvalidType, 'x.dtype.kind'),
        (X[0], type_check.InvalidType, 'x.ndim'),
        (numpy.concatenate((X, X)), TypeError, 'batch size'),
        ([[1.0]], TypeError, 'expected x to be an array or a variable, got list'),
    ],
    ids=['width', 'float64', 'integers', 'axes', 'rows', 'list'],
)
def test_errors_are_those_of_steps_in_a_graph(make, x, error, message):
    link = stepped(make)
    before = link.c, link.h
    with evaluation(), pytest.raises(error, match=message):
        link(x)
    assert link.c is before[0]
    assert link.h is before[1]


@EACH_LINK
def test_replaced_weights(make, nodes):
    """Weights of another dtype or shape go the way of nodes, which says what is wrong."""
    link = stepped(make)
    link.lateral.W.array = link.lateral.W.array.astype('d')
    with evaluation():
        y = link(X)
    assert nodes
    assert y.dtype == 'f'
    link.upward.W.array = link.upward.W.array[:-1]
    with evaluation(), pytest.raises(type_check.InvalidType, match='W'):
        link(X)


XS = uniform((5, BATCH, INPUT), 'f')
# with which states nodes are made: those of a new link, or after a step
NEVER, ALWAYS, BEGUN = (), (False, True), (True,)
SEQUENCES = {
    'as it is': (lambda xs: xs, {}, NEVER),
    'variable': (chainer.Variable, {}, NEVER),
    'backwards': (lambda xs: xs[::-1], {}, NEVER),
    'few steps': (lambda xs: xs[:2], {}, ALWAYS),
    'fewer rows': (lambda xs: xs[:, :2].copy(), {}, BEGUN),
    'list': (list, {}, ALWAYS),
    'subclass': (lambda xs: xs.view(Subclass), {}, ALWAYS),
    'cells': (lambda xs: xs, {'return_cells': True}, ALWAYS),
    'resets': (lambda xs: xs, {'resets': numpy.eye(5, BATCH)}, ALWAYS),
}


def flattened(*found):
    """The variables in lists and tuples of any depth."""
    for each in found:
        yield from flattened(*each) if isinstance(each, (list, tuple)) else [each]


@EACH_LINK
@pytest.mark.parametrize('begun', [False, True])
@pytest.mark.parametrize(('form', 'arguments', 'with_nodes'), SEQUENCES.values(), ids=SEQUENCES)
def test_sequences(make, begun, form, arguments, with_nodes, nodes):
    link, other = stepped(make), stepped(make)
    if not begun:
        link.reset_state()
        other.reset_state()
    xs = form(XS)
    nodes.clear()
    with evaluation():
        found = link.forward_sequence(xs, **arguments)
        assert bool(nodes) == (begun in with_nodes)
        with TimerHook():
            expected = other.forward_sequence(xs, **arguments)
    given = zip(flattened(found, link.c, link.h), flattened(expected, other.c, other.h))
    for y, z in given:
        numpy.testing.assert_array_equal(y.array, z.array)
        assert y.requires_grad == z.requires_grad


@EACH_LINK
@pytest.mark.parametrize('entries', ENTRIES.values(), ids=ENTRIES)
def test_chainer_sees_nodes_of_sequences(make, entries, nodes):
    link = stepped(make)
    nodes.clear()
    with evaluation(**entries):
        link.forward_sequence(XS)
    assert nodes


def test_learned_states_and_hooks_of_sequences(nodes):
    link = links.LSTM(INPUT, UNITS, learn_initial_state=True)
    link.c0.array[...] = 1
    with evaluation():
        ys = link.forward_sequence(XS)
        link.reset_state()
        numpy.testing.assert_array_equal(link(XS[0]).array, ys[0].array)
        with LinkTimerHook() as hook:
            link.forward_sequence(XS)
    assert 'Linear' in hook.summary()


@EACH_LINK
@pytest.mark.parametrize(
    ('change', 'error'),
    [
        (lambda link: XS[:, :, :-1], ValueError),
        (lambda link: XS.astype('d'), type_check.InvalidType),
        (lambda link: numpy.concatenate((XS, XS), axis=1), TypeError),
        (lambda link: setattr(link.lateral.W, 'array', link.lateral.W.array[:-4]), ValueError),
    ],
    ids=['width', 'float64', 'rows', 'weight'],
)
def test_errors_are_those_of_sequences_in_a_graph(make, change, error):
    link = stepped(make)
    xs = change(link)
    before = link.c, link.h
    with evaluation(), pytest.raises(error):
        link.forward_sequence(XS if xs is None else xs)
    assert (link.c, link.h) == before


N_STEP = [links.NStepLSTM, links.NStepBiLSTM]
EACH_N_STEP = pytest.mark.parametrize('kind', N_STEP)


def n_step(kind=links.NStepLSTM, layers=2, dtype='f', **options):
    """A link whose biases are not 0."""
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        numpy.random.seed(0)
        return kind(
            layers, INPUT, UNITS, 0.5, initial_bias=chainer.initializers.Normal(), **options
        )


def outcome(link, *arguments, **options):
    """The arrays that a link returns and whether they require a gradient, or its error."""
    try:
        found = [*flattened(link(*arguments, **options))]
    except Exception as error:
        return type(error), str(error)
    return [(y.array.tobytes(), y.shape, y.dtype, y.requires_grad) for y in found]


@EACH_N_STEP
@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('lengths', [[5], [4] * 20, [7, 4, 1], [0, 2, 5, 0, 5]], ids=str)
def test_sequences_of_lists(kind, dtype, lengths, nodes):
    link, shape = n_step(kind, dtype=dtype), (len(kind(2, 1, 1, 0).ws), len(lengths), UNITS)
    xs = [uniform((n, INPUT), dtype) for n in lengths]
    state, longer = uniform(shape, dtype), uniform((shape[0], 30, UNITS), dtype)
    with evaluation():
        for arguments in ((None, None, xs), (longer, chainer.Variable(state), tuple(xs))):
            nodes.clear()
            found = outcome(link, *arguments)
            assert type(link(*arguments)[2]) is list
            assert nodes == []
            with TimerHook():
                assert outcome(link, *arguments) == found


class OwnRNN(links.NStepLSTM):
    def rnn(self, *args):
        hy, cy, ys = super().rnn(*args)
        return hy * 2, cy, ys


class OwnStates(links.NStepLSTM):
    def init_hx(self, xs):
        return super().init_hx(xs) + 1


X_STEPS = [uniform((n, INPUT), 'f') for n in (3, 5)]
N_STEP_WITH_NODES = {
    'own rnn': (OwnRNN, {}, {}),
    'own states': (OwnStates, {}, {}),
    'learned states': (links.NStepLSTM, {'learn_initial_state': True}, {}),
    'projection': (links.NStepLSTM, {'proj_size': 2}, {}),
    'cells': (links.NStepLSTM, {'return_cells': True}, {}),
    'dropout': (links.NStepLSTM, {}, {'train': True}),
    'noise': (links.NStepLSTM, {'layers': 1, 'zoneout': (0.1, 0.1)}, {'train': True}),
    **{name: (links.NStepLSTM, {}, entries) for name, entries in ENTRIES.items()},
}


@pytest.mark.parametrize(
    ('kind', 'options', 'entries'), N_STEP_WITH_NODES.values(), ids=N_STEP_WITH_NODES
)
def test_sequences_of_lists_with_nodes(kind, options, entries, nodes):
    link, found = n_step(kind, **options), []
    for hook in (contextlib.nullcontext, TimerHook):
        nodes.clear()
        numpy.random.seed(0)
        with evaluation(**entries), hook():
            found.append(outcome(link, None, None, X_STEPS))
        assert nodes
    assert found[0] == found[1]


STATE = uniform((2, 2, UNITS), 'f')


@pytest.mark.parametrize(
    'arguments',
    [
        (None, None, []),
        (None, None, iter(X_STEPS)),
        (None, None, [X_STEPS[0], X_STEPS[1][:, 1:]]),
        (None, None, [X_STEPS[0], X_STEPS[1].astype('d')]),
        (None, None, [X_STEPS[0], X_STEPS[1][0]]),
        (None, None, [x[:, 1:] for x in X_STEPS]),
        (STATE[:1], None, X_STEPS),
        (STATE[:, :1], None, X_STEPS),
        (None, STATE[..., 1:], X_STEPS),
        (None, STATE.astype('d'), X_STEPS),
        (chainer.Variable(), None, X_STEPS),
    ],
)
def test_errors_are_those_of_lists_in_a_graph(arguments, nodes):
    check_error(n_step(), arguments)


@pytest.mark.parametrize('name', ['w1', 'w5', 'b1', 'b5'])
@pytest.mark.parametrize('change', [lambda x: x[:1], lambda x: x.astype('d')], ids=['rows', 'd'])
def test_replaced_weights_of_lists(name, change, nodes):
    link = n_step()
    param = getattr(link[1], name)
    param.array = change(param.array)
    if name[0] == 'w' and param.dtype == 'd':  # nodes cast matrices
        with evaluation():
            link(None, None, X_STEPS)
        assert nodes
    else:
        check_error(link, (None, None, X_STEPS))


def check_error(link, arguments):
    with evaluation():
        error, text = outcome(link, *arguments)
        with TimerHook():
            assert outcome(link, *arguments) == (error, text)


def test_variables_are_those_of_chainer():
    for requires_grad in (False, True):
        found = new_variable(X, requires_grad)
        expected = chainer.Variable(X, requires_grad=requires_grad)
        assert type(found) is type(expected)
        of_found, of_expected = {**vars(found)}, {**vars(expected)}
        node, other = of_found.pop('_node'), of_expected.pop('_node')
        assert of_found == of_expected
        assert node.get_variable() is found
        assert {**vars(node), '_variable': None} == {**vars(other), '_variable': None}
