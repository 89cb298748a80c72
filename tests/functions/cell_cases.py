"""The cells, inputs and comparisons of the tests of ``step`` and ``sequence``."""

import dataclasses

import chainer
import numpy
import pytest
from chainer import gradient_check

from chainer_lstm import cells, functions
from chainer_lstm.cells import sigmoid
from tests.cells import coupled, gru, layer_norm, zoneout
from tests.cells.coupled import Coupled
from tests.fuzz import loops
from tests.support.arrays import assert_close, gradients, uniform, uniforms, variables

INPUT, UNITS = 3, 4


class Undifferentiated(Coupled):
    """Chainer differentiates it."""

    backward = None


@dataclasses.dataclass(frozen=True)
class Dropped(Coupled):
    """With recurrent dropout (Semeniuta et al. 2016): noise, and a ``backward`` that reads it."""

    ratio: float = 0.4

    name = 'dropped'
    noise = ('keep',)

    def draw(self, xp, shape, dtype):
        return [(xp.random.rand(*shape) >= self.ratio).astype(dtype)]

    def forward(self, xp, gates, before, keep=1):
        a, f, o = xp.tanh(gates.a), sigmoid(xp, gates.f), sigmoid(xp, gates.o)
        c = f * before.c + (1 - f) * a * keep
        return (a, f, o), self.State(c, o * xp.tanh(c))

    def backward(self, xp, gates, before, new, gradients, keep=1):
        a, f, o = gates
        (_, _, go), state = super().backward(xp, gates, before, new, gradients)
        t = xp.tanh(new.c)
        gc = gradients.c + gradients.h * o * (1 - t * t)
        gf = gc * (before.c - a * keep) * f * (1 - f)
        return (gc * (1 - f) * (1 - a * a) * keep, gf, go), state


# combinations of options; no unit is near the bound, at which there is no gradient
PAIRS = [
    {'coupled': True, 'cell_clip': 0.35, 'zoneout': (0.3, 0.4), 'peephole': 'diagonal'},
    {'coupled': True, 'recurrent_dropout': 0.3, 'recurrent_activation': 'hard_sigmoid'},
    {'cell_clip': 0.35, 'peephole': 'diagonal', 'recurrent_dropout': 0.3},
    {'zoneout': (0.3, 0.4), 'recurrent_dropout': 0.3, 'zoneout_expectation': True},
    {'peephole': 'diagonal', 'zoneout': (0.2, 0.0), 'recurrent_activation': 'hard_sigmoid'},
]
NOISY_VARIANTS = [cells.LSTMVariant(**options) for options in (*PAIRS[:1], *PAIRS[2:])]
CELLS = {
    **{
        f'variant in evaluation: {options}': (cells.LSTMVariant(**options), None)
        for options in PAIRS
    },
    'lstm': (cells.lstm, 'lstm'),
    'peephole': (cells.peephole, 'peephole'),
    'coupled': (coupled, 'coupled'),
    'coupled without backward': (Undifferentiated(), 'coupled'),
    'gru': (gru, 'gru'),
    'zoneout in evaluation': (zoneout, 'lstm'),
    'dropped in evaluation': (Dropped(), 'coupled'),
    'layer norm': (layer_norm, layer_norm.name),
    'projected layer norm': (cells.LSTMVariant(layer_norm=True, outputs=3), layer_norm.name),
    'projected': (cells.LSTM(outputs=2), 'lstm'),
    'projected variant': (cells.LSTMVariant(cell_clip=0.35, peephole='diagonal', outputs=3), None),
    'projected peephole': (cells.Peephole(outputs=6), 'peephole'),
    'projected without backward': (Undifferentiated(outputs=3), 'coupled'),
}
STEPPED = pytest.mark.parametrize(
    'cell',
    [
        cells.lstm,
        cells.peephole,
        coupled,
        Undifferentiated(),
        gru,
        cells.LSTM(outputs=3),
        cells.Peephole(outputs=3),
        layer_norm,
    ],
    ids=[
        'lstm',
        'peephole',
        'coupled',
        'coupled without backward',
        'gru',
        'projected',
        'projected peephole',
        'layer norm',
    ],
)


