"""The names and layouts of LSTM weights in other frameworks: a table, ``FORMATS``, and ``read``,
which finds the format among the names of a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional

import numpy

from chainer_lstm.interop import settings, weights
from chainer_lstm.kernels import layout

Arrays = dict[str, Any]


def _nnabla_cell(arrays: Arrays) -> Arrays:
    """Reshape (I + H, 4, H), (4, H) to (I + H, 4H), (4H,)."""
    W = weights.checked('affine/W', arrays['affine/W'], (None, 4, None))
    found = {**arrays, 'affine/W': W.reshape(len(W), -1)}
    if 'affine/b' in arrays:
        b = weights.checked('affine/b', arrays['affine/b'], (4, W.shape[2]))
        found['affine/b'] = b.reshape(-1)
    return found


def _nnabla_layers(arrays: Arrays) -> Arrays:
    """Split (D, 4, H, I + H), (S - 1, D, 4, H, D H + H) and (S, D, 4, H) into (4H, …) of each layer
    and direction.
    """
    found = dict(arrays)
    first = weights.checked('weight_l0', found.pop('weight_l0'), (None, 4, None, None))
    directions, _, units, _ = first.shape
    matrices = [first]
    if 'weight' in found:
        shape = (None, directions, 4, units, (directions + 1) * units)
        matrices += list(weights.checked('weight', found.pop('weight'), shape))
    biases = None
    if 'bias' in found:
        biases = weights.checked('bias', found.pop('bias'), (len(matrices), directions, 4, units))
    for layer, matrix in enumerate(matrices):
        for direction, end in enumerate(('', '_reverse')[:directions]):
            found[f'weight_l{layer}{end}'] = matrix[direction].reshape(4 * units, -1)
            if biases is not None:
                found[f'bias_l{layer}{end}'] = biases[layer, direction].reshape(-1)
    return found


def _keras(arrays: Arrays) -> Arrays:
    """Convert ``CuDNNLSTM``, which has 8H biases, to ``LSTM``: its arrays have Keras's shapes,
    (I, H) and (H, H) per gate, but cuDNN's memory order, that of (H, I) and (H, H).
    """
    found = dict(arrays)
    for end in ('', '_reverse'):
        names = [f'{name}{end}' for name in ('kernel', 'recurrent_kernel', 'bias')]
        if any(name not in found for name in names):
            continue
        W, U, b = (found[name] for name in names)
        if len(U) * 8 != len(b):
            continue
        units = len(U)
        W = weights.checked(names[0], W, (None, 4 * units))
        U = weights.checked(names[1], U, (units, 4 * units))
        b = weights.checked(names[2], b, (8 * units,))
        W, U = (
            numpy.hstack([gate.reshape(units, -1).T for gate in numpy.hsplit(x, 4)]) for x in (W, U)
        )
        found.update(zip(names, (W, U, b[: 4 * units] + b[4 * units :])))
    return found


class Format(NamedTuple):
    """The names and layouts of the layers of an LSTM in a framework.

    In a name, ``{layer}`` is the number of the layer, ``{reverse}`` the word for the direction, and
    ``{gate}`` one of i, f, g, o, for formats with an array for each gate.

    W (4H, I), U (4H, H): their names; if U is empty, W is (4H, I + H).  ``biases`` (4H,) are
    summed.  V (P, H): the name of a projection, or empty if projections are not supported.
    """

    framework: str
    W: str
    U: str
    biases: tuple[str, ...]
    order: str = layout.TORCH
    transposed: bool = False  # W (I, 4H), U (H, 4H)
    directions: tuple[str, ...] = ('',)  # the words of ``{reverse}``
    forget_bias: float = 0.0  # added by the framework in each call
    within: str = ''  # a pattern for the path, if the names alone are ambiguous
    separators: str = './'  # characters that may separate a path from the names
    unpack: Callable[[Arrays], Arrays] = dict  # converts to arrays of the shapes above
    V: str = ''


FORMATS = (
    Format(
        'torch',
        'weight_ih_l{layer}{reverse}',
        'weight_hh_l{layer}{reverse}',
        ('bias_ih_l{layer}{reverse}', 'bias_hh_l{layer}{reverse}'),
        directions=('', '_reverse'),
        V='weight_hr_l{layer}{reverse}',
    ),
    Format('torch', 'weight_ih', 'weight_hh', ('bias_ih', 'bias_hh')),
    Format('equinox', 'weight_ih', 'weight_hh', ('bias',)),
    Format(
        'Keras',
        'kernel{reverse}',
        'recurrent_kernel{reverse}',
        ('bias{reverse}',),
        transposed=True,
        directions=('', '_reverse'),
        unpack=_keras,
    ),
    Format(
        'TensorFlow 1',
        'kernel',
        '',
        ('bias',),
        layout.TENSORFLOW,
        transposed=True,
        forget_bias=1.0,
        within='lstm_cell',
    ),
    Format(
        'Haiku',
        'w',
        '',
        ('b',),
        layout.TENSORFLOW,
        transposed=True,
        forget_bias=1.0,
        within='lstm.*/linear',
    ),
    Format('Flax', 'i{gate}/kernel', 'h{gate}/kernel', ('h{gate}/bias',), transposed=True),
    Format('Flax', 'dense_i/kernel', 'dense_h/kernel', ('dense_h/bias',), transposed=True),
    Format(
        'Gluon',
        '{reverse}{layer}_i2h_weight',
        '{reverse}{layer}_h2h_weight',
        ('{reverse}{layer}_i2h_bias', '{reverse}{layer}_h2h_bias'),
        directions=('l', 'r'),
        separators='./_',
    ),
    Format(
        'Gluon',
        'i2h_weight',
        'h2h_weight',
        ('i2h_bias', 'h2h_bias'),
        within='^(?!.*[lr][0-9]+_$)',  # of the layers above
        separators='./_',
    ),
    Format(
        'NNabla',
        'weight_l{layer}{reverse}',
        '',
        ('bias_l{layer}{reverse}',),
        directions=('', '_reverse'),
        unpack=_nnabla_layers,
    ),
    Format(
        'NNabla',
        'affine/W',
        '',
        ('affine/b',),
        layout.ONNX,
        transposed=True,
        within='lstm',
        unpack=_nnabla_cell,
    ),
)

# the end of a name -> the kind of array, which no link supports
_UNSUPPORTED = {
    'h2r_weight': 'a projection',
    'projection/kernel': 'a projection',
    'w_i_diag': 'weights from c to the gates',
}
_SEPARATORS = './_'  # of any format


class Found(NamedTuple):
    """Weights, and the settings of the layer that are also options of ``SequenceLSTM``."""

    weights: weights.Weights
    options: dict[str, Any]


def read(source: Arrays, path: str, strict: bool, forget_bias: Optional[float]) -> Found:
    """Read the one LSTM at or below the path.

    Args:
        source: arrays and settings by name.
        path: the common prefix of the names, without a separator at the end, or ''.
        strict: whether to refuse arrays other than those of the LSTM.
        forget_bias: the number that the framework adds to the bias of f in each call; None for the
            format's.

    Raises:
        KeyError: there is no LSTM, an array is missing, or, if strict, there are other arrays.
        TypeError: an array is not of floats.
        ValueError: there are several LSTMs, or a shape or a setting does not fit.
    """
    prefix, format = _find(source, path)
    own = {key[len(prefix) :]: source[key] for key in source if key.startswith(prefix)}
    given = settings.take(own, prefix)
    for name in own:
        kind = next((_UNSUPPORTED[end] for end in _UNSUPPORTED if name.endswith(end)), None)
        if kind:
            raise ValueError(f'{prefix}{name}: expected none, got {kind}, which no link has')
    arrays = format.unpack(own)
    reader = _Reader(format, arrays, prefix, forget_bias)
    layers = reader.layers()
    if strict and arrays:
        raise KeyError(
            f'{path or "source"}: expected only the arrays of {format.framework}, '
            f'got also {weights.listed([prefix + name for name in arrays])}: '
            'give strict=False to ignore them'
        )
    return Found(
        weights.Weights(
            layers,
            len(reader.directions),
            given.get('dropout', 0.0),
            settings.hard_sigmoid_slope(given),
        ),
        {name: given[name] for name in settings.OPTIONS if name in given},
    )


def _find(source: Arrays, path: str) -> tuple[str, Format]:
    """Return the prefix of the names of the LSTM, and its format."""
    path = path.rstrip(_SEPARATORS)
    exact: dict[str, list[Format]] = {}
    inside: dict[str, list[Format]] = {}
    others: dict[str, list[Format]] = {}
    for prefix, format in _candidates(source):
        below = not path or re.match(f'{re.escape(path)}[{format.separators}]', prefix)
        if prefix.rstrip(_SEPARATORS) == path:
            exact.setdefault(prefix, []).append(format)
        elif re.search(format.within, prefix):
            (inside if below else others).setdefault(prefix, []).append(format)
    found = exact or inside
    if len(found) == 1:
        ((prefix, formats),) = found.items()
        return prefix, max(formats, key=lambda format: _count(format, source, prefix))
    if found or others:
        places = weights.listed([repr(prefix.rstrip(_SEPARATORS)) for prefix in found or others])
        raise ValueError(
            f'path: expected {places}, or a list of them for stacked layers, got {path!r}'
        )
    frameworks = ', '.join(dict.fromkeys(format.framework for format in FORMATS))
    got = sorted(key for key in source if hasattr(source[key], 'shape'))
    raise KeyError(
        f'source: expected the weights of an LSTM by the names of {frameworks}, '
        f'got {weights.listed(got) or "none"} (arrays of Chainer: give the link too)'
    )


def _candidates(source: Arrays) -> Iterator[tuple[str, Format]]:
    """Yield the prefix of each match of a format's first name, and the format."""
    for format in FORMATS:
        first, *others = (_first_names(format, x)[0] for x in (format.W, format.U) if x)
        for key in source:
            prefix = key.removesuffix(first)
            if (
                key.endswith(first)
                and prefix[-1:] in ('', *format.separators)
                and all(prefix + name in source for name in others)
            ):
                yield prefix, format


