#!/usr/bin/env python3
"""Measure the cost of the options of an LSTM in training on the CPU, float32.

All options of ``links.SequenceLSTM`` and the link without options take turns in one process.  The
code that users of torch write instead takes turns with them from another process.  A ratio is the
time of the LSTM without options divided by the time with the option: 1 if it costs nothing.

    options.py                                20/35/650/2: batch 20, 35 steps, 650 units, 2 layers
    options.py --shape 32/35/256/1 --runs 9
    options.py --only zoneout coupled         these, and the links that they are compared with

torch takes part if it is installed.  The folder --out gets options.json.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from contestants import Links, Shape, inputs  # isort: skip  (lets Chainer be imported in a clone)
import argparse

import arguments
import chainer.functions as F
import numpy
import peers
import report
from turns import take_turns
from worker import start

import chainer_lstm.links as L
from chainer_lstm.command_line import Parser

PLAIN = 'no option'
OPTIONS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    'coupled': {'coupled': True},
    'cell_clip': {'cell_clip': 3.0},
    'zoneout': {'zoneout': (0.1, 0.05)},
    'peephole': {'peephole': 'diagonal'},
    'recurrent_dropout': {'recurrent_dropout': 0.3},
    'hard_sigmoid': {'recurrent_activation': 'hard_sigmoid'},
    'weight_dropout': {'weight_dropout': 0.3},
    'layer_norm': {'layer_norm': True},
    'proj_size': {'proj_size': 0},  # replaced by 0.4 units
    'return_cells': {'return_cells': True},
    'resets': {},
}
IN_TORCH = ('proj_size', 'recurrent_dropout', 'layer_norm')
TURN = 0.3  # seconds of a turn


def of_link(name: str, shape: Shape) -> Callable[[], None]:
    """Return a training step of the link with an option, without the optimizer."""
    options = dict(OPTIONS[name])
    if 'proj_size' in options:
        options['proj_size'] = max(shape.units * 2 // 5, 1)
    link = L.SequenceLSTM(
        shape.units,
        shape.units,
        n_layers=shape.layers,
        return_sequences=True,
        batch_first=False,
        **options,
    )
    x = inputs(shape)
    given = {}
    if name == 'resets':  # every tenth step, at different places in each sequence
        given['resets'] = numpy.random.RandomState(0).rand(shape.batch, shape.time) < 0.1

    def step() -> None:
        link.cleargrads()
        y = link(x, **given)
        loss = F.sum(y[0]) + F.sum(y[1]) if isinstance(y, tuple) else F.sum(y)
        loss.backward()

    return step


def of_torch(name: str, shape: Shape) -> Callable[[], None]:
    """Return a training step of the code that users of torch write for an option."""
    import torch

    x = torch.from_numpy(inputs(shape))
    if name in (PLAIN, 'proj_size'):
        size = max(shape.units * 2 // 5, 1) if name == 'proj_size' else 0
        net = torch.nn.LSTM(shape.units, shape.units, shape.layers, proj_size=size)

        def whole() -> None:
            net.zero_grad(set_to_none=True)
            net(x)[0].sum().backward()

        return whole
    cells = [torch.nn.LSTMCell(shape.units, shape.units) for _ in range(shape.layers)]
    normalizations = [torch.nn.LayerNorm(shape.units) for _ in cells]

    def loop() -> None:
        ys = x.unbind(0)
        for cell, normalize in zip(cells, normalizations):
            cell.zero_grad(set_to_none=True)
            h = c = x.new_zeros(shape.batch, shape.units)
            mask = torch.rand_like(h).ge(0.3) / 0.7
            out = []
            for y in ys:
                if name == 'recurrent_dropout':
                    h, c = cell(y, (h * mask, c))
                else:  # of the state alone: less than layer_norm computes
                    h, c = cell(y, (normalize(h), normalize(c)))
                out.append(h)
            ys = out
        sum(y.sum() for y in ys).backward()

    return loop


MAKERS = {'chainer_lstm': of_link, 'torch': of_torch}
VERSIONS = {'chainer_lstm': Links.versions, 'torch': peers.Torch.versions}


class Contestant(NamedTuple):
    """An option, called with a shape in its family's process."""

    family: str
    option: str

    @property
    def name(self) -> str:
        return f'{self.family} {self.option}'

    def versions(self) -> dict[str, Any]:
        return VERSIONS[self.family]()

    def __call__(self, shape: Shape) -> Training:
        return Training(MAKERS[self.family](self.option, shape))


class Training:
    def __init__(self, train: Callable[[], None]) -> None:
        self.train = train
        train()  # the first call is slower


def measure(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the seconds of a training step, by family and option."""
    options = dict.fromkeys((PLAIN, *args.only))
    in_torch = [name for name in options if name in (PLAIN, *IN_TORCH)]
    families = {
        family: tuple(Contestant(family, name) for name in names)
        for family, names in (('chainer_lstm', options), ('torch', in_torch))
    }
    with contextlib.ExitStack() as stack:
        workers, _ = start(stack, families, 'auto')
        for worker in {*workers.values()}:
            worker.call('prepare', args.shape)
        return take_turns(workers, 'train', args.runs, TURN)


def rows(times: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return the table of the medians."""
    medians = {key: found['median'] for key, found in times.items()}
    plain = medians[f'chainer_lstm {PLAIN}']
    found = [['training', 'ms', 'speed without options: 1', 'torch / chainer_lstm']]
    for key, median in medians.items():
        torch = medians.get(key.replace('chainer_lstm', 'torch'))
        beside = '-' if torch is None or key.startswith('torch') else f'{torch / median:.2f}'
        found.append([key, f'{median * 1e3:.1f}', f'{plain / median:.2f}', beside])
    return found


def run(args: argparse.Namespace) -> int:
    machine = report.machine()
    print(report.details(machine))
    times = measure(args)
    print(f'\n{report.table(rows(times))}')
    results = {'machine': machine, 'shape': args.shape._asdict(), 'times': times}
    (args.out / 'options.json').write_text(json.dumps(results, indent=1) + '\n')
    return 0


def main(argv: Any = None) -> int:
    p = Parser(__doc__)
    p.add_argument(
        '--shape',
        type=arguments.shape,
        default=Shape(20, 35, 650, 2),
        metavar='B/T/H/LAYERS',
        help='batch, time, units and layers (default: 20/35/650/2)',
    )
    p.add_argument('--runs', type=arguments.count, default=5, help='turns of each (default: 5)')
    p.add_argument(
        '--only',
        nargs='+',
        choices=OPTIONS,
        default=list(OPTIONS),
        metavar='OPTION',
        help=f'of {", ".join(OPTIONS)} (default: all)',
    )
    arguments.add_out(p)
    args = p.parse_args(argv)
    arguments.make_folder(p, args.out)
    return arguments.exit_status(run, args)


if __name__ == '__main__':
    sys.exit(main())
