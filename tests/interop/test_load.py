"""``interop.load`` of the names and layouts of every framework, against its equations and its own
outputs; of files and objects; and what cannot be loaded.
"""

import io

import numpy
import pytest
from chainer import serializers

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases, frameworks
from tests.interop.frameworks import CASES, INPUT, RECORDED, H
from tests.interop.load_cases import arrays_of, bidirectional, keras_layer, nested, outputs
from tests.support.arrays import assert_close, assert_same
from tests.support.links import contents


@pytest.mark.parametrize('name', CASES)
class TestFormat:
    def test_equations(self, name):
        case = CASES[name]
        arrays = arrays_of(name, 'd')
        link = interop.load(arrays, path=case.path)
        assert_same(arrays, case.arrays())  # as they were
        assert type(link) is ours.SequenceLSTM and link.return_sequences
        assert_close([outputs(link)], [case.equations(case.arrays(), frameworks.x())])

    def test_recorded(self, name):
        link = interop.load(arrays_of(name), path=CASES[name].path)
        y = outputs(link, 'f')[1]
        numpy.testing.assert_allclose(y.ravel(), RECORDED[name], rtol=0, atol=2e-6)

    def test_nested_dictionaries(self, name):
        flat = interop.load(arrays_of(name), path=CASES[name].path)
        link = interop.load(nested(arrays_of(name)), path=CASES[name].path)
        assert_same(contents(link), contents(flat))

    def test_without_biases(self, name):
        case = CASES[name]
        kept = {key: x for key, x in case.arrays().items() if key[-1] != 'b' and 'bias' not in key}
        zeros = {key: kept.get(key, 0 * x) for key, x in case.arrays().items()}
        if name == 'Keras CuDNNLSTM':  # which always has them
            kept = zeros
        link = interop.load(kept, path=case.path)
        assert_close([outputs(link)], [case.equations(zeros, frameworks.x())])

    def test_missing_array(self, name):
        """Of any but the biases, and of one bias among several."""
        for key in CASES[name].shapes:
            arrays = arrays_of(name)
            del arrays[key]
            if 'bias' in key or key[-1] == 'b' or key == 'lstm/weight':
                continue  # a whole kind of arrays that may be absent
            if (name, key) == ('Keras LSTM', 'recurrent_kernel'):
                continue  # leaves the names of TensorFlow 1
            with pytest.raises((KeyError, ValueError), match='expected'):
                interop.load(arrays, path=CASES[name].path)

    def test_misshapen_array(self, name):
        for key, shape in CASES[name].shapes.items():
            for axis in range(len(shape)):
                wider = numpy.zeros([n + (k == axis) for k, n in enumerate(shape)], 'f')
                arrays = {**arrays_of(name), key: wider}
                try:
                    link = interop.load(arrays, path=CASES[name].path)
                except ValueError as error:
                    assert 'expected' in str(error)
                else:  # another number of inputs
                    assert interop.weights.read(link).sizes[1] == INPUT + 1

    def test_integers(self, name):
        key = next(iter(CASES[name].shapes))
        arrays = {**arrays_of(name), key: numpy.zeros(CASES[name].shapes[key], 'i')}
        with pytest.raises(TypeError, match='expected floats, got int32'):
            interop.load(arrays, path=CASES[name].path)


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'NStepLSTM'])
def test_into_a_class_and_a_link(name):
    expected = interop.load(arrays_of('Haiku'))
    link = interop.load(arrays_of('Haiku'), getattr(ours, name))
    into = interop.load(arrays_of('Haiku'), getattr(ours, name), forget_bias=5)
    assert interop.load(arrays_of('Haiku'), into) is into
    for new in (link, into):
        assert_same(contents(interop.convert(new, ours.SequenceLSTM)), contents(expected))


@pytest.mark.parametrize('wrong', ['1', numpy.nan, numpy.zeros(2)])
def test_wrong_forget_bias(wrong):
    with pytest.raises((TypeError, ValueError), match='expected forget_bias to be'):
        interop.load(arrays_of(), forget_bias=wrong)
    loaded = interop.load(arrays_of(), forget_bias=numpy.float32(1))
    assert_same(contents(loaded), contents(interop.load(arrays_of(), forget_bias=1)))


def test_a_missing_bias():
    arrays = {key: x for key, x in arrays_of().items() if key != 'bias_hh_l1_reverse'}
    with pytest.raises(KeyError, match='bias_hh_l1_reverse: .* got nothing besides those read'):
        interop.load(arrays)


