"""Which engines can be tested on this machine."""

import functools

import pytest

from chainer_lstm.kernels import native
from tests.kernels import cuda_on_cpu

ENGINES = frozenset(('native', 'baseline', 'avx2', 'avx512', 'cuda', 'cuda on cpu', 'cupy'))


@functools.cache
def is_missing(engine):
    if engine == 'cupy':
        return no_gpu() is not None
    if engine.startswith('cuda'):
        return cuda_on_cpu.missing() is not None
    return engine not in ('native', *native.instruction_sets()) or native.library() is None


CPU_ENGINES = [
    'numpy',
    pytest.param(
        'native',
        marks=pytest.mark.skipif(
            native.library() is None, reason='the native engine was not built'
        ),
    ),
]


@functools.cache
def no_gpu():
    """Why there is no GPU to test on, or None."""
    try:
        import cupy

        cupy.zeros(1).sum().item()
    except ImportError as error:
        return f'CuPy cannot be imported: {error}'
    except Exception as error:  # whatever CUDA reports
        return f'no usable GPU: {error}'
    return None
