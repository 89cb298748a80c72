#!/usr/bin/env python3
"""Train SequenceLSTM, a layer as in Keras and NNabla, on the adding problem: batches (B, T, I) in,
states out.

    train_adding.py                100 steps
    train_adding.py --length 200

Each step has a number between 0 and 1 and a mark; two steps of a sequence are
marked, and the network outputs the sum of their numbers at the end.  Always
answering 1 has a mean squared error of 1/6.  Hochreiter and Schmidhuber 1997;
numbers and marks as in Le, Jaitly and Hinton 2015.  The folder --out gets
results.json and error.png.
"""

from __future__ import annotations

import time

import chainer
import chainer.functions as F
import numpy

import chainer_lstm.links as L
from chainer_lstm.training import script


class AddingModel(chainer.Chain):
    """Two layers: the first returns all its outputs and its state, with which the second begins.

    Args:
        n_units: H.
    """

    def __init__(self, n_units: int) -> None:
        super().__init__()
        with self.init_scope():
            self.reader = L.SequenceLSTM(2, n_units, return_sequences=True, return_state=True)
            self.adder = L.SequenceLSTM(n_units, n_units)
            self.out = L.Linear(n_units, 1)

    def forward(self, x: numpy.ndarray) -> chainer.Variable:
        """Return the sums (B, 1) of x (B, T, 2)."""
        h_all, c, h = self.reader(x)
        return self.out(self.adder(h_all, initial_state=(c, h)))


def draw(batch: int, length: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return x (B, T, 2) of numbers and marks, one in each half, and the sums (B, 1)."""
    x = numpy.zeros((batch, length, 2), 'f')
    x[:, :, 0] = numpy.random.rand(batch, length)
    for low, high in ((0, length // 2), (length // 2, length)):
        x[range(batch), numpy.random.randint(low, high, batch), 1] = 1
    return x, (x[:, :, 0] * x[:, :, 1]).sum(axis=1, keepdims=True)


def parser():
    p = script.parser(__doc__, out='result/adding')
    size, rate = script.number(int, 1), script.number(float, 0)
    p.add_argument(
        '--length',
        type=script.number(int, 2),
        default=100,
        help='steps of a sequence (default: 100)',
    )
    p.add_argument('--unit', '-u', type=size, default=32, help='default: 32')
    p.add_argument('--batchsize', '-b', type=size, default=50, help='default: 50')
    p.add_argument(
        '--iteration',
        '-i',
        type=size,
        default=2000,
        help='updates, each with new sequences (default: 2000)',
    )
    p.add_argument('--lr', type=rate, default=0.005, help='step size of Adam (default: 0.005)')
    p.add_argument(
        '--gradclip',
        '-c',
        type=script.positive,
        default=1.0,
        help='norm to which gradients are clipped (default: 1)',
    )
    return p


def run(args) -> None:
    if args.test:
        args.iteration, args.length = 20, 20
    device = script.start(args)
    model = AddingModel(args.unit)
    model.to_device(device)
    optimizer = chainer.optimizers.Adam(args.lr).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(args.gradclip))

    start, errors = time.perf_counter(), []
    signals = script.Signals()
    for k in script.progress(range(1, args.iteration + 1), args.iteration, signals):
        x, t = (device.send(part) for part in draw(args.batchsize, args.length))
        loss = F.mean_squared_error(model(x), t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        errors.append(float(loss.array))
        if k % max(args.iteration // 10, 1) == 0:
            print(
                f'{k} updates: mean squared error {numpy.mean(errors[-args.iteration // 10 :]):.5f}'
            )
    seconds = time.perf_counter() - start

    x, t = (device.send(part) for part in draw(1000, args.length))
    with chainer.no_backprop_mode():
        wrong = abs(model(x).array - t)
    error, right = float((wrong**2).mean()), float((wrong < 0.04).mean())
    print(
        f'1000 new sequences: mean squared error {error:.5f} (always 1: {1 / 6:.5f}), '
        f'{right:.1%} within 0.04; {seconds:.0f} seconds of training on {device}'
    )
    script.save_results(
        args.out, args, {'error': errors, 'test error': error, 'right': right, 'seconds': seconds}
    )
    script.save_plot(
        args.out / 'error.png', {'training': errors}, 'update', 'mean squared error', log=True
    )
    signals.raise_noted()


def main() -> None:
    script.main(parser(), run)


if __name__ == '__main__':
    main()
