"""``CupyEngine`` and the links on a GPU, against NumPy."""

from collections.abc import Callable
from typing import NamedTuple

import chainer
import numpy
import pytest

from chainer_lstm import kernels, links
from chainer_lstm.kernels.engines.numpy import numpy_engine
from tests.kernels import cases
from tests.support.arrays import assert_close, assert_same, gradients, uniform, uniforms, variables
from tests.support.links import contents

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.parametrize('xp', ['cupy'], indirect=True),
    pytest.mark.pairwise,
]

GPU = '@cupy:0'
INPUT, UNITS = 5, 7
SHAPES = [(4, INPUT), (3, INPUT), (1, INPUT)]  # shrinking batches, or sequences


def _stateful(link, xs):
    return [*(link(x) for x in xs), link.c, link.h]


def _stateless(link, xs):
    c = h = None
    outputs = []
    for x in xs:
        c, h = link(c, None if h is None else h[: len(x)], x)
        outputs += [c, h]
    return outputs


def _n_step(link, xs):
    hx, cx = uniforms([(link.n_layers * link.direction, len(xs), UNITS)] * 2, xs[0].dtype, link.xp)
    hy, cy, ys = link(hx, cx, xs)
    return [hy, cy, *ys]


class LinkCase(NamedTuple):
    """A link and its use on inputs of the ``SHAPES``."""

    make: Callable
    run: Callable

    def link(self, dtype='f'):
        numpy.random.seed(0)
        with chainer.using_config('dtype', numpy.dtype(dtype)):
            return self.make()


LINKS = {
    'LSTM': LinkCase(lambda: links.LSTM(INPUT, UNITS), _stateful),
    'StatelessLSTM': LinkCase(lambda: links.StatelessLSTM(INPUT, UNITS), _stateless),
    'StatefulPeepholeLSTM': LinkCase(lambda: links.StatefulPeepholeLSTM(INPUT, UNITS), _stateful),
    'NStepLSTM': LinkCase(lambda: links.NStepLSTM(2, INPUT, UNITS, 0), _n_step),
    'NStepBiLSTM': LinkCase(lambda: links.NStepBiLSTM(2, INPUT, UNITS, 0), _n_step),
}


def run(name, device, dtype='f', order=2):
    """-> outputs, their gradients by inputs and parameters,
    and with order 2 the gradients of these.
    """
    link = LINKS[name].link(dtype)
    link.to_device(device)
    xs = variables(uniforms(SHAPES, dtype, link.xp))
    outputs = LINKS[name].run(link, xs)
    parameters = [parameter for _, parameter in sorted(link.namedparams())]
    return [*outputs, *gradients(outputs, [*xs, *parameters], order)]


@pytest.fixture
def engine(xp):
    return kernels.engine_of(xp.zeros(1), 'cupy')


@pytest.mark.parametrize(
    ('name', 'expected'),
    [('auto', 'AutoEngine'), ('persistent', 'PersistentEngine'), ('cupy', 'CupyEngine')],
)
def test_engine_of_cupy(xp, name, expected):
    assert type(kernels.engine_of(xp.zeros(1), name)).__name__ == expected


@pytest.mark.parametrize('layout', cases.LAYOUTS)
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call(xp, engine, call, dtype, layout):
    cases.check_call(engine, xp, call, dtype, layout)


@pytest.mark.parametrize('shape', [(0, 3), (1, 1), (3, 86), (601, 499)], ids=str)
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_shapes(xp, engine, call, shape):
    cases.check_call(engine, xp, call, 'f', shape=shape)


@pytest.mark.parametrize('none', cases.NO_GRADIENT, ids=str)
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step(xp, engine, case, dtype, none):
    cases.check_step(engine, xp, case, dtype, none)


@pytest.mark.parametrize('layout', cases.LAYOUTS)
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_layout(xp, engine, case, layout):
    cases.check_step(engine, xp, case, 'f', layout=layout)


@pytest.mark.parametrize('batch', [0, 33])
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_batch(xp, engine, case, batch):
    cases.check_step(engine, xp, case, 'd', B=batch, I=19, H=65)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_gradients(xp, engine, case):
    cases.check_step_gradients(engine, xp, case)


def test_two_streams(xp, engine):
    """The kernels wait for what is queued in the current stream, and for nothing else."""
    call = cases.CALLS[0]
    inputs = cases.call_inputs(call, 'f', 50, 130)
    arrays = {name: xp.asarray(x) for name, x in inputs.items()}
    ones = xp.ones((4096, 4096), 'f')
    cases.run_call(engine, call, arrays)  # compiles
    streams = [xp.cuda.Stream(non_blocking=True) for _ in range(2)]
    late = [{name: xp.full_like(x, numpy.nan) for name, x in arrays.items()} for _ in streams]
    xp.cuda.Device().synchronize()
    outputs = []
    for stream, copies in zip(streams, late):
        with stream:
            slow = ones
            for _ in range(10):
                slow = xp.matmul(slow, ones) / 4096
            for name, x in arrays.items():
                copies[name][...] = x * slow[0, 0]  # which is 1
            outputs.append(cases.run_call(engine, call, copies))
    expected = cases.run_call(numpy_engine, call, inputs)
    for stream, output in zip(streams, outputs):
        stream.synchronize()
        cases.assert_close(
            list(output.values()), list(expected.values()), cases.STEP_TOLERANCE['f']
        )


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('name', LINKS)
def test_link(xp, name, dtype):
    assert_close(run(name, GPU, dtype), run(name, '@numpy', dtype))


@pytest.mark.parametrize('name', LINKS)
def test_link_deterministic(xp, name):
    with chainer.using_config('cudnn_deterministic', True):
        first, *others = (
            dict(enumerate(y.array for y in run(name, GPU, order=1))) for _ in range(20)
        )
    for other in others:
        assert_same(other, first)


@pytest.mark.parametrize('name', LINKS)
def test_link_there_and_back(xp, name):
    link = LINKS[name].link()
    before = contents(link)
    link.to_device(GPU)
    assert all(isinstance(parameter.array, xp.ndarray) for parameter in link.params())
    link.to_device('@numpy')
    assert_same(contents(link), before)


@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
def test_state_there_and_back(xp, name):
    link, other = LINKS[name].link(), LINKS[name].link()
    for device in ('@numpy', GPU, '@numpy', GPU):
        link.to_device(device)
        x = uniform((3, INPUT), 'f')
        outputs = [link(link.device.send(x)), link.c, link.h]
        assert all(isinstance(y.array, link.xp.ndarray) for y in outputs)
        assert_close(outputs, [other(x), other.c, other.h])
