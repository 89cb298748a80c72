"""``proj_size`` of links: NStep links against the reference loop, and what is refused."""

import copy
import dataclasses
import pickle

import chainer
import numpy
import pytest
from chainer import gradient_check

from chainer_lstm import cells, functions, links
from chainer_lstm.cells import Cell
from chainer_lstm.links.weights import CellWeights
from tests.cells import gru
from tests.support import reference
from tests.support.arrays import assert_close, gradients, uniform, uniforms, variables
from tests.support.links import INPUT, UNITS

pytestmark = pytest.mark.pairwise

LENGTHS = pytest.mark.parametrize('lengths', [(1, 4, 2), (3, 3), (2, 0, 3), (0, 0)], ids=str)
NSTEP = pytest.mark.parametrize('name', ['NStepLSTM', 'NStepBiLSTM'])
SIZES = pytest.mark.parametrize('size', [2, UNITS, UNITS + 1])


def new(name, size=2, dtype='d'):
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        bias = chainer.initializers.Normal(1)
        return getattr(links, name)(2, INPUT, UNITS, 0.0, initial_bias=bias, proj_size=size)


def inputs(link, lengths, size=2, dtype='d'):
    """hx, cx and the sequences."""
    rows = 2 * link.direction, len(lengths)
    return (
        uniform((*rows, size), dtype, seed=1),
        uniform((*rows, UNITS), dtype, seed=2),
        uniforms([(length, INPUT) for length in lengths], dtype),
    )


def run(link, hx, cx, *xs):
    hy, cy, ys = link(hx, cx, list(xs))
    return (hy, cy, *ys)


@NSTEP
@LENGTHS
@SIZES
@pytest.mark.parametrize('dtype', 'efd')
def test_n_step_equals_the_reference(name, lengths, size, dtype):
    link = new(name, size, dtype)
    hx, cx, xs = inputs(link, lengths, size, dtype)
    weights = [[[p.array for p in cell] for cell in cells] for cells in (link.ws, link.bs)]
    hy, cy, ys = reference.n_step(hx, cx, *weights, xs, link.direction)
    assert_close(run(link, hx, cx, *xs), [y.astype(dtype) for y in (hy, cy, *ys)])
    zeros = numpy.zeros_like(hx), numpy.zeros_like(cx)
    assert_close(run(link, None, None, *xs), [y.array for y in run(link, *zeros, *xs)])


@NSTEP
@LENGTHS
def test_gradients_of_n_step(name, lengths):
    link = new(name)
    hx, cx, xs = inputs(link, lengths)
    given = variables([hx, cx, *xs])
    outputs = run(link, *given)
    given += link.params()
    once = gradients(outputs, given)
    assert_close(gradients(outputs, given), once)
    assert_close(gradients(outputs, given, 2)[: len(once)], once)
    if any(lengths):
        gradient_check.check_backward(
            lambda *arrays: run(link, *arrays),
            (hx, cx, *xs),
            tuple(uniforms([y.shape for y in outputs])),
            list(link.params()),
            dtype='d',
            atol=1e-6,
            rtol=1e-5,
        )


@NSTEP
def test_parameters_and_copies_of_n_step(name):
    link = new(name)
    directions = link.direction
    shapes = {key: param.shape for key, param in link.namedparams()}
    width = 2 * directions
    assert [shapes[f'/{directions}/w{j}'] for j in (0, 4, 8)] == [
        (UNITS, width), (UNITS, 2), (2, UNITS)
    ]  # fmt: skip
    args = inputs(link, (3, 2))
    expected = run(link, *args[:2], *args[2])
    for other in (link.copy(), copy.deepcopy(link), pickle.loads(pickle.dumps(link))):
        assert len(other.ws[0]) == 9
        assert other.ws[0][8] is other[0].w8
        assert_close(run(other, *args[:2], *args[2]), [y.array for y in expected])


@NSTEP
def test_rnn_of_a_subclass(name):
    """A hook that calls the link's own ``rnn``."""
    link = new(name)
    args = inputs(link, (1, 3, 2))
    expected = run(link, *args[:2], *args[2])
    link.rnn = lambda *given: type(link).rnn(link, *given)
    assert_close(run(link, *args[:2], *args[2]), [y.array for y in expected])


