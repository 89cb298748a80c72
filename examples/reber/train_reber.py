#!/usr/bin/env python3
"""Train a peephole LSTM on the embedded Reber grammar: ten units learn which symbols may follow,
one of which depends on a symbol long before.

    train_reber.py                      1,000 training strings, 1,000 others to test on
    train_reber.py --seed 4             other strings and other weights
    train_reber.py --peephole diagonal  each gate sees the cell of its own unit only
    train_reber.py --tutorial           the weights and the plain SGD of a Theano tutorial: the
                                        error saturates until the long-range dependency is learned

After each symbol of a string the network predicts which of the seven symbols
may follow.  The next-to-last one repeats the second, 5 to 35 symbols earlier.
The folder --out gets results.json and error.png.
"""

from __future__ import annotations

import math
import time

import chainer
import chainer.functions as F
import numpy

import chainer_lstm.links as L
from chainer_lstm.datasets import embedded_reber
from chainer_lstm.datasets.reber import SYMBOLS
from chainer_lstm.training import script

DEFAULTS = {'batchsize': 20, 'lr': 0.01, 'gradclip': 1.0}
TUTORIAL = {'batchsize': 1, 'lr': 0.1, 'gradclip': None}


class ReberModel(chainer.Chain):
    """A peephole LSTM with a learned initial state, and a sigmoid for each symbol.

    Args:
        n_units: H.
        peephole: 'full' for matrices (H, H), 'diagonal' for vectors (H,).
    """

    def __init__(self, n_units: int, peephole: str = 'full') -> None:
        super().__init__()
        with self.init_scope():
            self.lstm = L.SequenceLSTM(
                len(SYMBOLS),
                n_units,
                peephole=peephole,
                return_sequences=True,
                learn_initial_state=True,
            )
            self.out = L.Linear(n_units, len(SYMBOLS))

    def forward(self, xs: list[numpy.ndarray]) -> chainer.Variable:
        """Return (N, T, 7) before the sigmoid for strings (T_n, 7); later rows are unused."""
        x = self.device.send(padded(xs, 0))
        y = self.lstm(x, lengths=[len(x) for x in xs])
        return self.out(y, n_batch_axes=2)


def padded(arrays: list[numpy.ndarray], value: int) -> numpy.ndarray:
    """Return N arrays (T_n, 7) as one padded array (N, T, 7)."""
    return F.pad_sequence(arrays, padding=value).array


