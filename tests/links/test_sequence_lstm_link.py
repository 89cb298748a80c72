"""``links.SequenceLSTM`` as a link: parameters, copies, files, and how it trains."""

import copy
import pickle

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer.backends import cuda
from chainer.link_hooks import TimerHook
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from chainer_lstm.functions.sequence_node import SequenceNode
from tests.links.sequence_cases import BATCH, MASKS, TIME, make
from tests.support.arrays import assert_close, assert_same, uniform, uniforms
from tests.support.links import INPUT, UNITS, contents


@pytest.mark.parametrize('given', MASKS.values(), ids=MASKS)
def test_one_node(given):
    y = make(n_layers=3, bidirectional=True, return_sequences=True)(
        uniform((BATCH, TIME, INPUT)), **given
    )
    nodes, todo = set(), [y.creator_node]
    while todo:
        node = todo.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            todo += [variable.creator_node for variable in node.inputs]
    assert sum(isinstance(node, SequenceNode) for node in nodes) == 1


def test_parameters_by_layer_and_direction():
    link = make(n_layers=2, bidirectional=True, learn_initial_state=True, forget_bias_init=3)
    shapes = {path: param.shape for path, param in link.namedparams()}
    expected = {'/c0': (4, UNITS), '/h0': (4, UNITS)}
    for name, width in (
        ('l0', INPUT),
        ('l0_reverse', INPUT),
        ('l1', 2 * UNITS),
        ('l1_reverse', 2 * UNITS),
    ):
        expected.update(
            {
                f'/{name}/upward/W': (4 * UNITS, width),
                f'/{name}/upward/b': (4 * UNITS,),
                f'/{name}/lateral/W': (4 * UNITS, UNITS),
            }
        )
        assert (getattr(link, name).upward.b.array[2::4] == 3).all()
    assert shapes == expected


@pytest.mark.parametrize('given', [{}, {'lengths': [1, 0, 3, 5]}])
def test_deferred_in_size(given):
    x, link = (
        uniform((BATCH, TIME, INPUT), 'f'),
        links.SequenceLSTM(None, UNITS, bidirectional=True),
    )
    numpy.random.seed(4)
    y = link(x, **given)
    numpy.random.seed(4)
    assert_close([y], [links.SequenceLSTM(INPUT, UNITS, bidirectional=True)(x, **given)])
    assert link.l0.upward.W.shape == link.l0_reverse.upward.W.shape == (4 * UNITS, INPUT)
    assert numpy.abs(link.l0.upward.W.array - link.l0_reverse.upward.W.array).max() > 0.01
    with pytest.raises(
        ValueError, match=r'expected x of shape \(batch, time, 3\), got \(4, 5, 4\)'
    ):
        link(uniform((BATCH, TIME, INPUT + 1), 'f'))


def test_deferred_link_waits_after_an_error():
    link = links.SequenceLSTM(None, UNITS, bidirectional=True, stateful=True)
    for x in (uniform((BATCH, TIME, INPUT), 'd'), uniform((BATCH, TIME, 0), 'f')):
        before = contents(link)
        with pytest.raises((ValueError, InvalidType)):
            link(x)
        assert_same(contents(link), before)
        assert link.l0.upward.W.array is None and link.l0_reverse.upward.W.array is None
    assert link(uniform((BATCH, TIME, INPUT + 1), 'f')).shape == (BATCH, 2 * UNITS)


def test_copies():
    link, x = (
        make(n_layers=2, stateful=True, learn_initial_state=True),
        uniform((BATCH, TIME, INPUT)),
    )
    link.h0.array[...] = 0.25
    link(x)
    for other in (
        link.copy(),
        link.copy('copy'),
        copy.deepcopy(link),
        pickle.loads(pickle.dumps(link)),
    ):
        link.reset_state(), other.reset_state()
        assert_close([other(x)], [link(x)])
        kept = link.h
        other(x)
        assert link.h is kept
    fresh = link.copy('init')
    assert (fresh.h0.array == 0).all()
    for name in ('l0', 'l1'):
        ours, theirs = (getattr(one, name) for one in (fresh, link))
        for linear in ('upward', 'lateral'):
            W = getattr(ours, linear).W.array
            assert (
                numpy.abs(W).max() > 0.05
                and numpy.abs(W - getattr(theirs, linear).W.array).max() > 0.05
            )
        assert (ours.upward.b.array[2::4] == 1).all()


