"""The engines by name, and the choice among them."""

from __future__ import annotations

import functools
from typing import Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels import native
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.numpy import numpy_engine

ENGINES = ('numpy', 'native', 'cupy', 'persistent')


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
    if name != 'auto' and (name not in ('cupy', 'persistent')) != on_cpu:
        raise _refused(name, f'it cannot compute {type(x).__module__} arrays')
    if not on_cpu:
        # needs CuPy, which CPU users do not have
        from chainer_lstm.kernels.engines import auto

        return auto.engine_of(name, precision, measure)
    found = None if name == 'numpy' else _native_engine()
    if found is not None and x.dtype.char in 'efd':
        return found
    if name == 'native' and found is None:
        from chainer_lstm.kernels.native.missing import why_missing  # scans the installed packages

        raise _refused(name, f'it was {why_missing()}')
    if name == 'native':
        raise _refused(name, f'it computes float16, float32 and float64, not {x.dtype}')
    return numpy_engine


def check_gpu() -> None:
    """Wait for the current GPU and raise if a kernel of the persistent engine timed out.

    Without this call the next sequence raises the error; after the last sequence, nothing does.

    Raises:
        RuntimeError: a kernel timed out since the last sequence began; its results are NaN.
    """
    from chainer_lstm.kernels.engines import persistent

    persistent.check()


def _refused(name: str, reason: str) -> ValueError:
    return ValueError(
        f'expected chainer.config.lstm_engine to be one of {("auto", *ENGINES)}, got {name!r}: '
        f'{reason}'
    )


@functools.cache
def _native_engine() -> Optional[Engine]:
    """Return the native engine with the best instruction set; None if the library is missing."""
    from chainer_lstm.kernels.engines.native import NativeEngine

    sets = native.instruction_sets()
    return NativeEngine(sets[0]) if sets else None