@pytest.mark.parametrize('forget_bias', [0.0, 1.0, 2.5])
@pytest.mark.parametrize('name, default', [('TensorFlow 1', 1), ('Haiku', 1), ('equinox', 0)])
def test_forget_bias(name, default, forget_bias):
    path = CASES[name].path
    usual = contents(interop.load(arrays_of(name), path=path))
    other = contents(interop.load(arrays_of(name), path=path, forget_bias=forget_bias))
    for key in (key for key in usual if key.endswith(('W', 'b'))):
        x = usual[key]
        added = numpy.zeros_like(x)
        if key.endswith('upward/b'):
            added[2::4] = forget_bias - default
        numpy.testing.assert_allclose(other[key], x + added, rtol=1e-6)


def model():
    """A whole model: two LSTMs, and arrays that are none."""
    lstm = arrays_of('torch.nn.LSTM')
    return {
        'embed.weight': numpy.zeros((5, INPUT), 'f'),
        'steps': numpy.asarray(7),
        **{f'encoder.rnn.{key}': x for key, x in lstm.items()},
        **{f'decoder.{key}': -x for key, x in lstm.items()},
        'decoder.attention.weight': numpy.zeros((2, 2), 'f'),
    }


@pytest.mark.parametrize('path', ['encoder.rnn', 'encoder.rnn.', 'encoder'])
def test_path(path):
    assert_same(contents(interop.load(model(), path=path)), contents(interop.load(arrays_of())))


def test_only_one_needs_no_path():
    arrays = {key: x for key, x in model().items() if not key.startswith('decoder')}
    assert_same(contents(interop.load(arrays)), contents(interop.load(arrays_of())))


@pytest.mark.parametrize('path', ['', 'enc', 'embed', 'encoder.rnn.x'])
def test_several_are_listed(path):
    message = f"path: expected 'encoder.rnn', 'decoder', or a list of them .* got '{path}'"
    with pytest.raises(ValueError, match=message):
        interop.load(model(), path=path)


def test_other_arrays_at_the_path():
    message = r'decoder: expected only the arrays of torch, got also decoder.attention.weig'
    with pytest.raises(KeyError, match=message):
        interop.load(model(), path='decoder')
    link = interop.load(model(), path='decoder', strict=False)
    opposite = {key: -x for key, x in arrays_of().items()}
    assert_same(contents(link), contents(interop.load(opposite)))


def test_stacked_cells_of_a_list():
    first, second = (
        arrays_of('equinox'),
        {**arrays_of('equinox'), 'weight_ih': numpy.ones((8, 2), 'f')},
    )
    link = interop.load([first, second], path=['0', '1'])
    numpy.testing.assert_array_equal(link.l1.upward.W.array, 1)
    assert link.n_layers == 2 and link.directions == 1
    with pytest.raises(ValueError, match="path: expected '0', '1', or a list of them for stacked"):
        interop.load([first, second])
    with pytest.raises(ValueError, match=r'expected shape \(8, 2\), got \(8, 3\)'):
        interop.load([first, first], path=['0', '1'])


def test_path_that_begins_as_another():
    """``lstm`` is no folder of ``lstm_1``."""
    arrays = arrays_of('Haiku')
    second = {key.replace('lstm/', 'lstm_1/'): -x for key, x in arrays.items()}
    second['lstm_1/linear/w'] = second['lstm_1/linear/w'][1:]  # H inputs
    link = interop.load({**arrays, **second}, path=['lstm', 'lstm_1'])
    expected = interop.load(second)
    numpy.testing.assert_array_equal(link.l1.upward.W.array, expected.l0.upward.W.array)
    numpy.testing.assert_array_equal(link.l1.upward.b.array, expected.l0.upward.b.array)


@pytest.mark.parametrize('path', [[], [('0', '1'), '0'], [('0', '1', '0')], [[]]], ids=str)
def test_lists_of_paths(path):
    with pytest.raises(
        ValueError, match='path: expected a path for each layer, or for each a pair'
    ):
        interop.load([arrays_of('equinox')] * 2, path=path)


def test_list_of_paths_of_several_layers():
    with pytest.raises(ValueError, match='expected 1 layer in 1 direction in a list .* got 2 in 2'):
        interop.load(model(), path=['encoder', 'encoder'])


def relu(x):
    return numpy.maximum(x, 0)


def test_keras_layer():
    link = interop.load(keras_layer())
    assert not link.return_sequences and link.dropout == 0
    expected = interop.load(arrays_of('Keras LSTM'))
    assert_same(contents(link), contents(expected))
    link = interop.load(bidirectional())
    assert link.directions == 2 and link.return_sequences
    numpy.testing.assert_array_equal(link.l0_reverse.upward.W.array, expected.l0.upward.W.array)


