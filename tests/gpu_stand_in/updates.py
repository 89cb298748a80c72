"""Launches, copies, synchronizations and host time of updates and calls on a GPU.

As a program: prints them by name as JSON, of the persistent engine at precision 'high'.
"""

import json
import sys
import warnings

import chainer_lstm  # noqa: F401  # isort: skip  (lets Chainer be imported in a clone)
import chainer
import numpy

from chainer_lstm import functions, links, models, optimizers
from chainer_lstm.training import BPTTUpdater, ParallelSequentialIterator
from tests.gpu_stand_in import stand_in

GPU = '@cupy:0'
WORDS = 10_000
COLD, WARM = 5, 20  # calls before those that are counted, and those


def ptb(batch, steps, units, dropout, graph=False):
    """-> one update of the PTB example's model, clipped, by SGD"""
    model = models.RNNForLM(WORDS, units, n_layers=2, dropout=dropout)
    classifier = chainer.links.Classifier(model, functions.softmax_cross_entropy)
    classifier.compute_accuracy = False
    device = chainer.get_device(GPU)
    device.use()
    classifier.to_device(device)
    optimizer = chainer.optimizers.SGD(1.0).setup(classifier)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(5))
    words = numpy.random.randint(0, WORDS, 100_000).astype('i')
    updater = BPTTUpdater(
        ParallelSequentialIterator(words, batch), optimizer, steps, device, graph=graph
    )
    reporter = chainer.Reporter()
    reporter.add_observer('main', classifier)

    def update():
        with reporter.scope({}):
            updater.update()

    return update


def layers(lengths, units, count, train):
    """-> one call of stacked layers on sequences of these lengths, with gradients in training"""
    import cupy

    link = links.NStepLSTM(count, units, units, 0)
    link.to_device(GPU)
    xs = [cupy.zeros((length, units), 'f') for length in lengths]
    equal = len({*lengths}) == 1
    if equal:
        link = links.SequenceLSTM(units, units, n_layers=count, return_sequences=True)
        link.to_device(GPU)
        xs = cupy.zeros((len(lengths), lengths[0], units), 'f')

    def call():
        if not train:
            with chainer.no_backprop_mode():
                link(xs) if equal else link(None, None, xs)
            return
        link.cleargrads()
        y = link(xs) if equal else chainer.functions.concat(link(None, None, xs)[2], axis=0)
        y.grad = y.array
        y.backward()

    return call


def parameters(rule):
    """-> one update of the parameters of PTB medium alone, clipped, by a rule of Chainer's"""
    import cupy

    model = models.RNNForLM(WORDS, 650, n_layers=2)
    model.to_device(GPU)
    optimizer = rule().setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(5))
    for param in model.params():
        param.grad = cupy.zeros_like(param.array)
    return lambda: optimizers.update(optimizer)


RAGGED = tuple(range(100, 36, -1))
CALLS = {
    'parameters, SGD': lambda: parameters(chainer.optimizers.SGD),
    'parameters, Adam': lambda: parameters(chainer.optimizers.Adam),
    'PTB small': lambda: ptb(20, 20, 200, 0.0),
    'PTB medium': lambda: ptb(20, 35, 650, 0.5),
    'PTB small by a graph': lambda: ptb(20, 20, 200, 0.0, graph=True),
    'PTB medium by a graph': lambda: ptb(20, 35, 650, 0.5, graph=True),
    'training 20/35/650/2': lambda: layers((35,) * 20, 650, 2, True),
    'inference 20/35/650/2': lambda: layers((35,) * 20, 650, 2, False),
    'training ragged 64/100/512/1': lambda: layers(RAGGED, 512, 1, True),
    'inference ragged 64/100/512/1': lambda: layers(RAGGED, 512, 1, False),
}


def counted(make):
    """-> the last of the calls, by name, and milliseconds of the host: the least"""
    call = make()
    for _ in range(COLD):
        call()
    times = []
    for _ in range(WARM):
        with stand_in.recorded() as calls:
            call()
        times.append(calls.seconds)
    return {**calls.summary(), 'host ms': round(1000 * min(times), 2), 'names': calls.names}


if __name__ == '__main__':
    warnings.simplefilter('error')
    chainer.global_config.lstm_engine = 'persistent'
    chainer.global_config.lstm_matmul_precision = 'high'
    json.dump({name: counted(CALLS[name]) for name in sys.argv[1:] or CALLS}, sys.stdout)
