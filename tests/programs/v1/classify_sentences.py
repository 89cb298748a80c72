"""Sentences of different lengths through NStepLSTM, with a train flag at every call and use_cudnn by position."""
import numpy as np

import chainer
import chainer.functions as F
import chainer.links as L

SENTENCES = [
    ('the food was good', 1), ('good friends and good wine', 1), ('what a fine warm evening that was', 1), ('fine', 1),
    ('the soup was cold', 0), ('bad wine and a bad mood', 0), ('we waited an hour for cold food', 0), ('bad', 0),
]


class Classifier(chainer.Chain):

    def __init__(self, n_vocab, n_units):
        super(Classifier, self).__init__(
            embed=L.EmbedID(n_vocab, n_units),
            encoder=L.NStepLSTM(1, n_units, n_units, 0.0, False),
            output=L.Linear(n_units, 2))

    def __call__(self, sentences, labels, train=True):
        volatile = 'off' if train else 'on'
        xs = [self.embed(chainer.Variable(sentence, volatile=volatile)) for sentence in sentences]
        hx = chainer.Variable(np.zeros((1, len(xs), 12), np.float32), volatile='auto')
        hy, cy, ys = self.encoder(hx, None, xs, train)
        y = self.output(F.dropout(hy[0], 0.2, train))
        t = chainer.Variable(labels, volatile=volatile)
        return F.softmax_cross_entropy(y, t), F.accuracy(y, t)


np.random.seed(4)
vocab = {}
sentences = [np.array([vocab.setdefault(word, len(vocab)) for word in text.split()], np.int32)
             for text, _ in SENTENCES]
labels = np.array([label for _, label in SENTENCES], np.int32)
model = Classifier(len(vocab), 12)
optimizer = chainer.optimizers.Adam(alpha=0.01)
optimizer.use_cleargrads()
optimizer.setup(model)
optimizer.add_hook(chainer.optimizer.WeightDecay(0.0001))
for epoch in range(8):
    total = 0
    for k in np.random.permutation(2):
        batch = sentences[k::2]
        optimizer.update(lambda *args: model(*args)[0], batch, labels[k::2])
    loss, accuracy = model(sentences, labels, train=False)
    print('epoch {} loss {:.6f} accuracy {}'.format(epoch, float(loss.data), float(accuracy.data)))
