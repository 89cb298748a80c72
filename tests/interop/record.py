"""Print what the frameworks that are installed compute of ``frameworks.CASES``, y[1] of each:

    python -m tests.interop.record

from which ``frameworks.RECORDED`` was written.  Each function gets the arrays by name.
"""

import importlib
import os

import numpy

from tests.interop import frameworks as cases

os.environ.setdefault('KERAS_BACKEND', 'torch')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')


def nested(arrays):
    found = {}
    for key, value in arrays.items():
        *path, last = key.split('/')
        inside = found
        for name in path:
            inside = inside.setdefault(name, {})
        inside[last] = value
    return found


def torch_lstm(p, x):
    import torch

    module = torch.nn.LSTM(cases.INPUT, cases.H, 2, bidirectional=True)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in p.items()})
    return module(torch.from_numpy(x))[0].detach().numpy()


def torch_cell(p, x):
    import torch

    module = torch.nn.LSTMCell(cases.INPUT, cases.H)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in p.items()})
    state, ys = None, []
    for row in torch.from_numpy(x):
        state = module(row, state)
        ys.append(state[0].detach().numpy())
    return numpy.stack(ys)


def equinox(p, x):
    import equinox as eqx
    import jax

    cell = eqx.nn.LSTMCell(cases.INPUT, cases.H, key=jax.random.PRNGKey(0))
    cell = eqx.tree_at(lambda c: [getattr(c, name) for name in p], cell, list(p.values()))
    state, ys = (numpy.zeros((cases.BATCH, cases.H), 'f'),) * 2, []
    for row in x:
        state = jax.vmap(cell)(row, state)
        ys.append(state[0])
    return numpy.stack(ys)


def keras(p, x):
    import keras

    layer = keras.layers.LSTM(cases.H, return_sequences=True)
    layer.build((None, None, cases.INPUT))
    layer.set_weights(list(p.values()))
    return keras.ops.convert_to_numpy(layer(x.swapaxes(0, 1))).swapaxes(0, 1)


def keras_bidirectional(p, x):
    import keras

    layer = keras.layers.Bidirectional(keras.layers.LSTM(cases.H, return_sequences=True))
    layer.build((None, None, cases.INPUT))
    layer.set_weights(list(p.values()))
    return keras.ops.convert_to_numpy(layer(x.swapaxes(0, 1))).swapaxes(0, 1)


def cudnn(p, x):
    """Keras's own conversion to a layer that runs on the CPU."""
    from keras.src.saving.legacy.hdf5_format import _convert_rnn_weights
    from tensorflow import keras

    layer = keras.layers.LSTM(cases.H, return_sequences=True)
    layer.build((None, None, cases.INPUT))
    layer.set_weights(_convert_rnn_weights(layer, list(p.values())))
    return layer(x.swapaxes(0, 1)).numpy().swapaxes(0, 1)


def tensorflow(p, x):
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default(), tf.Session() as session:
        cells = [tf.nn.rnn_cell.BasicLSTMCell(cases.H) for _ in range(2)]
        stack = tf.nn.rnn_cell.MultiRNNCell(cells)
        y, _ = tf.nn.dynamic_rnn(stack, tf.constant(x), dtype=tf.float32, time_major=True)
        variables = tf.global_variables()
        assert {v.name for v in variables} == {f'{name}:0' for name in p}
        for variable in variables:
            variable.load(p[variable.name[:-2]], session)
        return session.run(y)


def haiku(p, x):
    import haiku as hk

    def run(x):
        lstm = hk.LSTM(cases.H)
        return hk.dynamic_unroll(lstm, x, lstm.initial_state(cases.BATCH))[0]

    parameters = {'lstm/linear': {'w': p['lstm/linear/w'], 'b': p['lstm/linear/b']}}
    return hk.transform(run).apply(parameters, None, x)


def flax(p, x):
    import flax.linen as nn

    state, ys = (numpy.zeros((cases.BATCH, cases.H), 'f'),) * 2, []
    for row in x:
        states = [
            cell(cases.H).apply(nested(p), state, row)
            for cell in (nn.LSTMCell, nn.OptimizedLSTMCell)
        ]
        numpy.testing.assert_allclose(states[0][1], states[1][1], rtol=1e-5)
        state, y = states[0]
        ys.append(y)
    return numpy.stack(ys)


