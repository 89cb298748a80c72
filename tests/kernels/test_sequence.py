"""The time loop over packed rows, with NumPy and with the CUDA source on the CPU."""

import numpy
import pytest

from chainer_lstm import kernels
from chainer_lstm.kernels import layout, sequence
from chainer_lstm.kernels.packing import Rows
from tests import reference as loops
from tests.kernels import cases, cuda_on_cpu

INPUT, H = 3, 5
INSTRUCTION_SETS = ('baseline', 'avx2', 'avx512')
BATCHES = {
    'equal': ((2, 2, 2), 2),
    'one step': ((3,), 3),
    'shrinking': ((4, 3, 3, 1), 4),
    'empty sequences': ((2, 1), 4),
    'empty steps': ((2, 0, 0), 2),
    'no steps': ((), 2),
    'nothing': ((), 0),
    'longer': ((3, 3, 2, 2, 1, 0), 4),
}


def sequences(batches, reverse):
    """For every sequence, the packed rows of its steps in the order of computation."""
    starts = numpy.cumsum([0, *batches])
    found = [
        [int(starts[t]) + k for t, n in enumerate(batches) if n > k]
        for k in range(max(batches, default=0))
    ]
    return [rows[::-1] for rows in found] if reverse else found


@pytest.fixture(params=['numpy', 'cuda on cpu', *INSTRUCTION_SETS])
def engine(request, monkeypatch):
    if request.param == 'numpy':
        return kernels.Engine()
    if request.param in INSTRUCTION_SETS:
        return cases.native_engine(request.param)
    reason = cuda_on_cpu.missing()
    if reason:
        pytest.skip(reason)
    return cuda_on_cpu.engine(monkeypatch)


@pytest.fixture(params=BATCHES, ids=str)
def batches(request):
    return BATCHES[request.param]


@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_rows_before_and_last(batches, reverse):
    steps, batch = batches
    rows = Rows(steps, batch, reverse)
    initial = -1.0 - numpy.arange(batch)[:, None]
    buffer, inner = rows.buffer(numpy, initial)
    inner[:] = numpy.arange(rows.total)[:, None]
    before, last = numpy.full(rows.total, numpy.nan), initial[:, 0].copy()
    for k, order in enumerate(sequences(steps, reverse)):
        for now, row in enumerate(order):
            before[row] = order[now - 1] if now else -1.0 - k
        last[k] = order[-1]
    numpy.testing.assert_array_equal(rows.all_previous(numpy, buffer)[:, 0], before)
    numpy.testing.assert_array_equal(rows.last(numpy, buffer)[:, 0], last)
    for k, (start, n) in enumerate(rows.steps):
        numpy.testing.assert_array_equal(
            rows.previous(numpy, buffer, k)[:, 0], before[start : start + n]
        )


def make(batches, peepholes, dtype='d'):
    """x, h0, c0, W, b, U, peepholes interleaved."""
    steps, batch = batches
    random = numpy.random.RandomState(0)
    shapes = [
        (sum(steps), INPUT),
        (batch, H),
        (batch, H),
        (4 * H, INPUT),
        (4 * H,),
        (4 * H, H),
        *[(H, H)] * peepholes,
    ]
    return [random.uniform(-1, 1, shape).astype(dtype) for shape in shapes]


def run(engine, batches, reverse, x, h0, c0, *weights, source=layout.INTERLEAVED):
    order = engine.order(source)
    rows = Rows(*batches, reverse)
    packed = sequence.Weights(
        *(layout.convert(engine.xp, w, layout.INTERLEAVED, order) for w in weights[:3]),
        weights[3:],
        order,
    )
    h, saved = sequence.forward(engine, x, packed, h0, c0, rows)
    return rows, packed, saved, (h, rows.last(engine.xp, saved.h), rows.last(engine.xp, saved.c))


def by_loops(batches, reverse, x, h0, c0, W, b, U, *peepholes):
    """The same, one sequence and step after the other."""
    h, last_h, last_c = numpy.zeros((len(x), H)), h0.copy(), c0.copy()
    for k, order in enumerate(sequences(batches[0], reverse)):
        for row in order:
            args = last_c[k : k + 1], last_h[k : k + 1], x[row : row + 1], W, b, U
            last_c[k : k + 1], last_h[k : k + 1] = (
                loops.peephole_step(*args, *peepholes) if peepholes else loops.lstm_step(*args)
            )
            h[row] = last_h[k]
    return h, last_h, last_c


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('peepholes', [0, 3])
@pytest.mark.parametrize('source', [layout.INTERLEAVED, layout.N_STEP])
def test_forward(engine, batches, reverse, peepholes, dtype, source):
    inputs = make(batches, peepholes, dtype)
    *_, outputs = run(
        engine, batches, reverse, *(engine.xp.asarray(x) for x in inputs), source=source
    )
    cases.assert_close(
        outputs, by_loops(batches, reverse, *cases.cast(inputs, 'd')), cases.STEP_TOLERANCE[dtype]
    )


@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('peepholes', [0, 3])
@pytest.mark.parametrize('source', [layout.INTERLEAVED, layout.N_STEP])
@pytest.mark.parametrize('outputs_used', ['all', 'last only'])
def test_gradients(engine, batches, reverse, peepholes, outputs_used, source):
    inputs = make(batches, peepholes)
    random = numpy.random.RandomState(1)
    shapes = [(sum(batches[0]), H), (batches[1], H), (batches[1], H)]
    gh, gh_last, gc_last = (random.uniform(-1, 1, shape) for shape in shapes)
    if outputs_used == 'last only':
        gh[:] = 0

    def loss(*inputs):
        return sum(
            float((y * g).sum())
            for y, g in zip(
                run(kernels.Engine(), batches, reverse, *inputs)[3], (gh, gh_last, gc_last)
            )
        )

    rows, weights, saved, _ = run(
        engine, batches, reverse, *(engine.xp.asarray(x) for x in inputs), source=source
    )
    gh0, gc0, gpre = engine.recur_backward(
        saved,
        weights,
        rows,
        None if outputs_used == 'last only' else gh,
        engine.xp.asarray(gh_last.copy()),
        engine.xp.asarray(gc_last.copy()),
    )
    found = sequence.weight_gradients(engine, saved, gpre, weights, rows)
    gradients = [
        gpre @ weights.W,
        gh0,
        gc0,
        *(layout.convert(numpy, g, weights.order, layout.INTERLEAVED) for g in found[:3]),
        *found.peepholes,
    ]
    cases.assert_close(gradients, cases.numerical_gradients(loss, inputs), (1e-6, 1e-6))
