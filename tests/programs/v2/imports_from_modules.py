"""Counts in sequences, with functions and links imported from the modules where they stood in v2, not from F and L."""
from __future__ import print_function

import numpy as np
import six

import chainer
from chainer import optimizers
from chainer.functions.activation.lstm import lstm
from chainer.functions.array.concat import concat
from chainer.functions.array.stack import stack
from chainer.functions.array.transpose_sequence import transpose_sequence
from chainer.functions.connection import n_step_lstm as rnn
from chainer.functions.loss.softmax_cross_entropy import softmax_cross_entropy
from chainer.links.connection.embed_id import EmbedID
from chainer.links.connection.linear import Linear
from chainer.links.connection.lstm import LSTM
from chainer.links.connection.n_step_lstm import NStepLSTM
from chainer.links.connection.n_step_rnn import argsort_list_descent
from chainer.links.connection.n_step_rnn import permutate_list

N_UNITS = 8


class Counter(chainer.Chain):
    """Counts the digits above 4: one layer step by step, two layers of whole sequences, one more step by hand."""

    def __init__(self):
        super(Counter, self).__init__()
        with self.init_scope():
            self.embed = EmbedID(10, N_UNITS)
            self.steps = LSTM(N_UNITS, N_UNITS)
            self.layers = NStepLSTM(2, N_UNITS, N_UNITS, 0.)
            self.gates = Linear(N_UNITS, 4 * N_UNITS)
            self.output = Linear(N_UNITS, 6)

    def __call__(self, xs):
        indices = argsort_list_descent(xs)
        sequences = permutate_list([self.embed(x) for x in xs], indices, inv=False)
        self.steps.reset_state()
        hs = [self.steps(x) for x in transpose_sequence(sequences)]
        hy, cy, _ = self.layers(None, None, transpose_sequence(hs))
        c, h = lstm(cy[-1], self.gates(hy[-1]) + self.gates(self.steps.h))
        return stack(permutate_list(list(self.output(h)), indices, inv=True))


random = np.random.RandomState(0)
np.random.seed(1)
model = Counter()
optimizer = optimizers.Adam(alpha=0.02)
optimizer.setup(model)
for iteration in six.moves.range(30):
    xs = [random.randint(0, 10, random.randint(1, 6)).astype(np.int32) for _ in range(10)]
    t = np.array([(x > 4).sum() for x in xs], np.int32)
    loss = softmax_cross_entropy(model(xs), t)
    model.cleargrads()
    loss.backward()
    optimizer.update()
    if iteration % 6 == 5:
        print(iteration + 1, float(loss.data))

ws = [[layer.w0, layer.w1, layer.w2, layer.w3, layer.w4, layer.w5, layer.w6, layer.w7] for layer in model.layers]
bs = [[layer.b0, layer.b1, layer.b2, layer.b3, layer.b4, layer.b5, layer.b6, layer.b7] for layer in model.layers]
x = chainer.Variable(np.linspace(-1, 1, 24).astype('f').reshape(3, 8))
state = chainer.Variable(np.full((2, 3, N_UNITS), 0.1, 'f'))
hy, cy, ys = rnn.n_step_lstm(2, 0., state, state, ws, bs, [x, x[:2], x[:1]])
model.cleargrads()
y = concat(ys, axis=0)
y.grad = np.ones_like(y.data)
y.backward()
print(float(hy.data.sum()), float(cy.data.sum()), float(state.grad.sum()), [y.shape for y in ys])
