"""``links.NStepLSTM`` and ``NStepBiLSTM`` beside Chainer's where Chainer's can,
and against the reference loop.
"""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check, initializers
from hypothesis import given, settings, strategies

from tests.links.n_step_cases import (
    LAYERS,
    LENGTHS,
    LINKS,
    UNITS,
    ZERO_LENGTHS,
    expected,
    flat,
    new,
    outputs_and_gradients,
    sequences,
    states,
)
from tests.support.arrays import (
    DTYPES,
    assert_close,
    gradients,
    uniforms,
    variables,
)
from tests.support.links import INPUT, pair

pytestmark = pytest.mark.pairwise


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
    undropped = ours(*arrays)[0].array
    assert bool(xp.allclose(results[1][0].array, undropped, 1e-5, 1e-6)) != train


@LINKS
def test_order_of_the_sequences_does_not_matter(name):
    link = new(name, 2)
    lengths, order = (3, 0, 1, 3, 2), [4, 2, 0, 1, 3]
    hx, cx = states(link, lengths)
    xs = sequences(lengths)
    hy, cy, ys = link(hx, cx, xs)
    mixed = link(hx[:, order], cx[:, order], [xs[k] for k in order])
    assert_close(flat(mixed), [hy.array[:, order], cy.array[:, order], *(ys[k] for k in order)])
