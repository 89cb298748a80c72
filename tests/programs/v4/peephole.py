"""Two rhythms that only a count of steps tells apart, with a peephole LSTM that predicts when the next beat comes."""
import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L


class Rhythm(chainer.Chain):

    def __init__(self, n_units):
        super(Rhythm, self).__init__()
        with self.init_scope():
            self.rnn = L.StatefulPeepholeLSTM(1, n_units)
            self.beat = L.Linear(n_units, 1)

    def __call__(self, x):
        return self.beat(self.rnn(x))


def beats(period, length, phase):
    return ((np.arange(length) + phase) % period == 0).astype(np.int32)


np.random.seed(0)
model = Rhythm(10)
optimizer = chainer.optimizers.Adam(alpha=0.02)
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer.GradientHardClipping(-1, 1))
data = np.array([beats(period, 41, phase) for period, phase in ((3, 0), (3, 1), (5, 0), (5, 3))])
print([(name, param.shape) for name, param in sorted(model.rnn.namedparams())])
for epoch in range(15):
    model.rnn.reset_state()
    loss = 0
    for i in range(40):
        y = model(data[:, i:i + 1].astype(np.float32))
        loss += F.sigmoid_cross_entropy(y, data[:, i + 1:i + 2])
        if i % 20 == 19:
            model.cleargrads()
            loss.backward()
            loss.unchain_backward()
            norm = np.sqrt(sum(float((param.grad ** 2).sum()) for param in model.params()))
            optimizer.update()
            if epoch % 3 == 2:
                print(epoch, i, 'loss', float(loss.data) / 20, 'gradient norm', norm)
            loss = 0

model.rnn.reset_state()
with chainer.no_backprop_mode():
    for i in range(30):
        y = F.sigmoid(model(data[:, i:i + 1].astype(np.float32)))
print('c', float(abs(model.rnn.c.data).sum()), 'h', float(abs(model.rnn.h.data).sum()))
print('next', ' '.join('%.4f' % value for value in y.data[:, 0]))
chainer.serializers.save_npz('rhythm.npz', model)
print(sorted(np.load('rhythm.npz').keys()))
