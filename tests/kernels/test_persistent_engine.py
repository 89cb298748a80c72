"""What the persistent engine leaves to the CuPy engine, and links on it,
with the CUDA source on the CPU.
"""

import sys

import numpy
import pytest

from chainer_lstm import cells, functions
from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines.numpy import numpy_engine
from chainer_lstm.kernels.engines.types import Shape
from tests.kernels import cases, cuda_on_cpu, fibres, persistent_cases
from tests.kernels.persistent_cases import Case
from tests.support.arrays import gradients, uniforms, variables

# the module, whose name in ``functions`` is that of a function
NODE = sys.modules['chainer_lstm.functions.sequence_node']
BATCHES = (3, 2, 2)
UNITS = 5
CASE = Case(UNITS, (3, 3, 1))
SHAPE = Shape(len(BATCHES), BATCHES[0], UNITS, 1)

# what differs from an LSTM in float32 on an H100 -> the engine's reason
LEFT = {
    'float64': ({'dtype': 'd'}, 'it computes float32 and float16 only, got float64'),
    'another cell': ({'cell': cells.peephole}, 'it computes the cell lstm only, got peephole'),
    'an old device': ({'capability': 75}, 'it needs compute capability 8.0'),
    'a small device': (
        {'multiprocessors': 0},
        '5 units and a batch of 3 at precision .* do not fit into the 0',
    ),
    'little shared memory': ({'shared_memory': 10_000}, '5 units .* do not fit'),
}


@pytest.fixture(autouse=True)
def _needs_a_compiler():
    reason = fibres.missing() or cuda_on_cpu.missing()
    if reason:
        pytest.skip(reason)


def device_and_job(what):
    """-> what differs of the device, and of the sequence"""
    different, _ = LEFT[what]
    job = {key: different[key] for key in different if key in ('dtype', 'cell')}
    return {key: different[key] for key in different if key not in job}, job


@pytest.mark.parametrize('direction', ['forward', 'backward'])
@pytest.mark.parametrize('what', [None, *LEFT])
def test_supports(monkeypatch, what, direction):
    device, job = device_and_job(what) if what else ({}, {})
    engine = fibres.engine(monkeypatch, **device)
    cell, dtype = job.get('cell', cells.lstm), numpy.dtype(job.get('dtype', 'f'))
    assert engine.supports(cell, dtype, SHAPE, direction) == (what is None)


@pytest.mark.parametrize('what', LEFT)
def test_left_to_the_cupy_engine(monkeypatch, what):
    device, job = device_and_job(what)
    cuda_on_cpu.engine(monkeypatch)
    engine = fibres.engine(monkeypatch, forced=False, **device)
    monkeypatch.setattr(cuda, 'sequence_kernel', None)
    inputs = persistent_cases.make(CASE, job.get('cell', cells.lstm))
    (found,) = persistent_cases.run(engine, engine.xp, CASE, inputs, **job)
    (expected,) = persistent_cases.run(numpy_engine, numpy, CASE, inputs, **{**job, 'dtype': 'd'})
    cases.assert_close(found, expected, cases.STEP_TOLERANCE[job.get('dtype', 'f')])


@pytest.mark.parametrize('what', LEFT)
def test_forced_and_impossible(monkeypatch, what):
    device, job = device_and_job(what)
    engine = fibres.engine(monkeypatch, **device)
    layers, gradients = persistent_cases.jobs(
        engine.xp, CASE, persistent_cases.make(CASE, job.get('cell', cells.lstm)), **job
    )
    message = f"chainer.config.lstm_engine is 'persistent', but {LEFT[what][1]}"
    with pytest.raises(ValueError, match=message):
        engine.sequence_forward(layers, keep=True)
    gates = [numpy.empty((len(layer.x), 4 * UNITS), layer.x.dtype) for layer in layers]
    with pytest.raises(ValueError, match=message):
        engine.sequence_backward(layers, gates, gradients)


@pytest.mark.parametrize('forced', [False, True])
def test_blocks_that_do_not_fit_beside_other_processes(monkeypatch, forced):
    """Fewer than the plan asks for, as under MPS."""
    cuda_on_cpu.engine(monkeypatch)
    engine = fibres.engine(monkeypatch, forced=forced)
    monkeypatch.setattr(cuda, 'sequence_kernel', None)
    engine.room = 0
    inputs = persistent_cases.make(CASE)
    if forced:
        with pytest.raises(ValueError, match='its 1 blocks do not fit into the device at the same'):
            persistent_cases.run(engine, engine.xp, CASE, inputs)
        return
    (found,) = persistent_cases.run(engine, engine.xp, CASE, inputs)
    (expected,) = persistent_cases.run(numpy_engine, numpy, CASE, inputs, 'd')
    cases.assert_close(found, expected, cases.STEP_TOLERANCE['f'])