def test_sequence_lstm_has_the_biases_of_an_lstm():
    with chainer.using_config('lstm_forget_bias', 3):
        link = links.SequenceLSTM(INPUT, UNITS, proj_size=2, bias_init=2)
    assert_close([link.l0.b], [numpy.array([2, 2, 3, 2] * UNITS, 'f')])
    link = links.SequenceLSTM(INPUT, UNITS, proj_size=2, forget_bias_init=5)
    assert_close([link.l0.b], [numpy.array([0, 0, 5, 0] * UNITS, 'f')])
    assert isinstance(link.l0, CellWeights)
    shapes = {name: param.shape for name, param in link.l0.namedparams()}
    expected = {'/W': (16, INPUT), '/b': (16,), '/U': (16, 2), '/V': (2, UNITS)}
    assert shapes == expected


class ReadsNewH(Cell):
    """Its backward needs the new h."""

    name = 'reads_new_h'
    gates = ('a',)
    reads = ('c',)


@pytest.mark.parametrize('make, error, message', [
    (lambda size: links.SequenceLSTM(3, 4, proj_size=size), TypeError, 'proj_size'),
    (lambda size: links.NStepLSTM(1, 3, 4, 0.0, proj_size=size), TypeError, 'proj_size'),
    (lambda size: cells.LSTM(outputs=size), TypeError, 'outputs'),
])  # fmt: skip
def test_sizes_that_are_refused(make, error, message):
    for wrong in ('2', 2.0, True):
        with pytest.raises(error, match=f'expected {message} to be a positive integer'):
            make(wrong)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f'expected {message} to be a positive integer'):
            make(wrong)


@pytest.mark.parametrize('cell', [type(gru), ReadsNewH, cells.LSTMVariant])
def test_cells_that_read_h_are_refused(cell):
    options = {'zoneout': (0.1, 0.1)} if cell is cells.LSTMVariant else {}
    with pytest.raises(ValueError, match='whose array code does not read h'):
        cell(outputs=2, **options)
    if not options:
        with pytest.raises(ValueError, match='whose array code does not read h'):
            links.SequenceLSTM(3, 4, cell=cell(), proj_size=2)


def test_shapes_that_are_refused():
    link = links.SequenceLSTM(INPUT, UNITS, proj_size=2, stateful=True)
    x, c, h = uniform((3, 5, INPUT), 'f'), uniform((3, UNITS), 'f'), uniform((3, 2), 'f')
    for state in ((c, c), (h, h), (h, c)):
        with pytest.raises(ValueError, match=r'expected [ch] of shape \(1, 3, [42]\)'):
            link(x, state)
    with pytest.raises(ValueError, match='of one number of rows'):
        link.set_state(c, h[:2])
    link.set_state(c, h)
    step = links.NStepLSTM(1, INPUT, UNITS, 0.0, proj_size=2)
    with pytest.raises(ValueError, match=r'expected hx of shape \(1, 3, 2\)'):
        step(c[None], None, list(x))


@pytest.mark.parametrize('type_check', [True, False])
def test_steps_of_wrong_shapes(type_check):
    cell = cells.LSTM(outputs=2)
    named = {name: uniform(shape, 'f') for name, shape in cell.shapes(INPUT, UNITS).items()}
    state, x = {'c': uniform((3, UNITS), 'f'), 'h': uniform((3, 2), 'f')}, uniform((3, INPUT), 'f')
    wrong = {
        'V': uniform((3, UNITS), 'f'), 'U': uniform((16, UNITS), 'f'), 'h': uniform((3, UNITS), 'f')
    }  # fmt: skip
    with chainer.using_config('type_check', type_check):
        for name, value in wrong.items():
            given = {**state, **named, name: value}
            with pytest.raises((ValueError, chainer.utils.type_check.InvalidType)):
                functions.step(
                    cell, (given['c'], given['h']), x, [given[key] for key in cell.weights]
                )


def test_cells_are_values():
    cell = cells.LSTM(outputs=2)
    assert cell == cells.LSTM(outputs=2) != cells.LSTM(outputs=3)
    assert cell.unprojected == cells.lstm
    for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert other == cell
    variant = cells.LSTMVariant(coupled=True, outputs=2)
    assert dataclasses.replace(variant) == variant == pickle.loads(pickle.dumps(variant))


def test_recurrent_dropout_of_a_projected_h():
    """The mask of h has its width, and is the same wherever the call is computed again."""
    cell = cells.LSTMVariant(coupled=True, peephole='diagonal', recurrent_dropout=0.5, outputs=2)
    link = links.SequenceLSTM(INPUT, UNITS, n_layers=2, cell=cell, return_sequences=True)
    for param in link.params():
        param.array = uniform(param.shape, 'd')
    x = chainer.Variable(uniform((3, 5, INPUT), 'd'))
    y, given = link(x, lengths=[5, 2, 3]), [x, *link.params()]
    once = gradients([y], given)
    assert_close(gradients([y], given), once)
    assert_close(gradients([y], given, 2)[: len(once)], once)
