#!/usr/bin/env python3
"""A character model of The Time Machine:
the LSTM of Dive into Deep Learning, https://d2l.ai, in Chainer.

    train_time_machine.py                        500 epochs over the first 10,000 characters
                                                 (downloaded)
    train_time_machine.py --sampling random      chunks from random places, each from an empty state
    train_time_machine.py --scratch              from the weights of the single gates,
                                                 as the tutorial writes them
    train_time_machine.py --data FILE            any other text

The folder --out gets results.json and perplexity.png.
"""

from __future__ import annotations

import itertools
import time

import chainer
import numpy

import chainer_lstm.functions as F
import chainer_lstm.links as L
from chainer_lstm.datasets import load_time_machine, time_machine
from chainer_lstm.interop import from_gates, to_gates
from chainer_lstm.training import generate, perplexity, script

PREFIXES = ('time traveller', 'traveller')


class CharacterModel(chainer.Chain):
    """One-hot characters -> LSTM -> scores of the next character.

    Args:
        n_vocab: V, number of characters.
        n_units: H.
    """

    def __init__(self, n_vocab: int, n_units: int) -> None:
        super().__init__()
        with self.init_scope():
            self.lstm = L.LSTM(n_vocab, n_units)
            self.out = L.Linear(n_units, n_vocab)

    def reset_state(self) -> None:
        self.lstm.reset_state()

    def forward(self, x: numpy.ndarray) -> chainer.Variable:
        """Character ids (T, B) -> (T * B, V), or one step (B,) -> (B, V); advances the state."""
        x = self.xp.eye(self.out.W.shape[0], dtype=numpy.float32)[x]
        h = self.lstm(x) if x.ndim == 2 else self.lstm.forward_sequence(x)
        h = F.reshape(h, (-1, self.lstm.state_size))
        return F.linear(h, self.out.W, self.out.b)


def parser():
    p = script.parser(__doc__, out='result/time_machine')
    size, positive = script.number(int, 1), script.number(float, 0)
    p.add_argument('--data', help='the text (default: The Time Machine, downloaded once)')
    p.add_argument('--most', type=size, default=10000, help='characters of it (default: 10000)')
    p.add_argument('--sampling', choices=('sequential', 'random'), default='sequential')
    p.add_argument(
        '--scratch', action='store_true', help="begin with the tutorial's single gate weights"
    )
    p.add_argument('--epoch', '-e', type=size, default=500)
    p.add_argument('--unit', '-u', type=size, default=256)
    p.add_argument('--batchsize', '-b', type=size, default=32)
    p.add_argument('--bproplen', '-l', type=size, default=35, help='steps a chunk (default: 35)')
    p.add_argument('--lr', type=positive, default=1.0, help='learning rate of SGD (default: 1)')
    p.add_argument(
        '--gradclip', '-c', type=positive, default=1.0, help='norm to which gradients are clipped'
    )
    return p


def gate_weights(n_vocab: int, n_units: int) -> dict[str, numpy.ndarray]:
    """The tutorial's parameters: W_x* (V, H), W_h* (H, H) of normal numbers times 0.01, b_* (H,)
    of zeros.
    """
    weights = {}
    for gate in 'ifoc':
        weights[f'W_x{gate}'] = 0.01 * numpy.random.randn(n_vocab, n_units).astype('f')
        weights[f'W_h{gate}'] = 0.01 * numpy.random.randn(n_units, n_units).astype('f')
        weights[f'b_{gate}'] = numpy.zeros(n_units, 'f')
    return weights


def tutorial_lstm(x: numpy.ndarray, w: dict[str, numpy.ndarray]) -> numpy.ndarray:
    """The tutorial's equations: x (T, B, V) -> the outputs h (T, B, H)."""

    def sigmoid(z):
        return 1 / (1 + numpy.exp(-z))

    h = c = numpy.zeros((x.shape[1], len(w['b_i'])), x.dtype)
    outputs = []
    for step in x:
        i, f, o, a = (
            step @ w[f'W_x{gate}'] + h @ w[f'W_h{gate}'] + w[f'b_{gate}'] for gate in 'ifoc'
        )
        c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(a)
        h = sigmoid(o) * numpy.tanh(c)
        outputs.append(h)
    return numpy.stack(outputs)


