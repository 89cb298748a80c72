"""Products of float32 matrices by cuBLAS, with the precision as an argument, and of float16
matrices into float32.

In CuPy the precision is one setting for all threads, and a call of ``matmul`` costs several times
as much of the host's time.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels import captured

# from cublas_api.h and library_types.h
FLOAT32, TF32 = 68, 77  # CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32
_CUDA_R_32F, _CUDA_R_16F, _DEFAULT_ALGORITHM = 0, 2, -1
_DTYPE, _HALF = numpy.dtype(numpy.float32), numpy.dtype(numpy.float16)
_ONE, _ZERO = numpy.ones(1, numpy.float32), numpy.zeros(1, numpy.float32)
_ONE_AT, _ZERO_AT = _ONE.ctypes.data, _ZERO.ctypes.data


def operand(x: Array) -> Optional[tuple[int, int]]:
    """Return how cuBLAS, which is column-major, reads the transpose of a matrix: the operation (0
    for none, 1 for transposed) and the leading dimension.

    None if neither its rows nor its columns are contiguous, or they overlap.
    """
    (rows, columns), (of_row, of_column), size = x.shape, x.strides, x.itemsize
    if of_column == size and of_row >= columns * size and of_row % size == 0:
        return 0, of_row // size
    if of_row == size and of_column >= rows * size and of_column % size == 0:
        return 1, of_column // size
    return None


@functools.cache
def _functions(xp: Any) -> tuple[Callable[..., None], Callable[[], int]]:
    """Return cuBLAS's product, and the function that returns its handle on the current device."""
    return xp.cuda.cublas.gemmEx, xp.cuda.device.get_cublas_handle


def _captured_functions(xp: Any) -> tuple[Callable[..., None], Callable[[], int]]:
    """Return the same functions for the stream that is being captured: CuPy refuses products there.

    The graph gets a workspace of its own, for it may run beside eager products, whose stream and
    workspace CuPy sets again.

    Raises:
        RuntimeError: cuBLAS fails.
    """
    inputs = captured.current()
    assert inputs is not None
    library = _library(xp.cuda.runtime.runtimeGetVersion() // 1000)
    handle = xp.cuda.device.get_cublas_handle()
    workspace = inputs.workspace
    _check(library.cublasSetStream_v2(handle, xp.cuda.get_current_stream().ptr))
    _check(library.cublasSetWorkspace_v2(handle, workspace.data.ptr, workspace.nbytes))
    return lambda *arguments: _check(library.cublasGemmEx(*arguments)), lambda: handle


@functools.cache
def _library(version: int) -> ctypes.CDLL:
    """Return cuBLAS, which CuPy has loaded."""
    library = ctypes.CDLL(f'libcublas.so.{version}')
    address: Any = ctypes.c_void_p
    number: Any = ctypes.c_int
    library.cublasSetStream_v2.argtypes = [address, address]
    library.cublasSetWorkspace_v2.argtypes = [address, address, ctypes.c_size_t]
    library.cublasGemmEx.argtypes = [
        *[address, number, number, number, number, number],  # operations and sizes
        *[address, address, number, number, address, number, number],  # alpha, a, b
        *[address, address, number, number],  # beta, c
        *[number, number],  # how to compute
    ]
    return library


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f'cuBLAS returned the status {status} while a CUDA graph was captured')


def product(xp: Any, a: Array, b: Array, out: Optional[Array], precision: int) -> Optional[Array]:
    """Return a b, (M, K) and (K, N), or None for operands that ``matmul`` has to compute.

    Args:
        xp: CuPy.
        a, b: the matrices, of the current device; with ``out`` also of float16.
        out: float32, C-contiguous (M, N), or None for a new array.
        precision: of products of float32: ``FLOAT32`` or ``TF32``.
    """
    if not (a.ndim == b.ndim == 2 and a.dtype == b.dtype):
        return None
    if a.dtype == _HALF and out is not None:
        dtype, precision = _CUDA_R_16F, FLOAT32
    elif a.dtype == _DTYPE:
        dtype = _CUDA_R_32F
    else:
        return None
    (rows, inner), (other, columns) = a.shape, b.shape
    first, second = operand(a), operand(b)
    if first is None or second is None or other != inner or rows * inner * columns == 0:
        return None
    y = xp.empty((rows, columns), numpy.float32) if out is None else out
    if y.shape != (rows, columns) or y.dtype != _DTYPE or not y.flags.c_contiguous:
        return None
    gemm, handle = _functions(xp) if captured.current() is None else _captured_functions(xp)
    # row-major y = a b is column-major yᵀ = bᵀ aᵀ
    (of_b, apart_b), (of_a, apart_a) = second, first
    gemm(
        handle(), of_b, of_a, columns, rows, inner,
        _ONE_AT, b.data.ptr, dtype, apart_b, a.data.ptr, dtype, apart_a,
        _ZERO_AT, y.data.ptr, _CUDA_R_32F, columns, precision, _DEFAULT_ALGORITHM,
    )  # fmt: skip
    return y
