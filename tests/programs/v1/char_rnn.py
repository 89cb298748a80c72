"""A character model that trains with volatile off, samples with volatile on, and decays its learning rate."""
from __future__ import print_function

import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import Variable
from chainer import optimizers

TEXT = 'so many roads, so many rooms; so few who know the road to the room. ' * 3


class CharRNN(chainer.Chain):

    def __init__(self, n_vocab, n_units):
        super(CharRNN, self).__init__(
            embed=L.EmbedID(n_vocab, n_units),
            l1_x=L.Linear(n_units, 4 * n_units),
            l1_h=L.Linear(n_units, 4 * n_units),
            l2_x=L.Linear(n_units, 4 * n_units),
            l2_h=L.Linear(n_units, 4 * n_units),
            l3=L.Linear(n_units, n_vocab))
        random = np.random.RandomState(0)
        for name, param in sorted(self.namedparams()):
            param.data[:] = random.uniform(-0.2, 0.2, param.data.shape)
        self.n_units = n_units

    def step(self, x_data, state, train=True, dropout_ratio=0.25):
        x = Variable(x_data, volatile=not train)
        h0 = self.embed(x)
        h1_in = self.l1_x(F.dropout(h0, ratio=dropout_ratio, train=train)) + self.l1_h(state['h1'])
        c1, h1 = F.lstm(state['c1'], h1_in)
        h2_in = self.l2_x(F.dropout(h1, ratio=dropout_ratio, train=train)) + self.l2_h(state['h2'])
        c2, h2 = F.lstm(state['c2'], h2_in)
        y = self.l3(F.dropout(h2, ratio=dropout_ratio, train=train))
        return {'c1': c1, 'h1': h1, 'c2': c2, 'h2': h2}, y

    def make_state(self, batchsize, train=True):
        return {name: Variable(np.zeros((batchsize, self.n_units), dtype=np.float32), volatile=not train)
                for name in ('c1', 'h1', 'c2', 'h2')}


chars = sorted(set(TEXT))
data = np.array([chars.index(char) for char in TEXT], dtype=np.int32)
model = CharRNN(len(chars), 20)
optimizer = optimizers.RMSprop(lr=0.01, alpha=0.95, eps=1e-8)
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer.GradientClipping(5))
np.random.seed(3)

batchsize = 6
jump = len(data) // batchsize
for epoch in range(3):
    state = model.make_state(batchsize)
    accum_loss = Variable(np.zeros((), dtype=np.float32))
    for i in range(jump - 1):
        state, y = model.step(data[i::jump][:batchsize], state)
        accum_loss += F.softmax_cross_entropy(y, Variable(data[i + 1::jump][:batchsize]))
        if (i + 1) % 11 == 0:
            print(epoch, i + 1, accum_loss.data / 11)
            model.zerograds()
            accum_loss.backward()
            accum_loss.unchain_backward()
            accum_loss = Variable(np.zeros((), dtype=np.float32))
            optimizer.update()
    optimizer.lr *= 0.9

state = model.make_state(1, train=False)
char = np.array([chars.index('s')], dtype=np.int32)
sample = 's'
for _ in range(20):
    state, y = model.step(char, state, train=False)
    probability = F.softmax(y).data[0].astype(np.float64)
    char = np.array([np.random.choice(len(chars), p=probability / probability.sum())], dtype=np.int32)
    sample += chars[int(char[0])]
print(repr(sample))
