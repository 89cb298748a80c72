"""``load``: links from files and objects of many frameworks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import chainer

from chainer_lstm import links
from chainer_lstm.functions.checks import number
from chainer_lstm.interop import formats, npz_file, sources, weights

Path = Union[str, Sequence[Union[str, Sequence[str]]]]


def load(
    source: Any,
    into: Optional[weights.Into] = None,
    path: Path = '',
    strict: bool = True,
    *,
    forget_bias: Optional[float] = None,
) -> chainer.Link:
    """Load the weights of an LSTM from a file or object of another framework, or of Chainer.

    The framework is recognized by the names of the arrays: torch, Keras, TensorFlow 1, Flax, Haiku,
    equinox, Gluon or NNabla.  A number that the framework adds to the forget gate in each call
    becomes part of the link's bias.

    Args:
        source: the path of a ``.safetensors``, ``.pt``, ``.pth`` or ``.npz`` file; a dictionary of
            arrays, which may be nested; a torch module, a Keras layer, a module of Flax nnx or
            equinox; or a list of these.  With an ``.npz`` file and a link, of any class, the file
            has the arrays of that link, as ``chainer.serializers.save_npz`` writes them.
        into: a class for a new link, or a link whose weights are set.  Default: ``SequenceLSTM``,
            with ``return_sequences``, unless a Keras layer has it off, and ``batch_first``, unless
            a torch module has it off.  A new ``SequenceLSTM`` also gets ``go_backwards``,
            ``merge_mode`` and the hard sigmoid of a Keras layer; any other target must already
            have the same settings.
        path: the common prefix of the names, such as ``'encoder.rnn'``, if the source has several
            LSTMs.  A list has the path of each layer, or a pair (forward, reverse) for each
            bidirectional layer.
        strict: whether the source must have exactly the arrays of the LSTM at its path.  If not,
            other arrays are ignored (and missing arrays of a link in an ``.npz`` file).
        forget_bias: the number that the framework adds to the forget gate in each call.  Default: 1
            for TensorFlow 1 and Haiku, 0 for all others.

    Returns:
        The new link, or ``into``.

    Raises:
        KeyError: the source has no LSTM, lacks an array or has others.
        OSError: the file cannot be read.
        TypeError: the source, the link or an array is of another kind.
        ValueError: the source has several LSTMs at the path; or an array, an activation or another
            setting does not fit.

    After any error the links of the family are unchanged.

    Example:
        >>> import numpy
        >>> state = {  # the state_dict of a torch model
        ...     'rnn.weight_ih_l0': numpy.ones((80, 10), 'f'),
        ...     'rnn.weight_hh_l0': numpy.ones((80, 20), 'f'),
        ...     'rnn.bias_ih_l0': numpy.zeros(80, 'f'),
        ...     'rnn.bias_hh_l0': numpy.zeros(80, 'f'),
        ... }
        >>> load(state)(numpy.ones((3, 7, 10), 'f')).shape
        (3, 7, 20)
    """
    if sources.is_npz(source) and into is not None and not isinstance(into, type):
        npz_file.load(source, into, path, strict)  # which checks the path
        return into
    if forget_bias is not None:
        forget_bias = number('forget_bias', forget_bias, -math.inf)
    groups = _groups(path)
    arrays = sources.named(source)
    found = [
        [formats.read(arrays, name, strict, forget_bias) for name in names] for names in groups
    ]
    stacked = found[0][0].weights if isinstance(path, str) else _stacked(groups, found)
    options = _options([parts[0].options for parts in found], stacked.directions)
    into = links.SequenceLSTM if into is None else into
    if isinstance(into, type) and issubclass(into, links.SequenceLSTM):
        link = weights.write(stacked, into)
        for name, value in {'return_sequences': True, **options}.items():
            setattr(link, name, value)
        return link
    _check_order(options, into)
    return weights.write(stacked, into)


def _options(layers: Sequence[Mapping[str, Any]], directions: int) -> dict[str, Any]:
    """Return the options of a ``SequenceLSTM`` from the options of its layers.

    Only the first layer may go backwards: the layers above it take its outputs in their order.
    """
    backwards = [options.get('go_backwards', False) for options in layers]
    if any(backwards[1:]) or (backwards[0] and directions == 2):
        raise ValueError(
            'go_backwards: expected True of the first layer of one direction alone, '
            f'got {", ".join(map(str, backwards))}, in {directions} directions'
        )
    options = {**layers[-1]}
    if backwards[0]:
        options['go_backwards'] = True
    if directions == 1 and options.get('merge_mode', 'concat') != 'concat':
        raise ValueError(
            f'merge_mode: expected two directions, got {options["merge_mode"]!r} of one'
        )
    return options


def _check_order(options: Mapping[str, Any], into: weights.Into) -> None:
    """Expect a target that orders and merges outputs as the settings of the source say."""
    for name, default in (('go_backwards', False), ('merge_mode', 'concat')):
        got, expected = options.get(name), getattr(into, name, default)
        if got is not None and got != expected:
            kind = into.__name__ if isinstance(into, type) else type(into).__name__
            raise ValueError(f'{name}: expected {expected!r} for {kind}, got {got!r}')


def _groups(path: Path) -> list[tuple[str, ...]]:
    """Return the paths of each layer, one for each direction."""
    layers = [path] if isinstance(path, str) else path
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f'path: expected a string or a list, got {type(path).__name__}')
    groups = [(layer,) if isinstance(layer, str) else layer for layer in layers]
    for group in groups:
        if not isinstance(group, (list, tuple)) or not all(isinstance(x, str) for x in group):
            raise TypeError(f'path: expected a string or a list of strings or pairs, got {path}')
    if {len(group) for group in groups} not in ({1}, {2}):
        raise ValueError(
            'path: expected a path for each layer, or for each a pair (forward, reverse), '
            f'got {path}'
        )
    return [tuple(group) for group in groups]


def _stacked(
    groups: Sequence[Sequence[str]], found: Sequence[Sequence[formats.Found]]
) -> weights.Weights:
    """Return the weights of a stack of single layers, or of pairs for both directions."""
    layers: list[weights.Layer] = []
    for names, parts in zip(groups, found):
        for name, part in zip(names, parts):
            if len(part.weights.layers) != 1:
                raise ValueError(
                    f'{name}: expected 1 layer in 1 direction in a list of paths, got '
                    f'{part.weights.sizes[0]} in {part.weights.directions}'
                )
            layers += part.weights.layers
    slopes = {part.weights.hard_sigmoid_slope for parts in found for part in parts}
    if len(slopes) > 1:
        raise ValueError(
            'recurrent_activation: expected one for all layers, got hard sigmoids of slopes '
            f'{", ".join(map(str, slopes))}'
        )
    return weights.Weights(layers, len(groups[0]), hard_sigmoid_slope=slopes.pop())
