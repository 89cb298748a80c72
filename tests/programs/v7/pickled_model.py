"""A trainer that pickles its model: one goes on from the file, in the middle of a sequence, another from a copy."""
import copy
import pickle

import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L


class Walk(chainer.Chain):

    def __init__(self):
        super(Walk, self).__init__()
        with self.init_scope():
            self.layers = chainer.Sequential(L.Linear(2, 8), F.tanh)
            self.rnn = L.LSTM(8, 8)
            self.encoder = L.NStepLSTM(1, 8, 8, 0.0)
            self.peephole = L.StatefulPeepholeLSTM(8, 8)
            self.out = L.Linear(8, 2)

    def forward(self, x):
        h = self.rnn(self.layers(x))
        _, _, ys = self.encoder(None, None, [h, h[:2]])
        return self.out(self.peephole(ys[0])) + F.average(ys[1])


def train(model, optimizer, steps):
    loss = 0
    for x, t in zip(steps[:-1], steps[1:]):
        loss += F.mean_absolute_error(model(x), t)
    model.cleargrads()
    loss.backward()
    loss.unchain_backward()
    optimizer.update()
    return float(loss.array)


np.random.seed(0)
walk = np.random.normal(0, 0.2, (36, 3, 2)).cumsum(axis=0).astype(np.float32)
model = Walk()
optimizer = chainer.optimizers.NesterovAG(lr=0.02)
optimizer.setup(model)
for start in range(0, 20, 5):
    print('loss', train(model, optimizer, walk[start:start + 6]))

with open('model.pickle', 'wb') as f:
    pickle.dump((model, optimizer), f, protocol=2)
with open('model.pickle', 'rb') as f:
    restored, restored_optimizer = pickle.load(f)
copied = copy.deepcopy(model)
print(restored_optimizer.target is restored, restored_optimizer.t, type(restored.rnn).__name__)
for start in range(20, 35, 5):
    losses = (train(model, optimizer, walk[start:start + 6]),
              train(restored, restored_optimizer, walk[start:start + 6]),
              train(copied, chainer.optimizers.SGD(lr=0.02).setup(copied), walk[start:start + 6]))
    print('losses', *losses)
