"""``links.ConvLSTM2D`` against Chainer's convolutions and a loop over pixels in float64."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check, serializers
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from tests.support import reference
from tests.support.arrays import assert_close, assert_same, uniform
from tests.support.links import contents

T, B, C, H, SIZE = 3, 2, 2, 3, (5, 4)


def make(dtype='d', in_channels=C, **options):
    numpy.random.seed(0)
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        return links.ConvLSTM2D(
            in_channels, H, 3, bias_init=chainer.initializers.Normal(1), **options
        )


def convolved(x, W):
    """(B, C, rows, columns) padded by 1, pixel by pixel."""
    padded = numpy.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = numpy.zeros((len(x), len(W), *x.shape[2:]))
    for r, k in numpy.ndindex(*x.shape[2:]):
        y[:, :, r, k] = numpy.tensordot(padded[:, :, r : r + 3, k : k + 3], W, ((1, 2, 3),) * 2)
    return y


def loop(link, xs):
    W, b, U = (p.array.astype('d') for p in (link.upward.W, link.upward.b, link.lateral.W))
    c = h = numpy.zeros((B, H, *SIZE))
    ys = []
    for x in xs.astype('d'):
        pre = convolved(x, W) + b[:, None, None] + convolved(h, U)
        a, i, f, o = (pre[:, g::4] for g in range(4))
        c = reference.sigmoid(f) * c + reference.sigmoid(i) * numpy.tanh(a)
        h = reference.sigmoid(o) * numpy.tanh(c)
        ys.append(h)
    return numpy.stack(ys), c


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('at_once', [False, True])
def test_equals_a_loop(xp, dtype, at_once):
    link, xs = make(dtype), uniform((T, B, C, *SIZE), dtype)
    ys, c = loop(link, xs)
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    xs = xp.asarray(xs)
    found = link.forward_sequence(xs) if at_once else F.stack([link(x) for x in xs])
    assert_close([found, link.c, link.h], [y.astype(dtype) for y in (ys, c, ys[-1])])


@pytest.mark.parametrize('at_once', [False, True])
def test_gradients_of_both_orders(at_once):
    link, xs = make(), uniform((2, 1, C, 2, 2))
    params = [link.upward.W, link.upward.b, link.lateral.W]

    def call(xs):
        link.reset_state()
        return link.forward_sequence(xs) if at_once else F.stack([link(x) for x in xs])

    gy = uniform((2, 1, H, 2, 2), seed=1)
    gradient_check.check_backward(call, xs, gy, params, dtype='d', atol=1e-6)
    second = [uniform(v.shape, seed=2) for v in (xs, *params)]
    gradient_check.check_double_backward(
        call, xs, gy, second[0], params, second[1:], dtype='d', atol=1e-6
    )


def test_initial_weights():
    """W, then U, as two convolutions draw them; the forget gates begin open."""
    numpy.random.seed(0)
    link = links.ConvLSTM2D(C, H, (3, 1))
    numpy.random.seed(0)
    for param, channels in ((link.upward.W, C), (link.lateral.W, H)):
        other = chainer.links.Convolution2D(channels, 4 * H, (3, 1), nobias=True)
        numpy.testing.assert_array_equal(param.array, other.W.array)
    assert link.upward.b.array.tolist() == [0, 0, 1, 0] * H
    assert (links.ConvLSTM2D(C, H, 3, forget_bias_init=2).upward.b.array[2::4] == 2).all()


def test_stride_and_pad():
    link = make(stride=2, pad=(0, 1))
    y = link(uniform((B, C, 7, 6)))
    assert y.shape == (B, H, 3, 3)
    assert link(uniform((B, C, 7, 6))).shape == y.shape


def test_channels_are_taken_from_the_input():
    link = make(in_channels=None)
    link(uniform((B, C, *SIZE)))
    assert link.upward.W.shape == (4 * H, C, 3, 3)


def test_state(tmp_path):
    link, other = make(), make()
    x = uniform((B, C, *SIZE))
    link(x)
    other.set_state(link.c, link.h.array)
    assert_close([other(x)], [link(x)])
    other.reset_state()
    other.load_state(link.save_state())
    assert_same(contents(other), contents(link))
    for each in (link, other):
        each.persistent_state = True
    serializers.save_npz(tmp_path / 'a.npz', link)
    other.reset_state()
    serializers.load_npz(tmp_path / 'a.npz', other)
    assert_same(contents(other), contents(link))
    link.reset_state()
    serializers.save_npz(tmp_path / 'a.npz', link)
    serializers.load_npz(tmp_path / 'a.npz', other)
    assert other.c is other.h is None


@pytest.mark.parametrize(
    ('error', 'message', 'arguments'),
    [
        (ValueError, 'expected an odd ksize', (C, H, 2)),
        (ValueError, 'expected ksize to be an integer or a pair', (C, H, (3, 3, 3))),
        (TypeError, 'expected ksize to be a positive integer', (C, H, 'ab')),
        (ValueError, 'expected stride to be a positive integer', (C, H, 3, 0)),
        (ValueError, "expected pad to be 'same'", (C, H, 3, 1, 'valid')),
        (ValueError, 'expected pad to be a positive', (C, H, 3, 1, -1)),
        (ValueError, 'expected out_channels', (C, 0, 3)),
        (TypeError, 'expected in_channels', (1.5, H, 3)),
    ],
)
def test_wrong_constructors(error, message, arguments):
    with pytest.raises(error, match=message):
        links.ConvLSTM2D(*arguments)


def test_wrong_inputs():
    link, x = make(), uniform((B, C, *SIZE))
    link(x)
    before = contents(link)
    for wrong, error in (
        (x[:1], InvalidType),
        (x[:, :, :3], InvalidType),
        (x[:, :1], InvalidType),
        (x[0], InvalidType),
        (x.astype('i'), InvalidType),
        (None, TypeError),
    ):
        with pytest.raises(error):
            link(wrong)
    for wrong in (x, x[None][:0]):
        with pytest.raises(ValueError, match='expected xs of shape'):
            link.forward_sequence(wrong)
    for c, h in ((x, None), (link.c.array[:, :, 0], None), (link.c.array, link.h.array[:1])):
        with pytest.raises(ValueError, match='of (one )?shape'):
            link.set_state(c, h)
    assert_same(contents(link), before)


def test_reset_state_of_some_images():
    link, x = make(), uniform((B, C, *SIZE))
    link(x)
    link.reset_state([1, 0])
    assert not link.c.array[0].any() and not link.h.array[0].any()
    assert link.c.array[1].all() and link.h.array[1].all()
    with pytest.raises(ValueError, match=r'expected rows of shape \(2,\)'):
        link.reset_state([1, 0, 0, 0, 0])


@pytest.mark.parametrize('at_once', [False, True])
def test_after_an_error_the_size_is_not_known(at_once):
    link = make(in_channels=None)
    link.set_state(uniform((B + 1, H, *SIZE)), None)
    x = uniform((B, C, *SIZE))
    with pytest.raises(InvalidType):
        link.forward_sequence(x[None]) if at_once else link(x)
    assert link.upward.W.array is None
    link.reset_state()
    link(uniform((B, C + 1, *SIZE)))
    assert link.upward.W.shape[1] == C + 1


def test_no_images():
    xs = numpy.zeros((T, 0, C, *SIZE))
    assert make().forward_sequence(xs).shape == (T, 0, H, *SIZE)
    assert make()(xs[0]).shape == (0, H, *SIZE)
