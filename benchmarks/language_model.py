#!/usr/bin/env python3
"""Compare the speed of whole updates of the PTB example's model with the links of this package,
with Chainer's links and in torch: float32 on the CPU.

An update is what training repeats: embedding, two LSTM layers and a softmax
over 10,000 words for a chunk of truncated BPTT, gradients, clipping, SGD.  All
start from the same weights and read the same words; the losses of the first
updates have to agree, then they take turns, each in a separate process.

    language_model.py                     20 steps of 200 units and 35 of 650:
                                          about two minutes on two cores
    language_model.py --peers torch       without Chainer
    language_model.py --quick             seconds: a test whether it runs; the figures mean nothing

The folder --out gets language_model.json.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import sys
from typing import Any

import arguments

import contestants  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import peers
import report
from contestants import Shape
from turns import TURN, take_turns
from worker import Worker, start

from chainer_lstm import functions, optimizers
from chainer_lstm.command_line import Parser
from chainer_lstm.kernels import layout
from chainer_lstm.models import RNNForLM

SHAPES = [Shape(20, 20, 200, 2), Shape(20, 35, 650, 2)]
QUICK_SHAPES = [Shape(3, 4, 8, 2)]
# at the example's rate of 1 the first losses of such words jump, and any rounding with them
RATE = 0.1
ADAM_RATE = 1e-4
WORDS = 10000
CLIP = 5.0
CHECKED = 3  # updates whose losses are compared


class Model:
    """The base class: reads words drawn with frequencies like those of a text.

    The losses are compared without dropout, which draws other numbers in torch.
    """

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        random = numpy.random.RandomState(0)
        self._text = numpy.minimum(
            random.zipf(1.3, (64 * shape.time + 1, shape.batch)) - 1, WORDS - 1
        ).astype('i')
        self._time, self._at = shape.time, 0
        self._make(shape)
        self._dropout = dropout

    def train(self) -> Any:
        """Return the mean loss of an update, an array that the device may still be computing."""
        at = self._at
        self._at = (at + self._time) % (len(self._text) - 1)
        return self._update(
            self._text[at : at + self._time], self._text[at + 1 : at + 1 + self._time]
        )

    def results(self, mode: str = 'train') -> dict[str, numpy.ndarray]:
        dropout, self._dropout = self._dropout, 0.0
        losses = [float(getattr(self, mode)()) for _ in range(CHECKED)]
        self._dropout = dropout
        return {'losses': numpy.array(losses)}

    def _make(self, shape: Shape) -> None:
        raise NotImplementedError

    def _update(self, x: Any, t: Any) -> Any:
        raise NotImplementedError


def weights(shape: Shape) -> RNNForLM:
    """Return a model with the weights that all contestants begin with."""
    numpy.random.seed(0)
    return RNNForLM(WORDS, shape.units, n_layers=shape.layers, dropout=0)


class Ours(Model):
    name = 'chainer_lstm'
    family = 'chainer_lstm'
    device = chainer.get_device('@numpy')
    versions = staticmethod(contestants.Links.versions)

    def _make(self, shape: Shape) -> None:
        self._set_up(weights(shape))

    def _set_up(self, model: chainer.Chain) -> None:
        self._model = L.Classifier(model, functions.softmax_cross_entropy)  # as in the example
        self._model.compute_accuracy = False
        self._model.to_device(self.device)
        self._text = self.device.send(self._text)
        self._optimizer = self._make_optimizer().setup(self._model)
        self._optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(CLIP))

    def _make_optimizer(self) -> chainer.Optimizer:
        return chainer.optimizers.SGD(lr=RATE)

    def _loss(self, x: Any, t: Any) -> chainer.Variable:
        self._model.predictor.dropout = self._dropout
        return self._model(x, t.ravel()) * len(x)

    def _update(self, x: Any, t: Any) -> Any:
        loss = self._loss(x, t)
        self._model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        self._step()
        return loss.array / len(x)

    def _step(self) -> None:
        optimizers.update(self._optimizer)


class Chainers(Ours):
    """Chainer's example: its links, one word at a time."""

    name = 'chainer'
    family = 'chainer'

    def _make(self, shape: Shape) -> None:
        source = weights(shape)
        names = [f'l{k}' for k in range(1, shape.layers + 1)]
        model = chainer.Chain(
            embed=L.EmbedID(WORDS, shape.units),
            out=L.Linear(shape.units, WORDS),
            **{name: L.LSTM(shape.units, shape.units) for name in names},
        )
        model.embed.copyparams(source.embed)
        model.out.copyparams(source[f'l{shape.layers + 1}'])
        for name in names:
            model[name].copyparams(source[name])
        self._layers = [model[name] for name in names]
        self._set_up(model)

    def _loss(self, x: Any, t: Any) -> chainer.Variable:
        model, loss = self._model.predictor, 0
        for words, following in zip(x, t):
            h = model.embed(words)
            for lstm in self._layers:
                h = lstm(F.dropout(h, 0.0))
            loss += F.softmax_cross_entropy(model.out(F.dropout(h, 0.0)), following)
        return loss

    def _step(self) -> None:
        self._optimizer.update()


