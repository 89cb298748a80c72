"""Sequences put into classes by each recurrent link in turn; a script of genuine Chainer."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np
from chainer.links.rnn.peephole import StatefulPeepholeLSTM


class Classifier(chainer.Chain):
    def __init__(self, rnn):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(6, 5)
            self.rnn = rnn
            self.out = L.Linear(None, 2)

    def forward(self, xs, ys):
        exs = [self.embed(x) for x in xs]
        return F.softmax_cross_entropy(self.out(F.dropout(self.encode(exs), 0.1)), ys)

    def encode(self, exs):
        if isinstance(self.rnn, (L.NStepLSTM, L.NStepBiLSTM)):
            return self.rnn(None, None, exs)[0][-1]
        steps = F.transpose_sequence(exs)
        if isinstance(self.rnn, L.StatelessLSTM):
            c = h = None
            for x in steps:
                c, h = self.rnn(c, h, x)
            return h
        self.rnn.reset_state()
        return [self.rnn(x) for x in steps][-1]


def train(rnn):
    model = Classifier(rnn)
    optimizer = chainer.optimizers.Adam(0.01).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(1e-4))
    for _ in range(5):
        xs = np.random.randint(0, 6, (8, 4)).astype(np.int32)
        optimizer.update(model, list(xs), (xs.sum(axis=1) % 2).astype(np.int32))
    return model(list(xs), (xs.sum(axis=1) % 2).astype(np.int32)).array


if __name__ == '__main__':
    np.random.seed(0)
    for make in (
        lambda: L.LSTM(5, 7),
        lambda: L.LSTM(7),
        lambda: L.StatelessLSTM(5, 7),
        lambda: StatefulPeepholeLSTM(5, 7),
        lambda: L.NStepLSTM(2, 5, 7, 0.2),
        lambda: L.NStepBiLSTM(2, 5, 7, 0.2),
    ):
        print('loss', train(make()))
