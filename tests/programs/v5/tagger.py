"""Finds names in sentences: a bidirectional NStepLSTM under a CRF."""
import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L

TAGGED = """
Anna/B Berg/I lives/O in/O Turin/B
the/O road/O from/O Turin/B to/O Lake/B Garda/I is/O long/O
Carl/B met/O Anna/B
they/O left/O Lake/B Garda/I on/O Monday/O
Carl/B Berg/I paid/O
rain/O
"""
TAGS = 'OBI'


class Tagger(chainer.Chain):

    def __init__(self, n_vocab, n_units, n_tags):
        super(Tagger, self).__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.rnn = L.NStepBiLSTM(1, n_units, n_units, 0.0)
            self.dense = L.Linear(2 * n_units, n_tags)
            self.crf = L.CRF1d(n_tags)

    def scores(self, xs):
        sections = np.cumsum([len(x) for x in xs])[:-1]
        exs = F.split_axis(F.dropout(self.embed(F.concat(xs, axis=0)), 0.3), sections, 0)
        _, _, ys = self.rnn(None, None, exs)
        return F.split_axis(self.dense(F.concat(ys, axis=0)), sections, 0)

    def forward(self, xs, ts):
        order = np.argsort([-len(x) for x in xs], kind='mergesort')
        hs = self.scores(xs)
        hs = F.transpose_sequence([hs[i] for i in order])
        loss = self.crf(hs, F.transpose_sequence([ts[i] for i in order]))
        chainer.report({'loss': loss}, self)
        return loss

    def predict(self, xs):
        order = np.argsort([-len(x) for x in xs], kind='mergesort')
        with chainer.using_config('train', False), chainer.no_backprop_mode():
            hs = self.scores(xs)
            _, path = self.crf.argmax(F.transpose_sequence([hs[i] for i in order]))
        path = F.transpose_sequence(path)
        return [path[list(order).index(i)].array for i in range(len(xs))]


np.random.seed(0)
sentences = [[token.split('/') for token in line.split()] for line in TAGGED.strip().split('\n')]
words = sorted({word for sentence in sentences for word, _ in sentence})
xs = [np.array([words.index(word) for word, _ in sentence], 'i') for sentence in sentences]
ts = [np.array([TAGS.index(tag) for _, tag in sentence], 'i') for sentence in sentences]
model = Tagger(len(words), 10, len(TAGS))
optimizer = chainer.optimizers.Adam(alpha=0.03).setup(model)
iterator = chainer.iterators.SerialIterator(list(zip(xs, ts)), 3, shuffle=False)


@chainer.training.make_extension(trigger=(3, 'epoch'))
def print_loss(trainer):
    print(trainer.updater.epoch, 'loss %.6f' % float(trainer.observation['main/loss'].array))


def convert(batch, device):
    return {'xs': [x for x, _ in batch], 'ts': [t for _, t in batch]}


updater = chainer.training.StandardUpdater(iterator, optimizer, converter=convert, device=-1)
trainer = chainer.training.Trainer(updater, (12, 'epoch'))
trainer.extend(print_loss)
trainer.run()
for tags in model.predict(xs):
    print(''.join(TAGS[tag] for tag in tags))
print('transitions', ' '.join('%.5f' % value for value in model.crf.cost.array.ravel()))
