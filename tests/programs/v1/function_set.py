"""A word model in a FunctionSet, with F.lstm by hand and the gradients cleared and clipped by the optimizer."""
from __future__ import print_function

import math

import numpy as np
import six

import chainer
import chainer.functions as F
from chainer import optimizers

TEXT = """
the boat left the shore at dawn and the wind took it to the north . the men in the boat saw the shore no more .
at noon the wind left them and the boat lay on the sea . the men slept and the sea slept and the day went by .
"""
words = TEXT.split()
vocab = {}
data = np.array([vocab.setdefault(word, len(vocab)) for word in words], dtype=np.int32)

n_embed = 12
n_units = 16
batchsize = 4
bprop_len = 6

model = chainer.FunctionSet(
    embed=F.EmbedID(len(vocab), n_embed),
    x_to_h=F.Linear(n_embed, 4 * n_units),
    h_to_h=F.Linear(n_units, 4 * n_units, nobias=True),
    out=F.Linear(n_units, len(vocab)))
for param in model.parameters:  # in an order that not every version has
    param[:] = np.random.RandomState(param.size).uniform(-0.3, 0.3, param.shape)


def forward(x_data, y_data, state, train=True):
    x = chainer.Variable(x_data, volatile=not train)
    t = chainer.Variable(y_data, volatile=not train)
    h_in = model.x_to_h(F.dropout(model.embed(x), train=train)) + model.h_to_h(state['h'])
    c, h = F.lstm(state['c'], h_in)
    return {'c': c, 'h': h}, F.softmax_cross_entropy(model.out(h), t)


def initial_state(size, train=True):
    return {name: chainer.Variable(np.zeros((size, n_units), dtype=np.float32), volatile=not train)
            for name in ('c', 'h')}


def perplexity():
    state = initial_state(1, train=False)
    total = 0
    for i in six.moves.range(len(data) - 1):
        state, loss = forward(data[i:i + 1], data[i + 1:i + 2], state, train=False)
        total += float(loss.data)
    return math.exp(total / (len(data) - 1))


np.random.seed(1)  # of the dropout
optimizer = optimizers.SGD(lr=0.5)
optimizer.setup(model)
print('#vocab =', len(vocab))
print('perplexity', perplexity())
jump = len(data) // batchsize
state = initial_state(batchsize)
accum_loss = 0
for i in six.moves.range(1, 5 * bprop_len + 1):
    x_batch = np.array([data[(jump * j + i - 1) % len(data)] for j in range(batchsize)])
    y_batch = np.array([data[(jump * j + i) % len(data)] for j in range(batchsize)])
    state, loss = forward(x_batch, y_batch, state)
    accum_loss += loss
    if i % bprop_len == 0:
        optimizer.zero_grads()
        accum_loss.backward()
        accum_loss.unchain_backward()
        print('loss', accum_loss.data / bprop_len, 'gradient norm', optimizer.compute_grads_norm())
        optimizer.clip_grads(2)
        optimizer.weight_decay(1e-4)
        optimizer.update()
        accum_loss = 0
print('perplexity', perplexity())
