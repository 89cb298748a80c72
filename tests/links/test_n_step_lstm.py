"""``links.NStepLSTM`` and ``NStepBiLSTM`` beside Chainer's where Chainer's can,
and against the reference loop.
"""

import copy
import pickle

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check, initializers
from chainer.backends import cuda
from hypothesis import given, settings, strategies

from chainer_lstm import links
from tests.support import reference
from tests.support.arrays import (
    DTYPES,
    assert_close,
    assert_same,
    gradients,
    uniform,
    uniforms,
    variables,
)
from tests.support.links import INPUT, contents, pair

pytestmark = pytest.mark.pairwise

UNITS = 2
LENGTHS = {
    'sorted': (4, 2, 1),
    'unsorted': (1, 4, 2, 3),
    'equal lengths': (2, 2, 2),
    'one sequence': (3,),
    'one step': (1, 1),
}
ZERO_LENGTHS = {
    'zero in front': (0, 3, 2),
    'zeros between': (2, 0, 3, 0, 1),
    'zero at the end': (2, 1, 0),
    'all zero': (0, 0),
    'one sequence of zero': (0,),
}
LINKS = pytest.mark.parametrize('name', ['NStepLSTM', 'NStepBiLSTM'])
LAYERS = pytest.mark.parametrize('layers', [1, 2, 3])


def new(name, layers=2, dropout=0.0, dtype='f', **kwargs):
    """A link whose biases are not zero."""
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        return getattr(links, name)(
            layers, INPUT, UNITS, dropout, initial_bias=initializers.Normal(1), **kwargs
        )


def sequences(lengths, dtype='f', xp=numpy):
    return uniforms([(length, INPUT) for length in lengths], dtype, xp)


def states(link, lengths, dtype='f', xp=numpy):
    """hx, cx"""
    shape = (link.n_layers * link.direction, len(lengths), UNITS)
    return [uniform(shape, dtype, xp, seed) for seed in (100, 101)]


def flat(result):
    hy, cy, ys = result
    assert isinstance(ys, list)
    return [hy, cy, *ys]


def outputs_and_gradients(link, hx, cx, xs, order=1):
    given = [None if x is None else chainer.Variable(x) for x in (hx, cx)]
    xs = variables(xs)
    outputs = flat(link(*given, xs))
    targets = [*(x for x in given if x is not None), *xs, *link.params()]
    return [*outputs, *gradients(outputs, targets, order)]


def expected(link, hx, cx, xs):
    """What the reference makes of it, in float64."""
    weights = [
        [[cuda.to_cpu(p.array) for p in cell] for cell in cells] for cells in (link.ws, link.bs)
    ]
    zeros = numpy.zeros((link.n_layers * link.direction, len(xs), UNITS))
    hy, cy, ys = reference.n_step(
        zeros if hx is None else hx, zeros if cx is None else cx, *weights, xs, link.direction
    )
    return [hy, cy, *ys]


# The constructor


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


# Sequences


@LINKS
@LAYERS
@pytest.mark.parametrize(
    'lengths',
    [*LENGTHS.values(), *ZERO_LENGTHS.values()],
    ids=[*LENGTHS.keys(), *ZERO_LENGTHS.keys()],
)
def test_forward_equals_reference(xp, name, layers, lengths):
    """Which proves the order i, f, a, o of the weights too."""
    link = new(name, layers, dtype='d')
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    xs = sequences(lengths, 'd')
    hx, cx = states(link, lengths, 'd')
    result = link(xp.asarray(hx), xp.asarray(cx), [xp.asarray(x) for x in xs])
    assert_close(flat(result), expected(link, hx, cx, xs))


@given(
    lengths=strategies.lists(strategies.integers(0, 5), min_size=1, max_size=7),
    name=strategies.sampled_from(['NStepLSTM', 'NStepBiLSTM']),
    layers=strategies.integers(1, 3),
)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_forward_any_lengths(lengths, name, layers):
    link = new(name, layers, dtype='d')
    xs = sequences(lengths, 'd')
    hx, cx = states(link, lengths, 'd')
    assert_close(flat(link(hx, cx, xs)), expected(link, hx, cx, xs))


