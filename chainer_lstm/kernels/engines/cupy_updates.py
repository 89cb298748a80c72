"""Updates of parameters on a GPU: one launch for the norm of all gradients, and one for a rule.

The addresses are passed by value in the argument of a launch: nothing is copied to the device, and
CUDA graphs can capture it.  ``_MOST`` parameters fit into a launch; more take more launches.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels import captured, cuda
from chainer_lstm.kernels.engines.types import Number, Scale

_THREADS = 256
_MAX_BLOCKS = 1024  # blocks stride over further tiles
_MOST = 64  # parameters of a launch, of five arrays each: an argument has no more than 4 KB
_LOAD = 16  # bytes of a vector
_RATES = 8
_NONE = (0.0, 0)
_TYPES = {'f': 'float', 'd': 'double'}
# struct Update in updates.cu, to its parameters
_UPDATE = struct.Struct(f'Pq{"dP" * (1 + _RATES)}q')

Value = tuple[float, int]  # a number, or 0 and the address from which a captured graph reads it


class Clipping(NamedTuple):
    """The scale of gradients min(threshold / norm, 1), computed on the device.

    Attributes:
        sums: float64, parts of the sum of the squares.
        threshold: the largest norm.
    """

    sums: Array
    threshold: Value


class Launch(NamedTuple):
    """The parameters of a launch.

    Attributes:
        arrays: the arrays of each parameter, of all in the same number.
        ends: for each parameter the number of tiles until its end.
    """

    arrays: Sequence[Sequence[Array]]
    ends: Sequence[int]

    @property
    def blocks(self) -> int:
        """The number of blocks, which stride over tiles."""
        return min(self.ends[-1], _MAX_BLOCKS)


class CupyUpdates:
    """The methods of ``CupyEngine`` for updates, of float32 and float64."""

    xp: Any

    def _address(self, x: Array) -> int:
        raise NotImplementedError

    def span(self, x: Any) -> Optional[tuple[int, int]]:
        if type(x) is not self.xp.ndarray or x.dtype.char not in _TYPES:
            return None
        if not x.flags.c_contiguous or x.data.device_id != self.xp.cuda.get_device_id():
            return None
        return (self._address(x), x.nbytes) if x.size else (0, 0)

    def clipping(self, gradients: Sequence[Array], threshold: Number) -> Scale:
        by_dtype: dict[numpy.dtype, list[Sequence[Array]]] = {}
        for g in gradients:
            by_dtype.setdefault(g.dtype, []).append((g,))
        launches = [launch for of_dtype in by_dtype.values() for launch in _launches(of_dtype)]
        sums = self.xp.empty(sum(launch.blocks for launch in launches), numpy.float64)
        start = self._address(sums)
        for launch in launches:
            self._launch_update('sum_of_squares', launch, (start, 0, *_NONE))
            start += launch.blocks * sums.itemsize
        return Clipping(sums, _value(threshold))

    def update(
        self, rule: str, given: Sequence[Sequence[Array]], scale: Scale, rates: Sequence[Number]
    ) -> None:
        _check(rule, given)
        if scale is None:
            clipping = (0, 0, *_NONE)
        else:
            clipping = (self._address(scale.sums), scale.sums.size, *scale.threshold)
        values = [part for rate in rates for part in _value(rate)]
        for launch in _launches(given):
            self._launch_update(rule, launch, clipping, values)

    def _launch_update(
        self,
        rule: str,
        launch: Launch,
        clipping: Sequence[float],
        rates: Sequence[float] = (),
    ) -> None:
        arrays, dtype = len(launch.arrays[0]), launch.arrays[0][0].dtype
        packed = bytearray(argument_size(arrays))
        missing = _NONE * (_RATES - len(rates) // 2)
        _UPDATE.pack_into(packed, 0, *clipping, *rates, *missing, launch.ends[-1])
        of_parameter, at = _parameter(arrays), _UPDATE.size
        for given, end in zip(launch.arrays, launch.ends):
            addresses = map(self._address, given)
            of_parameter.pack_into(packed, at, given[0].size, end, *addresses)
            at += of_parameter.size
        kernel = cuda.update_kernel(*program(rule, arrays, dtype.char))
        argument = numpy.frombuffer(packed, (numpy.void, len(packed)))
        shared_bytes = _THREADS * struct.calcsize('d')
        kernel((launch.blocks, 1, 1), (_THREADS,), (argument,), shared_mem=shared_bytes)


def program(rule: str, arrays: int, dtype_char: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of a kernel and its compiler options.

    Args:
        rule: 'sum_of_squares', 'scale', 'sgd' or 'adam'.
        arrays: the number of arrays of each parameter.
        dtype_char: 'f' or 'd'.
    """
    return _program(rule, arrays, dtype_char, _THREADS, _MOST)


@functools.cache
def _program(
    rule: str, arrays: int, dtype_char: str, threads: int, most: int
) -> tuple[str, tuple[str, ...]]:
    name = f'multi_{rule}'
    constants = {
        'KERNEL': name,
        'RULE': rule.upper(),
        'REAL': _TYPES[dtype_char],
        'ARRAYS': arrays,
        'MOST': most,
        'THREADS': threads,
        'BYTES': argument_size(arrays),
    }
    return name, cuda.options(constants)


def _parameter(arrays: int) -> struct.Struct:
    """Return the layout of struct Parameter in updates.cu."""
    return struct.Struct(f'qq{arrays}P')


def argument_size(arrays: int) -> int:
    """Return the bytes of the argument of a launch, struct Update in updates.cu."""
    return _UPDATE.size + _MOST * _parameter(arrays).size


def _check(rule: str, given: Sequence[Sequence[Array]]) -> None:
    """Compare the arrays of each parameter.

    Raises:
        ValueError: they have different shapes or dtypes.
    """
    for g, *others in given:
        for x in others:
            if x.shape != g.shape or x.dtype != g.dtype:
                raise ValueError(
                    f'{rule}: expected arrays of shape {g.shape} and {g.dtype}, '
                    f'got {x.shape} and {x.dtype}'
                )


def _launches(parameters: Sequence[Sequence[Array]]) -> Iterator[Launch]:
    """Yield the launches for the arrays of parameters, except empty ones."""
    filled = [arrays for arrays in parameters if arrays[0].size]
    for k in range(0, len(filled), _MOST):
        arrays, ends, end = filled[k : k + _MOST], [], 0
        for g, *_ in arrays:
            end += -(-g.size * g.itemsize // (_THREADS * _LOAD))
            ends.append(end)
        yield Launch(arrays, ends)


def _value(number: Number) -> Value:
    """Return a number, or the address from which the graph being captured reads it."""
    inputs = captured.current()
    return (float(number()), 0) if inputs is None else (0.0, inputs.address(number))
