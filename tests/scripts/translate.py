"""An encoder and a decoder that learns to turn sequences round; a script of genuine Chainer."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np
from chainer import training
from chainer.training import extensions

END = 0


def embed_all(embed, xs):
    return F.split_axis(embed(F.concat(xs, axis=0)), np.cumsum([len(x) for x in xs[:-1]]), 0)


class Translator(chainer.Chain):
    def __init__(self, n_words, n_units):
        super().__init__()
        with self.init_scope():
            self.embed_x = L.EmbedID(n_words, n_units)
            self.embed_y = L.EmbedID(n_words, n_units)
            self.encoder = L.NStepLSTM(2, n_units, n_units, 0.1)
            self.decoder = L.NStepLSTM(2, n_units, n_units, 0.1)
            self.out = L.Linear(n_units, n_words)

    def forward(self, xs, ys):
        end = np.array([END], np.int32)
        h, c, _ = self.encoder(None, None, embed_all(self.embed_x, xs))
        _, _, os = self.decoder(
            h, c, embed_all(self.embed_y, [np.concatenate((end, y)) for y in ys])
        )
        loss = F.softmax_cross_entropy(
            self.out(F.concat(os, axis=0)), np.concatenate([[*y, END] for y in ys])
        )
        chainer.report({'loss': loss}, self)
        return loss

    def translate(self, xs, length=6):
        with chainer.no_backprop_mode(), chainer.using_config('train', False):
            h, c, _ = self.encoder(None, None, embed_all(self.embed_x, xs))
            ys = np.full(len(xs), END, np.int32)
            for _ in range(length):
                h, c, os = self.decoder(h, c, F.split_axis(self.embed_y(ys), len(xs), 0))
                scores = self.out(F.concat(os, axis=0)).array
                ys = scores.argmax(axis=1).astype(np.int32)
        return scores


def convert(batch, device):
    return {'xs': [x for x, _ in batch], 'ys': [y for _, y in batch]}


if __name__ == '__main__':
    np.random.seed(0)
    xs = [np.random.randint(1, 6, np.random.randint(1, 6)).astype(np.int32) for _ in range(60)]
    model = Translator(6, 9)
    optimizer = chainer.optimizers.Adam().setup(model)
    iterator = chainer.iterators.SerialIterator([(x, x[::-1]) for x in xs], 10)
    updater = training.updaters.StandardUpdater(iterator, optimizer, converter=convert)
    trainer = training.Trainer(updater, (2, 'epoch'))
    trainer.extend(extensions.LogReport())
    trainer.extend(extensions.PrintReport(['epoch', 'main/loss']))
    trainer.run()
    print('loss', model(xs[:9], xs[:9]).array)
    print('scores', *model.translate(xs[:3]).ravel())
