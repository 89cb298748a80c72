"""Links after bad input, and what tables of wrong calls do not hold."""

import numpy
import pytest
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from tests.support.arrays import assert_same, uniform, weighted_sum, zeros
from tests.support.links import INPUT, UNITS, contents

X = zeros(2, INPUT)


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM'])
def test_deferred_link_works_after_bad_inputs(name):
    """It draws its weights then, and learns, as a link that saw no bad input."""
    results = []
    for bad_inputs in ((), (zeros(2, 0), zeros(2, 7, dtype='d'), zeros(2, 9, dtype='i'))):
        numpy.random.seed(1)
        link = getattr(links, name)(None, UNITS)
        link.cleargrads()

        def call(x, link=link):
            return link(None, None, x)[1] if name == 'StatelessLSTM' else link(x)

        for x in bad_inputs:
            with pytest.raises(InvalidType):
                call(x)
        numpy.random.seed(2)
        loss = weighted_sum([call(uniform((2, INPUT), 'f'))])
        loss.backward()
        results.append(
            {**contents(link), **{f'{path} grad': param.grad for path, param in link.namedparams()}}
        )
    assert_same(*results)
    assert results[0]['/upward/W'].shape == (4 * UNITS, INPUT)
    assert results[0]['/upward/W grad'] is not None


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('link_on_gpu', [False, True], ids=['x on the GPU', 'link on the GPU'])
@pytest.mark.parametrize('in_size', [INPUT, None], ids=['initialized', 'deferred'])
@pytest.mark.gpu
def test_x_on_another_device(cupy, name, link_on_gpu, in_size):
    link = getattr(links, name)(in_size, UNITS)
    x = zeros(2, INPUT)
    if link_on_gpu:
        link.to_device('@cupy:0')
    else:
        x = cupy.asarray(x)
    before = contents(link)
    with pytest.raises(TypeError):
        link(None, None, x) if name == 'StatelessLSTM' else link(x)
    assert_same(contents(link), before)