def difference(lstm: L.LSTM) -> float:
    """The largest difference between the outputs of the link and of the tutorial's equations
    with its weights.
    """
    n_vocab = lstm.upward.W.shape[1]
    x = numpy.eye(n_vocab, dtype='f')[numpy.random.RandomState(0).randint(n_vocab, size=(35, 4))]
    expected = tutorial_lstm(x, to_gates(lstm))
    lstm.reset_state()
    with chainer.no_backprop_mode():
        found = lstm.forward_sequence(lstm.device.send(x)).array
    lstm.reset_state()
    return float(abs(chainer.get_device('@numpy').send(found) - expected).max())


def make_model(args, n_vocab: int) -> CharacterModel:
    model = CharacterModel(n_vocab, args.unit)
    if args.scratch:
        model.lstm = from_gates(gate_weights(n_vocab, args.unit))
        model.out.W.array[...] = 0.01 * numpy.random.randn(*model.out.W.shape)
    return model


def train_epoch(
    model: CharacterModel, optimizer: chainer.Optimizer, chunks, keep_state: bool
) -> tuple[float, int]:
    """-> the summed loss of all characters, and their number."""
    total, count = 0.0, 0
    model.reset_state()
    for x, t in chunks:
        if not keep_state:
            model.reset_state()
        x, t = model.device.send(x), model.device.send(t.ravel())
        loss = F.softmax_cross_entropy(model(x), t)
        model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        optimizer.update()
        total += float(loss.array) * t.size
        count += t.size
    return total, count


def predict(model: CharacterModel, prefix: str, vocabulary: list[str], length: int = 50) -> str:
    """The prefix and the likeliest characters after it."""
    prime = [vocabulary.index(character) for character in prefix]
    return prefix + ''.join(
        vocabulary[k] for k in itertools.islice(generate(model, prime, sample=False), length)
    )


def run(args) -> None:
    if args.test:
        args.epoch, args.unit = 10, 32
    with script.alternatives('--data FILE with any other text'):
        text, vocabulary = load_time_machine(args.data, args.most)
    device = script.start(args)
    model = make_model(args, len(vocabulary))
    model.to_device(device)
    optimizer = chainer.optimizers.SGD(args.lr).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(args.gradclip))
    print(
        f'{len(text)} characters, {len(vocabulary)} different ones; '
        f'{model.count_params()} parameters, on {device}'
    )
    if args.scratch:
        print(
            f"link and tutorial's equations differ by {difference(model.lstm):.1e} before training"
        )

    chunks = getattr(time_machine, f'{args.sampling}_chunks')
    random, perplexities, speeds = numpy.random.RandomState(args.seed), [], []
    signals = script.Signals()
    for epoch in script.progress(range(1, args.epoch + 1), args.epoch, signals):
        start = time.perf_counter()
        total, count = train_epoch(
            model,
            optimizer,
            chunks(text, args.batchsize, args.bproplen, random),
            args.sampling == 'sequential',
        )
        speeds.append(count / (time.perf_counter() - start))
        perplexities.append(perplexity(total / count))
        if epoch % max(args.epoch // 10, 1) == 0:
            print(
                f'epoch {epoch}: perplexity {perplexities[-1]:.2f}: '
                f'{predict(model, PREFIXES[0], vocabulary)}'
            )

    speed = len(speeds) / sum(1 / s for s in speeds)
    print(f'perplexity {perplexities[-1]:.2f}, {speed:.1f} tokens/sec on {device}')
    predictions = [predict(model, prefix, vocabulary) for prefix in PREFIXES]
    print('\n'.join(predictions))
    if args.scratch:
        print(
            f"link and tutorial's equations differ by {difference(model.lstm):.1e} after training"
        )
    script.save_results(
        args.out,
        args,
        {'perplexity': perplexities, 'tokens/sec': speed, 'predictions': predictions},
    )
    script.save_plot(
        args.out / 'perplexity.png', {args.sampling: perplexities}, 'epoch', 'perplexity', log=True
    )
    signals.raise_noted()


def main() -> None:
    script.main(parser(), run)


if __name__ == '__main__':
    main()
