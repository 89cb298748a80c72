"""Against Chainer's on the CPU; on a GPU the numbers are the package's own."""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer.utils import type_check

from chainer_lstm import functions, links
from chainer_lstm.functions import dropout
from chainer_lstm.functions.dropout import Dropout
from chainer_lstm.kernels import captured
from tests.support.arrays import assert_close, gradients, uniform, uniforms, variables


def masked(x, **options):
    """A dropout of x and its gradient with respect to x."""
    x = chainer.Variable(x)
    y = dropout(x, **options)
    return y, chainer.grad([y], [x])[0]


@pytest.mark.parametrize('ratio', [0.0, 0.3])
def test_on_the_cpu_it_is_chainers(ratio):
    found = []
    for function in (dropout, F.dropout):
        numpy.random.seed(2)
        found.append(function(uniform((4, 5), 'f'), ratio))
    assert_close(*[[y] for y in found])
    assert type(found[0].creator) is type(found[1].creator)


def test_arguments_of_chainer(xp):
    x = uniform((4, 5), 'f', xp)
    y, mask = dropout(x, 0.5, return_mask=True)
    assert_close([y, dropout(x, mask=mask)], [x * mask] * 2)
    with chainer.using_config('train', False):
        assert dropout(x).array is x
        assert dropout(x, return_mask=True)[1] is None
    for ratio in (-0.1, 1.0):
        with pytest.raises(ValueError, match='ratio must be in the range'):
            dropout(x, ratio)
    with pytest.raises(type_check.InvalidType):
        dropout(xp.arange(3))
    with pytest.raises(TypeError, match='expected x to be'):
        dropout([1.0])


@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
def test_gradients_have_the_mask_of_forward(xp, dtype):
    """Of a node whose masks the engine draws, as all do on a GPU."""
    x = chainer.Variable(uniform((7, 5), dtype, xp))
    (y,) = Dropout(0.25).apply((x,))
    mask = y.array / x.array
    assert_close([mask * (mask != 0)], [(mask != 0) * x.dtype.type(1 / 0.75)])
    assert 0 < int((mask == 0).sum()) < x.size
    gy = uniform((7, 5), dtype, xp, seed=1)
    (gx,) = chainer.grad([y], [x], [chainer.Variable(gy)])
    assert_close([gx], [gy * mask])
    (gx,) = chainer.grad([y], [x], [chainer.Variable(gy[:1])])
    assert_close([gx], [gy[:1] * mask])
    with pytest.raises(ValueError, match='grad_outputs: expected a gradient that broadcasts'):
        chainer.grad([y], [x], [chainer.Variable(gy[:2])])


@pytest.mark.parametrize('train', [True, False])
def test_second_gradients(xp, train):
    x = chainer.Variable(uniform((7, 5), 'd', xp))
    with chainer.using_config('train', train):
        y = dropout(x, 0.25)
    mask = chainer.as_array(y) / x.array
    found = gradients([y**3], [x], 2)
    assert_close(found, gradients([(x * mask) ** 3], [x], 2))


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', ['e', 'f', 'd'])
def test_mean_and_variance_on_a_gpu(cupy, dtype):
    ratio, size = 0.3, 200_000
    y, _ = masked(cupy.ones(size, dtype), ratio=ratio)
    kept = cupy.asnumpy(y.array) != 0
    deviation = (ratio * (1 - ratio) / size) ** 0.5
    assert abs(kept.mean() - (1 - ratio)) < 5 * deviation
    neighbours = numpy.corrcoef(kept[:-1], kept[1:])[0, 1]
    assert abs(neighbours) < 5 / size**0.5


@pytest.mark.gpu
def test_seeds_on_a_gpu(cupy):
    def drawn(seed):
        cupy.random.seed(seed)
        return [dropout(cupy.ones(1000, 'f')).array.tolist() for _ in range(2)]

    first = drawn(5)
    assert first == drawn(5)
    assert first[0] != first[1]
    assert all(other not in first for other in drawn(6))


@pytest.mark.gpu
def test_masks_of_a_graph_on_a_gpu(cupy):
    """The position is read where the replays of a graph find it, by backward too."""
    inputs = captured.Inputs(cupy)
    x = cupy.ones(1000, 'f')
    found = []
    for position in (0, 3, 0):
        with captured.capturing(inputs):
            inputs.numbers[...] = position
            y, gx = masked(x)
        assert (y.array == gx.array).all()
        found.append(y.array.tolist())
    assert found[0] == found[2] != found[1]
    values = inputs.values()
    assert len({*values[:3]}) == 3 and not values[3:].any()  # another of each for each replay


@pytest.mark.gpu
def test_layers_of_a_sequence_on_a_gpu(cupy):
    """Forward, backward and the second backward of stacked layers have one mask."""
    hx, cx, x = uniforms([(2, 3, 4), (2, 3, 4), (5, 3, 4)], 'd', cupy)
    weights = uniforms([(16, 4), (16,), (16, 4)] * 2, 'd', cupy)
    inputs = variables([hx, cx, x, *weights])

    def run():
        cupy.random.seed(4)
        groups = inputs[3:6], inputs[6:]
        return functions.lstm_sequence(*inputs[:3], groups, dropout=0.5)

    first = gradients(run(), inputs)
    assert_close(gradients(run(), inputs, 2)[: len(first)], first)

    def loss():
        return float(sum(F.sum(y).array for y in run()))

    (gx,) = chainer.grad([sum(map(F.sum, run()))], [inputs[3]])
    direction, step = uniform(inputs[3].shape, 'd', cupy, 9), 1e-5
    inputs[3].array += step * direction
    above = loss()
    inputs[3].array -= 2 * step * direction
    numpy.testing.assert_allclose(
        (above - loss()) / (2 * step), float((gx.array * direction).sum()), rtol=1e-6
    )


@pytest.mark.gpu
def test_links_on_a_gpu_draw_from_the_seed(cupy):
    link = links.NStepLSTM(2, 3, 4, 0.5)
    link.to_device('@cupy:0')
    found = []
    for seed in (1, 1, 2):
        cupy.random.seed(seed)
        found.append(link(None, None, [uniform((3, 3), 'f', cupy)])[2][0].array)
    # 'auto' may answer the first call by another engine
    assert cupy.allclose(found[0], found[1], 1e-5, 1e-6)
    assert not cupy.allclose(found[0], found[2], 1e-5, 1e-6)
