"""A language model under Chainer's Trainer, or with --loop in a loop of its own;
a script of genuine Chainer.
"""

import argparse
import copy

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np
from chainer import serializers, training
from chainer.training import extensions
from words import Places


class Model(chainer.Chain):
    def __init__(self, n_vocab, n_units):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.l1 = L.LSTM(n_units, n_units)
            self.l2 = L.LSTM(n_units)
            self.l3 = L.Linear(n_units, n_vocab)

    def reset_state(self):
        self.l1.reset_state()
        self.l2.reset_state()

    def forward(self, x):
        return self.l3(F.dropout(self.l2(F.dropout(self.l1(self.embed(x)))), 0.2))


class Updater(training.updaters.StandardUpdater):
    def update_core(self):
        optimizer, loss = self.get_optimizer('main'), 0
        for _ in range(5):
            x, t = self.converter(next(self.get_iterator('main')), self.device)
            loss += optimizer.target(chainer.Variable(x), chainer.Variable(t))
        optimizer.target.cleargrads()
        loss.backward()
        loss.unchain_backward()
        optimizer.update()


def evaluate(model, iterator):
    model = model.copy()
    model.predictor.reset_state()
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        return np.mean(
            [
                float(model(*chainer.dataset.concat_examples(batch)).data)
                for batch in copy.copy(iterator)
            ]
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--loop', action='store_true')
    parser.add_argument('--out', default='result')
    args = parser.parse_args()
    np.random.seed(0)
    text = (np.cumsum(np.random.randint(1, 3, 200)) % 7).astype(np.int32)
    train, valid = Places(text, 4), Places(text[:50], 1, repeat=False)
    model = L.Classifier(Model(7, 10))
    model.compute_accuracy = False
    optimizer = chainer.optimizers.SGD(lr=1.0).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(5))
    updater = Updater(train, optimizer)
    if args.loop:
        while train.epoch < 2:
            updater.update()
    else:
        trainer = training.Trainer(updater, (2, 'epoch'), out=args.out)
        trainer.extend(extensions.LogReport(trigger=(5, 'iteration')))
        trainer.extend(extensions.snapshot(filename='snapshot'))
        trainer.run()
    print('loss', evaluate(model, valid))
    serializers.save_npz('model.npz', model)


if __name__ == '__main__':
    main()
