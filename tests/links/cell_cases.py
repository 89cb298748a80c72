"""Of ``links.SequenceLSTM`` of any cell: what it is made with, its inputs, and loops in float64."""

import functools

import chainer
import numpy

from chainer_lstm import cells, links
from tests.cells import coupled, gru, layer_norm, zoneout
from tests.fuzz import loops
from tests.links.sequence_cases import BATCH, TIME
from tests.support.arrays import uniform
from tests.support.links import INPUT, UNITS
from tests.support.reference import step_of

CELLS = {
    'lstm': cells.lstm,
    'peephole': cells.peephole,
    'coupled': coupled,
    'gru': gru,
    'zoneout in evaluation': zoneout,
    'layer norm': layer_norm,
    'projected': cells.LSTM(outputs=2),
    'projected peephole': cells.Peephole(outputs=6),
}
X = functools.partial(uniform, (BATCH, TIME, INPUT))


def make(cell, in_size=INPUT, dtype='d', **options):
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        return links.SequenceLSTM(
            in_size, UNITS, bias_init=chainer.initializers.Uniform(1), cell=cell, **options
        )


def full(cell, **options):
    return make(cell, return_sequences=True, return_state=True, **options)


def states(cell, groups, dtype='d'):
    shapes = [(groups, BATCH, cell.width(name, UNITS)) for name in cell.states]
    return tuple(uniform(shape, dtype, seed=9 + k) for k, shape in enumerate(shapes))


def expected(link, x, state, lengths=None, mask=None):
    """y of all steps and the last states, one sequence after the other.

    Only valid steps are computed; a masked one repeats the output before it.
    """
    valid = numpy.ones(x.shape[:2], bool)
    if lengths is not None:
        valid = numpy.arange(TIME) < numpy.array(lengths)[:, None]
    if mask is not None:
        valid = numpy.asarray(mask).reshape(x.shape[:2]) == 1
    loop = step_of(link.cell, 'lstm' if link.cell is zoneout else None)
    weights = [[w.array for w in child.cell_weights()] for child in link.cells()]
    width = state[-1].shape[-1]
    y = numpy.zeros((*x.shape[:2], link.directions * width))
    last = [s.copy() for s in state]
    for b, steps in enumerate(valid):
        first = [s[:, b : b + 1] for s in state]
        inputs = [x[b : b + 1, t] for t in numpy.flatnonzero(steps)]
        new, ys = loops.stack(loop, first, inputs, weights, link.directions)
        for target, value in zip(last, new):
            target[:, b] = value[:, 0]
        for d in range(link.directions):
            columns = slice(d * width, (d + 1) * width)
            h, left = first[-1][len(weights) - link.directions + d, 0], list(ys[:: -1 if d else 1])
            for t in range(TIME)[:: -1 if d else 1]:
                h = left.pop(0)[0, columns] if steps[t] else h
                y[b, t, columns] = h
    return [y, *(s[0] if len(s) == 1 else s for s in last)]
