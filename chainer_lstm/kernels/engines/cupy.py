"""The CuPy engine: cuBLAS for the products, one fused kernel for each stage of a step."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels import boundary, cuda
from chainer_lstm.kernels.arguments import Kernel
from chainer_lstm.kernels.engines.compiled import CompiledEngine

_THREADS = 256
_MAX_BLOCKS = 1024  # threads stride over what is left


class CupyEngine(CompiledEngine):
    """float16 stays float16 in memory; the kernels compute it in float32."""

    @property
    def xp(self) -> Any:
        import cupy

        return cupy

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        return numpy.result_type(*dtypes)

    def linear(self, x: Array, W: Array, b: Optional[Array] = None) -> Array:
        y = self.xp.matmul(x, W.T)
        if b is not None:
            y += b
        return y

    def launch(
        self, kernel: str, like: Array, *arrays: Optional[Array], numbers: Iterable[float] = ()
    ) -> None:
        expected = boundary.KERNELS[kernel]
        boundary.check(expected, like.dtype, like.shape, arrays)
        if like.size == 0:
            return
        given = self._given(expected, like.itemsize, arrays)
        addresses = [0 if x is None else self._address(x) for x in given]
        layout = expected.layout if like.dtype.char == 'd' else expected.layout_of_floats
        packed = layout.pack(*like.shape, *numbers, *addresses)
        blocks = min(-(-like.size // _THREADS), _MAX_BLOCKS)
        launch = cuda.stage_kernel(kernel, like.dtype.char)
        launch((blocks,), (_THREADS,), (numpy.frombuffer(packed, _value_of(len(packed))),))

    def _given(
        self, kernel: Kernel, itemsize: int, arrays: Sequence[Optional[Array]]
    ) -> list[Optional[Array]]:
        """Return the arrays as a kernel takes them: C-contiguous, and gates where those of a unit
        can be loaded at once.
        """
        contiguous = self.xp.ascontiguousarray
        load = (kernel.gates & -kernel.gates) * itemsize  # bytes
        given: list[Optional[Array]] = []
        for argument, x in zip(kernel.arguments, arrays):
            dense = None if x is None else contiguous(x)
            if x is not None and argument.written and dense is not x:
                boundary.dense(argument, x)
            if dense is not None and self._address(dense) % load and argument.axes[-1] == 'gates':
                if argument.written:
                    raise ValueError(
                        f'expected {argument.name}, which is written into, to lie at a multiple of '
                        f'{load} bytes'
                    )
                dense = dense.copy()
            given.append(dense)
        return given

    def _address(self, x: Array) -> int:
        return x.data.ptr


@functools.cache
def _value_of(size: int) -> numpy.dtype:
    """Return the dtype of one element of so many bytes, which CuPy passes to a kernel by value."""
    return numpy.dtype((numpy.void, size))


cupy_engine = CupyEngine()
