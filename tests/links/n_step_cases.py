"""Of ``links.NStepLSTM`` and ``NStepBiLSTM``: lengths, links and inputs, and the reference loop."""

import chainer
import numpy
import pytest
from chainer import initializers
from chainer.backends import cuda

from chainer_lstm import links
from tests.support import reference
from tests.support.arrays import (
    gradients,
    uniform,
    uniforms,
    variables,
)
from tests.support.links import INPUT

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
