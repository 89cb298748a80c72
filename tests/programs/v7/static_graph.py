"""Truncated BPTT over a chunk of words inside chainer.static_graph."""
import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import static_graph

TEXT = """
The key was under the stone, the stone was under the tree, and the tree was on the hill behind the house. Nobody had
been in the house for years. The door opened without the key.
"""


class Step(chainer.Chain):

    def __init__(self, n_vocab, n_units):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.l1 = L.LSTM(n_units, n_units)
            self.l2 = L.Linear(n_units, n_vocab)

    def forward(self, x):
        return self.l2(self.l1(self.embed(x)))


class Unrolled(chainer.Chain):

    def __init__(self, n_vocab, n_units):
        super().__init__()
        with self.init_scope():
            self.rnn = Step(n_vocab, n_units)

    @static_graph
    def __call__(self, words):
        self.rnn.l1.reset_state()
        return [self.rnn(word) for word in words]


def main():
    np.random.seed(0)
    chainer.global_config.use_static_graph = True
    chars = sorted(set(TEXT))
    data = np.array([chars.index(char) for char in TEXT], 'i')
    model = Unrolled(len(chars), 16)
    optimizer = chainer.optimizers.Adam(alpha=0.01)
    optimizer.setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(5))
    for iteration in range(12):
        start = 7 * (iteration % 6) + 30 * np.arange(4)
        words = [chainer.Variable(data[start + i]) for i in range(8)]
        ys = model(words)
        loss = sum(F.softmax_cross_entropy(y, data[start + i + 1]) for i, y in enumerate(ys))
        model.cleargrads()
        loss.backward()
        optimizer.update()
        if iteration % 3 == 2:
            print(iteration + 1, float(loss.array) / 8)


if __name__ == '__main__':
    main()
