"""The common form of the weights of all links of the family, which converters read and write."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Optional, Union

import chainer
import numpy
from chainer import serializers
from chainer.backends import cuda

from chainer_lstm import cells, links
from chainer_lstm.cells import Cell
from chainer_lstm.functions.checks import dropout as dropout_of
from chainer_lstm.interop.layers import (
    PROJECTION,
    Layer,
    check_cell,
    check_others,
    from_cell,
    hard_sigmoid_slope,
    options_of,
    to_cell,
)
from chainer_lstm.kernels import layout
from chainer_lstm.links import loading
from chainer_lstm.links.options import cell_of

Into = Union[type, chainer.Link]

_MOST_NAMES = 5  # listed in an error

# arrays of a link that are not weights of its layers
_STATE = {'c', 'h', 'c0', 'h0'}


class Weights(NamedTuple):
    """The layers, index ``directions * layer + direction``, and the settings of a link;
    ``hard_sigmoid_slope`` is None for a sigmoid.
    """

    layers: Sequence[Layer]
    directions: int = 1
    dropout: float = 0.0
    hard_sigmoid_slope: Optional[float] = None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """S, I, H."""
        units, in_size = len(self.layers[0].b) // 4, self.layers[0].W.shape[1]
        return len(self.layers) // self.directions, in_size, units

    @property
    def outputs(self) -> Optional[int]:
        """P of projected layers, or None."""
        V = self.layers[0].others.get(PROJECTION)
        return None if V is None else len(V)


def chainers(cls: type) -> Any:
    """Return the class of Chainer that a link replaces; after ``install()`` its name in
    ``chainer.links`` is the link itself.
    """
    return next(base for base in cls.__mro__ if base.__module__.startswith('chainer.links.'))


# the links of one cell
_CELL_LINKS = [
    cls for cls in (getattr(links, name) for name in links.__all__) if hasattr(cls, 'weight_keys')
]
_CELLS = tuple(chainers(cls) for cls in _CELL_LINKS)
_UNIDIRECTIONAL, _BIDIRECTIONAL = chainers(links.NStepLSTM), chainers(links.NStepBiLSTM)
_N_STEP = (_UNIDIRECTIONAL, _BIDIRECTIONAL)
FAMILY = (*_CELLS, *_N_STEP, links.SequenceLSTM)


def convert(link: chainer.Link, into: Into) -> chainer.Link:
    """Copy weights between links of the family, this package's and Chainer's.

    Args:
        link: the source of the weights.
        into: a class for a new link, or a link whose weights are set.

    Returns:
        The new link, or ``into``.

    Raises:
        TypeError: link or ``into`` is not of the family.
        ValueError, KeyError: ``into`` cannot have such weights, or link is not initialized yet;
            nothing was changed.

    Example:
        >>> from chainer_lstm.links import LSTM, NStepLSTM
        >>> stacked = convert(LSTM(10, 20), NStepLSTM)              # the same weights
        >>> stacked.ws[0][0].shape
        (20, 10)
    """
    return write(read(link, hard_sigmoid=True), into)


def read(link: chainer.Link, *, learned_state: bool = False, hard_sigmoid: bool = False) -> Weights:
    """Return the weights of a link that computes an LSTM in evaluation.

    Args:
        link: a link of the family.
        learned_state: whether the caller handles a learned initial state; otherwise it is refused.
        hard_sigmoid: whether the caller handles a hard sigmoid; otherwise it is refused.

    Raises:
        TypeError: link is not of the family, or its cell is not an LSTM.
        ValueError: its input size is not known yet, or it has a learned state or an option that the
            caller does not handle.
        KeyError: parts of it were replaced.
    """
    if not isinstance(link, FAMILY):
        raise TypeError(f'expected a link of the LSTM family, got {type(link).__name__}')
    cell = _cell(link)
    check_cell(cell, type(link).__name__)
    slope = hard_sigmoid_slope(cell)
    if slope is not None and not hard_sigmoid:
        raise ValueError(
            "recurrent_activation: expected 'sigmoid', got 'hard_sigmoid', which the result has "
            'no place for'
        )
    arrays = arrays_of(link)
    for key, value in arrays.items():
        if value.dtype == object:
            raise ValueError(
                f'{key}: expected weights, got none: the size of the input shows at the first call'
            )
    if not learned_state and any(arrays[key].any() for key in ('c0', 'h0') if key in arrays):
        raise ValueError(
            'c0, h0: expected zeros, got a learned initial state, which the result '
            'has no place for: set c0 and h0 to zeros and give their values to the '
            'result as its state'
        )
    count, directions, dropout = _shape(link)
    try:
        if isinstance(link, _N_STEP):
            layers = [_n_step_layer(arrays, f'{k}/') for k in range(count)]
        else:
            keys = _keys(link).items()
            layers = [
                from_cell(cell, {name: arrays[prefix + key] for name, key in keys})
                for prefix in _prefixes(link)
            ]
    except KeyError as error:
        raise KeyError(
            f'{error.args[0]}: expected in a {type(link).__name__}, got only {sorted(arrays)}'
        ) from None
    return Weights(layers, directions, dropout, slope)


def write(weights: Weights, into: Into) -> chainer.Link:
    """Return a new link of the class ``into``, or the link ``into``, with the weights.

    Raises:
        TypeError: ``into`` is not a link or class of the family, or its cell is not an LSTM.
        ValueError, KeyError: it cannot have such weights; nothing was changed.
    """
    cls = into if isinstance(into, type) else type(into)
    if not issubclass(cls, FAMILY):
        raise TypeError(f'expected a link of the LSTM family or its class, got {cls.__name__}')
    _check_layers(weights, into, cls)
    _check_fit(weights, into, cls)
    link = _new(weights, cls) if isinstance(into, type) else into
    arrays = _chainer_arrays(weights, link)
    own = arrays_of(link)
    for key in sorted((own.keys() ^ arrays.keys()) - _STATE):
        where = 'the link has' if key in own else 'its weights have'
        raise KeyError(
            f'{key}: expected a {cls.__name__} as it was made, got one where only {where} it'
        )
    deserializer = serializers.NpzDeserializer({**own, **arrays})
    loading.check(link, deserializer)
    deserializer.load(link)
    return link


def checked(name: str, value: Any, shape: tuple[Optional[int], ...]) -> numpy.ndarray:
    """Return the value as an array of floats on the CPU; None in ``shape`` allows any size.

    Raises:
        TypeError: the value is not of floats.
        ValueError: it has another shape.
    """
    if hasattr(value, 'detach'):  # torch's, without importing it
        try:
            value = value.detach().cpu().numpy()
        except TypeError:  # bfloat16
            raise TypeError(
                f'{name}: expected float16, float32 or float64, got {value.dtype}'
            ) from None
    value = chainer.as_array(value)
    array = numpy.asarray(cuda.to_cpu(value) if isinstance(value, cuda.ndarray) else value)
    if array.dtype.kind != 'f':
        raise TypeError(f'{name}: expected floats, got {array.dtype}')
    if array.ndim != len(shape) or any(e not in (None, got) for e, got in zip(shape, array.shape)):
        expected = ', '.join('any' if size is None else str(size) for size in shape)
        raise ValueError(
            f'{name}: expected shape ({expected}{"," if len(shape) == 1 else ""}), '
            f'got {array.shape}'
        )
    return array


def listed(names: Sequence[str]) -> str:
    """Return the first names and the number of further ones, for an error."""
    more = f' and {len(names) - _MOST_NAMES} more' if len(names) > _MOST_NAMES else ''
    return ', '.join(names[:_MOST_NAMES]) + more


def arrays_of(link: chainer.Link) -> dict[str, numpy.ndarray]:
    """Return the arrays that a file of the link has, by key."""
    serializer = serializers.DictionarySerializer()
    serializer.save(link)
    return dict(serializer.target)


def slope_of(into: Into) -> Optional[float]:
    """Return the slope of the hard sigmoid of a link, or None if it has a sigmoid."""
    return hard_sigmoid_slope(_cell(into)) if isinstance(into, FAMILY) else None


def link_with(others: Collection[str]) -> type:
    """Return the class of the link of one cell with exactly W, b, U and these weights."""
    names = {'W', 'b', 'U', *others}
    return next(cls for cls in _CELL_LINKS if cls.weight_keys.keys() == names)


def _keys(into: Into) -> Mapping[str, str]:
    """Return the keys of the weights of a layer and direction by name; not for NStep links."""
    if isinstance(into, links.SequenceLSTM):
        return into[into.cell_names[0]].weight_keys
    cls = into if isinstance(into, type) else type(into)
    return next(link.weight_keys for link in _CELL_LINKS if issubclass(cls, chainers(link)))


def _cell(into: Any) -> Cell:
    """Return the cell of a link, or of links of a class; for Chainer's links, the equivalent."""
    if not isinstance(into, type) and hasattr(into, 'cell'):
        return into.cell
    cls = into if isinstance(into, type) else type(into)
    if not issubclass(cls, _CELLS):
        return cells.lstm
    names = _keys(into).keys()
    return next(cell for cell in cells.CELLS.values() if {*cell.weights} == names)


