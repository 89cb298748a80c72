#!/usr/bin/env python3
"""Train a character model of The Time Machine: the LSTM of Dive into Deep Learning,
https://d2l.ai, in Chainer.

    train_time_machine.py                        500 epochs over the first 10,000 characters
                                                 (downloaded)
    train_time_machine.py --gates                the link, with the tutorial's initial weights
    train_time_machine.py --scratch -e 50        the tutorial's equations on its parameters
                                                 instead of the link
    train_time_machine.py --sampling random      chunks from random places, each from an empty state
    train_time_machine.py --edge-blanks          the text with the tutorial's double blanks
    train_time_machine.py --data FILE            any other text

The folder --out gets results.json and perplexity.png.
"""

from __future__ import annotations

import chainer
import chainer.functions as F
import numpy

import chainer_lstm.links as L
from chainer_lstm.datasets import RandomChunks, SequentialChunks, load_time_machine
from chainer_lstm.interop import from_gates
from chainer_lstm.models import CharacterModel
from chainer_lstm.training import predict, script, train_epoch

PREFIXES = ('time traveller', 'traveller')
SAMPLINGS = {'sequential': SequentialChunks, 'random': RandomChunks}


class ScratchModel(chainer.Chain):
    """The tutorial's model from scratch: 14 parameters and an equation for each line.

        i = σ(x W_xi + h W_hi + b_i), and f, o alike
        c = f c + i tanh(x W_xc + h W_hc + b_c)
        h = o tanh(c)
        y = h W_hq + b_q

    Args:
        n_vocab: V, number of characters; W_x* are (V, H), W_hq is (H, V).
        n_units: H; W_h* are (H, H).  Weights are normal numbers times 0.01, biases 0.
    """

    def __init__(self, n_vocab: int, n_units: int) -> None:
        super().__init__()
        normal = chainer.initializers.Normal(0.01)
        with self.init_scope():
            for gate in 'ifoc':
                setattr(self, f'W_x{gate}', chainer.Parameter(normal, (n_vocab, n_units)))
                setattr(self, f'W_h{gate}', chainer.Parameter(normal, (n_units, n_units)))
                setattr(self, f'b_{gate}', chainer.Parameter(0, n_units))
            self.W_hq = chainer.Parameter(normal, (n_units, n_vocab))
            self.b_q = chainer.Parameter(0, n_vocab)
        self.reset_state()

    def reset_state(self) -> None:
        self.c = self.h = None

    def forward(self, x: numpy.ndarray) -> chainer.Variable:
        """Return scores (T * B, V) for character ids (T, B), or (B, V) for one step (B,)."""
        n_vocab, n_units = self.W_xi.shape
        one_hot = self.xp.eye(n_vocab, dtype=self.W_xi.dtype)[x]
        if self.h is None:
            self.c = self.h = self.xp.zeros((x.shape[-1], n_units), self.W_xi.dtype)
        outputs = []
        for step in one_hot if x.ndim == 2 else one_hot[None]:
            i = F.sigmoid(self.before_activation('i', step))
            f = F.sigmoid(self.before_activation('f', step))
            o = F.sigmoid(self.before_activation('o', step))
            self.c = f * self.c + i * F.tanh(self.before_activation('c', step))
            self.h = o * F.tanh(self.c)
            outputs.append(F.matmul(self.h, self.W_hq) + self.b_q)
        return F.concat(outputs, axis=0)

    def before_activation(self, gate: str, x: numpy.ndarray) -> chainer.Variable:
        from_x = F.matmul(x, self[f'W_x{gate}'])
        return from_x + F.matmul(self.h, self[f'W_h{gate}']) + self[f'b_{gate}']


def with_link(scratch: ScratchModel) -> CharacterModel:
    """Return the same model with the link ``LSTM`` instead of equations."""
    send = chainer.get_device('@numpy').send
    weights = {path[1:]: send(param.array) for path, param in scratch.namedparams()}
    W, b = weights.pop('W_hq'), weights.pop('b_q')
    model = CharacterModel(from_gates(weights), len(b))
    model.out.W.array[...] = W.T
    model.out.b.array[...] = b
    return model