def state_of(cell, batch, more=0, dtype='d', groups=None):
    """Random states; all but the last one have further rows."""
    outer = () if groups is None else (groups,)
    rows = [batch + more] * (len(cell.states) - 1) + [batch]
    shapes = [(*outer, n, cell.width(name, UNITS)) for name, n in zip(cell.states, rows)]
    return variables(uniform(shape, dtype, seed=50 + k) for k, shape in enumerate(shapes))


def weights_of(cell, inputs=INPUT, dtype='d', seed=0):
    shapes = cell.shapes(inputs, UNITS).values()
    return variables(uniform(shape, dtype, seed=seed + k) for k, shape in enumerate(shapes))


def arrays(values):
    return [v.array for v in values]


def step_function(cell):
    """``step`` of arrays alone."""
    count = len(cell.states)

    def function(*inputs):
        return tuple(functions.step(cell, inputs[:count], inputs[count], inputs[count + 1 :]))

    return function


def step_inputs(cell, more):
    given = [*state_of(cell, 3, more), uniform((3, INPUT)), *weights_of(cell)]
    return tuple(v if isinstance(v, numpy.ndarray) else v.array for v in given)


def check(function, inputs, outputs, double):
    """Compare gradients, or second gradients, with finite differences."""
    gys = tuple(uniforms([y.shape for y in outputs]))
    options = {'dtype': 'd', 'atol': 1e-5, 'rtol': 1e-5}
    if double:
        ggxs = tuple(uniforms([x.shape for x in inputs]))
        gradient_check.check_double_backward(function, inputs, gys, ggxs, **options)
    else:
        gradient_check.check_backward(function, inputs, gys, **options)


def assert_ways_agree(outputs, inputs):
    """Backward once, again, and twice differentiable."""
    once = gradients(outputs, inputs)
    assert_close(gradients(outputs, inputs), once)
    assert_close(gradients(outputs, inputs, 2)[: len(once)], once)


class Stack:
    """The inputs of a stack, and its outputs."""

    def __init__(self, cell, batches, layers=1, directions=1, more=0, dtype='d'):
        self.cell, self.directions, self.sizes = cell, directions, batches
        rows = batches[0] + more
        groups, widths = layers * directions, [cell.width(name, UNITS) for name in cell.states]
        shapes = [(groups, rows, width) for width in widths]
        shapes += [(n, INPUT) for n in batches]
        self.states, self.xs = [], []
        for k, shape in enumerate(shapes):
            (self.states if k < len(cell.states) else self.xs).append(
                chainer.Variable(uniform(shape, dtype, seed=100 + k))
            )
        self.weights = [
            weights_of(cell, INPUT if k < directions else directions * widths[-1], dtype, 10 * k)
            for k in range(groups)
        ]

    @property
    def inputs(self):
        return [*self.states, *self.xs, *(w for group in self.weights for w in group)]

    def function(self, *inputs, **options):
        """``sequence`` of its inputs, flat."""
        count, steps = len(self.states), len(self.xs)
        flat, size = inputs[count + steps :], len(self.cell.weights)
        new, ys = functions.sequence(
            self.cell,
            inputs[:count],
            inputs[count : count + steps],
            [flat[k : k + size] for k in range(0, len(flat), size)],
            bidirectional=self.directions == 2,
            **options,
        )
        assert type(new) is self.cell.State
        return (*new, *ys)

    def outputs(self, **options):
        return self.function(*self.inputs, **options)

    def expected(self, loop):
        new, ys = loops.stack(
            loop,
            arrays(self.states),
            arrays(self.xs),
            [arrays(group) for group in self.weights],
            self.directions,
        )
        return [y.astype(self.xs[0].dtype) for y in (*new, *ys)]


def check_that_a_sequence_is_its_steps(cell):
    """Values, gradients and second gradients."""
    stack = Stack(cell, (3, 3, 3))
    state, hs = cell.State(*(s[0] for s in stack.states)), []
    for x in stack.xs:
        state = functions.step(cell, state, x, stack.weights[0])
        hs.append(state.h)
    expected, found = [*(s[None] for s in state), *hs], stack.outputs()
    assert_close(found, expected)
    inputs = stack.inputs
    assert_close(gradients(found, inputs, 2), gradients(expected, inputs, 2))