def _count(format: Format, source: Arrays, prefix: str) -> int:
    """Return how many of a format's names exist; formats may have names in common."""
    templates = (format.W, format.U, *format.biases)
    names = [name for x in templates if x for name in _first_names(format, x)]
    return sum(prefix + name in source for name in names)


def _first_names(format: Format, template: str) -> list[str]:
    return _names(template, 0, format.directions[0])


def _names(template: str, layer: int, reverse: str) -> list[str]:
    """Return the name for a layer and direction, or a name for each gate."""
    gates = 'ifgo' if '{gate}' in template else ' '
    return [template.format(layer=layer, reverse=reverse, gate=gate) for gate in gates]


class _Reader:
    """Removes the arrays of all layers from a dictionary."""

    def __init__(
        self, format: Format, arrays: Arrays, prefix: str, forget_bias: Optional[float]
    ) -> None:
        self._format = format
        self._arrays = arrays
        self._prefix = prefix
        self._forget_bias = format.forget_bias if forget_bias is None else forget_bias
        self.directions = [
            word for word in format.directions if _names(format.W, 0, word)[0] in arrays
        ]

    def layers(self) -> list[weights.Layer]:
        found: list[weights.Layer] = []
        layer = 0
        while _names(self._format.W, layer, self.directions[0])[0] in self._arrays:
            width = len(self.directions) * found[0].U.shape[1] if found else None
            found += [self._layer(layer, word, width) for word in self.directions]
            layer += 1
        return found

    def _layer(self, layer: int, word: str, width: Optional[int]) -> weights.Layer:
        format = self._format
        W_names, U_names = (_names(x, layer, word) if x else [] for x in (format.W, format.U))
        rows, columns = self._shape(W_names[0])
        outputs = units = self._shape(U_names[0])[1] if U_names else rows // 4
        V_name = format.V.format(layer=layer, reverse=word)
        others: dict[str, numpy.ndarray] = {}
        if V_name in self._arrays:
            shape = (outputs, rows // 4)
            others['V'] = weights.checked(self._prefix + V_name, self._arrays.pop(V_name), shape)
            units = shape[1]
        if width is not None:
            columns = width if U_names else width + units
        W = self._join(W_names, (4 * units, columns))
        if U_names:
            U = self._join(U_names, (4 * units, outputs))
        elif columns > units:
            W, U = W[:, :-units], W[:, -units:]
        else:
            raise ValueError(
                f'{self._prefix}{W_names[0]}: expected weights of x and of h, '
                f'more than {units} for each unit, got {columns}'
            )
        biases = self._biases(layer, word, units, W.dtype)
        return weights.Layer(W, U, biases[0], biases[1] if len(biases) == 2 else None, others)

    def _biases(self, layer: int, word: str, units: int, dtype: Any) -> list[numpy.ndarray]:
        names = [_names(name, layer, word) for name in self._format.biases]
        if any(name in self._arrays for group in names for name in group):
            biases = [self._join(group, (4 * units,)) for group in names]
        else:
            biases = [numpy.zeros(4 * units, dtype)]
        forget = layout.split(biases[0], layout.INTERLEAVED)[2]  # a view
        forget += biases[0].dtype.type(self._forget_bias)
        return biases

    def _shape(self, name: str) -> tuple[int, int]:
        """Return the rows and columns of a matrix for W x."""
        shape = weights.checked(self._prefix + name, self._array(name), (None, None)).shape
        return shape[::-1] if self._format.transposed else shape

    def _join(self, names: list[str], shape: tuple[int, ...]) -> numpy.ndarray:
        """Remove arrays and return them as one array (4H, …), in the package's order of gates."""
        expected = (shape[0] // len(names), *shape[1:])
        if self._format.transposed:
            expected = expected[::-1]
        parts = [
            weights.checked(self._prefix + name, self._array(name), expected) for name in names
        ]
        for name in names:
            del self._arrays[name]
        if self._format.transposed:
            parts = [part.T for part in parts]
        x = numpy.concatenate(parts)
        return layout.convert(numpy, x, self._format.order, layout.INTERLEAVED)

    def _array(self, name: str) -> Any:
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(
                f'{self._prefix}{name}: expected in the weights of {self._format.framework}, '
                f'got {weights.listed([self._prefix + key for key in self._arrays]) or "nothing"} '
                'besides those read'
            ) from None
