"""The weights of any link of the family in one form,
which every converter reads from and writes to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Optional, Union

import chainer
import numpy
from chainer import serializers
from chainer.backends import cuda

from chainer_lstm import links
from chainer_lstm.cells import Cell
from chainer_lstm.functions.checks import dropout as dropout_of
from chainer_lstm.kernels import layout
from chainer_lstm.links import loading

Into = Union[type, chainer.Link]

_MOST_NAMES = 5  # that an error lists

# of a link's own arrays, those that are no weights of the layers
_STATE = {'c', 'h', 'c0', 'h0'}
_PROJECTION = 'V'  # among the weights of a cell


class Layer(NamedTuple):
    """One layer in one direction, gates interleaved a, i, f, o, on the CPU.

    W (4H, I), U (4H, H), b (4H,); b_h (4H,), a second bias that is added to
    b, or None; the other weights of the cell by name, of an LSTM none.  With a
    projection V (P, H) among them, U is (4H, P).
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


class Weights(NamedTuple):
    """``layers`` has index ``directions * layer + direction``."""

    layers: Sequence[Layer]
    directions: int = 1
    dropout: float = 0.0

    @property
    def sizes(self) -> tuple[int, int, int]:
        """S, I, H."""
        units, in_size = len(self.layers[0].b) // 4, self.layers[0].W.shape[1]
        return len(self.layers) // self.directions, in_size, units

    @property
    def outputs(self) -> Optional[int]:
        """P of projected layers, or None."""
        V = self.layers[0].others.get(_PROJECTION)
        return None if V is None else len(V)


def chainers(cls: type) -> Any:
    """Return the class of Chainer that a link replaces; ``chainer.links`` may have the link under
    its name.
    """
    return next(base for base in cls.__mro__ if base.__module__.startswith('chainer.links.'))


# the links of one LSTM, which computes the same in training
_CELL_LINKS = [
    cls
    for cls in (getattr(links, name) for name in links.__all__)
    if hasattr(cls, 'weight_keys') and isinstance(cls.cell, Cell)
]
_CELLS = tuple(chainers(cls) for cls in _CELL_LINKS)
_UNIDIRECTIONAL, _BIDIRECTIONAL = chainers(links.NStepLSTM), chainers(links.NStepBiLSTM)
_N_STEP = (_UNIDIRECTIONAL, _BIDIRECTIONAL)
FAMILY = (*_CELLS, *_N_STEP, links.SequenceLSTM)


def convert(link: chainer.Link, into: Into) -> chainer.Link:
    """Moves weights between the links of the family, Chainer's own among them.

    Args:
        link: where the weights come from.
        into: a class, for a new link; or a link, whose weights are set.

    Returns:
        The new link, or into.

    Raises:
        TypeError: link or into is none of the family.
        ValueError, KeyError: into cannot have such weights, or link has none yet; nothing was
            changed.
    """
    return write(read(link), into)


def read(link: chainer.Link, *, learned_state: bool = False) -> Weights:
    """The weights of a link.

    Args:
        link: of the family.
        learned_state: whether the caller carries a learned initial state along; it is refused
            otherwise.

    Raises:
        TypeError: no link of the family, or of a cell that is no LSTM.
        ValueError: its input size is not known yet, or it begins with a learned state that the
            caller has no place for.
        KeyError: parts of it were replaced.
    """
    if not isinstance(link, FAMILY):
        raise TypeError(f'expected a link of the LSTM family, got {type(link).__name__}')
    _check_cell(link)
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
            keys = _keys(link)
            layers = [_cell_layer(arrays, prefix, keys) for prefix in _prefixes(link)]
    except KeyError as error:
        raise KeyError(
            f'{error.args[0]}: expected in a {type(link).__name__}, got only {sorted(arrays)}'
        ) from None
    return Weights(layers, directions, dropout)


