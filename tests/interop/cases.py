"""Links of the family with weights of their own, and one way to run them all."""

import chainer
import numpy

import chainer_lstm.links as ours
from tests.support.arrays import uniform

TIME, BATCH, INPUT, UNITS = 6, 3, 7, 5

# name -> layers that the link may have, directions
FAMILY = {
    'LSTM': ((1,), 1),
    'StatelessLSTM': ((1,), 1),
    'NStepLSTM': ((1, 2, 3), 1),
    'NStepBiLSTM': ((1, 2, 3), 2),
    'SequenceLSTM': ((1, 2, 3), 1),
    'bidirectional SequenceLSTM': ((1, 2, 3), 2),
}
LINKS = [(name, layers) for name, (numbers, _) in FAMILY.items() for layers in numbers]
IDS = [f'{name} of {layers}' for name, layers in LINKS]


def make(name, layers=1, dtype='f', in_size=INPUT, module=ours):
    """A link with random weights and biases; in_size None for a deferred one."""
    numpy.random.seed(2)
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        if name.startswith('NStep'):
            link = getattr(module, name)(layers, in_size, UNITS, 0.0)
        elif name.endswith('SequenceLSTM'):
            link = ours.SequenceLSTM(
                in_size, UNITS, n_layers=layers, bidirectional=name.startswith('bidirectional')
            )
        else:
            link = getattr(module, name)(in_size, UNITS)
    if in_size is not None:
        randomize(link)
    return link


def randomize(link):
    for seed, (_, param) in enumerate(sorted(link.namedparams())):
        param.array[...] = uniform(param.shape, param.dtype.char, seed=seed)
    return link


def arguments(layers, directions, dtype='f'):
    """x (T, B, I), h0 and c0 (S * D, B, H)."""
    shape = (layers * directions, BATCH, UNITS)
    return [
        uniform(shape, dtype, seed=seed)
        for seed, shape in enumerate(((TIME, BATCH, INPUT), shape, shape))
    ]


def arguments_of(name, layers, dtype='f'):
    return arguments(layers, FAMILY.get(name, ((1,), 1))[1], dtype)


def run(link, x, h0, c0):
    """-> y (T, B, D * H), hn, cn (S * D, B, H)."""
    if isinstance(link, ours.SequenceLSTM):
        link.batch_first, link.return_sequences, link.return_state = False, True, True
        y, c, h = link(x, (c0, h0))
        return [y, *(s.array.reshape(first.shape) for s, first in ((h, h0), (c, c0)))]
    if isinstance(link, chainer.ChainList):
        h, c, ys = link(h0, c0, list(x.transpose(1, 0, 2)))
        return [numpy.stack([y.array for y in ys], axis=1), h, c]
    c, h = chainer.Variable(c0[0]), chainer.Variable(h0[0])
    ys = []
    if hasattr(link, 'reset_state'):
        link.c, link.h = c, h
        ys = [link(step).array for step in x]
        c, h = link.c, link.h
    else:
        for step in x:
            c, h = link(c, h, step)
            ys.append(h.array)
    return [numpy.stack(ys), h[None], c[None]]
