"""The persistent engine on a GPU, against NumPy in float64, the CuPy engine and itself."""

import time

import chainer
import numpy
import pytest

from chainer_lstm import cells, kernels, links
from chainer_lstm.kernels.engines import auto
from chainer_lstm.kernels.engines import persistent_plan as plans
from chainer_lstm.kernels.engines.numpy import numpy_engine
from chainer_lstm.kernels.engines.types import Shape
from tests.kernels import cases, persistent_cases
from tests.kernels.persistent_cases import Case, ragged
from tests.support.arrays import assert_close, gradients, uniforms, variables

pytestmark = [pytest.mark.gpu, pytest.mark.parametrize('xp', ['cupy'], indirect=True)]

BOTH = (False, True)
CASES = [
    Case(1, (1,)),
    Case(37, ragged(11, 9), directions=BOTH),
    Case(200, (20,) * 20, directions=BOTH),
    Case(256, (35,) * 32),
    Case(257, ragged(33, 12), directions=(True,)),
    Case(333, ragged(9, 7), with_gh=False),
    Case(512, ragged(64, 100)),
    Case(650, (35,) * 20),
    Case(650, ragged(20, 35), directions=BOTH, apart=650),
    Case(800, ragged(12, 6)),
    Case(300, (400,) * 3),
    Case(650, ragged(20, 35), from_zeros=True),
]
LINKS = {
    'LSTM': lambda: links.LSTM(5, 40),
    'NStepLSTM': lambda: links.NStepLSTM(2, 5, 40, 0),
    'NStepBiLSTM': lambda: links.NStepBiLSTM(2, 5, 40, 0),
}
STRESS_SECONDS = 90


def forced(xp, case):
    """The persistent engine; skips the test where the case does not fit this GPU."""
    engine = kernels.engine_of(xp.zeros(1), 'persistent', case.precision)
    shape = Shape(max(case.lengths), len(case.lengths), case.units, len(case.directions))
    for direction in 'forward', 'backward':
        if not engine.supports(cells.lstm, numpy.dtype('f'), shape, direction):
            pytest.skip(f'{shape} does not fit this GPU {direction}')
    return engine


def check(xp, case, seed=0):
    engine = forced(xp, case)
    found = persistent_cases.check(engine, xp, case, seed)
    assert not engine._error()[0], 'a kernel timed out'
    return found


@pytest.mark.parametrize('precision', plans.PRECISIONS)
@pytest.mark.parametrize('case', CASES, ids=str)
def test_agrees_with_float64(xp, case, precision):
    check(xp, case._replace(precision=precision))


@pytest.mark.parametrize('precision', plans.PRECISIONS)
@pytest.mark.parametrize('case', CASES, ids=str)
def test_float16(xp, case, precision):
    """Rounded once, after float32: of the size of numbers, what float16 keeps and bf16."""
    engine, inputs = forced(xp, case._replace(precision=precision)), persistent_cases.make(case)
    found = persistent_cases.run(engine, xp, case, inputs, 'e')
    for actual, other in zip(found, persistent_cases.run(numpy_engine, numpy, case, inputs, 'd')):
        for name, a, e in zip(persistent_cases.RESULTS, actual, other):
            assert a.dtype == ('f' if name == 'gb' else 'e'), name
            numpy.testing.assert_allclose(
                a, e, rtol=0, atol=2e-2 * abs(e).max(initial=0), err_msg=name
            )


@pytest.mark.parametrize('case', CASES, ids=str)
def test_engines_agree(xp, case):
    inputs = persistent_cases.make(case)
    engines = forced(xp, case), kernels.engine_of(xp.zeros(1), 'cupy')
    found, expected = (persistent_cases.run(engine, xp, case, inputs) for engine in engines)
    for actual, other in zip(found, expected):
        for name, a, e in zip(persistent_cases.RESULTS, actual, other):
            numpy.testing.assert_allclose(
                a, e, rtol=0, atol=3e-5 * abs(e).max(initial=0), err_msg=name
            )


@pytest.mark.parametrize('precision', plans.PRECISIONS)
def test_same_bits_every_time(xp, precision):
    case = Case(650, ragged(20, 35), precision)
    engine, inputs = forced(xp, case), persistent_cases.make(case)
    first = persistent_cases.run(engine, xp, case, inputs)
    for _ in range(19):
        numpy.testing.assert_equal(persistent_cases.run(engine, xp, case, inputs), first)


def test_auto_tries_it_and_finds_no_fault(xp, tmp_path, monkeypatch):
    monkeypatch.setenv('CHAINER_LSTM_CACHE_DIR', str(tmp_path))
    case = Case(200, ragged(20, 20))
    inputs, number = persistent_cases.make(case), xp.cuda.Device().id
    before = {*auto.verdicts(number)}
    for _ in range(2):
        persistent_cases.run(kernels.engine_of(xp.zeros(1)), xp, case, inputs)
    found = auto.verdicts(number)
    assert all(found[key].kind in ('faster', 'slower') for key in {*found} - before)
    assert sum('H=200 B<=24 T>=16' in key for key in found) == 2