def set_tutorial_weights(model: ReberModel) -> None:
    """Set uniform matrices with a largest singular value of 1.

    Biases of i and o are uniform in ±1/2, those of f in 0 to 1; the others are 0.
    """
    W, b, U, *peepholes = (w.array for w in model.lstm.l0.cell_weights())
    matrices = [array[gate::4] for array in (W, U) for gate in range(4)]  # a, i, f, o
    for matrix in (*matrices, *peepholes, model.out.W.array):
        matrix[...] = numpy.random.uniform(-1, 1, matrix.shape)
        matrix /= numpy.linalg.norm(matrix, 2 if matrix.ndim == 2 else math.inf)
    low, high = (0, -0.5, 0, -0.5), (0, 0.5, 1, 0.5)
    b[...] = numpy.random.uniform(low, high, (len(b) // 4, 4)).ravel()


def train_epoch(
    model: ReberModel, optimizer: chainer.Optimizer, examples: list, batch_size: int
) -> float:
    """Return the mean cross entropy of the outputs of an update, averaged over the strings."""
    order, total = numpy.random.permutation(len(examples)), 0.0
    for k in range(0, len(examples), batch_size):
        xs, ts = zip(*(examples[n] for n in order[k : k + batch_size]))
        # it ignores targets of -1
        loss = F.sigmoid_cross_entropy(model(xs), model.device.send(padded(ts, -1)))
        model.cleargrads()
        loss.backward()
        optimizer.update()
        total += float(loss.array) * len(xs)
    return total / len(examples)


def without_memory(examples: list) -> float:
    """Return the least error of a network that forgets the second symbol of a string.

    It can only predict 1/2 for both symbols that are possible as the next-to-last one.
    """
    return float(numpy.mean([2 * math.log(2) / t.size for _, t in examples]))


def predict(model: ReberModel, xs: list[numpy.ndarray]) -> list[numpy.ndarray]:
    """Return for strings (T_n, 7) the probabilities (T_n, 7) that a symbol may follow."""
    with chainer.no_backprop_mode():
        found = chainer.get_device('@numpy').send(F.sigmoid(model(xs)).array)
    return [p[: len(x)] for p, x in zip(found, xs)]


def success(model: ReberModel, examples: list) -> dict[str, float]:
    """Return the shares of strings with correct predictions, by the kind of prediction.

    legal: the likeliest symbol is a legal one, after every symbol;
    exact: exactly the legal symbols are above 0.5, after every symbol;
    long-range: the likeliest next-to-last symbol is the right one.
    """
    xs, ts = zip(*examples)
    pairs = [*zip(predict(model, xs), ts)]
    return {
        'legal': float(numpy.mean([t[range(len(t)), p.argmax(axis=1)].all() for p, t in pairs])),
        'exact': float(numpy.mean([((p > 0.5) == t).all() for p, t in pairs])),
        'long-range': float(numpy.mean([p[-2].argmax() == t[-2].argmax() for p, t in pairs])),
    }


def parser():
    p = script.parser(__doc__, out='result/reber')
    size, rate = script.number(int, 1), script.number(float, 0)
    p.add_argument('--epoch', '-e', type=size, default=100, help='default: 100')
    p.add_argument('--unit', '-u', type=size, default=10, help='default: 10')
    p.add_argument('--peephole', choices=('full', 'diagonal'), default='full')
    p.add_argument(
        '--tutorial',
        action='store_true',
        help="begin with the tutorial's weights, and train by SGD instead of Adam",
    )
    p.add_argument('--batchsize', '-b', type=size, help='default: 20; with --tutorial, 1')
    p.add_argument('--lr', type=rate, help='default: 0.01; with --tutorial, 0.1')
    p.add_argument(
        '--gradclip',
        '-c',
        type=script.positive,
        help='norm to which gradients are clipped (default: 1; with --tutorial, none)',
    )
    p.add_argument(
        '--strings',
        type=size,
        default=1000,
        help='for training, and as many to test on (default: 1000)',
    )
    return p


def prepare(args, device: chainer.backend.Device) -> tuple[ReberModel, chainer.Optimizer]:
    model = ReberModel(args.unit, args.peephole)
    kind = chainer.optimizers.Adam
    if args.tutorial:
        set_tutorial_weights(model)
        kind = chainer.optimizers.SGD
    model.to_device(device)
    optimizer = kind(args.lr).setup(model)
    if args.gradclip is not None:
        optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(args.gradclip))
    return model, optimizer


def show(model: ReberModel, examples: list) -> None:
    """Print the targets and predictions of the next-to-last symbols of strings."""
    numpy.set_printoptions(precision=2, suppress=True, floatmode='fixed')
    print(
        f'the next-to-last symbol of ten test strings, target and prediction of {" ".join(SYMBOLS)}'
    )
    for (x, t), p in zip(examples, predict(model, [x for x, _ in examples])):
        print(f'{t[-2]}  {p[-2]}  after {"".join(SYMBOLS[k] for k in x[:-1].argmax(axis=1))}')


def last_above(errors: list[float], floor: float) -> int:
    """Return the last epoch, from 1, whose error needs no memory, or 0."""
    return max((k for k, error in enumerate(errors, 1) if error >= floor), default=0)


def save(args, errors: list[float], floor: float, results: dict) -> None:
    script.save_results(args.out, args, {'error': errors, 'without memory': floor, **results})
    learned = last_above(errors, floor) + 1
    script.save_plot(
        args.out / 'error.png',
        {'training': errors, 'best without the second symbol': [floor] * len(errors)},
        'epoch',
        'mean cross entropy',
        log=not args.tutorial,
        top=0.05 if args.tutorial else None,
        mark=(learned, f'epoch {learned}: the dependency is learned')
        if learned <= len(errors)
        else None,
    )


def run(args) -> None:
    if args.test:
        args.epoch, args.strings = 3, 100
    for name, value in (TUTORIAL if args.tutorial else DEFAULTS).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    device = script.start(args)
    random = numpy.random.RandomState(args.seed)
    train, test = (embedded_reber(args.strings, random) for _ in range(2))
    model, optimizer = prepare(args, device)

    start, errors = time.perf_counter(), []
    signals = script.Signals()
    for epoch in script.progress(range(1, args.epoch + 1), args.epoch, signals):
        errors.append(train_epoch(model, optimizer, train, args.batchsize))
        if epoch % max(args.epoch // 10, 1) == 0:
            print(
                f'epoch {epoch}: mean cross entropy {errors[-1]:.5f}, '
                f'long-range {success(model, test)["long-range"]:.0%}'
            )
    seconds = time.perf_counter() - start

    show(model, test[:10])
    rates = success(model, test)
    print(
        f'of {len(test)} new strings: '
        + ', '.join(f'{name} {rate:.1%}' for name, rate in rates.items())
        + f'; {seconds:.0f} seconds of training on {device}'
    )
    save(args, errors, without_memory(train), {'seconds': seconds, **rates})
    signals.raise_noted()


def main() -> None:
    script.main(parser(), run)


if __name__ == '__main__':
    main()
