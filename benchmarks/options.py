#!/usr/bin/env python3
"""Measures what the options of an LSTM cost in training on the CPU, float32.

All options of ``links.SequenceLSTM`` take turns in one process, beside the link without options;
what users of torch write instead takes turns with them from another process.  A ratio is the time
of the LSTM without options by that of the option: 1 where it costs nothing.

    options.py                                20/35/650/2: batch 20, 35 steps, 650 units, 2 layers
    options.py --shape 32/35/256/1 --runs 9
    options.py --only zoneout coupled         these, and what they are compared with

torch is no dependency: it takes part where it is installed.  The folder --out gets options.json.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

from contestants import Shape, inputs  # isort: skip  (lets Chainer be imported in a clone)
import arguments
import chainer.functions as F
import numpy
import report

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
    'proj_size': {'proj_size': 0},  # of 0.4 units
    'return_cells': {'return_cells': True},
    'resets': {},
}
PAUSE = 0.12  # seconds between turns: the threads of other libraries spin for so long
TURN = 0.3  # seconds of a turn


def ours(name: str, shape: Shape) -> Callable[[], None]:
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
    if name == 'resets':  # every tenth step, at places of its own in each sequence
        given['resets'] = numpy.random.RandomState(0).rand(shape.batch, shape.time) < 0.1

    def step() -> None:
        link.cleargrads()
        y = link(x, **given)
        loss = F.sum(y[0]) + F.sum(y[1]) if isinstance(y, tuple) else F.sum(y)
        loss.backward()

    return step


def torchs(name: str, shape: Shape) -> Callable[[], None]:
    """Return a training step of what users of torch write for an option."""
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


TORCHS = (PLAIN, 'proj_size', 'recurrent_dropout', 'layer_norm')
FAMILIES = {'ours': ours, 'torch': torchs}


def serve(pipe: Any, family: str, shape: Shape) -> None:
    """Measure what a pipe names, in turns."""
    steps: dict[str, Callable[[], None]] = {}
    while name := pipe.recv():
        if name not in steps:
            steps[name] = FAMILIES[family](name, shape)
            steps[name]()
        times, end = [], time.perf_counter() + TURN
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            steps[name]()
            times.append(time.perf_counter() - start)
        pipe.send(statistics.median(times))


def measure(shape: Shape, names: list[str], runs: int) -> dict[str, list[float]]:
    """Return the seconds of each turn, by family and name."""
    families = {'ours': names}
    if importlib.util.find_spec('torch'):
        families['torch'] = [name for name in TORCHS if name in names]
    context = multiprocessing.get_context('spawn')
    pipes, times = {}, {}
    for family, members in families.items():
        pipes[family], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, family, shape), daemon=True).start()
        times.update({f'{family} {name}': [] for name in members})
    for run in range(runs):
        for key, found in times.items():
            family, name = key.split(' ', 1)
            pipes[family].send(name)
            found.append(pipes[family].recv())
            time.sleep(PAUSE)
        print(f'turn {run + 1} of {runs}', flush=True)
    for pipe in pipes.values():
        pipe.send('')
    return times


def main(argv: Any = None) -> int:
    p = Parser(__doc__)
    p.add_argument('--shape', type=arguments.shape, default=Shape(20, 35, 650, 2))
    p.add_argument('--runs', type=arguments.count, default=5, help='turns of each (default: 5)')
    p.add_argument('--only', nargs='+', choices=OPTIONS, default=list(OPTIONS), metavar='OPTION')
    arguments.add_out(p)
    args = p.parse_args(argv)
    names = list(dict.fromkeys((PLAIN, *args.only)))
    arguments.make_folder(p, args.out)
    times = measure(args.shape, names, args.runs)
    medians = {key: statistics.median(found) for key, found in times.items()}
    rows = [['training', 'ms', 'of ours without options', 'of torch with it']]
    for key, median in medians.items():
        torch = medians.get(key.replace('ours', 'torch')) if key.startswith('ours') else None
        rows.append([
            key,
            f'{median * 1e3:.1f}',
            f'{medians[f"ours {PLAIN}"] / median:.2f}',
            '-' if torch is None else f'{torch / median:.2f}',
        ])  # fmt: skip
    print(report.table(rows))
    results = {'machine': report.machine(), 'shape': args.shape._asdict(), 'times': times}
    (args.out / 'options.json').write_text(json.dumps(results, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
