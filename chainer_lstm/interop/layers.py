"""The common form of a layer of an LSTM, and its conversion to and from the weights of cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

import numpy

from chainer_lstm import cells
from chainer_lstm.cells import Cell
from chainer_lstm.kernels import layout

PROJECTION = 'V'  # the name of the weight
# options of a cell that are converted with the weights, or that only affect training
_KNOWN = (
    'outputs',
    'coupled',
    'peephole',
    'recurrent_activation',
    'hard_sigmoid_slope',
    'zoneout',
    'recurrent_dropout',
)


class Layer(NamedTuple):
    """One layer in one direction, gates interleaved a, i, f, o, on the CPU.

    W (4H, I), U (4H, H), b (4H,); b_h (4H,), a second bias that is added to b, or None; others, the
    other weights of the cell by name: peepholes, matrices (H, H) or their diagonals (H,), and a
    projection V (P, H), with which U is (4H, P).
    """

    W: numpy.ndarray
    U: numpy.ndarray
    b: numpy.ndarray
    b_h: Optional[numpy.ndarray] = None
    others: Mapping[str, numpy.ndarray] = MappingProxyType({})

    @property
    def bias(self) -> numpy.ndarray:
        """The sum of both biases."""
        return self.b if self.b_h is None else self.b + self.b_h


def check_cell(cell: Cell, kind: str) -> None:
    """Expect a cell that computes a layer of an LSTM in evaluation.

    Raises:
        TypeError: it is another cell.
        ValueError: it has an option that changes its equations.
    """
    plain = cell.unprojected
    if plain in (cells.lstm, cells.peephole):
        return
    if type(plain) is not cells.LSTMVariant:
        raise TypeError(f'expected a {kind} of LSTM cells, got one of {cell.name}')
    for field in dataclasses.fields(plain):
        got = getattr(plain, field.name)
        if field.name not in _KNOWN and got != field.default:
            raise ValueError(
                f'{field.name}: expected {field.default} for weights from and to other links and '
                f'formats, got a {kind} with {got}'
            )


def hard_sigmoid_slope(cell: Cell) -> Optional[float]:
    """Return the slope of the hard sigmoid of a cell, or None if it has a sigmoid."""
    hard = getattr(cell, 'recurrent_activation', 'sigmoid') != 'sigmoid'
    return getattr(cell, 'hard_sigmoid_slope', None) if hard else None


def options_of(layer: Layer, slope: Optional[float]) -> dict[str, Any]:
    """Return the options of a ``SequenceLSTM`` for the weights of a layer.

    Args:
        layer: any of its layers.
        slope: the slope of the hard sigmoid, or None.
    """
    options: dict[str, Any] = {}
    if PROJECTION in layer.others:
        options['proj_size'] = len(layer.others[PROJECTION])
    if 'P_o' in layer.others:
        options['peephole'] = 'diagonal' if layer.others['P_o'].ndim == 1 else 'full'
    if slope is not None:
        options.update(recurrent_activation='hard_sigmoid', hard_sigmoid_slope=slope)
    return options


def from_cell(cell: Cell, arrays: Mapping[str, numpy.ndarray]) -> Layer:
    """Return a layer from the weights of a cell by name.

    Coupled gates are separated: i = 1 - f = σ(-x_f) has the negative weights of f.
    """
    found = dict(arrays)
    if getattr(cell, 'coupled', False):
        for name in ('W', 'b', 'U'):
            a, f, o = (found[name][gate::3] for gate in range(3))
            found[name] = layout.join(numpy, (a, -f, f, o), layout.INTERLEAVED)
        if 'P_f' in found:
            found = {'P_i': -found['P_f'], **found}
    W, U, b = (found.pop(name) for name in ('W', 'U', 'b'))
    return Layer(W, U, b, others=found)


def to_cell(cell: Cell, layer: Layer) -> dict[str, numpy.ndarray]:
    """Return the weights of a cell by name; weights that the layer lacks are 0.

    Raises:
        ValueError: the cell cannot have such weights.
    """
    found = {'W': layer.W, 'b': layer.bias, 'U': layer.U, **layer.others}
    if getattr(cell, 'coupled', False):
        for name in ('W', 'b', 'U'):
            a, i, f, o = layout.split(found[name], layout.INTERLEAVED)
            _check_coupled(i, f)
            found[name] = numpy.stack((a, f, o), axis=1).reshape(-1, *a.shape[1:])
        _check_coupled(found.pop('P_i', 0), found.get('P_f', 0))
    units, in_size = len(layer.b) // 4, layer.W.shape[1]
    for name, shape in cell.shapes(in_size, units).items():
        x = found.get(name)
        if x is None:
            found[name] = numpy.zeros(shape, layer.U.dtype)
        elif len(shape) < x.ndim:
            found[name] = diagonal(name, x, "the link's cell")
        elif x.ndim < len(shape):
            found[name] = numpy.diag(x)
    return {name: found[name] for name in cell.weights}


def _check_coupled(i: Any, f: Any) -> None:
    if numpy.any(i != -f):
        raise ValueError('coupled: expected weights of i that are the negative ones of f, or False')


def diagonal(name: str, P: numpy.ndarray, target: str) -> numpy.ndarray:
    """Return the diagonal (H,) of a diagonal matrix, or P itself if it is a vector.

    Raises:
        ValueError: the matrix is not diagonal.
    """
    if P.ndim == 1:
        return P
    found = numpy.diag(P)
    if numpy.count_nonzero(P - numpy.diag(found)):
        raise ValueError(
            f'{name}, peep_{name[-1]}/W: expected a diagonal matrix, as {target} has a vector in '
            'its place; got a full one'
        )
    return found


def check_others(layers: Sequence[Layer], target: str, known: Collection[str] = ()) -> None:
    """Check that a conversion is lossless: weights that the target lacks must be zero.

    Raises:
        ValueError: one of them is not.
    """
    for layer in layers:
        unknown = {name: x for name, x in layer.others.items() if name not in known}
        if PROJECTION in unknown:
            raise ValueError(
                f'proj_size: expected None for {target}, got {len(unknown[PROJECTION])}'
            )
        if any(x.any() for x in unknown.values()):
            raise ValueError(
                f'peepholes: expected none for {target}, got {", ".join(layer.others)}'
            )
