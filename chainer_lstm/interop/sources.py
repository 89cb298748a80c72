"""Reads files and objects of other frameworks as arrays and settings by name; a framework is
imported only when needed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chainer_lstm.compat import npz
from chainer_lstm.interop import formats, settings


def is_npz(source: Any) -> bool:
    """Return whether a source is the path of an npz file, or a file object."""
    return hasattr(source, 'read') or _ending(source) == '.npz'


def named(source: Any) -> formats.Arrays:
    """Return the arrays and settings in a file or object.

    Raises:
        OSError: the file cannot be read.
        TypeError: source is not a path, a file object or an object of a known framework.
        ValueError: the format of the file does not match its name.
    """
    if is_npz(source):
        with npz.Arrays(source) as arrays:
            source = {key: arrays[key] for key in arrays}
    elif isinstance(source, (str, os.PathLike)):
        source = _of_file(source)
    if not isinstance(source, (Mapping, list, tuple)) and _framework(source) is None:
        raise TypeError(
            'source: expected a path, a dictionary of arrays, or a module of torch, Keras, '
            f'Flax nnx or equinox, got {type(source).__name__}'
        )
    return dict(_flat(source, ()))


def _ending(source: Any) -> str:
    is_path = isinstance(source, (str, os.PathLike))
    return os.path.splitext(os.fspath(source))[1].lower() if is_path else ''


def _of_file(path: Any) -> Any:
    ending = _ending(path)
    if ending == '.safetensors':
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f'source: expected a safetensors file: {error}') from error
    if ending not in ('.pt', '.pth'):
        raise ValueError(
            'source: expected a file that ends in .npz, .safetensors, .pt or .pth, '
            f'got {os.fspath(path)!r}'
        )
    import pickle

    import torch

    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # depends on the content of the file
        got = 'other objects' if isinstance(error, pickle.UnpicklingError) else 'no file of torch'
        raise ValueError(
            f'source: expected a state_dict in {os.fspath(path)!r}, as '
            f'torch.save(module.state_dict(), path) writes it, got {got}'
        ) from error


def _flat(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the arrays and settings of nested containers, with the names joined by slashes."""
    if isinstance(value, (list, tuple)):
        value = {str(k): item for k, item in enumerate(value)}
    elif not hasattr(value, '__array__') and _framework(value) is not None:
        value = _OBJECTS[_framework(value)](value)
    if isinstance(value, Mapping):
        for key in value:
            yield from _flat(value[key], (*path, str(key)))
        return
    # names in TensorFlow end in :0; nnx writes if_, because if is a keyword
    name = re.sub('(_|:0)(?=/|$)', '', '/'.join(path))
    if getattr(value, 'shape', ()):
        yield name, value
    elif re.split('[./]', name)[-1].removesuffix('_reverse') in settings.NAMES:
        yield name, getattr(value, '__name__', value)


def _framework(value: Any) -> Any:
    modules = (base.__module__.partition('.')[0] for base in type(value).__mro__)
    return next((name for name in modules if name in _OBJECTS), None)


def _of_torch(module: Any) -> dict[str, Any]:
    import torch

    found = dict(module.state_dict())
    for path, child in module.named_modules():
        if isinstance(child, torch.nn.LSTM):
            for name in ('batch_first', 'dropout'):
                found[f'{path}.{name}'.lstrip('.')] = getattr(child, name)
    return found


def _of_keras(layer: Any) -> dict[str, Any]:
    kinds = {base.__name__ for base in type(layer).__mro__}
    if 'Bidirectional' in kinds:
        forward, reverse = (_of_keras(x) for x in (layer.forward_layer, layer.backward_layer))
        del reverse['go_backwards']
        found = {**forward, **{f'{key}_reverse': value for key, value in reverse.items()}}
        return {**found, 'merge_mode': layer.merge_mode}
    if kinds & {'LSTM', 'LSTMCell', 'CuDNNLSTM'}:
        names = ('activation', 'recurrent_activation', 'go_backwards', 'return_sequences')
        given = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
        if getattr(given.get('recurrent_activation'), '__name__', '') == 'hard_sigmoid':
            given['hard_sigmoid_slope'] = _hard_sigmoid_slope(layer)
        weights = zip(('kernel', 'recurrent_kernel', 'bias'), layer.get_weights())
        return {**dict(weights), **given}
    return {child.name: child for child in getattr(layer, 'layers', ())}  # a model


def _hard_sigmoid_slope(layer: Any) -> float:
    """Return the slope of Keras's ``hard_sigmoid``, which Keras 3 changed."""
    framework = _framework(layer)
    version = sys.modules['keras'].__version__ if framework == 'keras' else '2'
    return 0.2 if int(version.partition('.')[0]) < 3 else 1 / 6


def _of_flax(module: Any) -> dict[str, Any]:
    from flax import nnx

    found: dict[str, Any] = dict(nnx.state(module, nnx.Param))
    for path, child in nnx.iter_modules(module):
        for name in ('activation_fn', 'gate_fn'):
            if hasattr(child, name):
                found['/'.join(map(str, (*path, name)))] = getattr(child, name)
    return found


_OBJECTS: dict[str, Callable[[Any], Mapping]] = {
    'torch': _of_torch,
    'keras': _of_keras,
    'tf_keras': _of_keras,
    'tensorflow': _of_keras,
    'flax': _of_flax,
    'equinox': vars,
}
