"""Loading that changes nothing if the file does not fit the link."""

from __future__ import annotations

import collections
from typing import Any

import chainer
import numpy

from chainer_lstm.chainer_private import parameter_names


class CheckedLoading(chainer.Link):
    """A link that stays unchanged if a file has missing or misshapen arrays."""

    def serialize(self, serializer: Any) -> None:
        """Read or write the parameters.

        Raises:
            KeyError, ValueError: see ``check``; nothing was changed.
        """
        check(self, serializer)
        super().serialize(serializer)


def check(link: chainer.Link, serializer: Any) -> None:
    """Check that a file has every parameter of a link, of real numbers in the expected shape.

    All arrays are checked before the first parameter is set, so that a wrong file changes nothing.
    Chainer would broadcast a wrong shape, drop imaginary parts, or stop half-way.

    Args:
        link: any link.
        serializer: of the file; nothing is checked when it writes.

    Raises:
        KeyError: a parameter is missing (from the deserializer; from HDF5, for a whole link, a
            ValueError).
        ValueError: an array has another shape, or is not of real numbers; or links share a
            parameter and the file has different arrays for it.
    """
    if not isinstance(serializer, chainer.Deserializer):
        return
    uses = collections.Counter(
        id(getattr(child, name)) for child in link.links() for name in parameter_names(child)
    )
    shared: dict[int, tuple[str, Any]] = {}
    for path, child in link.namedlinks():
        place: Any = serializer
        for key in path.strip('/').split('/') if path != '/' else ():
            place = place[key]
        for name in parameter_names(child):
            data = place(name, None)
            if data is None:
                continue
            key = f'{path}/{name}'.strip('/')
            _check_array(key, data, child, name)
            param = id(getattr(child, name))
            if uses[param] > 1:
                first, expected = shared.setdefault(param, (key, data))
                if not same_bits(data, expected):
                    raise ValueError(
                        f'{key}: expected the values of {first}, the same parameter here, '
                        'got others; load the file into a link that does not tie them'
                    )


def _check_array(key: str, data: Any, link: chainer.Link, name: str) -> None:
    param = getattr(link, name)
    is_linear = isinstance(link, chainer.links.Linear)
    rows = link.out_size if is_linear else getattr(link, 'input_rows', None)
    if param.array is not None:
        expected = param.shape
    elif rows is not None:
        expected = (rows, *data.shape[-1:])  # any in_size
    else:
        expected = data.shape  # a link of the program, which takes its shapes from the file
    if data.dtype.kind not in 'fiub':
        raise ValueError(f'{key}: expected real numbers, got {data.dtype}')
    if data.shape != expected:
        raise ValueError(f'{key}: expected shape {expected}, got {data.shape}')


def same_bits(x: numpy.ndarray, y: numpy.ndarray) -> bool:
    """Return whether two arrays are equal bit by bit, so that NaN equals NaN."""
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