def nnx(name, p, x):
    from flax import nnx

    cell = getattr(nnx, name)(cases.INPUT, cases.H, rngs=nnx.Rngs(0))
    nnx.update(cell, nested(p))
    state, ys = (numpy.zeros((cases.BATCH, cases.H), 'f'),) * 2, []
    for row in x:
        state, y = cell(state, row)
        ys.append(y)
    return numpy.stack(ys)


def gluon(p, x):
    import mxnet

    layer = mxnet.gluon.rnn.LSTM(
        cases.H, 2, bidirectional=True, input_size=cases.INPUT, prefix='lstm0_'
    )
    layer.initialize()
    for name, parameter in layer.collect_params().items():
        parameter.set_data(mxnet.nd.array(p[name]))
    return layer(mxnet.nd.array(x)).asnumpy()


def gluon_cell(p, x):
    import mxnet

    cell = mxnet.gluon.rnn.LSTMCell(cases.H, input_size=cases.INPUT, prefix='lstm0_')
    cell.initialize()
    for name, parameter in cell.collect_params().items():
        parameter.set_data(mxnet.nd.array(p[name]))
    return cell.unroll(cases.TIME, mxnet.nd.array(x), layout='TNC', merge_outputs=True)[0].asnumpy()


def nnabla(p, x):
    import nnabla as nn
    import nnabla.parametric_functions as PF

    nn.clear_parameters()
    for name, value in p.items():
        nn.parameter.get_parameter_or_create(name, value.shape, value)
    zeros = nn.Variable.from_numpy_array(numpy.zeros((2, 2, cases.BATCH, cases.H)))
    y, _, _ = PF.lstm(
        nn.Variable.from_numpy_array(x),
        zeros,
        zeros,
        num_layers=2,
        bidirectional=True,
        training=False,
    )
    y.forward()
    assert set(nn.get_parameters()) == set(p), set(nn.get_parameters())
    return y.d


def nnabla_cell(p, x):
    import nnabla as nn
    import nnabla.parametric_functions as PF

    nn.clear_parameters()
    for name, value in p.items():
        nn.parameter.get_parameter_or_create(name, value.shape, value)
    h = c = nn.Variable.from_numpy_array(numpy.zeros((cases.BATCH, cases.H)))
    ys = []
    for row in x:
        h, c = PF.lstm_cell(nn.Variable.from_numpy_array(row), h, c, cases.H)
        h.forward()
        ys.append(h.d.copy())
    assert set(nn.get_parameters()) == set(p), set(nn.get_parameters())
    return numpy.stack(ys)


RUNS = {
    'torch.nn.LSTM': torch_lstm,
    'torch.nn.LSTMCell': torch_cell,
    'equinox': equinox,
    'Keras LSTM': keras,
    'Keras Bidirectional': keras_bidirectional,
    'Keras CuDNNLSTM': cudnn,
    'TensorFlow 1': tensorflow,
    'Haiku': haiku,
    'Flax linen': flax,
    'nnx.LSTMCell': lambda p, x: nnx('LSTMCell', p, x),
    'nnx.OptimizedLSTMCell': lambda p, x: nnx('OptimizedLSTMCell', p, x),
    'gluon.rnn.LSTM': gluon,
    'gluon.rnn.LSTMCell': gluon_cell,
    'NNabla lstm': nnabla,
    'NNabla lstm_cell': nnabla_cell,
}


def main():
    for name, run in RUNS.items():
        case = cases.CASES[name]
        module = {'dm-haiku': 'haiku'}.get(case.source.split()[0], case.source.split()[0])
        try:
            version = importlib.import_module(module).__version__
            y = numpy.asarray(run(case.arrays('f'), cases.x('f')))
        except (ImportError, AttributeError) as error:
            print(f'# {name}: {error}')
            continue
        expected = case.equations(case.arrays(), cases.x())
        print(f"    '{name}': {numpy.round(y[1].ravel().astype('d'), 6).tolist()},")
        print(f'    # {module} {version}, from the equations: {abs(y - expected).max():.1e}')


if __name__ == '__main__':
    main()
