"""The loop of v1.5: a Classifier over two LSTM links, volatile evaluation on a copy, zerograds and HDF5 files."""
from __future__ import print_function

import math

import numpy as np
import six

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import optimizers
from chainer import serializers

TEXT = """
it rained all week and the river rose . on the third day the bridge was gone . on the fifth day the river came into
the house and we went up to the roof . it rained on the roof and the river rose .
"""


class RNNLM(chainer.Chain):

    def __init__(self, n_vocab, n_units, train=True):
        super(RNNLM, self).__init__(
            embed=L.EmbedID(n_vocab, n_units),
            l1=L.LSTM(n_units, n_units),
            l2=L.LSTM(n_units, n_units),
            l3=L.Linear(n_units, n_vocab))
        self.train = train

    def reset_state(self):
        self.l1.reset_state()
        self.l2.reset_state()

    def __call__(self, x):
        h0 = self.embed(x)
        h1 = self.l1(F.dropout(h0, train=self.train))
        h2 = self.l2(F.dropout(h1, train=self.train))
        return self.l3(F.dropout(h2, train=self.train))


vocab = {}
data = np.array([vocab.setdefault(word, len(vocab)) for word in TEXT.split()], dtype=np.int32)
np.random.seed(5)
model = L.Classifier(RNNLM(len(vocab), 12))
model.compute_accuracy = False
for name, param in sorted(model.namedparams()):
    param.data[:] = np.random.uniform(-0.3, 0.3, param.data.shape)
optimizer = optimizers.SGD(lr=1.)
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer.GradientClipping(5))


def evaluate(dataset):
    evaluator = model.copy()
    evaluator.predictor.reset_state()
    evaluator.predictor.train = False
    sum_log_perp = 0
    for i in six.moves.range(dataset.size - 1):
        x = chainer.Variable(dataset[i:i + 1], volatile='on')
        t = chainer.Variable(dataset[i + 1:i + 2], volatile='on')
        sum_log_perp += evaluator(x, t).data
    return math.exp(float(sum_log_perp) / (dataset.size - 1))


batchsize = 5
bprop_len = 4
jump = data.size // batchsize
accum_loss = 0
for i in six.moves.range(jump * 5):
    x = chainer.Variable(np.array([data[(jump * j + i) % data.size] for j in range(batchsize)], np.int32))
    t = chainer.Variable(np.array([data[(jump * j + i + 1) % data.size] for j in range(batchsize)], np.int32))
    accum_loss += model(x, t)
    if (i + 1) % bprop_len == 0:
        model.zerograds()
        accum_loss.backward()
        accum_loss.unchain_backward()
        accum_loss = 0
        optimizer.update()
    if (i + 1) % jump == 0:
        optimizer.new_epoch()
        print('epoch', optimizer.epoch, 'perplexity', evaluate(data))
        if optimizer.epoch >= 3:
            optimizer.lr /= 1.2

print('h of the model', float(np.abs(model.predictor.l2.h.data).sum()), 'lr', optimizer.lr)
serializers.save_hdf5('rnnlm.model', model)
model = L.Classifier(RNNLM(len(vocab), 12))
model.compute_accuracy = False
serializers.load_hdf5('rnnlm.model', model)
print('perplexity', evaluate(data))
