"""What the persistent engine leaves to the CuPy engine, and links on it,
with the CUDA source on the CPU.
"""

import numpy
import pytest

from chainer_lstm import functions, kernels
from chainer_lstm.kernels import cuda, layout, sequence
from chainer_lstm.kernels.packing import Rows
from tests.conftest import gradients, uniform, uniforms, variables
from tests.kernels import cases, cuda_on_cpu, fibres

BATCHES = (3, 2, 2)
UNITS = 5

# what differs from float32 without peepholes on an H100 -> the engine's reason
LEFT = {
    'float64': ({'dtype': 'd'}, 'it computes float32 only, got float64'),
    'float16': ({'dtype': 'e'}, 'it computes float32 only, got float16'),
    'peepholes': ({'peepholes': 3}, 'it has no peepholes'),
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


def run(engine, xp, dtype='f', peepholes=0):
    """-> h, then gh0, gc0 and gpre"""
    rows = Rows(BATCHES, BATCHES[0])
    shapes = [
        (rows.total, 2),
        (4 * UNITS, 2),
        (4 * UNITS,),
        (4 * UNITS, UNITS),
        *[(UNITS, UNITS)] * peepholes,
        *[(BATCHES[0], UNITS)] * 4,
        (rows.total, UNITS),
    ]
    x, W, b, U, *others = (xp.asarray(x) for x in uniforms(shapes, dtype))
    *peeps, h0, c0, gh_last, gc_last, gh = others
    weights = sequence.Weights(W, b, U, tuple(peeps), layout.INTERLEAVED)
    h, saved = sequence.forward(engine, x, weights, h0, c0, rows)
    return [
        h.copy(),
        *engine.recur_backward(saved, weights, rows, gh, gh_last.copy(), gc_last.copy()),
    ]


@pytest.mark.parametrize('what', LEFT)
def test_left_to_the_cupy_engine(monkeypatch, what):
    different, _ = LEFT[what]
    how = {key: different[key] for key in different if key in ('dtype', 'peepholes')}
    device = {key: different[key] for key in different if key not in how}
    cuda_on_cpu.engine(monkeypatch)
    engine = fibres.engine(monkeypatch, forced=False, **device)
    monkeypatch.setattr(cuda, 'sequence_kernel', None)
    dtype = how.get('dtype', 'f')
    cases.assert_close(
        run(engine, engine.xp, **how),
        run(kernels.Engine(), numpy, **{**how, 'dtype': 'd'}),
        cases.STEP_TOLERANCE[dtype],
    )


@pytest.mark.parametrize('what', LEFT)
def test_forced_and_impossible(monkeypatch, what):
    different, message = LEFT[what]
    how = {key: different[key] for key in different if key in ('dtype', 'peepholes')}
    engine = fibres.engine(
        monkeypatch, **{key: different[key] for key in different if key not in how}
    )
    with pytest.raises(
        ValueError, match=f"chainer.config.lstm_engine is 'persistent', but {message}"
    ):
        run(engine, engine.xp, **how)


@pytest.mark.parametrize('batches', [(), (0, 0)], ids=str)
@pytest.mark.parametrize('forced', [False, True])
def test_nothing_to_compute(monkeypatch, batches, forced):
    engine = fibres.engine(monkeypatch, forced=forced)
    monkeypatch.setattr(cuda, 'sequence_kernel', None)
    rows = Rows(batches, 2)
    U, h0, c0, gh0, gc0 = uniforms([(4 * UNITS, UNITS), *[(2, UNITS)] * 4], 'f')
    weights = sequence.Weights(
        uniform((4 * UNITS, 1), 'f'), uniform((4 * UNITS,), 'f'), U, (), layout.INTERLEAVED
    )
    h, saved = sequence.forward(engine, numpy.empty((0, 1), 'f'), weights, h0, c0, rows)
    assert h.shape == (0, UNITS)
    numpy.testing.assert_array_equal(rows.last(numpy, saved.h), h0)
    found = engine.recur_backward(saved, weights, rows, None, gh0.copy(), gc0.copy())
    for actual, expected in zip(found, (gh0, gc0)):
        numpy.testing.assert_array_equal(actual, expected)


def test_nan_that_looks_like_an_empty_word(monkeypatch):
    """Without the guard a NaN would be waited for."""

    def edit(text):
        assert 'v == UNSET ? 0x7fff7fffu : v' in text
        return text.replace('v == UNSET ? 0x7fff7fffu : v', 'v')

    engine = fibres.engine(monkeypatch, edit=edit, spin_limit=3000)
    rows = Rows((1, 1, 1), 1)
    U, pre, h0, c0 = uniforms([(4 * UNITS, UNITS), (3, 4 * UNITS), (1, UNITS), (1, UNITS)], 'f')
    pre[0] = numpy.nan
    (h, _), (c, _) = rows.buffer(numpy, h0), rows.buffer(numpy, c0)
    engine.recur_forward(pre, sequence.Weights(None, None, U, (), layout.INTERLEAVED), h, c, rows)
    assert engine.error[0]


@pytest.mark.parametrize('used', [(0, 1, 2), (2,), (0,)], ids=['all', 'y', 'hy'])
def test_stacked_bidirectional_sequences(monkeypatch, used):
    """Both directions in one launch, layer after layer, ragged, through the autograd node."""

    def both_ways(engine):
        monkeypatch.setattr(functions.sequence, 'engine_of', lambda x: engine)
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
    cases.assert_close(both_ways(engine), both_ways(kernels.Engine()), (0, 1e-4))
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
        monkeypatch.setattr(functions.sequence, 'engine_of', lambda x: engine)
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
    cases.assert_close(both_ways(made), both_ways(kernels.Engine()), (0, 1e-4))
