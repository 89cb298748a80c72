"""Sequence to sequence with two NStepLSTM links: learns to say short sentences backwards."""
import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L

EOS = 0
SENTENCES = """
the dog sees the cat
a bird sings
the cat runs from the dog
the bird sees a dog and a cat
sleep
a cat sleeps
""".strip().split('\n')


def sequence_embed(embed, xs):
    lengths = np.cumsum([len(x) for x in xs])[:-1]
    return F.split_axis(embed(F.concat(xs, axis=0)), lengths, 0, force_tuple=True)


class Seq2seq(chainer.Chain):

    def __init__(self, n_layers, n_source, n_target, n_units):
        super(Seq2seq, self).__init__()
        with self.init_scope():
            self.embed_x = L.EmbedID(n_source, n_units)
            self.embed_y = L.EmbedID(n_target, n_units)
            self.encoder = L.NStepLSTM(n_layers, n_units, n_units, 0.0)
            self.decoder = L.NStepLSTM(n_layers, n_units, n_units, 0.0)
            self.W = L.Linear(n_units, n_target)

    def __call__(self, xs, ys):
        eos = self.xp.array([EOS], 'i')
        ys_in = [F.concat([eos, y], axis=0) for y in ys]
        ys_out = [F.concat([y, eos], axis=0) for y in ys]
        hx, cx, _ = self.encoder(None, None, sequence_embed(self.embed_x, xs))
        _, _, os = self.decoder(hx, cx, sequence_embed(self.embed_y, ys_in))
        losses = F.softmax_cross_entropy(self.W(F.concat(os, axis=0)), F.concat(ys_out, axis=0), reduce='no')
        loss = F.sum(losses) / len(xs)
        chainer.report({'loss': loss.data, 'perp': self.xp.exp(F.average(losses).data)}, self)
        return loss

    def translate(self, xs, max_length=10):
        with chainer.no_backprop_mode(), chainer.using_config('train', False):
            h, c, _ = self.encoder(None, None, sequence_embed(self.embed_x, xs))
            ys = self.xp.full(len(xs), EOS, 'i')
            result = []
            for _ in range(max_length):
                eys = F.split_axis(self.embed_y(ys), len(xs), 0)
                h, c, ys = self.decoder(h, c, eys)
                ys = self.xp.argmax(self.W(F.concat(ys, axis=0)).data, axis=1).astype('i')
                result.append(ys)
        sentences = []
        for y in np.stack(result).T:
            end = np.argwhere(y == EOS)
            sentences.append(y[:end[0, 0]] if len(end) else y)
        return sentences


np.random.seed(7)
words = ['<eos>'] + sorted(set(' '.join(SENTENCES).split()))
xs = [np.array([words.index(word) for word in sentence.split()], np.int32) for sentence in SENTENCES]
ys = [x[::-1] for x in xs]
model = Seq2seq(2, len(words), len(words), 24)
optimizer = chainer.optimizers.Adam(alpha=0.02)
optimizer.setup(model)
reporter = chainer.Reporter()
reporter.add_observer('main', model)
for iteration in range(40):
    with reporter:
        reporter.observation = {}
        optimizer.update(model, xs, ys)
    if iteration % 8 == 7:
        print(iteration + 1, ' '.join('%s %.6f' % item for item in sorted(reporter.observation.items())))
for y in model.translate(xs):
    print(' '.join(words[word] for word in y))