@pytest.mark.parametrize('in_size', [INPUT, None])
def test_npz_round_trip(tmp_path, in_size):
    sizes = {'n_layers': 2, 'bidirectional': True, 'learn_initial_state': True}
    link, x = make(**sizes), uniform((BATCH, TIME, INPUT))
    link.c0.array[...], link.h0.array[...] = uniforms([(4, UNITS)] * 2)
    chainer.serializers.save_npz(tmp_path / 'link.npz', link)
    with numpy.load(tmp_path / 'link.npz') as file:
        assert {'c0', 'l0/upward/W', 'l0/upward/b', 'l0/lateral/W', 'l1_reverse/lateral/W'} <= {
            *file
        }
    other = make(in_size, **sizes)
    with chainer.using_config('dtype', numpy.dtype('d')):
        chainer.serializers.load_npz(tmp_path / 'link.npz', other)
    assert_close([other(x)], [link(x)])


@pytest.mark.parametrize('name', ['c0', 'h0', 'l0/upward/b', 'l1_reverse/lateral/W'])
def test_wrong_file_changes_nothing(tmp_path, name):
    sizes = {'n_layers': 2, 'bidirectional': True, 'learn_initial_state': True}
    link, other = make(**sizes), make(**sizes)
    other.c0.array[...] = other.h0.array[...] = 1
    chainer.serializers.save_npz(tmp_path / 'link.npz', link)
    with numpy.load(tmp_path / 'link.npz') as file:
        arrays = dict(file)
    arrays[name] = arrays[name][:1]
    before = contents(other)
    for wrong, error in (
        (arrays, ValueError),
        ({k: v for k, v in arrays.items() if k != name}, KeyError),
    ):
        numpy.savez(tmp_path / 'wrong.npz', **wrong)
        with pytest.raises(error, match=name):
            chainer.serializers.load_npz(tmp_path / 'wrong.npz', other)
        assert_same(contents(other), before)


@pytest.mark.parametrize('given', [{}, {'lengths': [3, 1, 0, 5]}])
def test_dropout_between_layers_in_training_only(given, xp):
    link, x = make(n_layers=2, dropout=0.5, xp=xp), uniform((BATCH, TIME, INPUT), xp=xp)
    assert numpy.abs(cuda.to_cpu((link(x, **given) - link(x, **given)).array)).max() > 1e-3
    with chainer.using_config('train', False):
        first = link(x, **given)
    link.dropout = 0
    assert_close([link(x, **given)], [first])
    single = make(dropout=0.5, xp=xp)
    assert_close([single(x, **given)], [single(x, **given)])


def test_learns_to_remember_the_first_input():
    link = links.SequenceLSTM(1, 8, bidirectional=True)
    head = chainer.links.Linear(16, 1)
    model = chainer.ChainList(link, head)
    optimizer = chainer.optimizers.Adam(0.02).setup(model)
    x = uniform((32, 6, 1), 'f')
    lengths = numpy.random.RandomState(0).randint(1, 7, 32)
    losses = []
    for _ in range(60):
        loss = F.mean_squared_error(head(link(x, lengths=lengths)), x[:, 0])
        model.cleargrads()
        loss.backward()
        optimizer.update()
        losses.append(float(loss.array))
    assert losses[-1] < 0.1 * losses[0]


class Recorded(chainer.Chain):
    def __init__(self):
        super().__init__()
        numpy.random.seed(0)
        with self.init_scope():
            self.rnn = links.SequenceLSTM(INPUT, UNITS, n_layers=2, return_sequences=True)

    @chainer.static_graph(verbosity_level=0)
    def __call__(self, x):
        return self.rnn(x)


def test_in_a_static_graph():
    net = Recorded()
    for seed in range(3):
        x = uniform((BATCH, TIME, INPUT), 'f', seed=seed)
        assert_close([net(x)], [net.rnn(x)])


@pytest.mark.parametrize(
    'change',
    [
        lambda link: setattr(link.l0, 'upward', chainer.Sequential(link.l0.upward.copy())),
        lambda link: setattr(link.l0, 'lateral', chainer.links.Linear(UNITS, 4 * UNITS)),
        lambda link: setattr(link, 'l0', chainer.links.StatelessLSTM(INPUT, UNITS)),
        lambda link: link.l0.upward.add_hook(TimerHook()),
    ],
    ids=['upward', 'lateral with a bias', 'the cell', 'hooked'],
)
def test_links_that_would_not_be_called_are_refused(change):
    link = make(stateful=True)
    change(link)
    with pytest.raises(TypeError, match='expected l0 as it was made'):
        link(uniform((BATCH, TIME, INPUT)))
    assert link.c is None


def test_a_parameter_without_data():
    layer = links.SequenceLSTM(3, 4, n_layers=2)
    layer.l1.lateral.W.array = None
    with pytest.raises(TypeError, match=r'expected weights\[1\]\[2\] .* without data'):
        layer(numpy.zeros((2, 5, 3), 'f'))
