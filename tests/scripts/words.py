"""An iterator over a text at several places, beside the script that imports it."""

import chainer


class Places(chainer.dataset.Iterator):
    def __init__(self, words, batch_size, repeat=True):
        self.words, self.batch_size, self.repeat = words, batch_size, repeat
        self.iteration = self.epoch = 0
        self.is_new_epoch = False

    def __next__(self):
        if not self.repeat and self.iteration * self.batch_size >= len(self.words):
            raise StopIteration
        current = self.read()
        self.iteration += 1
        epoch = int(self.epoch_detail)
        self.is_new_epoch, self.epoch = epoch > self.epoch, epoch
        return list(zip(current, self.read()))

    def read(self):
        length = len(self.words)
        return [
            self.words[(k * length // self.batch_size + self.iteration) % length]
            for k in range(self.batch_size)
        ]

    @property
    def epoch_detail(self):
        return self.iteration * self.batch_size / len(self.words)

    def serialize(self, serializer):
        self.iteration = serializer('iteration', self.iteration)
        self.epoch = serializer('epoch', self.epoch)