def write(weights: Weights, into: Into) -> chainer.Link:
    """A new link of the class into, or the link into, with the weights.

    Raises:
        TypeError: into is no link or class of the family, or of a cell that is no LSTM.
        ValueError, KeyError: it cannot have such weights; nothing was changed.
    """
    cls = into if isinstance(into, type) else type(into)
    if not issubclass(cls, FAMILY):
        raise TypeError(f'expected a link of the LSTM family or its class, got {cls.__name__}')
    _check_cell(into)
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
    """The value as an array of floats on the CPU; None in the shape for any size.

    Raises:
        TypeError: not of floats.
        ValueError: another shape.
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
    """Return the first of the names, and how many more there are, for an error."""
    more = f' and {len(names) - _MOST_NAMES} more' if len(names) > _MOST_NAMES else ''
    return ', '.join(names[:_MOST_NAMES]) + more


def arrays_of(link: chainer.Link) -> dict[str, numpy.ndarray]:
    """What a file of the link holds."""
    serializer = serializers.DictionarySerializer()
    serializer.save(link)
    return dict(serializer.target)


def link_with(others: Collection[str]) -> type:
    """Return the link of one cell that has just these weights besides W, b and U."""
    names = {'W', 'b', 'U', *others}
    return next(cls for cls in _CELL_LINKS if cls.weight_keys.keys() == names)


def check_others(layers: Sequence[Layer], target: str, known: Collection[str] = ()) -> None:
    """Check that a target loses nothing: that weights which it does not know are zero.

    Raises:
        ValueError: one is not.
    """
    for layer in layers:
        unknown = {name: x for name, x in layer.others.items() if name not in known}
        if _PROJECTION in unknown:
            raise ValueError(
                f'proj_size: expected None for {target}, got {len(unknown[_PROJECTION])}'
            )
        if any(x.any() for x in unknown.values()):
            raise ValueError(
                f'peepholes: expected none for {target}, got {", ".join(layer.others)}'
            )


def _check_cell(into: Into) -> None:
    """Expect a cell whose gates are those of an LSTM: one that has a link of its own."""
    if not isinstance(into, (links.SequenceLSTM, links.NStepLSTM, links.NStepBiLSTM)):
        return
    cell = into.cell.unprojected
    if cell not in [cls.cell for cls in _CELL_LINKS]:
        fields = dataclasses.fields(cell)
        given = {
            f.name: getattr(cell, f.name) for f in fields if getattr(cell, f.name) != f.default
        }
        options = ', '.join(f'{name}={value!r}' for name, value in given.items())
        raise TypeError(
            f'expected a {type(into).__name__} of LSTM cells, got one of {cell.name}({options})'
        )


def _keys(into: Into) -> Mapping[str, str]:
    """Return the keys of the weights of a layer and direction, by name, in a link made of cells."""
    if isinstance(into, links.SequenceLSTM):
        found = [into[into.cell_names[0]]]
    else:
        cls = into if isinstance(into, type) else type(into)
        found = [link for link in _CELL_LINKS if issubclass(cls, chainers(link))]
    return getattr(found[0] if found else None, 'weight_keys', links.StatelessLSTM.weight_keys)


def _cell_layer(arrays: Mapping[str, numpy.ndarray], prefix: str, keys: Mapping[str, str]) -> Layer:
    found = {name: arrays[prefix + key] for name, key in keys.items()}
    W, U, b = (found.pop(name) for name in ('W', 'U', 'b'))
    return Layer(W, U, b, others=found)


def _n_step_layer(arrays: Mapping[str, numpy.ndarray], prefix: str) -> Layer:
    W, U, b, b_h = (
        layout.convert(
            numpy,
            [arrays[f'{prefix}{kind}{first + k}'] for k in range(4)],
            layout.N_STEP,
            layout.INTERLEAVED,
        )
        for kind, first in (('w', 0), ('w', 4), ('b', 0), ('b', 4))
    )
    V = arrays.get(f'{prefix}w8')
    return Layer(W, U, b, b_h, {} if V is None else {_PROJECTION: V})


def _chainer_arrays(weights: Weights, link: chainer.Link) -> dict[str, numpy.ndarray]:
    """The weights under the keys and in the order that the link has."""
    arrays = {}
    if isinstance(link, _N_STEP):
        for k, (W, U, b, b_h, others) in enumerate(weights.layers):
            if _PROJECTION in others:
                arrays[f'{k}/w8'] = others[_PROJECTION]
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
        found = {'W': layer.W, 'b': layer.bias, 'U': layer.U, **layer.others}
        units = len(layer.b) // 4
        zeros = numpy.zeros((units, units), layer.U.dtype)  # as all others are
        for name, key in _keys(link).items():
            arrays[prefix + key] = found.get(name, zeros)
    return arrays


def _prefixes(link: chainer.Link) -> list[str]:
    """Where the keys of each layer and direction begin, in a link made of cells."""
    return (
        [f'{name}/' for name in link.cell_names] if isinstance(link, links.SequenceLSTM) else ['']
    )


def _shape(link: chainer.Link) -> tuple[int, int, float]:
    """-> number of layers times directions, directions, dropout."""
    if isinstance(link, links.SequenceLSTM):
        return len(link.cell_names), link.directions, link.dropout
    if isinstance(link, _N_STEP):
        return len(link), 2 if isinstance(link, _BIDIRECTIONAL) else 1, link.dropout
    return 1, 1, 0.0


def _new(weights: Weights, cls: Any) -> chainer.Link:
    layers, in_size, units = weights.sizes
    # Chainer's own links have no projection
    projection: dict[str, Any] = {} if weights.outputs is None else {'proj_size': weights.outputs}
    with chainer.using_config('dtype', weights.layers[0].W.dtype):
        if issubclass(cls, _N_STEP):
            return cls(layers, in_size, units, weights.dropout, **projection)
        if issubclass(cls, links.SequenceLSTM):
            # an NStep link of one layer accepts any dropout and does not use it
            dropout = dropout_of(weights.dropout, layers)
            bidirectional = weights.directions == 2
            return cls(
                in_size,
                units,
                n_layers=layers,
                bidirectional=bidirectional,
                dropout=dropout,
                **projection,
            )
        return cls(in_size, units)


def _check_fit(weights: Weights, into: Into, cls: type) -> None:
    """Expect the layers, directions and projection of into, where they are fixed."""
    got = (weights.directions, weights.sizes[0], weights.outputs)
    names = ('directions', 'layers', 'proj_size')
    for name, expected, value in zip(names, _fitting(weights, into, cls), got):
        if expected != value:
            raise ValueError(f'{name}: expected {expected} for {cls.__name__}, got {value}')
    check_others(weights.layers, cls.__name__, (*_keys(into), _PROJECTION))


def _fitting(weights: Weights, into: Into, cls: type) -> tuple[int, int, Optional[int]]:
    """Return the directions, layers and projection that a link, or one of a class, would have."""
    if not isinstance(into, type):
        count, directions, _ = _shape(into)
        cell = getattr(into, 'cell', None)
        return directions, count // directions, None if cell is None else cell.outputs
    directions, outputs = weights.directions, weights.outputs
    layers = 1 if issubclass(cls, _CELLS) else weights.sizes[0]
    if not issubclass(cls, links.SequenceLSTM):
        directions = 2 if issubclass(cls, _BIDIRECTIONAL) else 1
    if not issubclass(cls, (links.SequenceLSTM, links.NStepLSTM, links.NStepBiLSTM)):
        outputs = None
    return directions, layers, outputs
