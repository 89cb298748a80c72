"""Batches from processes that are spawned, for a model that predicts the temperature of the next hour."""
import multiprocessing

import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import training
from chainer.training import extensions


class Days(chainer.dataset.DatasetMixin):
    """Days of 24 hours, each made where it is asked for."""

    def __init__(self, n_days):
        self.n_days = n_days

    def __len__(self):
        return self.n_days

    def get_example(self, i):
        random = np.random.RandomState(i)
        hours = np.arange(25)
        day = 10 - 5 * np.cos((hours - random.uniform(0, 4)) * np.pi / 12) + random.normal(0, 0.3, 25)
        return day.astype(np.float32) / 10


class Forecast(chainer.Chain):

    def __init__(self):
        super(Forecast, self).__init__()
        with self.init_scope():
            self.lstm = L.LSTM(1, 8)
            self.out = L.Linear(8, 1)

    def forward(self, days):
        self.lstm.reset_state()
        loss = 0
        for hour in range(24):
            y = self.out(self.lstm(days[:, hour:hour + 1]))
            loss += F.mean_squared_error(y, days[:, hour + 1:hour + 2])
        chainer.report({'loss': loss / 24}, self)
        return loss / 24


def main():
    np.random.seed(0)
    model = Forecast()
    optimizer = chainer.optimizers.Adam(alpha=0.02)
    optimizer.setup(model)
    train_iter = chainer.iterators.MultiprocessIterator(Days(40), 10, n_processes=2, n_prefetch=2)
    test_iter = chainer.iterators.MultithreadIterator(Days(10), 5, repeat=False, shuffle=False, n_threads=2)
    updater = training.StandardUpdater(train_iter, optimizer)
    trainer = training.Trainer(updater, (3, 'epoch'), out='result')
    trainer.extend(extensions.Evaluator(test_iter, model))
    trainer.extend(extensions.LogReport())
    trainer.extend(extensions.PrintReport(['epoch', 'iteration', 'main/loss', 'validation/main/loss']))
    trainer.run()
    train_iter.finalize()


if __name__ == '__main__':
    multiprocessing.set_start_method('spawn')
    main()
