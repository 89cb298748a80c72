#!/usr/bin/env python3
"""Compare the speed of LSTMs over trees with Chainer's: training on a batch of random binary trees,
float32 on the CPU.

This package computes whole trees by ``forward_trees``, Chainer one node after the other.  Both have
the same weights and inputs; outputs and gradients are compared first, and a difference of more than
1e-4 is an error.  Then they take turns, each in a separate process.

    trees.py                                32 trees, about 1,200 nodes of 150 units; a minute
    trees.py --trees 8 --units 300 --runs 9
    trees.py --links NaryTreeLSTM           one of both links

The folder --out gets trees.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any, NamedTuple

import arguments
import report
from turns import TURN, check, disagreements, report_errors, take_turns
from worker import start

import chainer_lstm.links  # isort: skip  (lets Chainer be imported in a clone)
import chainer
import chainer.functions as F
import numpy

from chainer_lstm.command_line import Parser
from chainer_lstm.datasets import flatten_trees

LINKS = ('ChildSumTreeLSTM', 'NaryTreeLSTM')
MOST_WORDS = 40


class Case(NamedTuple):
    """Trees with up to ``MOST_WORDS`` leaves, and the link that reads them."""

    link: str
    trees: int
    units: int

    def children(self) -> list[list[int]]:
        """Return the children of each node, the same numbers in every process."""
        random = numpy.random.RandomState(0)
        return flatten_trees(
            [_random_tree(random, random.randint(1, MOST_WORDS + 1)) for _ in range(self.trees)]
        ).children


def _random_tree(random: numpy.random.RandomState, leaves: int) -> Any:
    if leaves == 1:
        return 'word'
    left = random.randint(1, leaves)
    return _random_tree(random, left), _random_tree(random, leaves - left)


class Trees:
    """The base class of the contestants."""

    links: Any

    def __init__(self, case: Case) -> None:
        self.children = case.children()
        numpy.random.seed(0)  # the links draw the same weights
        self.link = getattr(self.links, case.link)(case.units, case.units)
        shape = len(self.children), case.units
        self.x = chainer.Variable(numpy.random.uniform(-1, 1, shape).astype('f'))

    @staticmethod
    def versions() -> dict[str, str]:
        return {'chainer': chainer.__version__, 'chainer_lstm': chainer_lstm.__version__}

    def train(self) -> chainer.Variable:
        self.link.cleargrads()
        self.x.cleargrad()
        h = self.forward()
        F.sum(h).backward()
        return h

    def results(self, mode: str) -> dict[str, numpy.ndarray]:
        """Return the arrays that are the same for all contestants."""
        found = {'h': getattr(self, mode)().array, 'gradient of x': self.x.grad}
        return {**found, **{name: param.grad for name, param in self.link.namedparams()}}

    def forward(self) -> chainer.Variable:
        """Return h (N, H) of all nodes."""
        raise NotImplementedError


class OurTrees(Trees):
    family = 'chainer_lstm'
    name = 'forward_trees'
    links = chainer_lstm.links

    def forward(self) -> chainer.Variable:
        return self.link.forward_trees(self.children, self.x)[1]


class ChainerTrees(Trees):
    family = 'chainer'
    name = 'chainer node by node'
    links = chainer.links

    def forward(self) -> chainer.Variable:
        states: list[Any] = []
        is_nary = isinstance(self.link, chainer.links.NaryTreeLSTM)
        for of_node, x in zip(self.children, F.separate(self.x)):
            found = [states[k] for k in of_node] or [(None, None)] * (2 if is_nary else 0)
            cs, hs = zip(*found) if found else ((), ())
            states.append(self.link(*cs, *hs, x[None]))
        return F.concat([h for _, h in states], axis=0)


def parse(argv: Any) -> argparse.Namespace:
    p = Parser(__doc__)
    p.add_argument('--links', nargs='+', choices=LINKS, default=LINKS, help='(default: both)')
    p.add_argument('--trees', type=arguments.count, default=32, metavar='N', help='(default: 32)')
    p.add_argument('--units', type=arguments.count, default=150, metavar='H', help='(default: 150)')
    p.add_argument('--runs', type=arguments.count, default=3, metavar='N', help='(default: 3)')
    arguments.add_out(p)
    args = p.parse_args(argv)
    arguments.make_folder(p, args.out)
    return args


def measure(case: Case, runs: int) -> dict[str, Any]:
    """Return how far apart both are, and their times."""
    print(f'{case.link}, {len(case.children())} nodes: comparing', end='', flush=True)
    families = {'chainer_lstm': (OurTrees,), 'chainer': (ChainerTrees,)}
    with contextlib.ExitStack() as stack:
        workers, facts = start(stack, families, 'auto')
        for worker in workers.values():
            worker.call('prepare', case)
        parity = check(workers, ['train'])
        print(', timing ', end='', flush=True)
        times = take_turns(workers, 'train', runs, TURN)
    medians = {name: found['median'] for name, found in times.items()}
    print(''.join(f'\n  {name}: {seconds * 1e3:.3g} ms' for name, seconds in medians.items()))
    ratio = medians[ChainerTrees.name] / medians[OurTrees.name]
    print(f'  times as fast: {ratio:.3g}')
    found = {'parity': parity, 'times': times, 'times as fast': ratio, 'families': facts}
    return {'case': case._asdict(), **found}


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; return its exit status."""
    machine = report.machine()
    print(report.details(machine))
    cases = [measure(Case(link, args.trees, args.units), args.runs) for link in args.links]
    results = {'machine': machine, 'cases': cases}
    (args.out / 'trees.json').write_text(json.dumps(results, indent=1), encoding='utf-8')
    return report_errors(
        [line for case in cases for line in disagreements(case['case']['link'], case['parity'])]
    )


def main(argv: Any = None) -> int:
    return arguments.exit_status(run, parse(argv))


if __name__ == '__main__':
    sys.exit(main())
