"""Weights that other versions of Chainer saved, and the initial ones of Chainer v1.

The files here are written key by key as the sources of 1.12, 1.24, 2.1, 4.5,
6.7 and 7.8 name their parameters: the same in all of them, because the
children ``upward`` and ``lateral`` and the order of the gates never changed.
"""

import chainer
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm.models import RNNForLM
from tests.support.arrays import uniform
from tests.support.links import INPUT, UNITS

CELL = {'upward/W': (4 * UNITS, INPUT), 'upward/b': (4 * UNITS,), 'lateral/W': (4 * UNITS, UNITS)}
PEEPHOLE = {**CELL, **{f'peep_{gate}/W': (UNITS, UNITS) for gate in 'ifo'}}


def n_step(layers, directions):
    return {
        f'{k}/{kind}{j}': (UNITS,)
        if kind == 'b'
        else (UNITS, UNITS if j > 3 else directions * UNITS if k >= directions else INPUT)
        for k in range(layers * directions)
        for kind in 'wb'
        for j in range(8)
    }


VERSIONS = ('1.12', '1.24', '2.1', '4.5', '6.7', '7.8')
LINKS = {  # name -> the first of these versions that has it, the link, its keys
    'LSTM': ('1.12', lambda: ours.LSTM(INPUT, UNITS), CELL),
    'LSTM, deferred': ('1.24', lambda: ours.LSTM(None, UNITS), CELL),
    'StatelessLSTM': ('1.24', lambda: ours.StatelessLSTM(INPUT, UNITS), CELL),
    'StatefulPeepholeLSTM': ('1.24', lambda: ours.StatefulPeepholeLSTM(INPUT, UNITS), PEEPHOLE),
    'NStepLSTM': ('1.24', lambda: ours.NStepLSTM(2, INPUT, UNITS, 0.0), n_step(2, 1)),
    'NStepBiLSTM': ('1.24', lambda: ours.NStepBiLSTM(2, INPUT, UNITS, 0.0), n_step(2, 2)),
}


def write(path, shapes, **others):
    arrays = {
        key: uniform(shape, 'f', seed=seed) for seed, (key, shape) in enumerate(shapes.items())
    }
    numpy.savez_compressed(path, **arrays, **others)
    return arrays


@pytest.mark.parametrize(
    'name, version',
    [
        (name, version)
        for name, (first, *_) in LINKS.items()
        for version in VERSIONS[VERSIONS.index(first) :]
    ],
)
def test_weights_are_loaded(tmp_path, name, version):
    _, make, shapes = LINKS[name]
    arrays = write(tmp_path / 'link.npz', shapes)
    link = make()
    chainer.serializers.load_npz(tmp_path / 'link.npz', link)
    params = {key.strip('/'): param.array for key, param in link.namedparams()}
    assert params.keys() == arrays.keys()
    for key, array in arrays.items():
        numpy.testing.assert_array_equal(params[key], array)


def test_model_of_the_ptb_example_of_every_version(tmp_path):
    """v1 saved the Classifier: ``predictor/embed/W``, …;
    all layers are there under the same names.
    """
    shapes = {'embed/W': (7, UNITS), 'l3/W': (7, UNITS), 'l3/b': (7,)}
    shapes.update(
        {
            f'{layer}/{key}': (4 * UNITS, UNITS)[: len(shape)]
            for layer in ('l1', 'l2')
            for key, shape in CELL.items()
        }
    )
    arrays = write(
        tmp_path / 'model.npz', {f'predictor/{key}': shape for key, shape in shapes.items()}
    )
    model = RNNForLM.from_npz(tmp_path / 'model.npz')
    numpy.testing.assert_array_equal(model.l2.lateral.W.array, arrays['predictor/l2/lateral/W'])
    assert model(numpy.array([1, 2], 'i')).shape == (2, 7)


def test_deferred_weights_are_none_in_files_from_v2_on(tmp_path):
    """v1 left the key out; later versions write None,
    which stays open in the link that reads it.
    """
    shapes = {key: shape for key, shape in CELL.items() if key != 'upward/W'}
    write(tmp_path / 'link.npz', shapes, **{'upward/W': numpy.array(None)})
    link = ours.LSTM(UNITS)
    chainer.serializers.load_npz(tmp_path / 'link.npz', link)
    assert link.upward.W.array is None
    write(tmp_path / 'v1.npz', shapes)
    with pytest.raises(KeyError, match='upward/W'):
        chainer.serializers.load_npz(tmp_path / 'v1.npz', link)
    chainer.serializers.load_npz(tmp_path / 'v1.npz', link, strict=False)
    assert link.upward.W.array is None


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM'])
@pytest.mark.parametrize('in_size', [INPUT, None], ids=['initialized', 'deferred'])
def test_initial_weights_of_v1(name, in_size):
    """forget_bias_init was 0; all else is as in v7, bit for bit."""
    numpy.random.seed(0)
    expected = getattr(chainer.links, name)(in_size, UNITS, forget_bias_init=0)
    numpy.random.seed(0)
    with chainer.using_config('lstm_forget_bias', 0):
        link = getattr(ours, name)(in_size, UNITS)
    x = uniform((2, INPUT), 'f')
    for each in (link, expected):
        numpy.random.seed(0)
        each(x) if name == 'LSTM' else each(None, None, x)
    assert not link.upward.b.array.any()
    for a, b in zip(link.params(), expected.params()):
        numpy.testing.assert_array_equal(a.array, b.array)


def test_own_forget_bias_goes_first():
    with chainer.using_config('lstm_forget_bias', 0):
        assert (ours.LSTM(INPUT, UNITS, forget_bias_init=2).upward.b.array[2::4] == 2).all()
        assert (ours.LSTM(INPUT, UNITS).copy('init').upward.b.array == 0).all()
    assert (ours.LSTM(INPUT, UNITS).upward.b.array[2::4] == 1).all()


def test_wrong_forget_bias():
    with (
        chainer.using_config('lstm_forget_bias', 'one'),
        pytest.raises(TypeError, match='forget_bias_init'),
    ):
        ours.LSTM(INPUT, UNITS)