def _n_step_layer(arrays: Mapping[str, numpy.ndarray], prefix: str) -> Layer:
    """Return a layer of an NStep link, whose arrays w0, …, w7, b0, …, b7 belong to a gate each."""

    def interleaved(kind: str, first: int) -> numpy.ndarray:
        parts = [arrays[f'{prefix}{kind}{first + k}'] for k in range(4)]
        return layout.convert(numpy, parts, layout.N_STEP, layout.INTERLEAVED)

    V = arrays.get(f'{prefix}w8')
    return Layer(
        W=interleaved('w', 0),
        U=interleaved('w', 4),
        b=interleaved('b', 0),
        b_h=interleaved('b', 4),
        others={} if V is None else {PROJECTION: V},
    )


def _chainer_arrays(weights: Weights, link: chainer.Link) -> dict[str, numpy.ndarray]:
    """Return the weights by the keys and in the order of a link."""
    arrays = {}
    if isinstance(link, _N_STEP):
        for k, (W, U, b, b_h, others) in enumerate(weights.layers):
            if PROJECTION in others:
                arrays[f'{k}/w8'] = others[PROJECTION]
            for kind, first, x in (
                ('w', 0, W),
                ('w', 4, U),
                ('b', 0, b),
                ('b', 4, numpy.zeros_like(b) if b_h is None else b_h),
            ):
                parts = layout.convert(numpy, x, layout.INTERLEAVED, layout.N_STEP)
                arrays.update({f'{k}/{kind}{first + j}': part for j, part in enumerate(parts)})
        return arrays
    for prefix, layer in zip(_prefixes(link), weights.layers):
        found = to_cell(_cell(link), layer)
        arrays.update({prefix + key: found[name] for name, key in _keys(link).items()})
    return arrays


