"""Two replicas of a FunctionSet, each with half of a batch; the optimizer accumulates the gradients of both."""
import copy

import numpy as np

import chainer
import chainer.functions as F
from chainer import Variable
from chainer import optimizers


class Adder(chainer.FunctionSet):
    """Adds the marked numbers of a sequence."""

    def __init__(self, n_units):
        super(Adder, self).__init__(
            W_x=F.Linear(2, 4 * n_units),
            W_h=F.Linear(n_units, 4 * n_units),
            W_y=F.Linear(n_units, 1))
        self.n_units = n_units

    def forward(self, xs, t):
        c = Variable(np.zeros((xs.shape[1], self.n_units), np.float32))
        h = Variable(np.zeros((xs.shape[1], self.n_units), np.float32))
        for x in xs:
            c, h = F.lstm(c, self.W_x(Variable(x)) + self.W_h(h))
        return F.mean_squared_error(self.W_y(h), Variable(t))


def make_batch(random, length, batchsize):
    values = random.uniform(0, 1, (length, batchsize)).astype(np.float32)
    marks = np.zeros_like(values)
    for i in range(batchsize):
        marks[random.choice(length, 2, replace=False), i] = 1
    total = (values * marks).sum(axis=0)[:, np.newaxis]
    return np.concatenate((values[..., np.newaxis], marks[..., np.newaxis]), axis=2), total


model = Adder(10)
for param in model.parameters:  # in an order that not every version has
    param[:] = np.random.RandomState(param.size).normal(0, 0.3, param.shape)
replica = copy.deepcopy(model)

random = np.random.RandomState(2)
optimizer = optimizers.Adam(alpha=0.02)
optimizer.setup(model.collect_parameters())
for iteration in range(30):
    x, t = make_batch(random, 6, 16)
    optimizer.zero_grads()
    for grad in replica.gradients:
        grad.fill(0)
    loss_0 = model.forward(x[:, :8], t[:8])
    loss_1 = replica.forward(x[:, 8:], t[8:])
    loss_0.backward()
    loss_1.backward()
    optimizer.accumulate_grads(replica.gradients)
    optimizer.update()
    replica.copy_parameters_from(model.parameters)
    if iteration % 5 == 4:
        print('%d: %.6f %.6f' % (iteration + 1, loss_0.data, loss_1.data))
print(sum(float((param ** 2).sum()) for param in model.parameters))
