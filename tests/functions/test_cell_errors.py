"""What ``step`` and ``sequence`` refuse."""

import chainer
import chainer.functions as F
import pytest
from chainer.utils.type_check import InvalidType

from chainer_lstm import cells, functions
from tests.cells import coupled, gru
from tests.functions.cell_cases import INPUT, Stack, state_of, weights_of
from tests.support.arrays import uniform

MISFITS = {
    'one state': ('state', lambda s: s[:1], ValueError, 'state to be c, h, got 1 arrays'),
    'three states': ('state', lambda s: [*s, s[0]], ValueError, 'state to be c, h, got 3 arrays'),
    'no list of states': ('state', lambda s: s[0], TypeError, 'state .* got Variable'),
    'two weights': ('weights', lambda w: w[:2], ValueError, 'to be W, b, U, got 2 arrays'),
    'four weights': ('weights', lambda w: [*w, w[0]], ValueError, 'to be W, b, U, got 4 arrays'),
    'no list of weights': ('weights', lambda w: w[0], TypeError, 'weights .* got Variable'),
    'no cell': ('cell', lambda cell: None, TypeError, 'expected cell .* got None'),
    'a class': ('cell', lambda cell: type(cell), TypeError, 'expected cell .* got <class'),
    'W of another width': ('weights', lambda w: [w[0][:, :2], *w[1:]], InvalidType, '3 != 2'),
    'W of other gates': ('weights', lambda w: [w[0][:9], *w[1:]], InvalidType, '9 != 12'),
    'W of one axis': ('weights', lambda w: [w[1], *w[1:]], InvalidType, '1 != 2'),
    'b of another length': ('weights', lambda w: [w[0], w[1][:9], w[2]], InvalidType, '9 != 12'),
    'U of another width': ('weights', lambda w: [*w[:2], w[2][:, :3]], InvalidType, '3 != 4'),
    'U of other gates': ('weights', lambda w: [*w[:2], w[2][:8]], InvalidType, '8 != 12'),
    'x of one axis': ('x', lambda x: x[0], InvalidType, '1 != 2'),
    'h of more rows': ('state', lambda s: [s[0], F.repeat(s[1], 2, axis=0)], InvalidType, '6 != 3'),
    'c of fewer rows': ('state', lambda s: [s[0][:2], s[1]], InvalidType, '3 > 2'),
    'h of other units': ('state', lambda s: [s[0], s[1][:, :3]], InvalidType, '3 != 4'),
    'x of another dtype': ('x', lambda x: F.cast(x, 'f'), InvalidType, 'float64 != float32'),
    'integers': ('x', lambda x: x.array.astype('i'), InvalidType, 'i != f'),
    'h of another dtype': (
        'state',
        lambda s: [s[0], F.cast(s[1], 'f')],
        InvalidType,
        'float32 != float64',
    ),
    'a list for x': ('x', lambda x: [1.0], TypeError, 'x .* got list'),
    'no c': ('state', lambda s: [None, s[1]], TypeError, 'c .* got NoneType'),
}


@pytest.mark.parametrize('misfit', MISFITS)
def test_what_a_step_refuses(misfit):
    name, change, error, message = MISFITS[misfit]
    given = {
        'cell': coupled,
        'state': state_of(coupled, 3),
        'x': chainer.Variable(uniform((3, INPUT))),
        'weights': weights_of(coupled),
    }
    with pytest.raises(error, match=message):
        functions.step(**{**given, name: change(given[name])})


def test_what_a_step_of_a_cell_with_a_bias_refuses():
    W, b, U, d = weights_of(gru)
    x, (h,) = uniform((3, INPUT)), state_of(gru, 3)
    with pytest.raises(InvalidType, match='9 != 12'):
        functions.step(gru, (h,), x, (W, b, U, d[:9]))
    with pytest.raises(InvalidType, match='float32 != float64'):
        functions.step(gru, (h,), x, (W, b, U, F.cast(d, 'f')))
    with pytest.raises(ValueError, match='state to be h, got 2 arrays'):
        functions.step(gru, (h, h), x, (W, b, U, d))
    with pytest.raises(TypeError, match='h .* got NoneType'):
        functions.step(gru, (None,), x, (W, b, U, d))


SEQUENCE_MISFITS = {
    'one state': ('states', lambda s: s[:1], ValueError, 'states c, h, got 1 arrays'),
    'no list of states': ('states', lambda s: s[0], TypeError, 'states .* got Variable'),
    'no cell': ('cell', lambda cell: 'coupled', TypeError, "expected cell .* got 'coupled'"),
    'two weights': (
        'weights',
        lambda w: [w[0][:2], w[1]],
        ValueError,
        r'weights\[0\] to be W, b, U of coupled, got 2 arrays',
    ),
    'weights of another cell': (
        'weights',
        lambda w: [weights_of(cells.lstm), w[1]],
        ValueError,
        r'expected weights\[0\]\[0\] of shape \(12, 3\), got \(16, 3\)',
    ),
    'W of another width': (
        'weights',
        lambda w: [w[0], w[0]],
        ValueError,
        r'expected weights\[1\]\[0\] of shape \(12, 4\), got \(12, 3\)',
    ),
    'odd number of layers': (
        'weights',
        lambda w: [*w, *w, w[0]],
        ValueError,
        r'expected hx of shape \(5, at least 3, 4\), got \(2, 3, 4\)',
    ),
    'states of other units': (
        'states',
        lambda s: [s[0], s[1][:, :, :3]],
        ValueError,
        r'expected cx of shape \(2, at least 3, 3\), got \(2, 3, 4\)',
    ),
    'states of fewer rows': (
        'states',
        lambda s: [s[0], s[1][:, :2]],
        ValueError,
        r'expected hx of shape \(2, at least 3, 4\), got \(2, 2, 4\)',
    ),
    'growing batches': ('xs', lambda xs: xs[::-1], ValueError, r'do not grow .* got \[2, 3\]'),
    'no steps': ('xs', lambda xs: [], ValueError, 'at least one time step'),
    'a state of another dtype': (
        'states',
        lambda s: [s[0], F.cast(s[1], 'f')],
        InvalidType,
        'float32 != float64',
    ),
    'steps of another dtype': (
        'xs',
        lambda xs: [F.cast(x, 'f') for x in xs],
        InvalidType,
        'float64 != float32',
    ),
    'dropout': ('dropout', lambda dropout: 1, ValueError, 'dropout .* got 1'),
}


@pytest.mark.parametrize('misfit', SEQUENCE_MISFITS)
def test_what_a_sequence_refuses(misfit):
    name, change, error, message = SEQUENCE_MISFITS[misfit]
    stack = Stack(coupled, (3, 2), 2)
    given = {
        'cell': coupled,
        'states': stack.states,
        'xs': stack.xs,
        'weights': stack.weights,
        'dropout': 0.0,
    }
    with pytest.raises(error, match=message):
        functions.sequence(**{**given, name: change(given[name])})
