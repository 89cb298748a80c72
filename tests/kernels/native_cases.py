"""What tests of the C++ engine compute: instruction sets, lengths, cells, and a whole layer."""

import numpy

from chainer_lstm import cells
from chainer_lstm.kernels import sequence
from chainer_lstm.kernels.engines.types import Shape
from chainer_lstm.kernels.packing import Rows
from tests.kernels import cases

INSTRUCTION_SETS = ('baseline', 'avx2', 'avx512')
# in several spans of the input's product: more than the threads' rows of tiles, and fewer
MANY = {
    'by rows': ((70,) * 5 + (50, 31, 2), 72),
    'by units': ((4,) * 70 + (2, 2), 5),
    'few rows': ((2,) * 20 + (1,), 2),
    'few steps': ((12,) * 5, 13),
}
LENGTHS = {
    'equal': ((9,) * 6, 9),
    'ragged': ((13, 13, 8, 8, 5, 1, 1), 13),
    'empty sequences': ((4, 4, 2, 1), 6),
}


def recurrence(engine, batches, reverse, cell, dtype, units=37, width=11):
    """Everything that a layer computes from fixed numbers: states, gates, gradients."""
    steps, batch = batches
    random = numpy.random.RandomState(0)

    def draw(*shape, scale=1.0):
        return random.uniform(-scale, scale, shape).astype('f').astype(dtype)

    rows, total = Rows(steps, batch, reverse), sum(steps)
    widths = [cell.width(name, units) for name in cell.states]
    x, initial = draw(total, width), cell.State(*(draw(batch, each) for each in widths))
    scale = 2 * units**-0.5
    weights = {n: draw(*shape, scale=scale) for n, shape in cell.shapes(width, units).items()}
    # parts of rows; of c in one direction only
    output = cell.State(*(draw(total, 2 * each)[:, :each] for each in widths))
    if reverse:
        output = cell.State(h=output.h)
    last = cell.State(*(draw(batch, each) for each in widths))
    noise = cases.noise_of(cell, total, batch, units, 'f')
    noise = {name: value.astype(dtype) for name, value in noise.items()}
    job = cell, weights, rows, x, initial, noise
    layer, other = (sequence.layer_of(numpy, *job) for _ in range(2))
    (gates,) = engine.sequence_forward([layer], keep=True)
    engine.sequence_forward([other], keep=False)
    for y, z in zip(layer.states, other.states):
        numpy.testing.assert_array_equal(y, z, err_msg='without keeping the gates')
    if engine.takes_gates(cell, x.dtype, Shape(len(steps), batch, units, 1)):
        apart = {k: w for k, w in weights.items() if k not in ('W', cell.lateral.weight)}
        for name in ('W', cell.lateral.weight):
            for g, gate in enumerate(cell.gates):
                apart[f'{name}_{gate}'] = weights[name][g :: len(cell.gates)].copy()
        other = sequence.layer_of(numpy, cell, apart, rows, x, initial, noise)
        engine.sequence_forward([other], keep=False)
        for y, z in zip(layer.states, other.states):
            # three matrices are always packed, one may be streamed
            error = 0 if len(cell.gates) == 4 else 2e-5
            numpy.testing.assert_allclose(y, z, error, error, err_msg='with a matrix for each gate')
    results = [*(y.copy() for y in layer.states), gates.copy()]
    gradients = sequence.gradients_of(numpy, layer, output, last)
    (found,) = engine.sequence_backward([layer], [gates], [gradients])
    of_weights = sequence.weight_gradients(engine, layer, gates, gradients)
    return [*results, *found, gates, *of_weights.values()]


RECURRENT = {
    **cells.COMPILED,
    'projected': cells.LSTM(outputs=19),
    'widened': cells.LSTM(outputs=43),
    'projected peephole': cells.Peephole(outputs=19),
    'normalized': cells.NORMALIZED,
}