def _prefixes(link: chainer.Link) -> list[str]:
    """Return the prefixes of the keys of each layer and direction; not for NStep links."""
    return (
        [f'{name}/' for name in link.cell_names] if isinstance(link, links.SequenceLSTM) else ['']
    )


def _shape(link: chainer.Link) -> tuple[int, int, float]:
    """Return the number of layers times directions, the directions, and the dropout."""
    if isinstance(link, links.SequenceLSTM):
        return len(link.cell_names), link.directions, link.dropout
    if isinstance(link, _N_STEP):
        return len(link), 2 if isinstance(link, _BIDIRECTIONAL) else 1, link.dropout
    return 1, 1, 0.0


def _new(weights: Weights, cls: Any) -> chainer.Link:
    layers, in_size, units = weights.sizes
    options = _options(weights, cls)
    with chainer.using_config('dtype', weights.layers[0].W.dtype):
        if issubclass(cls, _N_STEP):
            return cls(layers, in_size, units, weights.dropout, **options)
        if issubclass(cls, links.SequenceLSTM):
            # an NStep link of one layer may have any dropout, which it does not use
            dropout = dropout_of(weights.dropout, layers)
            bidirectional = weights.directions == 2
            return cls(
                in_size,
                units,
                n_layers=layers,
                bidirectional=bidirectional,
                dropout=dropout,
                **options,
            )
        return cls(in_size, units)


def _check_layers(weights: Weights, into: Into, cls: type) -> None:
    """Expect weights with the directions and layers of ``into``."""
    got = weights.directions, weights.sizes[0]
    for name, expected, value in zip(('directions', 'layers'), _fitting(weights, into, cls), got):
        if expected != value:
            raise ValueError(f'{name}: expected {expected} for {cls.__name__}, got {value}')


def _fitting(weights: Weights, into: Into, cls: type) -> tuple[int, int]:
    """Return the directions and layers of a link, or of a new link of a class."""
    if not isinstance(into, type):
        count, directions, _ = _shape(into)
        return directions, count // directions
    directions = weights.directions
    layers = 1 if issubclass(cls, _CELLS) else weights.sizes[0]
    if not issubclass(cls, links.SequenceLSTM):
        directions = 2 if issubclass(cls, _BIDIRECTIONAL) else 1
    return directions, layers


def _options(weights: Weights, cls: type) -> dict[str, Any]:
    """Return the options of a new link for such weights, as far as its class has them."""
    options = options_of(weights.layers[0], weights.hard_sigmoid_slope)
    if issubclass(cls, links.SequenceLSTM):
        return options
    projects = issubclass(cls, (links.NStepLSTM, links.NStepBiLSTM))  # unlike Chainer's
    return {name: value for name, value in options.items() if projects and name == 'proj_size'}


def _check_fit(weights: Weights, into: Into, cls: type) -> None:
    """Expect ``into`` to have a cell that computes an LSTM with such weights."""
    cell, kind = _cell(into), cls.__name__
    if isinstance(into, type):
        cell = cell_of(cell, **_options(weights, cls))
    check_cell(cell, kind)
    if cell.outputs != weights.outputs:
        raise ValueError(f'proj_size: expected {cell.outputs} for {kind}, got {weights.outputs}')
    expected, got = hard_sigmoid_slope(cell), weights.hard_sigmoid_slope
    if expected != got:
        raise ValueError(
            f'recurrent_activation: expected {_activation(expected)} for {kind}, '
            f'got {_activation(got)}'
        )
    known = {*cell.weights, 'P_i'} if 'P_o' in cell.weights else cell.weights
    check_others(weights.layers, kind, known)


def _activation(slope: Optional[float]) -> str:
    return "'sigmoid'" if slope is None else f"'hard_sigmoid' of slope {slope}"
