"""Spots a word in a stream of sounds, a few frames at a time, with its imports and settings in an order of its own."""
import chainer
import numpy as np
from chainer import Sequential
from chainer import Variable
from chainer import optimizer_hooks
from chainer import optimizers

import chainer.functions as F
import chainer.links as L

chainer.global_config.dtype = np.float32
chainer.config.cudnn_deterministic = True


class Spotter(chainer.Chain):
    def __init__(self, n_units=10):
        super().__init__()
        with self.init_scope():
            self.conv = L.Convolution1D(None, 6, 3, pad=1, nobias=True)
            self.norm = L.BatchNormalization(6)
            self.rnns = chainer.ChainList(L.LSTM(None, n_units), L.LSTM(None, n_units))
            self.out = Sequential(L.Linear(None, 8), F.relu, L.Linear(None, 1))

    def reset_state(self):
        for rnn in self.rnns:
            rnn.reset_state()

    def forward(self, frames):
        h = F.relu(self.norm(self.conv(frames)))
        for t in range(h.shape[2]):
            y = h[:, :, t]
            for rnn in self.rnns:
                y = F.dropout(rnn(y), 0.2)
        return self.out(y)[:, 0]


def stream(random, word, has_word):
    sound = random.normal(0, 0.5, (4, 12))
    if has_word:
        start = random.randint(0, 7)
        sound[:, start:start + 6] += word
    return sound.astype(np.float32)


np.random.seed(0)
random = np.random.RandomState(1)
word = random.uniform(-1, 1, (4, 6))
model = Spotter()
optimizer = optimizers.AdamW(alpha=0.02, weight_decay_rate=0.01)
optimizer.setup(model)
optimizer.add_hook(optimizer_hooks.GradientClipping(2))
for iteration in range(24):
    t = random.randint(0, 2, 16)
    xs = np.stack([stream(random, word, has_word) for has_word in t])
    model.reset_state()
    for start in range(0, 12, 4):
        y = model(Variable(xs[:, :, start:start + 4]))
    loss = F.sigmoid_cross_entropy(y, t)
    model.cleargrads()
    loss.backward()
    optimizer.update()
    if iteration % 6 == 5:
        print(iteration + 1, 'loss', loss.item())

model.reset_state()
with chainer.using_config('train', False), chainer.using_config('enable_backprop', False):
    for start in range(0, 12, 4):
        y = model(xs[:, :, start:start + 4])
        print('probability', F.sigmoid(y[0]).item())
