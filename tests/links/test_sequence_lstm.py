"""``links.SequenceLSTM`` beside the float64 loop,
steps of ``links.LSTM`` and finite differences.
"""

import copy
import pickle

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check
from chainer.backends import cuda
from chainer.link_hooks import TimerHook
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from chainer_lstm.functions.sequence_node import SequenceNode
from tests.links.sequence_cases import BATCH, MASKS, SHAPES, TIME, full, make, samples
from tests.support import reference
from tests.support.arrays import assert_close, assert_same, gradients, uniform, uniforms, variables
from tests.support.links import INPUT, UNITS, contents


def valid_steps(lengths=None, mask=None, time=TIME, batch=BATCH):
    if lengths is not None:
        return numpy.arange(time) < numpy.array(lengths)[:, None]
    return (
        numpy.ones((batch, time), bool)
        if mask is None
        else numpy.array(mask).reshape(batch, time) == 1
    )


def expected(link, x, valid, c0, h0):
    """The slow loop over the valid steps of each sequence -> y (B, T, D * H), last y, c, h."""
    cells = [getattr(link, name) for name in sorted(link._children)]
    directions = 2 if hasattr(link, 'l0_reverse') else 1
    gates = (1, 2, 0, 3)
    ws = [
        [cuda.to_cpu(m.array)[g::4] for m in (cell.upward.W, cell.lateral.W) for g in gates]
        for cell in cells
    ]
    bs = [
        [
            b if k < 4 else 0 * b
            for k in range(8)
            for b in [cuda.to_cpu(cell.upward.b.array)[gates[k % 4] :: 4]]
        ]
        for cell in cells
    ]
    h, c, ys = reference.n_step(
        h0, c0, ws, bs, [row[steps] for row, steps in zip(x, valid)], directions
    )
    outputs = numpy.zeros((*valid.shape, directions, h0.shape[2]))
    for b, y in enumerate(ys):
        for d in range(directions):
            now, rest = (
                h0[len(h0) - directions + d, b],
                list(y.reshape(len(y), directions, h0.shape[2])[:, d]),
            )
            for t in range(valid.shape[1]) if d == 0 else reversed(range(valid.shape[1])):
                if valid[b, t]:
                    now = rest.pop(0 if d == 0 else -1)
                outputs[b, t, d] = now
    return outputs.reshape(*valid.shape, -1), numpy.concatenate(h[-directions:], axis=1), c, h


# Values


@pytest.mark.parametrize('given', MASKS.values(), ids=MASKS)
@SHAPES
def test_outputs_and_states(n_layers, bidirectional, given, xp):
    link = full(n_layers=n_layers, bidirectional=bidirectional, xp=xp)
    x, c, h = samples(n_layers * (1 + bidirectional))
    y, last, c1, h1 = expected(link, x, valid_steps(**given), c, h)
    dx, *state = (xp.asarray(v) for v in (x, c, h))
    one = [v[0] if len(c) == 1 else v for v in (c1, h1)]
    assert_close(link(dx, state, **given), (y, *one))
    link.return_sequences = False
    assert_close(link(dx, state, **given), (last, *one))
    link.return_state = False
    assert_close([link(dx, state, **given)], [last])
    link.batch_first = False
    assert_close([link(dx.swapaxes(0, 1), state, **given)], [last])
    link.return_sequences = True
    assert_close([link(dx.swapaxes(0, 1), state, **given)], [y.swapaxes(0, 1)])


@pytest.mark.parametrize('given', [MASKS['no mask'], MASKS['holes']], ids=['no mask', 'holes'])
@pytest.mark.parametrize('dtype', ['e', 'f'])
def test_dtypes(dtype, given, xp):
    link = full(n_layers=2, dtype=dtype, xp=xp)
    x, c, h = samples(2, dtype)
    y, _, c, h = expected(link, x, valid_steps(**given), 0 * c, 0 * h)
    assert_close(link(xp.asarray(x), **given), [v.astype(dtype) for v in (y, c, h)])


@pytest.mark.parametrize('kind', [numpy.array, list, chainer.Variable])
def test_lengths_are_right_padding(kind, xp):
    link, lengths = full(bidirectional=True, xp=xp), [3, 0, 5, 1]
    x, c, h = samples(2, xp=xp)
    mask = valid_steps(lengths)
    expected = link(x, (c, h), mask=mask)
    given = kind(xp.asarray(lengths)) if kind is chainer.Variable else kind(lengths)
    assert_close(link(x, (c, h), lengths=given), expected)
    for same in (
        mask.tolist(),
        mask[..., None],
        mask.astype('d'),
        chainer.Variable(xp.asarray(mask, 'f')),
    ):
        assert_close(link(x, (c, h), mask=same), expected)


def test_garbage_in_masked_steps_is_not_read():
    link, valid = full(n_layers=2, bidirectional=True), valid_steps(**MASKS['holes'])
    x, c, h = samples(4)
    expected = link(x, (c, h), mask=valid)
    assert_close(link(numpy.where(valid[..., None], x, numpy.nan), (c, h), mask=valid), expected)


