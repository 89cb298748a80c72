"""``load``: a link of the weights in a file or object of any framework."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    The names of the arrays show the framework: torch, Keras, TensorFlow 1, Flax, Haiku, equinox,
    Gluon or NNabla.  A bias that the framework adds to the forget gate in each call becomes part
    of the link's.

    Args:
        source: a file ``.safetensors``, ``.pt``, ``.pth`` or ``.npz``, by its path; a dictionary of
            arrays, which may be nested; a module of torch, a layer of Keras, a module of Flax nnx
            or equinox; or a list of these.  With an ``.npz`` file and a link, the file has the
            arrays of that link, as ``chainer.serializers.save_npz`` wrote it, and the link may be
            any.
        into: a class for a new link, or a link, whose weights are set.  Default:
            ``SequenceLSTM``, with ``return_sequences``, unless a Keras layer has it off, and
            ``batch_first``, unless a torch module has it off.
        path: where the names begin, such as ``'encoder.rnn'``, if the source has several LSTMs.
            A list has the path of each layer, of a bidirectional one a pair (forward, reverse).
        strict: whether the source has to have the arrays of the LSTM at its path and no others.
            If not, others are ignored (and missing ones of a link in an ``.npz`` file).
        forget_bias: what the framework adds to the forget gate in each call.  Default: 1 for
            TensorFlow 1 and Haiku, 0 for all others.

    Returns:
        The new link, or into.

    Raises:
        KeyError: the source has no LSTM, misses an array or has others.
        OSError: the file cannot be read.
        TypeError: a source, link or array of another kind.
        ValueError: the source has several LSTMs at the path; or an array, an activation or
            another setting does not fit.

    After any error the links of the family are as they were.
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
    into = links.SequenceLSTM if into is None else into
    link = weights.write(stacked, into)
    if isinstance(into, type) and isinstance(link, links.SequenceLSTM):
        for name, value in {'return_sequences': True, **found[-1][0].options}.items():
            setattr(link, name, value)
    return link


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
    """Put single layers on top of each other, and the second of a pair beside the first."""
    layers: list[weights.Layer] = []
    for names, parts in zip(groups, found):
        for name, part in zip(names, parts):
            if len(part.weights.layers) != 1:
                raise ValueError(
                    f'{name}: expected 1 layer in 1 direction in a list of paths, got '
                    f'{part.weights.sizes[0]} in {part.weights.directions}'
                )
            layers += part.weights.layers
    return weights.Weights(layers, len(groups[0]))
