"""``links.NStepLSTM`` and ``NStepBiLSTM`` as links: weights, attributes, kinds of input, copies."""

import copy
import pickle

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import initializers

from chainer_lstm import links
from tests.links.n_step_cases import (
    LAYERS,
    LINKS,
    UNITS,
    flat,
    new,
    outputs_and_gradients,
    sequences,
    states,
)
from tests.support.arrays import (
    DTYPES,
    assert_close,
    assert_same,
    uniform,
    uniforms,
)
from tests.support.links import INPUT, contents, pair

pytestmark = pytest.mark.pairwise


@LINKS
@LAYERS
@pytest.mark.parametrize(
    'initial',
    [
        {},
        {'initialW': 0.5},
        {'initialW': initializers.Orthogonal()},
        {'initial_bias': 2},
        {'initial_bias': uniform(UNITS, 'f')},
        {'initialW': initializers.Uniform(1), 'initial_bias': initializers.Normal()},
    ],
    ids=['defaults', 'scalar', 'Orthogonal', 'bias scalar', 'bias array', 'callables'],
)
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_initial_weights_equal_chainer_bit_for_bit(name, layers, initial, dtype):
    with chainer.using_config('dtype', dtype):
        theirs, ours = pair(name, layers, INPUT, UNITS, 0.0, **initial)
    assert_same(contents(ours), contents(theirs))


@LINKS
def test_attributes_equal_chainer(name):
    theirs, ours = pair(name, 3, INPUT, UNITS, 0.25)
    assert isinstance(ours, type(theirs))
    assert vars(ours).keys() == vars(theirs).keys()
    assert len(ours) == len(theirs)
    for attribute in (
        'n_layers',
        'dropout',
        'out_size',
        'direction',
        'n_weights',
        'use_bi_direction',
        'n_cells',
    ):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert [path for path, _ in ours.namedparams()] == [path for path, _ in theirs.namedparams()]


@LINKS
def test_ws_and_bs_are_the_parameters(name):
    link = new(name, 2)
    for cell, ws, bs in zip(link, link.ws, link.bs):
        assert len(ws) == len(bs) == 8
        for j in range(8):
            assert ws[j] is getattr(cell, f'w{j}') and bs[j] is getattr(cell, f'b{j}')


@LINKS
@pytest.mark.parametrize(
    'forget_bias',
    [1.5, initializers.Constant(1.5), numpy.array([1.5, 1.5], 'f')],
    ids=['scalar', 'callable', 'array'],
)
def test_forget_bias_init(name, forget_bias):
    """Sets b1 of every layer and direction and nothing else."""
    links_ = []
    for initial in ({}, {'forget_bias_init': forget_bias}):
        numpy.random.seed(1)
        links_.append(new(name, 2, **initial))
    plain, link = (contents(link) for link in links_)
    for path, value in link.items():
        wanted = numpy.full(UNITS, 1.5, 'f') if path.endswith('b1') else plain[path]
        numpy.testing.assert_array_equal(value, wanted, err_msg=path)
    again = links_[1].copy('init')
    assert all((bs[1].array == 1.5).all() for bs in again.bs)
    assert (again.bs[0][0].array != links_[1].bs[0][0].array).all()


@LINKS
def test_init_hx(xp, name):
    theirs, ours = pair(name, 2, INPUT, UNITS, 0.0, xp=xp)
    for dtype in 'efd':
        xs = sequences((2, 1, 3), dtype, xp)
        assert_close([ours.init_hx(xs)], [theirs.init_hx(xs)])


@LINKS
def test_rnn_of_a_subclass_is_called(name):
    """With the arguments of ``n_step_lstm``: sequences sorted and time-major."""
    calls, results = [], []

    def rnn(self, *args):
        calls.append([args[:2], [x.shape for x in args[6]]])
        hy, cy, ys = super(type(self), self).rnn(*args)
        return hy, cy, [2 * y for y in ys]

    for link in pair(name, 2, INPUT, UNITS, 0.0):
        link.__class__ = type(name, (type(link),), {'rnn': rnn})
        results.append(flat(link(None, None, sequences((1, 3, 2)))))
    assert_close(results[1], results[0])
    assert calls[1] == calls[0] == [(2, 0.0), [(3, INPUT), (2, INPUT), (1, INPUT)]]


