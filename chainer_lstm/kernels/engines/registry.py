"""The engines by name, and the choice among them."""

from __future__ import annotations

import functools
from typing import Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels import native
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.numpy import numpy_engine

_OF_CPU, _OF_GPU = ('numpy', 'native'), ('cupy', 'persistent')
ENGINES = (*_OF_CPU, *_OF_GPU)


def engine_of(
    x: Array, name: str = 'auto', precision: str = 'highest', measure: bool = True
) -> Engine:
    """Return the engine for arrays on the device of ``x``.

    Args:
        x: an array.
        name: 'auto', or the name of an engine that must be used.
        precision: of float32 products, 'highest', 'high' or 'medium'; an
            engine may be more exact.
        measure: whether 'auto' may choose by measured times, which differ from run to run.

    Raises:
        ValueError: there is no such engine, or it cannot compute such arrays.
    """
    on_cpu = isinstance(x, numpy.ndarray)
    if name not in ('auto', *ENGINES):
        raise _refused(name, 'there is no such engine')
    possible = _OF_CPU if on_cpu else _OF_GPU
    if name not in ('auto', *possible):
        raise _refused(name, f'it cannot compute {type(x).__module__} arrays', possible)
    if not on_cpu:
        # needs CuPy, which CPU users do not have
        from chainer_lstm.kernels.engines import auto

        return auto.engine_of(name, precision, measure)
    found = None if name == 'numpy' else _native_engine()
    if found is not None and x.dtype.char in 'efd':
        return found
    if name == 'native' and found is None:
        from chainer_lstm.kernels.native.missing import why_missing  # scans the installed packages

        raise _refused(name, f'it was {why_missing()}', ('numpy',))
    if name == 'native':
        reason = f'it computes float16, float32 and float64, not {x.dtype}'
        raise _refused(name, reason, ('numpy',))
    return numpy_engine


def check_gpu() -> None:
    """Wait for the current GPU and raise if a kernel of the persistent engine timed out.

    Without this call the next sequence raises the error; after the last sequence, nothing does.

    Raises:
        RuntimeError: a kernel timed out since the last sequence began; its results are NaN.
    """
    from chainer_lstm.kernels.engines import persistent

    persistent.check()


def _refused(name: str, reason: str, possible: tuple[str, ...] = ENGINES) -> ValueError:
    return ValueError(
        f'expected chainer.config.lstm_engine to be one of {("auto", *possible)}, got {name!r}: '
        f'{reason}'
    )


@functools.cache
def _native_engine() -> Optional[Engine]:
    """Return the native engine with the best instruction set; None if the library is missing."""
    from chainer_lstm.kernels.engines.native import NativeEngine

    sets = native.instruction_sets()
    return NativeEngine(sets[0]) if sets else None