@pytest.mark.parametrize('source, message', [
    (keras_layer(activation=relu), "activation: expected 'tanh', got 'relu'"),
    (keras_layer(recurrent_activation=relu),
     "recurrent_activation: expected 'sigmoid', 'hard_sigmoid', got 'relu'"),
    (bidirectional(activation=relu), "activation_reverse: expected 'tanh', got 'relu'"),
    (bidirectional(None), "merge_mode: expected 'concat', 'sum', 'mul', 'ave', got None"),
    ({**arrays_of(), 'weight_hr_l0': numpy.zeros((1, H), 'f')},
     r'weight_hr_l0: expected shape \(2, 2\), got \(1, 2\)'),
    ({**arrays_of('gluon.rnn.LSTMCell'), 'lstm0_h2r_weight': numpy.zeros((1, H), 'f')},
     'lstm0_h2r_weight: expected none, got a projection'),
    ({'lstm_cell/kernel': numpy.zeros((INPUT + H, 4 * H)), 'lstm_cell/bias': numpy.zeros(4 * H),
      'lstm_cell/w_i_diag': numpy.zeros(H)}, 'w_i_diag: expected none, got weights from c'),
    ({'kernel': numpy.zeros((H, 4 * H), 'f'), 'bias': numpy.zeros(4 * H, 'f')},
     'kernel: expected weights of x and of h, more than 2'),
])  # fmt: skip
@pytest.mark.parametrize('strict', [True, False])
def test_what_no_link_has(source, message, strict):
    with pytest.raises(ValueError, match=message):
        interop.load(source, strict=strict)


@pytest.mark.parametrize('source, error, message', [
    ({}, KeyError, 'expected the weights of an LSTM by the names of torch, equinox, .*, got none'),
    ({'x': numpy.ones(3)}, KeyError, 'got x'),
    (5, TypeError, 'source: expected a path, .*, got int'),
    (ours.LSTM(3, 4), TypeError, 'source: expected a path, .*, got LSTM'),
    ('lstm.h5', ValueError, 'a file that ends in .npz, .safetensors, .pt or .pth, got .*lstm.h5'),
    ('none.npz', FileNotFoundError, 'none.npz'),
    # a dense layer is no LSTM of TensorFlow 1, whose names are the same
    ({'dense/kernel': numpy.zeros((9, 8)), 'dense/bias': numpy.zeros(8)}, KeyError, 'got dense/b'),
])  # fmt: skip
def test_no_source(source, error, message):
    with pytest.raises(error, match=message):
        interop.load(source)


def test_what_does_not_fit_changes_nothing():
    link = ours.LSTM(INPUT + 1, H)
    before = contents(link)
    with pytest.raises(ValueError, match=r'upward/W: expected shape \(8, 4\), got \(8, 3\)'):
        interop.load(arrays_of('equinox'), link)
    with pytest.raises(ValueError, match='directions: expected 1 for LSTM, got 2'):
        interop.load(arrays_of(), link)
    assert_same(contents(link), before)


def test_npz_file_of_other_names(tmp_path):
    numpy.savez(tmp_path / 'lstm.npz', **arrays_of())
    expected = contents(interop.load(arrays_of()))
    assert_same(contents(interop.load(tmp_path / 'lstm.npz')), expected)
    assert_same(contents(interop.load(str(tmp_path / 'lstm.npz'), ours.SequenceLSTM)), expected)
    with open(tmp_path / 'lstm.npz', 'rb') as file:
        assert_same(contents(interop.load(file)), expected)


def test_npz_file_of_the_link():
    link, file = cases.make('LSTM'), io.BytesIO()
    serializers.save_npz(file, link)
    file.seek(0)
    into = ours.LSTM(cases.INPUT, cases.UNITS)
    assert interop.load(file, into) is into
    assert_same(contents(into), contents(link))


def test_safetensors_file(tmp_path):
    safetensors = pytest.importorskip('safetensors.numpy', reason='safetensors is not installed')
    safetensors.save_file(model(), tmp_path / 'model.safetensors')
    link = interop.load(tmp_path / 'model.safetensors', path='encoder')
    assert_same(contents(link), contents(interop.load(arrays_of())))


DAMAGED = {'empty': b'', 'text': b'hello world', 'zeros': bytes(100), 'a zip': b'PK\3\4' * 20}


@pytest.mark.parametrize('ending', ['npz', 'safetensors', 'pt', 'pth'])
@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_files(tmp_path, ending, name):
    package = {'safetensors': 'safetensors', 'npz': 'numpy'}.get(ending, 'torch')
    pytest.importorskip(package, reason=f'{package} is not installed')
    (tmp_path / f'model.{ending}').write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match='expected'):
        interop.load(tmp_path / f'model.{ending}')


def test_hdf5_file_of_keras():
    """The groups of ``save_weights`` of Keras 2; the names end in :0."""
    h5py = pytest.importorskip('h5py', reason='h5py is not installed')
    with h5py.File(io.BytesIO(), 'w') as file:
        for name, x in arrays_of('Keras LSTM').items():
            file[f'lstm_1/lstm_1/lstm_cell/{name}:0'] = x
        link = interop.load(file)
    assert_same(contents(link), contents(interop.load(arrays_of('Keras LSTM'))))