def difference(scratch: ScratchModel) -> float:
    """Return the largest difference of the scores by equations and by the link."""
    x = numpy.random.RandomState(0).randint(len(scratch.b_q), size=(35, 4))
    scratch.reset_state()
    with chainer.no_backprop_mode():
        expected = chainer.get_device('@numpy').send(scratch(scratch.device.send(x)).array)
        found = with_link(scratch)(x).array
    scratch.reset_state()
    return float(abs(found - expected).max())


def make_model(args, n_vocab: int) -> chainer.Chain:
    if not args.gates and not args.scratch:
        return CharacterModel(L.LSTM(n_vocab, args.unit), n_vocab)
    scratch = ScratchModel(n_vocab, args.unit)
    return scratch if args.scratch else with_link(scratch)


def parser():
    p = script.parser(__doc__, out='result/time_machine')
    size, rate = script.number(int, 1), script.number(float, 0)
    p.add_argument('--data', help='the text (default: The Time Machine, downloaded once)')
    p.add_argument(
        '--max-tokens',
        '--most',
        type=size,
        default=10000,
        help='characters of it that are used (default: 10000)',
    )
    p.add_argument(
        '--edge-blanks',
        action='store_true',
        help='keep a blank for what is no letter at the ends of lines, as the tutorial with MXNet',
    )
    p.add_argument('--sampling', choices=SAMPLINGS, default='sequential')
    form = p.add_mutually_exclusive_group()
    form.add_argument(
        '--gates', action='store_true', help="begin with the tutorial's weights of single gates"
    )
    form.add_argument(
        '--scratch', action='store_true', help="train the tutorial's equations, without the link"
    )
    p.add_argument('--epoch', '-e', type=size, default=500, help='default: 500')
    p.add_argument('--unit', '-u', type=size, default=256, help='default: 256')
    p.add_argument('--batchsize', '-b', type=size, default=32, help='default: 32')
    p.add_argument('--bproplen', '-l', type=size, default=35, help='steps a chunk (default: 35)')
    p.add_argument('--lr', type=rate, default=1.0, help='learning rate of SGD (default: 1)')
    p.add_argument(
        '--gradclip',
        '-c',
        type=script.positive,
        default=1.0,
        help='norm to which gradients are clipped (default: 1)',
    )
    return p


def train(args, model, optimizer: chainer.Optimizer, chunks, vocabulary, signals) -> list:
    """Return the figures of each epoch; print some, with what the model predicts."""
    epochs = []
    for k in script.progress(range(1, args.epoch + 1), args.epoch, signals):
        epochs.append(train_epoch(model, optimizer, chunks))
        if k % max(args.epoch // 10, 1) == 0:
            print(
                f'epoch {k}: perplexity {epochs[-1].perplexity:.2f}: '
                f'{predict(model, PREFIXES[0], vocabulary)}'
            )
    return epochs


def run(args) -> None:
    if args.test:
        args.epoch, args.unit = 10, 32
    with script.alternatives('--data FILE with any other text'):
        ids, vocabulary = load_time_machine(
            args.data, args.max_tokens, edge_blanks=args.edge_blanks
        )
    device = script.start(args)
    model = make_model(args, len(vocabulary))
    model.to_device(device)
    optimizer = chainer.optimizers.SGD(args.lr).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(args.gradclip))
    chunks = SAMPLINGS[args.sampling](
        ids, args.batchsize, args.bproplen, numpy.random.RandomState(args.seed)
    )
    print(
        f'{len(ids)} characters, {len(vocabulary)} different ones; '
        f'{model.count_params()} parameters, on {device}'
    )
    if args.scratch:
        print(f'equations and link differ by {difference(model):.1e} before training')

    signals = script.Signals()
    epochs = train(args, model, optimizer, chunks, vocabulary, signals)
    perplexities = [epoch.perplexity for epoch in epochs]
    speed = sum(epoch.tokens for epoch in epochs) / sum(epoch.seconds for epoch in epochs)
    print(f'perplexity {perplexities[-1]:.2f}, {speed:.1f} tokens/sec on {device}')
    predictions = [predict(model, prefix, vocabulary) for prefix in PREFIXES]
    print('\n'.join(predictions))
    if args.scratch:
        print(f'equations and link differ by {difference(model):.1e} after training')
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
