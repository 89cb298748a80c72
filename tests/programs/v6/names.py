"""Makes up names letter by letter: the state of L.LSTM is set and copied by hand, and a best of several is kept."""
import argparse

import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L

NAMES = 'marla marlon marten martha carla carlo carsten bert berta norbert nora lena lea arlene'.split()
LETTERS = '.' + ''.join(sorted(set(''.join(NAMES))))


class NameModel(chainer.Chain):

    def __init__(self, n_units):
        super(NameModel, self).__init__()
        with self.init_scope():
            self.embed = L.EmbedID(len(LETTERS), n_units, initialW=chainer.initializers.Uniform(0.5))
            self.rnn = L.LSTM(n_units, n_units, lateral_init=chainer.initializers.GlorotUniform(), bias_init=0.1)
            self.out = L.Linear(n_units, len(LETTERS), initial_bias=chainer.initializers.Zero())

    def forward(self, x):
        return self.out(self.rnn(self.embed(x)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--unit', '-u', type=int, default=24)
    parser.add_argument('--epoch', '-e', type=int, default=20)
    parser.add_argument('--device', '-d', default='-1')
    args = parser.parse_args()

    np.random.seed(0)
    device = chainer.get_device(int(args.device))
    model = NameModel(args.unit)
    model.to_device(device)
    optimizer = chainer.optimizers.AdaGrad(lr=0.1).setup(model)
    length = max(map(len, NAMES)) + 2
    data = np.array([[LETTERS.index(letter) for letter in ('.' + name).ljust(length, '.')] for name in NAMES], 'i')
    for epoch in range(args.epoch):
        model.rnn.reset_state()
        losses = []
        for x, t in zip(data.T[:-1], data.T[1:]):
            losses.append(F.softmax_cross_entropy(model(device.send(x)), device.send(t), normalize=False))
        loss = F.average(F.stack(losses))
        model.cleargrads()
        loss.backward()
        optimizer.update()
        if epoch % 5 == 4:
            print('epoch', epoch + 1, 'loss', float(loss.array), 'lateral', float(abs(model.rnn.lateral.W.grad).sum()))

    beams = [(0.0, '.', None)]
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        for _ in range(length - 1):
            candidates = []
            for score, name, state in beams:
                if state is None:
                    model.rnn.reset_state()
                else:
                    model.rnn.set_state(*state)
                y = F.log_softmax(model(np.array([LETTERS.index(name[-1])], 'i'))).array[0]
                for k in np.argsort(-y)[:3]:
                    candidates.append((score + float(y[k]), name + LETTERS[k], (model.rnn.c, model.rnn.h)))
            beams = sorted(candidates, key=lambda beam: -beam[0])[:4]
    for score, name, _ in beams:
        print('%-10s %.5f' % (name.strip('.'), score))


if __name__ == '__main__':
    main()
