"""Sequences for the persistent kernels, on the CPU and on a GPU, and their float64 answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy

from chainer_lstm import kernels
from chainer_lstm.kernels import layout, sequence
from chainer_lstm.kernels.packing import Rows
from tests.kernels import cases

# the largest difference, relative to the largest number
TOLERANCE = {'highest': 3e-5, 'high': 3e-3, 'medium': 2e-2}
RESULTS = ('gates', 'h', 'c', 'gh0', 'gc0', 'gpre')


class Case(NamedTuple):
    """Sequences of some lengths through H units.

    Attributes:
        lengths: steps of each sequence, not growing.
        directions: for each of the layer's directions, whether it is reversed.
        with_gh: whether there are gradients of all h, or of the last states only.
        apart: columns of another direction between those of gh.
    """

    units: int
    lengths: tuple[int, ...]
    precision: str = 'highest'
    directions: tuple[bool, ...] = (False,)
    with_gh: bool = True
    apart: int = 0

    def __str__(self):
        lengths = f'{len(self.lengths)}x{self.lengths[0]}' + '-ragged' * (len({*self.lengths}) > 1)
        directions = ''.join('<' if reverse else '>' for reverse in self.directions)
        return f'{self.units}-{lengths}-{self.precision}-{directions}'

    def rows(self, reverse):
        steps = range(max(self.lengths))
        return Rows(
            [sum(length > t for length in self.lengths) for t in steps], len(self.lengths), reverse
        )


def make(case, seed=0):
    """-> for each direction float64 pre, U, h0, c0, gh or None, gh_last, gc_last."""
    random = numpy.random.RandomState(seed)
    total, batch, units = sum(case.lengths), len(case.lengths), case.units

    def draw(*shape, scale=1.0):
        return random.uniform(-scale, scale, shape)

    return [
        [
            draw(total, 4 * units, scale=2),
            draw(4 * units, units, scale=2 * units**-0.5),
            draw(batch, units),
            draw(batch, units),
            draw(total, units) if case.with_gh else None,
            draw(batch, units),
            draw(batch, units),
        ]
        for _ in case.directions
    ]


def jobs(xp, case, inputs, dtype='f'):
    """-> arguments of ``recur_forward`` and of ``recur_backward`` for each direction,
    on the same arrays.
    """
    forward, backward = [], []
    for reverse, (pre, U, h0, c0, gh, gh_last, gc_last) in zip(case.directions, inputs):
        rows = case.rows(reverse)
        gates, U, gh_last, gc_last = (_array(xp, x, dtype) for x in (pre, U, gh_last, gc_last))
        weights = sequence.Weights(None, None, U, (), layout.INTERLEAVED)
        (h, _), (c, _) = (rows.buffer(xp, _array(xp, x, dtype)) for x in (h0, c0))
        if gh is not None:
            gh = _array(xp, numpy.concatenate((gh, gh[:, : case.apart]), axis=1), dtype)[
                :, : case.units
            ]
        forward.append((gates, weights, h, c, rows))
        backward.append((sequence.Saved(None, gates, h, c), weights, rows, gh, gh_last, gc_last))
    return forward, backward


def run(engine, xp, case, inputs, dtype='f'):
    """-> ``RESULTS`` of each direction."""
    forward, backward = jobs(xp, case, inputs, dtype)
    engine.recur_forward_all(forward)
    kept = [[cases.to_numpy(x).copy() for x in (gates, h, c)] for gates, _, h, c, _ in forward]
    return [
        [*first, *(cases.to_numpy(x) for x in second)]
        for first, second in zip(kept, engine.recur_backward_all(backward))
    ]


def _array(xp, x, dtype):
    """xp's own, so that the tests' NumPy has canaries around it."""
    y = xp.empty(x.shape, numpy.dtype(dtype))
    y[...] = xp.asarray(x.astype(dtype))
    return y


def check(engine, xp, case, seed=0):
    """The engine agrees with NumPy's in float64.  -> what it computed"""
    inputs = make(case, seed)
    found = run(engine, xp, case, inputs)
    for actual, expected in zip(found, run(kernels.Engine(), numpy, case, inputs, 'd')):
        for name, a, e in zip(RESULTS, actual, expected):
            assert a.dtype == numpy.float32
            numpy.testing.assert_allclose(
                a, e, rtol=0, atol=TOLERANCE[case.precision] * abs(e).max(initial=0), err_msg=name
            )
    return found


def ragged(batch, most, seed=0):
    """Lengths from 0 to ``most``, which is among them."""
    lengths = numpy.random.RandomState(seed).randint(0, most + 1, batch)
    lengths[0] = most
    return tuple(sorted(map(int, lengths), reverse=True))