class Torchs(Model):
    name = 'torch'
    family = 'torch'
    device = 'cpu'
    versions = staticmethod(peers.Torch.versions)

    def _make(self, shape: Shape) -> None:
        self._torch = torch = importlib.import_module('torch')
        model = weights(shape)
        self._embed = torch.nn.Embedding(WORDS, shape.units)
        self._lstm = torch.nn.LSTM(shape.units, shape.units, shape.layers)
        self._out = torch.nn.Linear(shape.units, WORDS)
        values = {
            self._embed.weight: model.embed.W,
            self._out.weight: model[f'l{shape.layers + 1}'].W,
            self._out.bias: model[f'l{shape.layers + 1}'].b,
        }
        for k, lstm in enumerate(model.lstms):
            for name, param in (('ih', lstm.upward.W), ('hh', lstm.lateral.W)):
                values[getattr(self._lstm, f'weight_{name}_l{k}')] = param
            values[getattr(self._lstm, f'bias_ih_l{k}')] = lstm.upward.b
            # the others have one bias; a second one that learns too would learn twice as fast
            torch.nn.init.zeros_(getattr(self._lstm, f'bias_hh_l{k}').requires_grad_(False))
        with torch.no_grad():
            for to, param in values.items():
                value = param.array
                if any(to is each for each in self._lstm.parameters()):
                    value = numpy.concatenate(
                        layout.convert(numpy, value, layout.INTERLEAVED, layout.N_STEP)
                    )
                to.copy_(torch.from_numpy(value))
        self._text = torch.from_numpy(self._text).to(self.device)
        modules = [module.to(self.device) for module in (self._embed, self._lstm, self._out)]
        self._parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self._optimizer = self._make_optimizer()
        self._state = None

    def _make_optimizer(self) -> Any:
        return self._torch.optim.SGD(self._parameters, lr=RATE)

    def _update(self, x: Any, t: Any) -> Any:
        torch, dropout = (
            self._torch,
            functools.partial(self._torch.nn.functional.dropout, p=self._dropout),
        )
        self._lstm.dropout = self._dropout
        h, state = self._lstm(dropout(self._embed(x)), self._state)
        self._state = [s.detach() for s in state]
        loss = torch.nn.functional.cross_entropy(
            self._out(dropout(h)).flatten(0, 1), t.flatten().long()
        )
        self._optimizer.zero_grad()
        (loss * len(x)).backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, CLIP)
        self._optimizer.step()
        return loss.detach()


class OursAdam(Ours):
    def _make_optimizer(self) -> chainer.Optimizer:
        return chainer.optimizers.Adam(ADAM_RATE)


class TorchsAdam(Torchs):
    def _make_optimizer(self) -> Any:
        return self._torch.optim.Adam(self._parameters, ADAM_RATE)


MODELS = {'chainer_lstm': Ours, 'chainer': Chainers, 'torch': Torchs}


def parse(argv: Any) -> argparse.Namespace:
    p = Parser(__doc__)
    p.add_argument(
        '--runs', type=arguments.count, default=7, metavar='N', help='turns of each (default: 7)'
    )
    p.add_argument(
        '--peers',
        type=arguments.peers,
        default='chainer,torch',
        help='chainer, torch, chainer,torch or none (default: chainer,torch)',
    )
    arguments.add_out(p)
    p.add_argument('--quick', action='store_true', help='a tiny shape, one turn')
    args = p.parse_args(argv)
    args.shapes, args.seconds = (QUICK_SHAPES, 0) if args.quick else (SHAPES, TURN)
    args.runs = 1 if args.quick else args.runs
    arguments.make_folder(p, args.out)
    return args


def measure(shape: Shape, workers: dict[str, Worker], args: argparse.Namespace) -> dict[str, Any]:
    """Return the words a second of each contestant, and this package's relative to them.

    Raises:
        RuntimeError: losses differ.
    """
    print(f'{shape} ', end='', flush=True)
    for worker in workers.values():
        worker.call('prepare', shape)
    losses = {
        name: worker.call('results', name, 'train')['losses'] for name, worker in workers.items()
    }
    for name, values in losses.items():
        if not numpy.allclose(values, losses['chainer_lstm'], rtol=1e-4):
            raise RuntimeError(
                f'{name} and chainer_lstm have other losses: {values} and {losses["chainer_lstm"]}'
            )
    times = take_turns(workers, 'train', args.runs, args.seconds)
    print()
    words = {name: shape.batch * shape.time / found['median'] for name, found in times.items()}
    return {
        'name': str(shape),
        'shape': shape._asdict(),
        'losses': losses['chainer_lstm'].tolist(),
        'times': times,
        'words/sec': words,
        'ratios': {
            name: words['chainer_lstm'] / value
            for name, value in words.items()
            if name != 'chainer_lstm'
        },
    }


def run(args: argparse.Namespace) -> int:
    results: dict[str, Any] = {'machine': report.machine()}
    with contextlib.ExitStack() as stack:
        families = {name: (MODELS[name],) for name in ('chainer_lstm', *args.peers)}
        workers, results['facts'] = start(stack, families, 'auto')
        results['shapes'] = [measure(shape, workers, args) for shape in args.shapes]
    for entry in results['shapes']:
        figures = ', '.join(f'{name} {value:.0f}' for name, value in entry['words/sec'].items())
        ratios = ', '.join(f'{value:.2f} times {name}' for name, value in entry['ratios'].items())
        print(f'{entry["name"]}: words a second: {figures}; chainer_lstm {ratios or "alone"}')
    (args.out / 'language_model.json').write_text(json.dumps(results, indent=1), encoding='utf-8')
    return 0


def main(argv: Any = None) -> int:
    return arguments.exit_status(run, parse(argv))


if __name__ == '__main__':
    sys.exit(main())
