"""Of ``links.LSTM`` and its likes: what they are made with, and a step."""

import chainer
import numpy
import pytest
from chainer import initializers

from tests.support.arrays import uniform
from tests.support.links import INPUT, UNITS


def draw(array):
    """An initializer that is a plain function;
    what it draws shows how often and on what shapes it is called.
    """
    array[...] = numpy.random.normal(array.ndim, 0.1, array.shape)


INITIALIZERS = {
    'defaults': {},
    'lateral scalar': {'lateral_init': 0.25},
    'lateral array': {'lateral_init': uniform((UNITS, UNITS), 'f')},
    'lateral function': {'lateral_init': draw},
    'lateral Orthogonal': {'lateral_init': initializers.Orthogonal()},
    'upward scalar': {'upward_init': -0.5},
    'upward NumPy scalar': {'upward_init': numpy.float32(-0.5)},
    'upward array': {'upward_init': uniform((UNITS, INPUT), 'f')},
    'upward function': {'upward_init': draw},
    'upward Orthogonal': {'upward_init': initializers.Orthogonal(scale=0.7)},
    'bias scalar': {'bias_init': 0.5},
    'biases 0': {'bias_init': 0, 'forget_bias_init': 0},
    'bias array': {'bias_init': uniform((1, UNITS, 1), 'f')},
    'bias function': {'bias_init': draw},
    'bias Uniform': {'bias_init': initializers.Uniform(0.1)},
    'forget bias scalar': {'forget_bias_init': 3},
    'forget bias array': {'forget_bias_init': uniform((1, UNITS, 1), 'f')},
    'forget bias Normal': {'forget_bias_init': initializers.Normal(0.1)},
    'all': {
        'lateral_init': draw,
        'upward_init': initializers.GlorotUniform(),
        'bias_init': initializers.Normal(0.3),
        'forget_bias_init': initializers.Uniform(2),
    },
}
SIZES = {'both sizes': (INPUT, UNITS), 'out_size alone': (UNITS,), 'in_size None': (None, UNITS)}
LSTMS = pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM'])

WRAPS = pytest.mark.parametrize(
    'wrap', [chainer.Variable, lambda x: x], ids=['variables', 'arrays']
)


def step(link, x):
    """One step of either link."""
    return link(x) if hasattr(link, 'reset_state') else link(None, None, x)


def parameters(link):
    return {path: param.array.copy() for path, param in link.namedparams()}
