"""A stateful LSTM predicts the next value of a curve, then goes on from its own predictions."""
from __future__ import print_function

import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L


class Predictor(chainer.Chain):

    def __init__(self, n_units):
        super(Predictor, self).__init__()
        with self.init_scope():
            self.lstm = L.LSTM(None, n_units)
            self.linear = L.Linear(n_units, 1)

    def reset_state(self):
        self.lstm.reset_state()

    def __call__(self, x):
        return self.linear(F.dropout(self.lstm(x), ratio=0.1))


np.random.seed(0)
times = np.arange(200)
curve = (np.sin(times / 5.) + 0.3 * np.sin(times / 2.)).astype(np.float32)
model = Predictor(20)
optimizer = chainer.optimizers.Adam(alpha=0.01)
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer.GradientClipping(1.0))

for epoch in range(5):
    model.reset_state()
    offsets = np.random.randint(0, 50, 8)
    total = 0
    for start in range(0, 60, 20):
        loss = 0
        for i in range(start, start + 20):
            x = curve[offsets + i][:, None]
            t = curve[offsets + i + 1][:, None]
            loss += F.mean_squared_error(model(x), t)
        model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        optimizer.update()
        total += float(loss.data)
    print('epoch', epoch, 'loss', total / 60)

model.reset_state()
with chainer.using_config('train', False), chainer.no_backprop_mode():
    for i in range(100):
        y = model(curve[i:i + 1, None])
    predicted = []
    for i in range(10):
        predicted.append(float(y.data[0, 0]))
        y = model(y)
print('predicted', ' '.join('%.5f' % value for value in predicted))
print('true     ', ' '.join('%.5f' % value for value in curve[101:111]))

h = model.lstm.h
model.lstm.set_state(model.lstm.c, chainer.Variable(h.data * 0))
print('without h', float(model(curve[110:111, None]).data[0, 0]))
