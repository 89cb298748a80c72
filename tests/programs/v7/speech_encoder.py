"""A pyramid of bidirectional NStepLSTM layers over padded features, and a decoder trained on the mean of its frames.

Utterances come sorted by length; every layer but the last halves them.
"""
import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import reporter


class PyramidEncoder(chainer.Chain):

    def __init__(self, idim, elayers, cdim, hdim, subsample, dropout=0.0):
        super(PyramidEncoder, self).__init__()
        with self.init_scope():
            for i in range(elayers):
                setattr(self, 'birnn%d' % i, L.NStepBiLSTM(1, idim if i == 0 else hdim, cdim, dropout))
                setattr(self, 'bt%d' % i, L.Linear(2 * cdim, hdim))
        self.elayers = elayers
        self.subsample = subsample

    def __call__(self, xs, ilens):
        for layer in range(self.elayers):
            _, _, ys = self['birnn' + str(layer)](None, None, xs)
            ys = F.pad_sequence(ys)
            ys = F.reshape(self['bt' + str(layer)](ys.reshape(-1, ys.shape[2])), ys.shape[:2] + (-1,))
            step = self.subsample[layer]
            ilens = (np.asarray(ilens) + step - 1) // step
            xs = [F.tanh(y[::step][:length]) for y, length in zip(ys, ilens)]
        return xs, ilens


class Recognizer(chainer.Chain):

    def __init__(self, idim, odim):
        super(Recognizer, self).__init__()
        with self.init_scope():
            self.encoder = PyramidEncoder(idim, 3, 8, 10, [2, 2, 1])
            self.embed = L.EmbedID(odim, 6)
            self.decoder0 = L.StatelessLSTM(16, 12)
            self.decoder1 = L.StatelessLSTM(12, 12)
            self.output = L.Linear(12, odim)

    def __call__(self, xs, ilens, ys):
        hs, hlens = self.encoder(xs, ilens)
        context = F.stack([F.average(h, axis=0) for h in hs])
        pad_ys_in = F.pad_sequence([np.append(0, y).astype('i') for y in ys])
        pad_ys_out = F.pad_sequence([np.append(y, 0).astype('i') for y in ys], padding=-1)
        c, z = [None, None], [None, None]
        z_all = []
        for i in range(pad_ys_in.shape[1]):
            ey = F.hstack((self.embed(pad_ys_in[:, i]), context))
            c[0], z[0] = self.decoder0(c[0], z[0], ey)
            c[1], z[1] = self.decoder1(c[1], z[1], z[0])
            z_all.append(z[1])
        z_all = F.stack(z_all, axis=1)
        y_all = self.output(F.reshape(z_all, (-1, 12)))
        loss = F.softmax_cross_entropy(y_all, F.flatten(pad_ys_out), ignore_label=-1)
        accuracy = F.accuracy(y_all, F.flatten(pad_ys_out), ignore_label=-1)
        reporter.report({'loss': float(loss.data), 'acc': float(accuracy.data)}, self)
        return loss


def main():
    np.random.seed(0)
    random = np.random.RandomState(1)
    patterns = random.uniform(-1, 1, (6, 5))
    batch = []
    for _ in range(6):
        y = random.randint(1, 6, random.randint(1, 5))
        x = np.repeat(patterns[y], random.randint(2, 5), axis=0)
        batch.append(((x + random.normal(0, 0.1, x.shape)).astype(np.float32), y.astype(np.int32)))
    batch.sort(key=lambda pair: -len(pair[0]))
    xs, ys = zip(*batch)
    ilens = [x.shape[0] for x in xs]

    model = Recognizer(5, 6)
    optimizer = chainer.optimizers.AdaDelta(rho=0.95, eps=1e-4)
    optimizer.setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(5))
    for iteration in range(12):
        loss = model([chainer.Variable(x) for x in xs], ilens, ys)
        model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        grad_norm = np.sqrt(sum(float((param.grad ** 2).sum()) for param in model.params()))
        if iteration % 3 == 2:
            print('loss', float(loss.data), 'gradient norm', grad_norm)
        if not np.isnan(grad_norm):
            optimizer.update()
    hs, hlens = model.encoder(xs, ilens)
    print(ilens, hlens.tolist(), [h.shape for h in hs])


if __name__ == '__main__':
    main()
