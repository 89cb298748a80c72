"""Reads npz files that have exactly the arrays of a link."""

from __future__ import annotations

import os
from typing import Any, BinaryIO, Union

import chainer
from chainer import serializers

from chainer_lstm.compat import npz
from chainer_lstm.interop import weights

_CONVERT = 'load the file into a link of its kind and give that to chainer_lstm.interop.convert'


def load(
    file: Union[str, os.PathLike[str], BinaryIO],
    link: chainer.Link,
    path: Any = '',
    strict: bool = True,
) -> None:
    """Load the npz file of a link, and refuse the file of another kind of link or of more layers.

    ``chainer.serializers.load_npz`` accepts any file that has the arrays of the link.

    Args:
        file: a path or a file object, written by ``save_npz``.
        link: any link or model.
        path: the prefix of the link's arrays in the file, such as ``'predictor/'``.
        strict: whether the file must have exactly the arrays of the link under the path.  If not,
            parameters without an array keep their values, and other arrays are ignored.

    Raises:
        KeyError: the file has an array that the link does not use, or lacks one.
        TypeError: link is not a link, or path not a string.
        ValueError: the file is not an npz file, or its arrays do not fit.

    After any error the links of the family are unchanged.
    """
    if not isinstance(link, chainer.Link):
        raise TypeError(f'link: expected a chainer.Link, got {type(link).__name__}')
    if not isinstance(path, str):
        raise TypeError(f'path: expected a string, got {type(path).__name__}')
    path = f'{path.strip("/")}/'.lstrip('/')
    with npz.Arrays(file, path) as arrays:
        if strict:
            _check_used(arrays, link, path)
        serializers.NpzDeserializer(arrays, path, strict).load(link)


def _check_used(arrays: npz.Arrays, link: chainer.Link, path: str) -> None:
    """Compare the keys of the file with those of the link, before any array is read.

    Raises:
        KeyError: the link does not use a key under the path.
    """
    own = {path + key for key in weights.arrays_of(link)}
    unused = sorted(key for key in arrays if key.startswith(path) and key not in own)
    if not unused:
        return
    key = min(own, default='')
    hint = arrays.hint(key) if own.isdisjoint(arrays) else ''
    if hint:
        raise KeyError(f'{key} is not in the npz file{hint}; or {_CONVERT}')
    only_state = all(key.rpartition('/')[2] in ('c', 'h') for key in unused)
    advice = 'set persistent_state of the link to read its state' if only_state else _CONVERT
    raise KeyError(
        f'file: expected only the arrays of a {type(link).__name__}, '
        f'got also {weights.listed(unused)}: {advice}, or give strict=False to ignore them'
    )