@LINKS
@pytest.mark.parametrize('lengths', LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_gradients_equal_chainer(xp, name, lengths, dtype):
    with chainer.using_config('dtype', dtype):
        theirs, ours = pair(name, 2, INPUT, UNITS, 0.0, initial_bias=initializers.Normal(1), xp=xp)
        arrays = [
            *states(ours, lengths, chainer.get_dtype(), xp),
            sequences(lengths, chainer.get_dtype(), xp),
        ]
    assert_close(outputs_and_gradients(ours, *arrays), outputs_and_gradients(theirs, *arrays))


@LINKS
@pytest.mark.parametrize('lengths', [(1, 4, 2), (2, 2)], ids=str)
def test_second_gradients_equal_chainer(name, lengths):
    with chainer.using_config('dtype', numpy.float64):
        theirs, ours = pair(name, 2, INPUT, UNITS, 0.0, initial_bias=initializers.Normal(1))
    arrays = [*states(ours, lengths, 'd'), sequences(lengths, 'd')]
    assert_close(
        outputs_and_gradients(ours, *arrays, order=2),
        outputs_and_gradients(theirs, *arrays, order=2),
    )


@LINKS
@pytest.mark.parametrize('lengths', [(1, 3, 2), (2, 0, 3), (0, 0)], ids=str)
def test_backward_finite_differences(xp, name, lengths):
    link = new(name, 2, dtype='d')
    link.to_device('@numpy' if xp is numpy else '@cupy:0')

    def function(hx, cx, *xs):
        return tuple(flat(link(hx, cx, xs)))

    arrays = (*states(link, lengths, 'd', xp), *sequences(lengths, 'd', xp))
    gys = tuple(uniforms([y.shape for y in function(*arrays)], xp=xp))
    params = tuple(link.params()) if any(lengths) else ()
    gradient_check.check_backward(
        function, arrays, gys, params=params, dtype='d', atol=1e-5, rtol=1e-5
    )


@LINKS
@pytest.mark.parametrize(
    'with_hx, with_cx',
    [(False, False), (True, False), (False, True)],
    ids=['both none', 'cx none', 'hx none'],
)
@pytest.mark.parametrize('lengths', [(1, 4, 2), (2, 0, 3), (0, 0)], ids=str)
def test_state_none_is_zeros(xp, name, lengths, with_hx, with_cx):
    link = new(name, 2)
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    xs = sequences(lengths, xp=xp)
    zeros = link.init_hx(xs).array
    hx, cx = states(link, lengths, xp=xp)
    with_zeros = flat(link(hx if with_hx else zeros, cx if with_cx else zeros, xs))
    with_none = flat(link(hx if with_hx else None, cx if with_cx else None, xs))
    assert_close(with_none, with_zeros)


@LINKS
@pytest.mark.parametrize('lengths', ZERO_LENGTHS.values(), ids=ZERO_LENGTHS.keys())
def test_sequences_of_length_zero_leave_their_state(name, lengths):
    link = new(name, 2)
    hx, cx = states(link, lengths)
    hy, cy, ys = link(hx, cx, sequences(lengths))
    for k, length in enumerate(lengths):
        assert ys[k].shape == (length, link.direction * UNITS) and ys[k].dtype == numpy.float32
        for before, after in ((hx, hy), (cx, cy)):
            assert (after.array[:, k] == before[:, k]).all() == (length == 0)


@LINKS
def test_gradients_pass_a_sequence_of_length_zero(name):
    link = new(name, 2)
    lengths = (2, 0)
    hx, cx = variables(states(link, lengths))
    hy, cy, _ = link(hx, cx, sequences(lengths))
    for gradient, y in zip(chainer.grad([hy, cy], [hx, cx], [hx, cx]), (hx, cx)):
        numpy.testing.assert_array_equal(gradient.array[:, 1], y.array[:, 1])


@LINKS
@pytest.mark.parametrize('lengths', [(1, 4, 2), (3, 2, 1), (2, 2)], ids=str)
@pytest.mark.parametrize('index', [0, 1, -1])
@pytest.mark.parametrize('order', [1, 2])
def test_loss_on_one_output(name, lengths, index, order):
    """Chainer's transpose_sequence wants gradients of all outputs: there the others get zeros."""
    with chainer.using_config('dtype', numpy.float64):
        theirs, ours = pair(name, 2, INPUT, UNITS, 0.0)
    results = []
    for link in (theirs, ours):
        hx, cx, *xs = variables([*states(link, lengths, 'd'), *sequences(lengths, 'd')])
        _, _, ys = link(hx, cx, xs)
        loss = ys[index] if link is ours else ys[index] + 0 * sum(F.sum(y) for y in ys)
        results.append(gradients([loss], [hx, cx, *xs, *link.params()], order))
    assert_close(results[1], results[0])


@LINKS
@pytest.mark.parametrize('output', [0, 1], ids=['hy', 'cy'])
def test_loss_on_one_state(name, output):
    theirs, ours = pair(name, 2, INPUT, UNITS, 0.0)
    results = []
    for link in (theirs, ours):
        xs = variables(sequences((1, 4, 2)))
        results.append(gradients([link(None, None, xs)[output]], [*xs, *link.params()]))
    assert_close(results[1], results[0])


@LINKS
@pytest.mark.parametrize('train', [True, False], ids=['train', 'test'])
@pytest.mark.parametrize(
    'lengths', [(3, 1, 4), (2,) * 3, (1, 2) * 10], ids=['different', 'equal', 'many ties']
)
def test_dropout_equals_chainer_under_one_seed(xp, name, train, lengths):
    """CuPy draws other numbers for all steps at once than for each:
    on a GPU, dropout is at work if training only.
    """
    theirs, ours = pair(name, 3, INPUT, UNITS, 0.4, xp=xp)
    arrays = [*states(ours, lengths, xp=xp), sequences(lengths, xp=xp)]
    results = []
    for link in (theirs, ours):
        xp.random.seed(3)
        with chainer.using_config('train', train):
            results.append(outputs_and_gradients(link, *arrays))
    if xp is numpy or not train:
        assert_close(results[1], results[0])
    ours.dropout = 0.0
    assert bool((results[1][0].array == ours(*arrays)[0].array).all()) != train


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
def test_order_of_the_sequences_does_not_matter(name):
    link = new(name, 2)
    lengths, order = (3, 0, 1, 3, 2), [4, 2, 0, 1, 3]
    hx, cx = states(link, lengths)
    xs = sequences(lengths)
    hy, cy, ys = link(hx, cx, xs)
    mixed = link(hx[:, order], cx[:, order], [xs[k] for k in order])
    assert_close(flat(mixed), [hy.array[:, order], cy.array[:, order], *(ys[k] for k in order)])


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


# Copies


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
