"""Gradients of parameters are dense: ChainerMN averages the memory behind them,
and of another layout only a copy.
"""

import chainer
import chainer.functions as F
import numpy
import pytest

import chainer_lstm.functions
from chainer_lstm import links
from chainer_lstm.models import RNNForLM
from tests.support.arrays import uniform

STATEFUL, STACK = (3, 4), (2, 3, 4, 0.0)


def in_sequence(link):
    return link.forward_sequence(uniform((5, 2, 3), 'f'))


def in_steps(link):
    return sum(link(x) for x in uniform((5, 2, 3), 'f'))


def stateless(link):
    return link(*link(None, None, uniform((2, 3), 'f')), uniform((2, 3), 'f', seed=1))[1]


def stacked(link):
    return F.concat(link(None, None, [uniform((length, 3), 'f') for length in (2, 5)])[2], axis=0)


def language_model(link):
    words = numpy.arange(8, dtype='i').reshape(4, 2)
    return chainer_lstm.functions.softmax_cross_entropy(link(words), words.ravel())


@pytest.mark.parametrize('engine', ['auto', 'numpy'])
@pytest.mark.parametrize(
    ('make', 'call'),
    [
        (lambda: links.LSTM(*STATEFUL), in_sequence),
        (lambda: links.LSTM(*STATEFUL), in_steps),
        (lambda: links.StatelessLSTM(*STATEFUL), stateless),
        (lambda: links.StatefulPeepholeLSTM(*STATEFUL), in_sequence),
        (lambda: links.StatefulPeepholeLSTM(*STATEFUL), in_steps),
        (lambda: links.NStepLSTM(*STACK), stacked),
        (lambda: links.NStepBiLSTM(*STACK), stacked),
        (lambda: RNNForLM(9, 4), language_model),
    ],
)
def test_dense(make, call, engine):
    link = make()
    link.cleargrads()
    with chainer.using_config('lstm_engine', engine):
        F.sum(call(link)).backward()
    sparse = [name for name, param in link.namedparams() if not param.grad.flags.c_contiguous]
    assert sparse == []