def test_auto_finds_no_fault(xp):
    case = Case(200, ragged(20, 20))
    inputs = persistent_cases.make(case)
    for _ in range(2):
        persistent_cases.run(kernels.engine_of(xp.zeros(1)), xp, case, inputs)
    verdicts = auto.verdicts(xp.cuda.Device().id)
    found = [verdicts[key].kind for key in verdicts if 'H=200 B<=24 T>=16' in key]
    assert len(found) == 2
    assert {*found} <= {'faster', 'slower'}


def test_two_streams(xp):
    """Launches that may overlap: each has buffers of its own,
    and all of its blocks or none on the device.
    """
    case = Case(200, (50,) * 20)
    engine = forced(xp, case)
    answers = [
        persistent_cases.run(engine, xp, case, persistent_cases.make(case, seed=seed))
        for seed in range(2)
    ]
    jobs = [
        persistent_cases.jobs(xp, case, persistent_cases.make(case, seed=seed), takes_states=True)
        for seed in range(2)
    ]
    streams = [xp.cuda.Stream(non_blocking=True) for _ in jobs]
    xp.cuda.Device().synchronize()
    found = []
    for stream, (layers, last) in zip(streams, jobs):
        with stream:
            (gates,) = engine.sequence_forward(layers, keep=True)
            (before,) = engine.sequence_backward(layers, [gates], last)
        (layer,), (given,) = layers, last
        after = [layer.states.h, layer.states.c, layer.last.h, layer.last.c]
        found.append((*after, before.h, before.c, gates, given.of_weights['b']))
    for stream, arrays, (answer,) in zip(streams, found, answers):
        stream.synchronize()
        numpy.testing.assert_equal([cases.to_numpy(x) for x in arrays], answer[1:])


def test_random_shapes(xp):
    """As many as there is time for."""
    end, seed = time.monotonic() + STRESS_SECONDS, 0
    while time.monotonic() < end:
        seed += 1
        random = numpy.random.RandomState(seed)
        units = int(random.choice([1, 16, 37, 100, 200, 256, 300, 500, 650, 800, 1024]))
        batch, steps = random.randint(1, 70), random.randint(1, 40)
        lengths = ragged(batch, steps, seed) if random.rand() < 0.6 else (steps,) * batch
        directions = [(False,), (True,), BOTH][random.randint(3)]
        precision, with_gh = str(random.choice(plans.PRECISIONS)), bool(random.randint(2))
        # through a single unit the gradient of a last state is a product of all steps,
        # and their errors add up
        case = Case(units, lengths, precision, directions, with_gh or units == 1)
        try:
            check(xp, case, seed)
        except pytest.skip.Exception:
            continue
        except Exception as error:
            raise AssertionError(f'seed {seed}: {case}') from error


def run(name, engine, order, dtype='f'):
    """-> outputs of a link, their gradients by inputs and parameters,
    and with order 2 the gradients of these.
    """
    numpy.random.seed(0)
    link = LINKS[name]()
    link.to_device('@numpy' if engine == 'numpy' else '@cupy:0')
    with chainer.using_config('lstm_engine', engine):
        if name == 'LSTM':
            xs = variables(uniforms([(6, 11, 5)], dtype, link.xp))
            outputs = [link.forward_sequence(xs[0]), link.c, link.h]
        else:
            xs = variables(uniforms([(n, 5) for n in (6, 5, 5, 2)], dtype, link.xp))
            hy, cy, ys = link(None, None, xs)
            outputs = [hy, cy, *ys]
        parameters = [parameter for _, parameter in sorted(link.namedparams())]
        return [*outputs, *gradients(outputs, [*xs, *parameters], order)]


@pytest.mark.parametrize('name', LINKS)
def test_links_of_float16(xp, name):
    with chainer.using_config('dtype', numpy.dtype('e')):
        found = run(name, 'persistent', 1, 'e')
        expected = run(name, 'cupy', 1, 'e')
    for y, e in zip(found, expected):
        assert y.dtype == 'e'
        scale = max(1.0, float(abs(e.array).max()))
        assert float(abs(y.array - e.array).max()) < 2e-2 * scale


@pytest.mark.parametrize('order', [1, 2])
@pytest.mark.parametrize('engine', ['auto', 'persistent', 'cupy'])
@pytest.mark.parametrize('name', LINKS)
def test_links(xp, name, engine, order):
    found, expected = run(name, engine, order), run(name, 'numpy', order)
    scale = max(1.0, *(float(abs(y.array).max()) for y in expected))  # sums over steps and rows
    assert_close([y / scale for y in found], [y / scale for y in expected])
