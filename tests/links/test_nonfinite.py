"""NaN and infinity go through every link as they go through Chainer's, forward and backward,
in both CPU engines.
"""

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm.kernels import engine_of
from tests.support.arrays import assert_close, uniforms, variables, weighted_sum
from tests.support.links import pair

pytestmark = pytest.mark.pairwise

BATCH, STEPS, INPUT, UNITS, LAYERS = 3, 3, 5, 9, 2
VALUES = [numpy.nan, numpy.inf, -numpy.inf]


def step_by_step(link, xs, h, c):
    link.c, link.h = c, h
    return [*[link(x) for x in xs], link.c, link.h]


def at_once(link, xs, h, c):
    """What Chainer's links do step by step."""
    if not hasattr(link, 'forward_sequence'):
        return step_by_step(link, xs, h, c)
    link.c, link.h = c, h
    return [*link.forward_sequence(F.stack(xs)), link.c, link.h]


def stateless(link, xs, h, c):
    results = []
    for x in xs:
        c, h = link(c, h, x)
        results += [c, h]
    return results


def n_step(link, xs, h, c):
    """Sequences of lengths 3, 2 and 1 from the rows of xs, which are in any order."""
    shape = (LAYERS * (2 if 'Bi' in type(link).__name__ else 1), *c.shape)
    hy, cy, ys = link(
        F.broadcast_to(h, shape), F.broadcast_to(c, shape), [x[:k] for x, k in zip(xs, (2, 3, 1))]
    )
    return [*ys, hy, cy]


STATEFUL, STACK = (INPUT, UNITS), (LAYERS, INPUT, UNITS, 0.0)
CASES = {
    'LSTM': ('LSTM', STATEFUL, step_by_step),
    'LSTM at once': ('LSTM', STATEFUL, at_once),
    'StatelessLSTM': ('StatelessLSTM', STATEFUL, stateless),
    'peephole': ('StatefulPeepholeLSTM', STATEFUL, step_by_step),
    'peephole at once': ('StatefulPeepholeLSTM', STATEFUL, at_once),
    'NStepLSTM': ('NStepLSTM', STACK, n_step),
    'NStepBiLSTM': ('NStepBiLSTM', STACK, n_step),
}
# of the sixteen parameters of a layer of NStep, one of each kind:
# input, recurrent, and their biases
PARAMETERS = sorted(
    (case, name[1:])
    for case, (link, args, _) in CASES.items()
    for name, _ in pair(link, *args)[0].namedparams()
    if args is not STACK or name[-2:] in ('w0', 'w5', 'b2', 'b7')
)
PLACES = [*PARAMETERS, *((case, place) for case in CASES for place in ('x', 'h', 'c', 'gradient'))]


@pytest.fixture(params=['numpy', 'native'])
def _engine(request):
    with chainer.using_config('lstm_engine', request.param):
        try:
            engine_of(numpy.zeros(1, 'f'), request.param)
        except ValueError as error:
            pytest.skip(str(error))
        yield


def results(link, call, place, value):
    """Outputs, and gradients by parameters and inputs,
    with the value in one element at that place.
    """
    inputs = variables(uniforms([(BATCH, INPUT)] * STEPS + [(BATCH, UNITS)] * 2, 'f'))
    *xs, h, c = inputs
    params = dict(sorted(link.namedparams()))
    target = {
        'x': xs[0],
        'h': h,
        'c': c,
        **{name[1:]: param for name, param in params.items()},
    }.get(place)
    if target is not None:
        target.array.flat[target.size // 2] = value
    with numpy.errstate(all='ignore'):
        outputs = call(link, xs, h, c)
        loss = weighted_sum(outputs)
        if place == 'gradient':
            loss += F.sum(F.cast(outputs[0][:1, 3:4], 'd') * value)
        return [*outputs, *chainer.grad([loss], [*params.values(), *inputs])]


@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize('value', VALUES, ids=str)
@pytest.mark.parametrize(('case', 'place'), PLACES)
def test_as_in_chainer(case, place, value):
    name, args, call = CASES[case]
    expected, found = (results(link, call, place, value) for link in pair(name, *args))
    assert_close(found, expected)
    if numpy.isnan(value):  # infinity may end in a gate that is shut
        assert any(numpy.isnan(e.array).any() for e in expected)
