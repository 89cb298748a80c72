"""LSTMs of other frameworks: weights under the names of each, its equations in NumPy, and outputs
of the framework itself, as ``record.py`` printed them.  Only NumPy is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy

TIME, BATCH, INPUT, H = 4, 2, 3, 2


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def x(dtype='d'):
    return numpy.random.RandomState(99).uniform(-1, 1, (TIME, BATCH, INPUT)).astype(dtype)


def over_time(step, x):
    """x (T, B, I) -> (T, B, H); step(x, h, c) -> i, f, g, o before their activations."""
    h = c = numpy.zeros((BATCH, H))
    ys = []
    for row in x:
        i, f, g, o = step(row, h)
        c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(g)
        h = sigmoid(o) * numpy.tanh(c)
        ys.append(h)
    return numpy.stack(ys)


def both(forward, reverse, x):
    return numpy.concatenate([over_time(forward, x), over_time(reverse, x[::-1])[::-1]], axis=2)


def torch_step(p, end):
    def step(x, h):
        z = x @ p[f'weight_ih{end}'].T + p[f'bias_ih{end}']
        z = z + h @ p[f'weight_hh{end}'].T + p[f'bias_hh{end}']
        return numpy.split(z, 4, axis=1)  # i, f, g, o

    return step


def torch_lstm(p, x):
    for layer in range(2):
        x = both(torch_step(p, f'_l{layer}'), torch_step(p, f'_l{layer}_reverse'), x)
    return x


def torch_cell(p, x):
    return over_time(torch_step(p, ''), x)


def equinox(p, x):
    def step(x, h):
        z = x @ p['weight_ih'].T + h @ p['weight_hh'].T + p['bias']
        return numpy.split(z, 4, axis=1)  # i, f, g, o

    return over_time(step, x)


def keras_step(kernel, recurrent_kernel, bias):
    def step(x, h):
        return numpy.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)  # i, f, c, o

    return step


def keras(p, x):
    return over_time(keras_step(p['kernel'], p['recurrent_kernel'], p['bias']), x)


def keras_bidirectional(p, x):
    names = ('kernel', 'recurrent_kernel', 'bias')
    steps = [
        keras_step(*(p[f'bidirectional/{word}_lstm/lstm_cell/{name}'] for name in names))
        for word in ('forward', 'backward')
    ]
    return both(*steps, x)


def cudnn(p, x):
    """As cuDNN reads the memory: for each gate (H, I) of W, then (H, H) of U, row by row."""
    Ws = [k.ravel().reshape(H, INPUT) for k in numpy.split(p['kernel'], 4, axis=1)]
    Us = [k.ravel().reshape(H, H) for k in numpy.split(p['recurrent_kernel'], 4, axis=1)]
    bs = numpy.split(p['bias'], 8)

    def step(x, h):
        return [x @ Ws[k].T + bs[k] + h @ Us[k].T + bs[4 + k] for k in range(4)]  # i, f, c, o

    return over_time(step, x)


def concatenated(kernel, bias):
    """TensorFlow 1 and Haiku: i, j, f, o, and 1 is added to f."""

    def step(x, h):
        i, j, f, o = numpy.split(numpy.concatenate([x, h], axis=1) @ kernel + bias, 4, axis=1)
        return i, f + 1, j, o

    return step


def tensorflow(p, x):
    for layer in range(2):
        path = f'rnn/multi_rnn_cell/cell_{layer}/basic_lstm_cell'
        x = over_time(concatenated(p[f'{path}/kernel'], p[f'{path}/bias']), x)
    return x


def haiku(p, x):
    return over_time(concatenated(p['lstm/linear/w'], p['lstm/linear/b']), x)


def flax(p, x):
    def step(x, h):
        return [
            x @ p[f'params/i{g}/kernel'] + h @ p[f'params/h{g}/kernel'] + p[f'params/h{g}/bias']
            for g in 'ifgo'
        ]

    return over_time(step, x)


def nnx_cell(p, x):
    def step(x, h):
        inputs = {'i': 'ii', 'f': 'if_', 'g': 'ig', 'o': 'io'}
        return [
            x @ p[f'{inputs[g]}/kernel'] + h @ p[f'h{g}/kernel'] + p[f'h{g}/bias'] for g in 'ifgo'
        ]

    return over_time(step, x)


def nnx_optimized(p, x):
    def step(x, h):
        z = x @ p['dense_i/kernel'] + h @ p['dense_h/kernel'] + p['dense_h/bias']
        return numpy.split(z, 4, axis=1)  # i, f, g, o

    return over_time(step, x)


def gluon_step(p, path):
    def step(x, h):
        z = x @ p[f'{path}i2h_weight'].T + p[f'{path}i2h_bias']
        z = z + h @ p[f'{path}h2h_weight'].T + p[f'{path}h2h_bias']
        return numpy.split(z, 4, axis=1)  # in, forget, transform, out

    return step


def gluon(p, x):
    for layer in range(2):
        x = both(*(gluon_step(p, f'lstm0_{word}{layer}_') for word in 'lr'), x)
    return x


def gluon_cell(p, x):
    return over_time(gluon_step(p, 'lstm0_'), x)


def nnabla(p, x):
    def step(W, b):
        def gates(x, h):
            xh = numpy.concatenate([x, h], axis=1)
            return [xh @ W[k].T + b[k] for k in range(4)]  # i, f, g, o

        return gates

    for layer in range(2):
        W = p['lstm/weight'][layer - 1] if layer else p['lstm/weight_l0']
        x = both(*(step(W[d], p['lstm/bias'][layer, d]) for d in range(2)), x)
    return x


def nnabla_cell(p, x):
    def step(x, h):
        xh = numpy.concatenate([x, h], axis=1)
        z = numpy.tensordot(xh, p['lstm/affine/W'], 1) + p['lstm/affine/b']
        i, o, f, g = (z[:, k] for k in range(4))
        return i, f, g, o

    return over_time(step, x)


class Case(NamedTuple):
    """A form of weights.

    shapes of the arrays by name; equations(arrays, x (T, B, I)) -> y (T, B, D H), from the source
    of the named version; path for ``load``.
    """

    shapes: dict[str, tuple[int, ...]]
    equations: Callable
    source: str
    path: object = ''

    def arrays(self, dtype='d'):
        return {
            name: numpy.random.RandomState(seed).uniform(-1, 1, shape).astype(dtype)
            for seed, (name, shape) in enumerate(self.shapes.items())
        }


def of_layers(names, shapes, ends):
    """Shapes of two bidirectional layers, whose second has 2 H inputs."""
    return {
        name.format(end): shape(INPUT if k < 2 else 2 * H)
        for k, end in enumerate(ends)
        for name, shape in zip(names, shapes)
    }


ROWS = (
    lambda n: (4 * H, n),
    lambda n: (4 * H, H),
    lambda n: (4 * H,),
    lambda n: (4 * H,),
)
TORCH = ('weight_ih{}', 'weight_hh{}', 'bias_ih{}', 'bias_hh{}')
GLUON = ('{}i2h_weight', '{}h2h_weight', '{}i2h_bias', '{}h2h_bias')
KERAS = {'kernel': (INPUT, 4 * H), 'recurrent_kernel': (H, 4 * H), 'bias': (4 * H,)}
FLAX = {f'i{g}/kernel': (INPUT, H) for g in 'ifgo'}
FLAX.update({f'h{g}/{name}': (H,) * n for g in 'ifgo' for name, n in (('kernel', 2), ('bias', 1))})
TF = 'rnn/multi_rnn_cell/cell_{}/basic_lstm_cell'

CASES = {
    'torch.nn.LSTM': Case(
        of_layers(TORCH, ROWS, ('_l0', '_l0_reverse', '_l1', '_l1_reverse')),
        torch_lstm,
        'torch 2.13.0',
    ),
    'torch.nn.LSTMCell': Case(
        {name.format(''): shape(INPUT) for name, shape in zip(TORCH, ROWS)},
        torch_cell,
        'torch 2.13.0',
    ),
    'equinox': Case(
        {'weight_ih': (4 * H, INPUT), 'weight_hh': (4 * H, H), 'bias': (4 * H,)},
        equinox,
        'equinox 0.13.8',
    ),
    'Keras LSTM': Case(KERAS, keras, 'keras 3.15.1'),
    'Keras Bidirectional': Case(
        {
            f'bidirectional/{word}_lstm/lstm_cell/{name}': shape
            for word in ('forward', 'backward')
            for name, shape in KERAS.items()
        },
        keras_bidirectional,
        'keras 3.15.1',
        path=[('bidirectional/forward_lstm', 'bidirectional/backward_lstm')],
    ),
    'Keras CuDNNLSTM': Case({**KERAS, 'bias': (8 * H,)}, cudnn, 'keras 2.15.0'),
    'TensorFlow 1': Case(
        {
            f'{TF.format(k)}/{name}': shape
            for k, n in enumerate((INPUT, H))
            for name, shape in (('kernel', (n + H, 4 * H)), ('bias', (4 * H,)))
        },
        tensorflow,
        'tensorflow 2.15.1',
        path=['rnn/multi_rnn_cell/cell_0', 'rnn/multi_rnn_cell/cell_1'],
    ),
    'Haiku': Case(
        {'lstm/linear/w': (INPUT + H, 4 * H), 'lstm/linear/b': (4 * H,)}, haiku, 'dm-haiku 0.0.17'
    ),
    'Flax linen': Case({f'params/{k}': s for k, s in FLAX.items()}, flax, 'flax 0.12.8'),
    'nnx.LSTMCell': Case(
        {k.replace('if/', 'if_/'): s for k, s in FLAX.items()}, nnx_cell, 'flax 0.12.8'
    ),
    'nnx.OptimizedLSTMCell': Case(
        {'dense_i/kernel': (INPUT, 4 * H), 'dense_h/kernel': (H, 4 * H), 'dense_h/bias': (4 * H,)},
        nnx_optimized,
        'flax 0.12.8',
    ),
    'gluon.rnn.LSTM': Case(
        of_layers(GLUON, ROWS, ('lstm0_l0_', 'lstm0_r0_', 'lstm0_l1_', 'lstm0_r1_')),
        gluon,
        'mxnet 1.9.1',
    ),
    'gluon.rnn.LSTMCell': Case(
        {name.format('lstm0_'): shape(INPUT) for name, shape in zip(GLUON, ROWS)},
        gluon_cell,
        'mxnet 1.9.1',
    ),
    'NNabla lstm': Case(
        {
            'lstm/weight_l0': (2, 4, H, INPUT + H),
            'lstm/weight': (1, 2, 4, H, 3 * H),
            'lstm/bias': (2, 2, 4, H),
        },
        nnabla,
        'nnabla 1.39.0',
    ),
    'NNabla lstm_cell': Case(
        {'lstm/affine/W': (INPUT + H, 4, H), 'lstm/affine/b': (4, H)},
        nnabla_cell,
        'nnabla 1.39.0',
    ),
}

# y[1] of the frameworks themselves, of the versions above, in float32
RECORDED = {
    'torch.nn.LSTM': [
        0.011754, -0.032322, -0.347337, 0.168152, -0.005143, -0.065486, -0.268737, 0.165781,
    ],
    'torch.nn.LSTMCell': [-0.072419, 0.247986, 0.1257, 0.120031],
    'equinox': [-0.200079, 0.227403, -0.037158, 0.029145],
    'Keras LSTM': [0.069707, -0.165949, 0.073917, 0.007813],
    'Keras Bidirectional': [
        0.069707, -0.165949, -0.186476, 0.099881, 0.073917, 0.007813, -0.079621, -0.084556,
    ],
    'Keras CuDNNLSTM': [-0.03444, -0.281696, -0.086871, -0.09262],
    'TensorFlow 1': [-0.117679, 0.028024, -0.138289, 0.026368],
    'Haiku': [-0.121057, 0.12603, -0.119585, -0.042421],
    'Flax linen': [-0.168322, -0.070546, -0.100522, 0.137677],
    'nnx.LSTMCell': [-0.168322, -0.070546, -0.100522, 0.137677],
    'nnx.OptimizedLSTMCell': [0.069707, -0.165949, 0.073917, 0.007813],
    'gluon.rnn.LSTM': [
        0.011754, -0.032322, -0.347337, 0.168152, -0.005143, -0.065486, -0.268737, 0.165781,
    ],
    'gluon.rnn.LSTMCell': [-0.072419, 0.247986, 0.1257, 0.120031],
    'NNabla lstm': [
        0.113233, -0.139615, -0.07152, -0.089672, -0.113341, -0.140846, -0.144026, -0.13939,
    ],
    'NNabla lstm_cell': [-0.017292, 0.259994, -0.216528, -0.253853],
}  # fmt: skip
