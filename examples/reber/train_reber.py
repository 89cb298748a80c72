#!/usr/bin/env python3
"""The embedded Reber grammar with a peephole LSTM:
ten units learn what may follow, and one symbol from long ago.

    train_reber.py                 1,000 training strings, 1,000 others to test on
    train_reber.py --seed 4        other strings and other weights

After each symbol of a string the net says which of the seven symbols may be
the next.  The next-to-last one repeats the second, 5 to 35 symbols earlier.
The folder --out gets results.json and error.png.
"""

from __future__ import annotations

import time

import chainer
import chainer.functions as F
import numpy

import chainer_lstm.links as L
from chainer_lstm.datasets import embedded_reber
from chainer_lstm.datasets.reber import SYMBOLS
from chainer_lstm.training import script


class ReberModel(chainer.Chain):
    """A peephole LSTM that begins with a learned cell c0 and h0 = tanh(c0),
    and a sigmoid for each symbol.

    Args:
        n_units: H.
    """

    def __init__(self, n_units: int) -> None:
        super().__init__()
        with self.init_scope():
            self.lstm = L.StatefulPeepholeLSTM(len(SYMBOLS), n_units)
            self.c0 = chainer.Parameter(0, n_units)
            self.out = L.Linear(n_units, len(SYMBOLS))

    def forward(self, xs: list[numpy.ndarray]) -> chainer.Variable:
        """Steps (B_t, 7) whose batches shrink -> (P, 7) before the sigmoid,
        the rows of step 0 first.
        """
        c = F.broadcast_to(self.c0, (len(xs[0]), self.c0.size))
        self.lstm.set_state(c, F.tanh(c))
        return self.out(F.concat(self.lstm.forward_sequence(xs), axis=0))


def steps(sequences: list[numpy.ndarray]) -> list[numpy.ndarray]:
    """Sequences (T_n, D), the longest first -> the steps (B_t, D) of them all."""
    return [numpy.stack([s[k] for s in sequences if k < len(s)]) for k in range(len(sequences[0]))]


def longest_first(examples: list) -> list:
    return sorted(examples, key=lambda example: -len(example[0]))


def train_epoch(
    model: ReberModel, optimizer: chainer.Optimizer, examples: list, batch_size: int
) -> float:
    """-> the mean cross entropy of all outputs."""
    order, total = numpy.random.permutation(len(examples)), 0.0
    for k in range(0, len(examples), batch_size):
        xs, ts = zip(*longest_first([examples[n] for n in order[k : k + batch_size]]))
        t = numpy.concatenate(steps(ts))
        loss = F.sigmoid_cross_entropy(
            model([model.device.send(x) for x in steps(xs)]), model.device.send(t)
        )
        model.cleargrads()
        loss.backward()
        optimizer.update()
        total += float(loss.array) * len(t)
    return total / sum(len(x) for x, _ in examples)


def predict(model: ReberModel, xs: list[numpy.ndarray]) -> list[numpy.ndarray]:
    """Sequences (T_n, 7), the longest first -> for each the probabilities (T_n, 7)
    that a symbol may follow.
    """
    batches = [model.device.send(x) for x in steps(xs)]
    with chainer.no_backprop_mode():
        y = F.split_axis(
            F.sigmoid(model(batches)), numpy.cumsum([len(x) for x in batches[:-1]]), axis=0
        )
        return [chainer.get_device('@numpy').send(p.array) for p in F.transpose_sequence(y)]


def success(model: ReberModel, examples: list) -> dict[str, float]:
    """The shares of strings in which …

    legal: the likeliest symbol is a legal one, after every symbol;
    exact: just the legal symbols are above 0.5, after every symbol;
    long-range: the likeliest next-to-last symbol is the right one.
    """
    xs, ts = zip(*longest_first(examples))
    pairs = [*zip(predict(model, xs), ts)]
    return {
        'legal': float(numpy.mean([t[range(len(t)), p.argmax(axis=1)].all() for p, t in pairs])),
        'exact': float(numpy.mean([((p > 0.5) == t).all() for p, t in pairs])),
        'long-range': float(numpy.mean([p[-2].argmax() == t[-2].argmax() for p, t in pairs])),
    }


def parser():
    p = script.parser(__doc__, out='result/reber')
    size, positive = script.number(int, 1), script.number(float, 0)
    p.add_argument('--epoch', '-e', type=size, default=100)
    p.add_argument('--unit', '-u', type=size, default=10)
    p.add_argument('--batchsize', '-b', type=size, default=20)
    p.add_argument('--lr', type=positive, default=0.01, help='step size of Adam (default: 0.01)')
    p.add_argument(
        '--gradclip', '-c', type=positive, default=1.0, help='norm to which gradients are clipped'
    )
    p.add_argument(
        '--strings',
        type=size,
        default=1000,
        help='for training, and as many to test on (default: 1000)',
    )
    return p


def run(args) -> None:
    if args.test:
        args.epoch, args.strings = 3, 100
    device = script.start(args)
    random = numpy.random.RandomState(args.seed)
    train, test = (embedded_reber(args.strings, random) for _ in range(2))
    model = ReberModel(args.unit)
    model.to_device(device)
    optimizer = chainer.optimizers.Adam(args.lr).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(args.gradclip))

    start, errors = time.perf_counter(), []
    signals = script.Signals()
    for epoch in script.progress(range(1, args.epoch + 1), args.epoch, signals):
        errors.append(train_epoch(model, optimizer, train, args.batchsize))
        if epoch % max(args.epoch // 10, 1) == 0:
            print(f'epoch {epoch}: mean cross entropy {errors[-1]:.5f}')
    seconds = time.perf_counter() - start

    numpy.set_printoptions(precision=2, suppress=True, floatmode='fixed')
    print(
        f'the next-to-last symbol of ten test strings, target and prediction of {" ".join(SYMBOLS)}'
    )
    examples = longest_first(test[:10])
    for (x, t), p in zip(examples, predict(model, [x for x, _ in examples])):
        print(f'{t[-2]}  {p[-2]}  after {"".join(SYMBOLS[k] for k in x[:-1].argmax(axis=1))}')
    rates = success(model, test)
    print(
        f'of {len(test)} new strings: '
        + ', '.join(f'{name} {rate:.1%}' for name, rate in rates.items())
        + f'; {seconds:.0f} seconds of training on {device}'
    )
    script.save_results(args.out, args, {'error': errors, 'seconds': seconds, **rates})
    script.save_plot(
        args.out / 'error.png', {'training': errors}, 'epoch', 'mean cross entropy', log=True
    )
    signals.raise_noted()


def main() -> None:
    script.main(parser(), run)


if __name__ == '__main__':
    main()
