"""The weights of a cell as the parameters of a link."""

import chainer
import numpy
import pytest
from chainer import serializers

from chainer_lstm import cells, initializers
from chainer_lstm.links import StatelessLSTM
from chainer_lstm.links.weights import CellWeights
from tests.support.arrays import assert_same, uniform
from tests.support.links import INPUT, UNITS, contents


class Candidate(cells.Cell):
    """A cell with fewer gates of x than of h, and a product with a bias."""

    name = 'candidate'
    gates = ('z', 'n', 'm')
    inputs = ('z', 'n')
    states = ('h',)
    products = (
        cells.Product('U', 'h', ('z',)),
        cells.Product('V', 'h', ('m',), bias='v'),
    )


SHAPES = {
    'lstm': {'W': (4 * UNITS, INPUT), 'b': (4 * UNITS,), 'U': (4 * UNITS, UNITS)},
    'candidate': {
        'W': (2 * UNITS, INPUT),
        'b': (2 * UNITS,),
        'U': (UNITS, UNITS),
        'V': (UNITS, UNITS),
        'v': (UNITS,),
    },
}
CELLS = {'lstm': cells.lstm, 'candidate': Candidate()}


@pytest.fixture(params=CELLS)
def cell(request):
    return CELLS[request.param]


def shapes(link):
    return {path.strip('/'): param.shape for path, param in link.namedparams()}


def x(width=INPUT):
    return chainer.Variable(uniform((2, width), 'f'))


@pytest.mark.parametrize('in_size', [INPUT, None])
def test_names_shapes_and_order(cell, in_size):
    link = CellWeights(cell, in_size, UNITS)
    with link.sized_for(x()):
        weights = link.cell_weights()
    assert shapes(link) == SHAPES[cell.name]
    assert [param.name for param in weights] == list(cell.weights) == list(link.weight_keys)
    assert {param.dtype for param in weights} == {numpy.dtype('f')}


def test_initial_values(cell):
    link = CellWeights(cell, 200, 100)
    for name, param in zip(cell.weights, link.cell_weights()):
        if name == 'b' and cell.forget:
            assert set(param.array[2::4]) == {1}
            assert param.array.sum() == 100
        elif param.ndim == 1:
            assert not param.array.any()
        else:
            deviation = 1 / numpy.sqrt(param.shape[1])
            assert abs(param.array.std() / deviation - 1) < 0.05, name


def test_initializers(cell):
    link = CellWeights(cell, None, UNITS, lateral_init=2, upward_init=3, bias_init=4)
    with link.sized_for(x()):
        pass
    values = {
        name: set(param.array.ravel()) for name, param in zip(cell.weights, link.cell_weights())
    }
    expected = {name: {2} for name in cell.weights} | {'W': {3}, 'b': {4}}
    if cell.forget:
        expected['b'] = {4, 1}
    if cell.name == 'candidate':
        expected['v'] = {4}
    assert values == expected


def test_initializer_per_gate():
    orthogonal = initializers.PerGate(chainer.initializers.Orthogonal(1))
    U = CellWeights(cells.lstm, INPUT, UNITS, lateral_init=orthogonal).U.array
    for g in range(4):
        numpy.testing.assert_allclose(U[g::4] @ U[g::4].T, numpy.eye(UNITS), atol=1e-5)


def test_dtype_of_the_configuration(cell):
    with chainer.using_config('dtype', numpy.float64):
        link = CellWeights(cell, INPUT, UNITS)
    assert {param.dtype for param in link.params()} == {numpy.dtype('d')}


@pytest.mark.parametrize('link', [CellWeights(cells.lstm, None, UNITS), StatelessLSTM(None, UNITS)])
def test_waits_again_after_an_error(link):
    before = contents(link)
    with pytest.raises(ZeroDivisionError), link.sized_for(x()):
        assert link.cell_weights()[0].shape == (4 * UNITS, INPUT)
        raise ZeroDivisionError
    assert_same(contents(link), before)
    with link.sized_for(x(5)):
        assert link.cell_weights()[0].shape == (4 * UNITS, 5)


@pytest.mark.parametrize('make', [StatelessLSTM, lambda *sizes: CellWeights(cells.lstm, *sizes)])
def test_what_a_sequence_asks_for(make):
    link = make(INPUT, UNITS)
    assert link.cell is cells.lstm and link.is_as_made()
    paths = {path.strip('/'): param for path, param in link.namedparams()}
    by_key = [paths[link.weight_keys[name]] for name in link.cell.weights]
    assert all(a is b for a, b in zip(by_key, link.cell_weights()))
    with link.sized_for(x()):
        for param, shape in zip(link.cell_weights(), link.cell.shapes(INPUT, UNITS).values()):
            assert param.shape == shape


def test_hook():
    link = CellWeights(cells.lstm, INPUT, UNITS)
    link.add_hook(chainer.LinkHook(), 'hook')
    assert not link.is_as_made()


@pytest.mark.parametrize('in_size', [INPUT, None])
def test_file(tmp_path, cell, in_size):
    saved, loaded = CellWeights(cell, INPUT, UNITS), CellWeights(cell, in_size, UNITS)
    serializers.save_npz(tmp_path / 'file.npz', saved)
    serializers.load_npz(tmp_path / 'file.npz', loaded)
    assert_same(contents(loaded), contents(saved))


@pytest.mark.parametrize('in_size', [INPUT, None])
@pytest.mark.parametrize('name', SHAPES['candidate'])
def test_misshapen_file(cell, in_size, name):
    if name not in cell.weights:
        name = 'W'
    link, file = CellWeights(cell, in_size, UNITS), serializers.DictionarySerializer()
    CellWeights(cell, INPUT, UNITS).serialize(file)
    file.target[name] = file.target[name][:1]
    before = contents(link)
    with pytest.raises(ValueError, match=f'{name}: expected shape .*, got '):
        serializers.NpzDeserializer(file.target).load(link)
    assert_same(contents(link), before)


@pytest.mark.parametrize(
    ('args', 'error', 'message'),
    [
        (('lstm', 2, 3), TypeError, "expected cell to be a chainer_lstm.cells.Cell, got 'lstm'"),
        ((cells.lstm, 0, 3), ValueError, 'expected in_size to be a positive integer, got 0'),
        ((cells.lstm, 2, None), TypeError, 'expected out_size to be a positive integer, got None'),
        ((cells.lstm, 2, 3, 'x'), TypeError, 'expected lateral_init to be None, a number'),
        ((cells.lstm, 2, 3, None, 'x'), TypeError, 'expected upward_init to be None, a number'),
        ((cells.lstm, 2, 3, None, None, 'x'), TypeError, 'expected bias_init to be None, a num'),
    ],
)
def test_bad_arguments(args, error, message):
    with pytest.raises(error, match=message):
        CellWeights(*args)
