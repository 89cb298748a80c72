"""Embedding and softmax layer with one parameter: it counts once, everywhere, and stays one."""

import copy
import pickle

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import serializers

from chainer_lstm.interop import export_onnx
from chainer_lstm.models import RNNForLM

WORDS, UNITS = 11, 6
X = numpy.array([[3, 1], [10, 0], [3, 3]], numpy.int32)
T = numpy.array([1, 10, 0, 0, 3, 7], numpy.int32)


WRAPS = pytest.mark.parametrize(
    'wrap', [lambda model: model, L.Classifier], ids=['alone', 'in a classifier']
)


def tied(**options):
    return RNNForLM(WORDS, UNITS, dropout=0, tie_embeddings=True, **options)


def by_hand():
    model = RNNForLM(WORDS, UNITS, dropout=0)
    model.l3.W = model.embed.W
    return model


def untied(model):
    """Make a model of the same values with two parameters."""
    made = RNNForLM(WORDS, UNITS, dropout=0)
    for name in ('embed', 'l1', 'l2', 'l3'):
        made[name].copyparams(model[name])
    return made


def backward(model):
    model.reset_state()
    model.cleargrads()
    F.softmax_cross_entropy(model(X), T).backward()


@pytest.fixture(params=[tied, by_hand])
def model(request):
    return request.param()


def test_one_parameter(model):
    assert model.tie_embeddings
    assert model.l3.W is model.embed.W
    paths = [
        '/embed/W',
        '/l1/lateral/W',
        '/l1/upward/W',
        '/l1/upward/b',
        '/l2/lateral/W',
        '/l2/upward/W',
        '/l2/upward/b',
        '/l3/b',
    ]
    assert [path for path, _ in model.namedparams()] == paths
    params = [param for _, param in model.namedparams()]
    assert list(map(id, model.params())) == list(map(id, params))
    assert L.Classifier(model).count_params() == untied(model).count_params() - WORDS * UNITS


def test_default_is_two_parameters():
    model = RNNForLM(WORDS, UNITS)
    assert not model.tie_embeddings
    assert len(list(model.params())) == 9


def test_gradients_are_summed(model):
    other = untied(model)
    for each in (model, other):
        backward(each)
    expected = other.embed.W.grad + other.l3.W.grad
    numpy.testing.assert_allclose(model.embed.W.grad, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('threshold', [1e-2, 1e2])
def test_optimizer_updates_once_and_the_norm_counts_it_once(model, threshold):
    optimizer = chainer.optimizers.SGD(lr=0.5).setup(L.Classifier(model))
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(threshold))
    backward(model)
    before, gradient = model.embed.W.array.copy(), model.embed.W.grad.copy()
    norm = sum(float((param.grad**2).sum()) for param in model.params()) ** 0.5
    optimizer.update()
    expected = before - 0.5 * gradient * min(1, threshold / norm)
    numpy.testing.assert_allclose(model.embed.W.array, expected, rtol=1e-5, atol=1e-7)


def test_gradients_of_a_copy_are_added_once(model):
    other = model.copy()
    for each in (model, other):
        backward(each)
    expected = 2 * model.embed.W.grad
    model.addgrads(other)
    numpy.testing.assert_allclose(model.embed.W.grad, expected, rtol=1e-6)


@pytest.mark.parametrize(
    'make',
    [
        *(lambda model, mode=mode: model.copy(mode) for mode in ('share', 'copy', 'init')),
        lambda model: L.Classifier(model).copy().predictor,
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
    ],
    ids=['share', 'copy', 'init', 'in a classifier', 'deepcopy', 'pickle'],
)
def test_copies_are_tied_and_another_parameter(model, make):
    model.cleargrads()
    made = make(model)
    assert made.tie_embeddings
    assert made.embed.W is not model.embed.W
    assert model.tie_embeddings
    backward(made)
    assert model.embed.W.grad is None


