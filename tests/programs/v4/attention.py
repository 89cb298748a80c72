"""Reverses numbers: a bidirectional encoder, and a decoder that attends to its outputs at each step."""
import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L


class AttentionModel(chainer.Chain):

    def __init__(self, n_vocab, n_units):
        super(AttentionModel, self).__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units, ignore_label=-1)
            self.encoder = L.NStepBiLSTM(1, n_units, n_units, 0.1)
            self.decoder = L.StatelessLSTM(3 * n_units, n_units)
            self.query = L.Linear(n_units, 2 * n_units, nobias=True)
            self.output = L.Linear(3 * n_units, n_vocab)

    def encode(self, xs):
        ends = np.cumsum([len(x) for x in xs])[:-1]
        exs = F.split_axis(self.embed(F.concat(xs, axis=0)), ends, 0)
        hy, cy, ys = self.encoder(None, None, exs)
        memory = F.pad_sequence(ys)
        mask = F.pad_sequence([np.zeros(len(x), 'f') for x in xs], padding=-1e9)
        return F.average(cy, axis=0), F.average(hy, axis=0), memory, mask

    def step(self, c, h, context, word, memory, mask):
        c, h = self.decoder(c, h, F.concat((self.embed(word), context), axis=1))
        scores = F.squeeze(F.matmul(memory, F.expand_dims(self.query(h), 2)), 2)
        weights = F.softmax(scores + mask)
        context = F.sum(memory * F.broadcast_to(weights[:, :, None], memory.shape), axis=1)
        return c, h, context, self.output(F.concat((h, context), axis=1)), weights

    def forward(self, xs, targets):
        c, h, memory, mask = self.encode(xs)
        context = self.xp.zeros((len(xs), memory.shape[2]), 'f')
        word = self.xp.zeros(len(xs), 'i')
        loss = 0
        for target in targets:
            c, h, context, y, weights = self.step(c, h, context, word, memory, mask)
            loss += F.softmax_cross_entropy(y, target)
            word = target
        return loss / len(targets), weights

    def __call__(self, xs, targets):
        loss, _ = self.forward(xs, targets)
        chainer.report({'loss': loss}, self)
        return loss


np.random.seed(0)
model = AttentionModel(8, 12)
optimizer = chainer.optimizers.Adam(alpha=0.02)
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer.GradientClipping(5))
for iteration in range(25):
    xs = [np.random.randint(1, 8, np.random.randint(2, 6)).astype('i') for _ in range(12)]
    ys = F.pad_sequence([x[::-1] for x in xs], padding=-1).data
    loss, weights = model.forward(xs, list(ys.T))
    model.cleargrads()
    loss.backward()
    optimizer.update()
    if iteration % 5 == 4:
        print(iteration + 1, float(loss.data))
print(np.array2string(weights.data[0], precision=4, suppress_small=True))