@LINKS
@pytest.mark.parametrize('container', [list, tuple])
@pytest.mark.parametrize('wrap', [chainer.Variable, lambda x: x], ids=['variables', 'arrays'])
def test_containers_and_kinds_of_input(name, container, wrap):
    link = new(name)
    xs = sequences((2, 3))
    hx, cx = states(link, xs)
    actual = link(wrap(hx), wrap(cx), container(wrap(x) for x in xs))
    assert_close(flat(actual), flat(link(hx, cx, xs)))


@LINKS
def test_inputs_are_not_changed(name):
    link = new(name)
    lengths = (1, 3)
    arrays = [*states(link, lengths), *sequences(lengths)]
    for x in arrays:
        x.flags.writeable = False
    hx, cx, *xs = arrays
    given_list = list(xs)
    outputs_and_gradients(link, hx, cx, given_list)
    assert all(one is other for one, other in zip(given_list, xs))


@LINKS
def test_no_backprop_mode(name):
    link = new(name)
    xs = sequences((2, 0, 3))
    with_graph = flat(link(None, None, xs))
    with chainer.no_backprop_mode():
        without = flat(link(None, None, xs))
    assert_close(without, with_graph)
    assert all(y.creator is None for y in without)


@LINKS
@pytest.mark.parametrize(
    'duplicate',
    [
        lambda link: link.copy('share'),
        lambda link: link.copy('copy'),
        copy.deepcopy,
        lambda link: pickle.loads(pickle.dumps(link)),
    ],
    ids=['share', 'copy', 'deepcopy', 'pickle'],
)
def test_copies_run_as_the_original(name, duplicate):
    link = new(name, forget_bias_init=1)
    other = duplicate(link)
    assert_same(contents(other), contents(link))
    xs = sequences((2, 3))
    assert_close(flat(other(None, None, xs)), flat(link(None, None, xs)))
    assert all(
        ws[0] is cell.w0 and bs[7] is cell.b7 for cell, ws, bs in zip(other, other.ws, other.bs)
    )
    assert other.ws[0][0] is not link.ws[0][0]


@LINKS
def test_copy_share_shares_arrays_and_copy_copy_does_not(name):
    link = new(name)
    shared, copied = link.copy(), link.copy('copy')
    before = contents(copied)
    link.ws[0][0].array[...] = 7
    assert (shared[0].w0.array == 7).all()
    assert_same(contents(copied), before)


@LINKS
def test_copy_init_and_repeat_draw_anew(name):
    link = getattr(links, name)(1, 50, 50, 0.0)
    for other in (link.copy('init'), *link.repeat(2)):
        for ws, old in zip(other.ws, link.ws):
            for W, before in zip(ws, old):
                assert (before.array != W.array).mean() > 0.99
                assert W.array.std() == pytest.approx(50**-0.5, rel=0.1)
        assert all((b.array == 0).all() for bs in other.bs for b in bs)


@LINKS
@pytest.mark.parametrize('units, lengths', [(37, (17,)), (33, (4, 7, 5)), (20, (6,) * 40)])
@pytest.mark.parametrize('options', [{}, {'proj_size': 19}, {'cell_clip': 0.2}])
def test_matrices_are_read_as_numpy_reads_them(name, units, lengths, options):
    """One by one in inference, interleaved in training, in vectors and what is left of them."""
    link = getattr(links, name)(2, 21, units, 0.0, initial_bias=initializers.Normal(1), **options)
    xs = uniforms([(length, 21) for length in lengths], 'f')

    def run():
        hy, cy, ys = link(None, None, xs)
        return hy, cy, *ys

    with chainer.using_config('lstm_engine', 'numpy'):
        expected = run()
    assert_close(run(), expected)
    with chainer.no_backprop_mode():
        assert_close(run(), expected)


@pytest.mark.parametrize('units', [1, 2])
@pytest.mark.parametrize('steps', [1, 9])
def test_gradients_share_no_memory(units, steps):
    """Optimizer hooks change them in place."""
    link = links.NStepLSTM(1, 5, units, 0)
    hy, _, _ = link(None, None, [uniform((steps, 5), 'f')])
    F.sum(hy).backward()
    found = [parameter.grad for parameter in link.params()]
    assert all(g.flags.c_contiguous for g in found)
    assert not any(
        numpy.shares_memory(g, other) for k, g in enumerate(found) for other in found[:k]
    )