@pytest.mark.parametrize('takes_states', [True, False])
@pytest.mark.parametrize('precision', ['highest', 'medium'])
@pytest.mark.parametrize(
    'case',
    [
        Case(37, (6, 5, 5, 2, 1, 0), directions=(False, True)),
        Case(37, (4,) * 9, with_gh=False),
        Case(20, (5, 3, 0), apart=20, from_zeros=True),
    ],
    ids=str,
)
def test_float16(monkeypatch, case, precision, takes_states):
    """Computed in float32 and rounded once, into the arrays of float16."""
    engine, inputs = fibres.engine(monkeypatch, precision), persistent_cases.make(case)
    monkeypatch.setattr(engine, 'takes_states', takes_states)
    found = persistent_cases.run(engine, engine.xp, case, inputs, 'e')
    for actual, other in zip(found, persistent_cases.run(numpy_engine, numpy, case, inputs, 'd')):
        for name, a, e in zip(persistent_cases.RESULTS, actual, other):
            assert a.dtype == ('f' if name == 'gb' else 'e'), name
            cases.assert_close([a], [e], cases.STEP_TOLERANCE['e'])


@pytest.mark.parametrize('lengths', [(), (0, 0)], ids=str)
@pytest.mark.parametrize('forced', [False, True])
def test_nothing_to_compute(monkeypatch, lengths, forced):
    engine = fibres.engine(monkeypatch, forced=forced)
    monkeypatch.setattr(cuda, 'sequence_kernel', None)
    case = Case(UNITS, lengths)
    (given,) = inputs = persistent_cases.make(case)
    (found,) = persistent_cases.run(engine, engine.xp, case, inputs)
    gates, h, c, hy, cy, gh0, gc0, gpre, gb = found
    assert gates.shape == gpre.shape == (0, 4 * UNITS)
    assert not gb.any()
    for actual, expected in zip((h, c, hy, cy, gh0, gc0), 2 * given[-5:-3] + given[-2:]):
        numpy.testing.assert_array_equal(actual, expected.astype('f'))


def test_nan_that_looks_like_an_empty_word(monkeypatch):
    """Without the guard a NaN would be waited for."""

    def edit(text):
        assert 'v == UNSET ? 0x7fff7fffu : v' in text
        return text.replace('v == UNSET ? 0x7fff7fffu : v', 'v')

    engine = fibres.engine(monkeypatch, edit=edit, spin_limit=3000)
    case = Case(UNITS, (3,))
    (given,) = inputs = persistent_cases.make(case)
    given.x[0] = numpy.nan
    layers, _ = persistent_cases.jobs(engine.xp, case, inputs)
    engine.sequence_forward(layers, keep=True)
    assert engine.error[0]


@pytest.mark.parametrize('used', [(0, 1, 2), (2,), (0,)], ids=['all', 'y', 'hy'])
def test_stacked_bidirectional_sequences(monkeypatch, used):
    """Both directions in one launch, layer after layer, ragged, through the autograd node."""

    def both_ways(engine):
        monkeypatch.setattr(NODE, 'engine_of', lambda x: engine)
        hx, cx, *xs = uniforms([(4, 3, UNITS), (4, 3, UNITS), *((n, 2) for n in BATCHES)], 'f')
        weights = [
            uniforms([(4 * UNITS, inputs), (4 * UNITS,), (4 * UNITS, UNITS)], 'f')
            for inputs in (2, 2, 2 * UNITS, 2 * UNITS)
        ]
        inputs = variables([hx, cx, *xs, *(w for group in weights for w in group)])
        groups = [inputs[k : k + 3] for k in range(2 + len(xs), len(inputs), 3)]
        hy, cy, ys = functions.lstm_sequence(
            inputs[0], inputs[1], inputs[2 : 2 + len(xs)], groups, bidirectional=True
        )
        outputs = [[hy], [cy], ys]
        return [
            y.array
            for y in (
                *(y for k in used for y in outputs[k]),
                *gradients([y for k in used for y in outputs[k]], inputs),
            )
        ]

    launches = []
    engine = fibres.engine(monkeypatch)
    kernel = cuda.sequence_kernel
    monkeypatch.setattr(
        cuda,
        'sequence_kernel',
        lambda *args, **how: launches.append(args[1]) or kernel(*args, **how),
    )
    cases.assert_close(both_ways(engine), both_ways(numpy_engine), (0, 1e-4))
    assert launches == [
        f'lstm_sequence_{way}{stage}'
        for way in ('fwd', 'bwd')
        for _ in range(2)
        for stage in ('_prepare', '')
    ]
    assert not engine.error[0]


@pytest.mark.parametrize('engine', ['persistent', 'cupy'])
def test_gradients_of_states_in_another_memory_order(monkeypatch, engine):
    """Engines that work in place must work on what is returned, not on a copy."""

    def both_ways(engine):
        monkeypatch.setattr(NODE, 'engine_of', lambda x: engine)
        shapes = [(4 * UNITS, inputs) for inputs in (2, UNITS)]
        shapes = [
            (2, 3, UNITS),
            (2, 3, UNITS),
            (4, 3, 2),
            *(s for W in shapes for s in (W, W[:1], (4 * UNITS, UNITS))),
        ]
        inputs = variables(uniforms(shapes, 'f'))
        hy, cy, y = functions.lstm_sequence(*inputs[:3], [inputs[3:6], inputs[6:]])
        outputs = [hy.transpose(2, 1, 0), cy.transpose(2, 1, 0), y]
        return [y.array for y in gradients(outputs, inputs)]

    made = fibres.engine(monkeypatch) if engine == 'persistent' else cuda_on_cpu.engine(monkeypatch)
    cases.assert_close(both_ways(made), both_ways(numpy_engine), (0, 1e-4))
