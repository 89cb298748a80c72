"""The time loop over packed rows, with NumPy and with the CUDA source on the CPU."""

import numpy
import pytest

from chainer_lstm.cells import LSTM, Peephole
from chainer_lstm.kernels import products, sequence
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.packing import Rows
from tests.cells import CELLS, layer_norm
from tests.kernels import cases, cuda_on_cpu
from tests.support import reference as loops

pytestmark = pytest.mark.pairwise

INPUT, H = 3, 5
MORE_CELLS = {
    'projected': LSTM(outputs=3),
    'projected peephole': Peephole(outputs=7),
    'layer norm': layer_norm,
}
EACH_CELL = pytest.mark.parametrize(
    'cell', (*CELLS.values(), *MORE_CELLS.values()), ids=(*CELLS, *MORE_CELLS)
)
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
        return NumpyEngine()
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
    buffer = rows.buffer(numpy, initial)
    rows.inner(buffer)[:] = numpy.arange(rows.total)[:, None]
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


def make(batches, cell, dtype='d'):
    """x, the initial states and the weights."""
    steps, batch = batches
    random = numpy.random.RandomState(0)
    shapes = [
        (sum(steps), INPUT),
        *[(batch, cell.width(name, H)) for name in cell.states],
        *cell.shapes(INPUT, H).values(),
    ]
    return [random.uniform(-1, 1, shape).astype(dtype) for shape in shapes]


def layer_of(engine, cell, batches, reverse, x, *arrays):
    count = len(cell.states)
    rows, weights = Rows(*batches, reverse), dict(zip(cell.weights, arrays[count:]))
    noise = cases.noise_of(cell, rows.total, rows.batch, H, 'f')
    noise = {name: engine.xp.asarray(value.astype(x.dtype)) for name, value in noise.items()}
    return sequence.layer_of(engine.xp, cell, weights, rows, x, cell.State(*arrays[:count]), noise)


def run(engine, cell, batches, reverse, *inputs):
    """-> the layer, its gates, and h of all steps and the last states."""
    layer = layer_of(engine, cell, batches, reverse, *inputs)
    (gates,) = engine.sequence_forward([layer], True)
    rows = layer.rows
    last = [rows.last(engine.xp, buffer) for buffer in layer.states]
    return layer, gates, [rows.inner(layer.states[-1]), *last]


def by_loops(cell, batches, reverse, x, *arrays):
    """The same, one sequence and step after the other."""
    count = len(cell.states)
    h, weights = numpy.zeros((len(x), cell.width('h', H))), arrays[count:]
    last = [state.copy() for state in arrays[:count]]
    noise = cases.noise_of(cell, len(x), batches[1], H, 'f')
    noise = {name: value.astype('d') for name, value in noise.items()}
    for k, order in enumerate(sequences(batches[0], reverse)):
        one = slice(k, k + 1)
        for row in order:
            state = [s[one] for s in last]
            now = {n: v[k if n in cell.sequence_noise else row][None] for n, v in noise.items()}
            more = {'noise': now} if noise else {}
            new = loops.step_of(cell)(*state, x[row : row + 1], *weights, **more)
            for s, value in zip(last, new):
                s[one] = value
            h[row] = last[-1][k]
    return [h, *last]


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@EACH_CELL
def test_forward(engine, batches, reverse, cell, dtype):
    inputs = make(batches, cell, dtype)
    *_, found = run(engine, cell, batches, reverse, *(engine.xp.asarray(x) for x in inputs))
    expected = by_loops(cell, batches, reverse, *cases.cast(inputs, 'd'))
    cases.assert_close(found, expected, cases.STEP_TOLERANCE[dtype])


@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@EACH_CELL
@pytest.mark.parametrize('outputs_used', ['all', 'last only'])
def test_gradients(engine, batches, reverse, cell, outputs_used):
    inputs = make(batches, cell)
    random, xp = numpy.random.RandomState(1), engine.xp
    states = [(batches[1], cell.width(name, H)) for name in cell.states]
    shapes = [(sum(batches[0]), cell.width('h', H)), *states]
    of_h, *of_last = (random.uniform(-1, 1, shape) for shape in shapes)
    if outputs_used == 'last only':
        of_h[:] = 0

    def loss(*inputs):
        *_, found = run(NumpyEngine(), cell, batches, reverse, *inputs)
        return sum(float((y * g).sum()) for y, g in zip(found, (of_h, *of_last)))

    layer, gates, _ = run(engine, cell, batches, reverse, *(xp.asarray(x) for x in inputs))
    given = sequence.gradients_of(
        xp,
        layer,
        cell.State(h=None if outputs_used == 'last only' else of_h),
        cell.State(*(xp.asarray(g.copy()) for g in of_last)),
    )
    (of_states,) = engine.sequence_backward([layer], [gates], [given])
    weights = sequence.weight_gradients(engine, layer, gates, given)
    gx = products.input_gradient(cell, gates, layer.kept) @ layer.weights['W']
    gradients = [gx, *of_states, *(weights[name] for name in cell.weights)]
    cases.assert_close(gradients, cases.numerical_gradients(loss, inputs), (1e-6, 1e-6))
