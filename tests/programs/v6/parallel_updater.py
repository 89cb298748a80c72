"""One training step on two copies of a model, each with half of a batch, by ParallelUpdater and the device API."""
import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import training
from chainer.training import extensions


class Parity(chainer.Chain):
    """Tells after every bit whether there was an odd number of ones so far."""

    def __init__(self, n_units):
        super(Parity, self).__init__()
        with self.init_scope():
            self.embed = L.EmbedID(2, n_units)
            self.l1 = L.LSTM(n_units, n_units)
            self.l2 = L.LSTM(n_units, n_units, forget_bias_init=0.5)
            self.out = L.Linear(n_units, 2)

    def forward(self, bits, parities):
        self.l1.reset_state()
        self.l2.reset_state()
        loss = correct = 0
        for bit, parity in zip(bits.T, parities.T):
            y = self.out(self.l2(self.l1(self.embed(bit))))
            loss += F.softmax_cross_entropy(y, parity)
            correct += F.accuracy(y, parity)
        chainer.report({'loss': loss, 'accuracy': correct / bits.shape[1]}, self)
        return loss


np.random.seed(0)
bits = np.random.randint(0, 2, (64, 6)).astype(np.int32)
parities = bits.cumsum(axis=1).astype(np.int32) % 2
dataset = chainer.datasets.TupleDataset(bits, parities)
train, test = chainer.datasets.split_dataset(dataset, 48)

device = chainer.get_device('@numpy')
device.use()
model = Parity(12)
model.to_device(device)
optimizer = chainer.optimizers.MomentumSGD(lr=0.2, momentum=0.8)
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(1.0))
updater = training.updaters.ParallelUpdater(
    chainer.iterators.SerialIterator(train, 16), optimizer, devices={'main': device, 'second': device})
trainer = training.Trainer(updater, (24, 'epoch'), out='result')
trainer.extend(extensions.Evaluator(
    chainer.iterators.SerialIterator(test, 16, repeat=False, shuffle=False), model, device=device))
trainer.extend(extensions.ExponentialShift('lr', 0.9), trigger=(6, 'epoch'))
trainer.extend(extensions.observe_lr())
trainer.extend(extensions.LogReport(trigger=(6, 'epoch')))
trainer.extend(extensions.PrintReport(
    ['epoch', 'lr', 'main/loss', 'main/accuracy', 'second/loss', 'validation/main/loss']), trigger=(6, 'epoch'))
trainer.run()
print('norm of the weights', np.sqrt(sum(float((param.array ** 2).sum()) for param in model.params())))
