"""Sequences for the persistent kernels, on the CPU and on a GPU, and their float64 answers."""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy

from chainer_lstm import cells
from chainer_lstm.kernels import sequence
from chainer_lstm.kernels.engines.numpy import numpy_engine
from chainer_lstm.kernels.engines.types import Gradients
from chainer_lstm.kernels.packing import Rows
from tests.kernels import cases

# the largest difference, relative to the largest number
TOLERANCE = {'highest': 3e-5, 'high': 3e-3, 'medium': 2e-2}
RESULTS = ('gates', 'h', 'c', 'hy', 'cy', 'gh0', 'gc0', 'gpre', 'gb')
INPUTS = 3


class Case(NamedTuple):
    """Sequences of some lengths through H units.

    Attributes:
        lengths: steps of each sequence, not growing.
        directions: for each of the layer's directions, whether it is reversed.
        with_gh: whether there are gradients of all h, or of the last states only.
        apart: columns of another direction between those of gh.
        from_zeros: whether there are gradients of the last states, or none.
    """

    units: int
    lengths: tuple[int, ...]
    precision: str = 'highest'
    directions: tuple[bool, ...] = (False,)
    with_gh: bool = True
    apart: int = 0
    from_zeros: bool = False

    def __str__(self):
        lengths = f'{len(self.lengths)}x{self.lengths[0]}' + '-ragged' * (len({*self.lengths}) > 1)
        directions = ''.join('<' if reverse else '>' for reverse in self.directions)
        return f'{self.units}-{lengths}-{self.precision}-{directions}'

    def rows(self, reverse):
        steps = range(max(self.lengths, default=0))
        return Rows(
            [sum(length > t for length in self.lengths) for t in steps], len(self.lengths), reverse
        )


class Inputs(NamedTuple):
    """float64 arrays of one direction."""

    x: numpy.ndarray
    weights: dict[str, numpy.ndarray]
    h0: numpy.ndarray
    c0: numpy.ndarray
    gh: Optional[numpy.ndarray]
    gh_last: numpy.ndarray
    gc_last: numpy.ndarray


def make(case, cell=cells.lstm, seed=0):
    """-> ``Inputs`` for each direction"""
    random = numpy.random.RandomState(seed)
    total, batch, units = sum(case.lengths), len(case.lengths), case.units

    def draw(*shape, scale=1.0):
        return random.uniform(-scale, scale, shape)

    return [
        Inputs(
            draw(total, INPUTS),
            {
                name: draw(*shape, scale=1 if name in 'Wb' else 2 * units**-0.5)
                for name, shape in cell.shapes(INPUTS, units).items()
            },
            draw(batch, units),
            draw(batch, units),
            draw(total, units) if case.with_gh else None,
            draw(batch, units),
            draw(batch, units),
        )
        for _ in case.directions
    ]


def jobs(xp, case, inputs, dtype='f', cell=cells.lstm, takes_states=False):
    """-> a ``Layer`` and ``Gradients`` for each direction, as an engine takes them"""
    layers, gradients = [], []
    for reverse, given in zip(case.directions, inputs):
        x, h0, c0, gh_last, gc_last = (
            _array(xp, getattr(given, name), dtype)
            for name in ('x', 'h0', 'c0', 'gh_last', 'gc_last')
        )
        weights = {name: _array(xp, w, dtype) for name, w in given.weights.items()}
        initial = cell.State(c=c0, h=h0)
        rows = case.rows(reverse)
        last = cell.State(*(_array(xp, given.h0 * numpy.nan, dtype) for _ in initial))
        last = last if takes_states else None
        layers.append(sequence.layer_of(xp, cell, weights, rows, x, initial, last=last))
        gh = given.gh
        if gh is not None:
            gh = _array(xp, numpy.concatenate((gh, gh[:, : case.apart]), axis=1), dtype)
            gh = gh[:, : case.units]
        of_last = cell.State(c=gc_last, h=gh_last)
        if case.from_zeros:
            for g in of_last:
                g.fill(numpy.nan if takes_states else 0)
        gradients.append(
            Gradients(cell.State(h=gh), of_last, from_zeros=case.from_zeros and takes_states)
        )
    return layers, gradients


def run(engine, xp, case, inputs, dtype='f', cell=cells.lstm):
    """-> ``RESULTS`` of each direction."""
    layers, gradients = jobs(xp, case, inputs, dtype, cell, engine.takes_states)
    all_gates = engine.sequence_forward(layers, keep=True)
    kept = [
        [
            cases.to_numpy(x).copy()
            for x in (gates, layer.states.h, layer.states.c, *last_of(xp, layer))
        ]
        for layer, gates in zip(layers, all_gates)
    ]
    found = engine.sequence_backward(layers, all_gates, gradients)
    of_biases = [
        given.of_weights['b'] if 'b' in given.of_weights else gates.sum(axis=0)
        for given, gates in zip(gradients, all_gates)
    ]
    return [
        [*first, *(cases.to_numpy(x) for x in (before.h, before.c, gates, gb))]
        for first, before, gates, gb in zip(kept, found, all_gates, of_biases)
    ]


def last_of(xp, layer):
    """-> hy, cy"""
    if layer.last is not None:
        return layer.last.h, layer.last.c
    return [layer.rows.last(xp, buffer) for buffer in (layer.states.h, layer.states.c)]


def _array(xp, x, dtype):
    """xp's own, so that the tests' NumPy has canaries around it."""
    y = xp.empty(x.shape, numpy.dtype(dtype))
    y[...] = xp.asarray(x.astype(dtype))
    return y


def check(engine, xp, case, seed=0):
    """The engine agrees with NumPy's in float64.  -> what it computed"""
    inputs = make(case, seed=seed)
    found = run(engine, xp, case, inputs)
    for actual, expected in zip(found, run(numpy_engine, numpy, case, inputs, 'd')):
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
