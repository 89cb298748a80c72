"""``interop.load`` of objects and files of the frameworks that are installed."""

import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop.frameworks import CASES, INPUT, H
from tests.interop.load_cases import arrays_of, nested
from tests.support.arrays import assert_same
from tests.support.links import contents


def test_torch_modules_and_files(tmp_path):
    torch = pytest.importorskip('torch', reason='torch is not installed')
    module = torch.nn.LSTM(INPUT, H, 2, bidirectional=True, batch_first=False, dropout=0.25)
    module.load_state_dict({key: torch.from_numpy(x) for key, x in arrays_of().items()})
    expected = contents(interop.load(arrays_of()))
    whole = torch.nn.ModuleDict({'rnn': module, 'out': torch.nn.Linear(2, 2)})
    torch.save(whole.state_dict(), tmp_path / 'model.pt')
    torch.save({'epoch': 3, 'state_dict': whole.state_dict()}, tmp_path / 'checkpoint.pth')
    for source in (module, whole, whole.state_dict(), *tmp_path.iterdir()):
        assert_same(contents(interop.load(source)), expected)
    link = interop.load(whole)
    assert (link.dropout, link.batch_first) == (0.25, False)
    assert interop.load(whole.state_dict()).batch_first
    cell = torch.nn.LSTMCell(INPUT, H, bias=False)
    numpy.testing.assert_array_equal(
        interop.to_torch(interop.load(cell)).weight_hh_l0.detach(), cell.weight_hh.detach()
    )
    torch.save(module, tmp_path / 'module.pt')
    with pytest.raises(ValueError, match=r'expected a state_dict in .*module.pt.*torch.save\(mod'):
        interop.load(tmp_path / 'module.pt')
    with pytest.raises(
        TypeError, match='rnn.weight_ih_l0: expected float16, .* got torch.bfloat16'
    ):
        interop.load(whole.bfloat16())


@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')  # Keras's own
def test_keras_layers():
    keras = pytest.importorskip('keras', reason='Keras is not installed')
    layer = keras.layers.LSTM(H, return_sequences=True)
    both = keras.layers.Bidirectional(keras.layers.LSTM(H))
    hard = keras.layers.LSTM(H, recurrent_activation='hard_sigmoid')
    for new in (layer, both, hard):
        new.build((None, None, INPUT))
    layer.set_weights(list(arrays_of('Keras LSTM').values()))
    both.set_weights(list(arrays_of('Keras Bidirectional').values()))
    expected = contents(interop.load(arrays_of('Keras LSTM')))
    assert_same(contents(interop.load(layer)), expected)
    model = keras.Sequential([layer, keras.layers.Dense(3), both])
    assert_same(contents(interop.load(model, path=layer.name)), expected)
    link = interop.load(both)
    name = 'Keras Bidirectional'
    assert_same(contents(link), contents(interop.load(arrays_of(name), path=CASES[name].path)))
    assert not link.return_sequences
    assert interop.load(hard).cell.hard_sigmoid_slope == 1 / 6
    backwards = keras.layers.LSTM(H, go_backwards=True)
    summed = keras.layers.Bidirectional(keras.layers.LSTM(H), merge_mode='sum')
    x = numpy.random.RandomState(0).uniform(-3, 3, (2, 5, INPUT)).astype('f')
    for source in (hard, backwards, summed):
        expected = keras.ops.convert_to_numpy(source(x))
        numpy.testing.assert_allclose(interop.load(source)(x).array, expected, atol=2e-6)
    with pytest.raises(KeyError, match='got none'):
        interop.load(keras.layers.LSTM(H))  # without weights


@pytest.mark.parametrize('name', ['LSTMCell', 'OptimizedLSTMCell'])
def test_nnx_modules(name):
    nnx = pytest.importorskip('flax.nnx', reason='Flax is not installed')
    arrays = arrays_of(f'nnx.{name}')
    cell = getattr(nnx, name)(INPUT, H, rngs=nnx.Rngs(0))
    nnx.update(cell, nested(arrays))
    expected = contents(interop.load(arrays))
    for source in (cell, nnx.state(cell), nnx.RNN(cell)):
        assert_same(contents(interop.load(source)), expected)
    reverse = getattr(nnx, name)(INPUT, H, rngs=nnx.Rngs(1))
    pair = nnx.Bidirectional(nnx.RNN(cell), nnx.RNN(reverse))
    assert interop.load(pair, path=[('forward_rnn', 'backward_rnn')]).directions == 2
    relu_cell = getattr(nnx, name)(INPUT, H, activation_fn=nnx.relu, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="cell/activation_fn: expected 'tanh', got 'relu'"):
        interop.load(nnx.RNN(relu_cell))


def test_equinox_modules():
    eqx = pytest.importorskip('equinox', reason='equinox is not installed')
    jax = pytest.importorskip('jax', reason='JAX is not installed')
    cells = [eqx.nn.LSTMCell(n, H, key=jax.random.PRNGKey(n)) for n in (INPUT, H)]
    link = interop.load(cells, path=['0', '1'])
    for cell, child in zip(cells, link.children()):
        assert_same(
            contents(child),
            contents(
                interop.load(
                    {'weight_ih': cell.weight_ih, 'weight_hh': cell.weight_hh, 'bias': cell.bias},
                    ours.StatelessLSTM,
                )
            ),
        )