@WRAPS
@pytest.mark.parametrize('n_layers', [1, 2])
def test_file_holds_both_names_and_gives_a_tied_model(tmp_path, wrap, n_layers):
    model, path = tied(n_layers=n_layers), str(tmp_path / 'model.npz')
    serializers.save_npz(path, wrap(model))
    for loaded, is_tied in (
        (RNNForLM.from_npz(path), True),
        (RNNForLM.from_npz(path, tie_embeddings=True), True),
        (RNNForLM.from_npz(path, tie_embeddings=False), False),
    ):
        assert loaded.tie_embeddings == is_tied
        with chainer.using_config('train', False):
            numpy.testing.assert_array_equal(loaded(X).array, model(X).array)
        model.reset_state()
    other = RNNForLM(WORDS, UNITS, n_layers=n_layers)
    serializers.load_npz(path, wrap(other))  # as Chainer's own model would
    assert not other.tie_embeddings


def test_file_of_a_model_that_is_not_tied(tmp_path):
    path = str(tmp_path / 'model.npz')
    model = untied(tied())
    model.l3.W.array[2, 3] = numpy.nextafter(model.l3.W.array[2, 3], numpy.float32(1))
    serializers.save_npz(path, model)
    assert not RNNForLM.from_npz(path).tie_embeddings
    message = 'l3/W: expected the values of embed/W, the same parameter here, got others; load'
    with pytest.raises(ValueError, match=message):
        RNNForLM.from_npz(path, tie_embeddings=True)
    with pytest.raises(TypeError, match="tie_embeddings: expected True or False, got 'no'"):
        RNNForLM.from_npz(path, tie_embeddings='no')


@WRAPS
@pytest.mark.parametrize('kind', ['npz', 'hdf5'])
def test_two_arrays_for_one_parameter_are_refused_and_nothing_is_set(model, tmp_path, wrap, kind):
    if kind == 'hdf5':
        pytest.importorskip('h5py')
    save, load = (getattr(serializers, f'{what}_{kind}') for what in ('save', 'load'))
    path = str(tmp_path / 'model')
    other = RNNForLM(WORDS, UNITS)
    save(path, wrap(other))
    before = {name: param.array.copy() for name, param in model.namedparams()}
    with pytest.raises(ValueError, match='l3/W: expected the values of embed/W, the same param'):
        load(path, wrap(model))
    for name, param in model.namedparams():
        numpy.testing.assert_array_equal(param.array, before[name])
    other.l3.W.array[...] = other.embed.W.array
    save(path, wrap(other))
    load(path, wrap(model))
    numpy.testing.assert_array_equal(model.embed.W.array, other.embed.W.array)


def test_nan_in_both_arrays_is_no_difference(model, tmp_path):
    path = str(tmp_path / 'model.npz')
    model.embed.W.array[0, 0] = numpy.nan
    serializers.save_npz(path, model)
    serializers.load_npz(path, tied())
    assert RNNForLM.from_npz(path).tie_embeddings


def test_state_of_the_optimizer_in_a_snapshot(tmp_path):
    path = str(tmp_path / 'optimizer.npz')
    saved, loaded = (chainer.optimizers.Adam().setup(tied()) for _ in range(2))
    backward(saved.target)
    saved.update()
    serializers.save_npz(path, saved)
    serializers.load_npz(path, loaded)
    state, expected = (each.target.embed.W.update_rule.state for each in (loaded, saved))
    numpy.testing.assert_array_equal(state['m'], expected['m'])


def test_onnx_file(model, tmp_path):
    pytest.importorskip('onnx')
    runtime = pytest.importorskip('onnxruntime')
    path = str(tmp_path / 'model.onnx')
    export_onnx(model, path, X)
    session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    zeros = numpy.zeros((2, 2, UNITS), 'f')
    inputs = {each.name: X if each.name == 'x' else zeros for each in session.get_inputs()}
    scores = session.run(None, inputs)[0]
    model.reset_state()
    numpy.testing.assert_allclose(scores.reshape(-1, WORDS), model(X).array, rtol=1e-4, atol=1e-5)


class Smaller(RNNForLM):
    """A model with a constructor of its own."""

    def __init__(self, n_vocab, n_units, n_layers=1):
        super().__init__(n_vocab, n_units, n_layers=n_layers)


def test_subclass_is_tied_by_its_file(tmp_path):
    path = str(tmp_path / 'model.npz')
    serializers.save_npz(path, tied())
    assert Smaller.from_npz(path).tie_embeddings
