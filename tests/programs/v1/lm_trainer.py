"""A language model with the train flag of v1, a Trainer, an updater for truncated BPTT, and its own iterator."""
from __future__ import division
from __future__ import print_function

import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L
from chainer import training
from chainer.training import extensions

TEXT = """
a letter came for the old man on the hill . he read the letter twice and put it on the fire . then he took his coat
and his hat and went down the hill to the town . in the town he asked for the woman who had sent the letter .
"""


class RNNForLM(chainer.Chain):

    def __init__(self, n_vocab, n_units, train=True):
        super(RNNForLM, self).__init__(
            embed=L.EmbedID(n_vocab, n_units),
            l1=L.LSTM(n_units, n_units),
            l2=L.LSTM(n_units, n_units),
            l3=L.Linear(n_units, n_vocab))
        for name, param in sorted(self.namedparams()):
            param.data[...] = np.random.uniform(-0.5, 0.5, param.data.shape)
        self.train = train

    def reset_state(self):
        self.l1.reset_state()
        self.l2.reset_state()

    def __call__(self, x):
        h0 = self.embed(x)
        h1 = self.l1(F.dropout(h0, ratio=0.2, train=self.train))
        h2 = self.l2(F.dropout(h1, train=self.train))
        return self.l3(F.dropout(h2, train=self.train))


class WordIterator(chainer.dataset.Iterator):

    def __init__(self, words, batch_size, repeat=True):
        self.words, self.batch_size, self.repeat = words, batch_size, repeat
        self.epoch = self.iteration = 0
        self.is_new_epoch = False

    def __next__(self):
        length = len(self.words)
        if not self.repeat and self.iteration * self.batch_size >= length - 1:
            raise StopIteration
        places = [i * length // self.batch_size + self.iteration for i in range(self.batch_size)]
        self.iteration += 1
        epoch = self.iteration * self.batch_size // length
        self.is_new_epoch, self.epoch = self.epoch < epoch, epoch
        return [(self.words[k % length], self.words[(k + 1) % length]) for k in places]

    @property
    def epoch_detail(self):
        return self.iteration * self.batch_size / len(self.words)


class BPTTUpdater(training.StandardUpdater):

    def __init__(self, train_iter, optimizer, bprop_len, device):
        super(BPTTUpdater, self).__init__(train_iter, optimizer, device=device)
        self.bprop_len = bprop_len

    def update_core(self):
        loss = 0
        optimizer = self.get_optimizer('main')
        for _ in range(self.bprop_len):
            x, t = self.converter(self.get_iterator('main').__next__(), self.device)
            loss += optimizer.target(chainer.Variable(x), chainer.Variable(t))
        optimizer.target.cleargrads()
        loss.backward()
        loss.unchain_backward()
        optimizer.update()


def compute_perplexity(result):
    result['perplexity'] = np.exp(result['main/loss'])
    result['val_perplexity'] = np.exp(result['validation/main/loss'])


np.random.seed(0)
vocab = {}
words = np.array([vocab.setdefault(word, len(vocab)) for word in TEXT.split()], dtype=np.int32)
model = L.Classifier(RNNForLM(len(vocab), 16))
model.compute_accuracy = False
optimizer = chainer.optimizers.SGD(lr=0.5)
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer.GradientClipping(5))
updater = BPTTUpdater(WordIterator(words, 4), optimizer, 5, -1)
trainer = training.Trainer(updater, (20, 'iteration'), out='result')

eval_model = model.copy()  # the same parameters, a state of its own
eval_model.predictor.train = False
trainer.extend(extensions.Evaluator(
    WordIterator(words, 1, repeat=False), eval_model, device=-1,
    eval_hook=lambda _: eval_model.predictor.reset_state()), trigger=(5, 'iteration'))
trainer.extend(extensions.LogReport(postprocess=compute_perplexity, trigger=(5, 'iteration')))
trainer.extend(extensions.PrintReport(['epoch', 'iteration', 'perplexity', 'val_perplexity']),
               trigger=(5, 'iteration'))
trainer.extend(extensions.snapshot_object(model, 'model_{.updater.iteration}', trigger=(10, 'iteration')))
trainer.run()
print(sorted(np.load('result/model_20').keys()))