def test_without_any_valid_step_before_outputs_are_the_initial_state():
    link, (x, c, h) = full(), samples(1)
    assert_close([link(x, mask=MASKS['holes']['mask'])[0][0, 0]], [numpy.zeros(UNITS)])
    y, c1, h1 = link(x, (c, h), lengths=[0, 1, 2, 3])
    assert_close([y[0, 0], c1[0], h1[0]], [h[0, 0], c[0, 0], h[0, 0]])


@pytest.mark.parametrize('given', [{}, {'lengths': [0] * BATCH}, {'mask': numpy.ones((BATCH, 0))}])
def test_no_steps(given):
    link, (x, c, h) = full(n_layers=2, bidirectional=True), samples(4)
    assert_close(link(x[:, :0], (c, h), **given), (numpy.zeros((BATCH, 0, 2 * UNITS)), c, h))
    link.return_sequences = False
    assert_close([link(x[:, :0], (c, h), **given)[0]], [numpy.concatenate((h[2], h[3]), axis=1)])


@pytest.mark.parametrize('given', [{}, {'lengths': []}, {'mask': numpy.ones((0, TIME))}])
def test_empty_batch(given):
    y, c, h = full(bidirectional=True)(numpy.zeros((0, TIME, INPUT)), **given)
    assert (y.shape, c.shape, h.shape) == ((0, TIME, 2 * UNITS), (2, 0, UNITS), (2, 0, UNITS))


@pytest.mark.parametrize('batch_first', [True, False])
def test_steps_of_lstm_give_the_same(batch_first, xp):
    link = make(return_sequences=True, batch_first=batch_first, xp=xp)
    cell = links.LSTM(INPUT, UNITS)
    cell.to_device(link.device)
    cell.upward, cell.lateral = link.l0.upward, link.l0.lateral
    x = chainer.Variable(uniform((BATCH, TIME, INPUT), xp=xp))
    y = link(x if batch_first else F.transpose(x, (1, 0, 2)))
    expected = F.stack([cell(x[:, t]) for t in range(TIME)], axis=1 if batch_first else 0)
    params = list(link.params())
    assert_close(
        [y, *gradients([y], [x, *params])], [expected, *gradients([expected], [x, *params])]
    )


def test_as_nstep_with_the_same_weights():
    link, theirs = (
        make(n_layers=2, bidirectional=True, return_sequences=True),
        links.NStepBiLSTM(2, INPUT, UNITS, 0.0),
    )
    for name, ws, bs in zip(('l0', 'l0_reverse', 'l1', 'l1_reverse'), theirs.ws, theirs.bs):
        cell = getattr(link, name)
        for k, g in enumerate((1, 2, 0, 3)):
            for param, array in (
                (ws[k], cell.upward.W),
                (ws[k + 4], cell.lateral.W),
                (bs[k], cell.upward.b),
            ):
                param.array = array.array[g::4].copy()
            bs[k + 4].array = numpy.zeros(UNITS)
    x, lengths = uniform((3, TIME, INPUT)), [2, 5, 4]
    y = link(x, lengths=lengths)
    _, _, ys = theirs(None, None, [row[:n] for row, n in zip(x, lengths)])
    assert_close([row[:n] for row, n in zip(y, lengths)], ys)


# Gradients


@pytest.mark.parametrize('name', ['no mask', 'lengths', 'lengths 0', 'holes'])
@SHAPES
def test_finite_differences(n_layers, bidirectional, name):
    if name == 'lengths 0' and bidirectional:
        pytest.skip('the same way as with one direction')
    link = full(n_layers=n_layers, bidirectional=bidirectional)
    x, c, h = samples(n_layers * (1 + bidirectional))

    def run(x, c, h, *_):
        y, c, h = link(x, (c, h), **MASKS[name])
        return y, F.sin(c), F.sin(h)

    grads = [uniform(y.shape, seed=9) for y in run(x, c, h)]
    gradient_check.check_backward(
        run, (x, c, h), grads, list(link.params()), dtype='d', eps=1e-4, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize('return_sequences', [False, True])
@pytest.mark.parametrize('name', ['no mask', 'holes'])
def test_double_backprop(name, return_sequences):
    link = make(n_layers=2, bidirectional=True, return_sequences=return_sequences)
    x, c, h = samples(4)

    def run(x, c, h):
        return link(x, (c, h), **MASKS[name])

    gradient_check.check_double_backward(
        run,
        (x, c, h),
        uniform(run(x, c, h).shape),
        [uniform(v.shape, seed=7) for v in (x, c, h)],
        dtype='d',
        eps=1e-4,
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.gpu
def test_gradients_on_a_gpu(cupy):
    results = []
    for xp in (numpy, cupy):
        numpy.random.seed(0)
        link = full(n_layers=2, bidirectional=True, dtype='f', xp=xp)
        given = variables(samples(4, 'f', xp))
        outputs = link(given[0], given[1:], **MASKS['holes'])
        results.append([*outputs, *gradients(outputs, [*given, *link.params()], order=2)])
    assert_close(results[1], results[0])


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


# Parameters


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


# Bad input


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
