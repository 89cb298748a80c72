"""The CuPy engine: cuBLAS for products, and one fused kernel for each stage of a step."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels import boundary, cuda
from chainer_lstm.kernels.arguments import Kernel
from chainer_lstm.kernels.engines import cublas
from chainer_lstm.kernels.engines.compiled import CompiledEngine
from chainer_lstm.kernels.engines.cupy_functions import FunctionKernels
from chainer_lstm.kernels.engines.cupy_updates import CupyUpdates
from chainer_lstm.kernels.engines.types import Gradients, Layer

_THREADS = 256
_MAX_BLOCKS = 1024  # beyond that, threads stride over the remaining units


class CupyEngine(FunctionKernels, CupyUpdates, CompiledEngine):
    """float16 arrays stay float16 in memory; the kernels compute in float32."""

    takes_states = True

    @functools.cached_property
    def xp(self) -> Any:
        import cupy

        return cupy

    def wide_dtype(self, *dtypes: Any) -> numpy.dtype:
        return numpy.result_type(*dtypes)

    def matmul(self, a: Array, b: Array, out: Optional[Array] = None) -> Array:
        compute_type = self._compute_type()
        found = None
        if compute_type is not None:
            found = cublas.product(self.xp, a, b, out, compute_type)
        return super().matmul(a, b, out) if found is None else found

    def linear(self, x: Array, W: Array, b: Optional[Array] = None) -> Array:
        y = self.matmul(x, W.T)
        if b is not None:
            y += b
        return y

    def _compute_type(self) -> Optional[int]:
        """Return the compute type of float32 products for ``cublas.product``; None if CuPy's own
        setting, such as CUPY_TF32, must decide.
        """
        core = self.xp._core  # CuPy has no public name for this
        default = core._routines_linalg.COMPUTE_TYPE_DEFAULT
        return cublas.FLOAT32 if core.get_compute_type(numpy.float32) == default else None

    def sequence_forward(self, layers: Sequence[Layer], keep: bool) -> list[Optional[Array]]:
        for layer in layers:
            layer.begin()
        gates = super().sequence_forward(layers, keep)
        for layer in layers:
            layer.end(self.xp)
        return gates

    def sequence_backward(
        self, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
    ) -> list[Any]:
        for given in gradients:
            given.begin()
        return super().sequence_backward(layers, gates, gradients)

    def launch(
        self, kernel: str, like: Array, *arrays: Optional[Array], numbers: Iterable[float] = ()
    ) -> None:
        expected = boundary.KERNELS[kernel]
        boundary.check(expected, like.dtype, like.shape, arrays)
        if like.size == 0:
            return
        given = self._given(expected, like.itemsize, arrays)
        argument = self._argument(expected, like.dtype, (*like.shape, *numbers), given)
        blocks = min(-(-like.size // _THREADS), _MAX_BLOCKS)
        launch = cuda.stage_kernel(kernel, like.dtype.char)
        launch((blocks,), (_THREADS,), (argument,))

    def launch_function(
        self,
        kernel: str,
        dtype: numpy.dtype,
        sizes: Sequence[int],
        arrays: Sequence[Optional[Array]],
        blocks: tuple[int, ...],
        threads: int,
        numbers: Sequence[float] = (),
        shared_numbers: int = 0,
    ) -> None:
        expected = boundary.CUDA[kernel]
        boundary.check(expected, dtype, sizes, arrays)
        given = self._given(expected, dtype.itemsize, arrays)
        argument = self._argument(expected, dtype, (*sizes, *numbers), given)
        integers = [x.itemsize for x in given if x is not None and x.dtype.kind == 'i']
        launch = cuda.function_kernel(kernel, dtype.char, integers[0] if integers else 4)
        shared_bytes = shared_numbers * max(dtype.itemsize, 4)
        launch(blocks, (threads,), (argument,), shared_mem=shared_bytes)

    def _argument(
        self,
        kernel: Kernel,
        dtype: numpy.dtype,
        sizes: Sequence[float],
        given: Sequence[Optional[Array]],
    ) -> numpy.ndarray:
        """Return the struct of a kernel, of its sizes, numbers and arrays, as one value."""
        addresses = [0 if x is None else self._address(x) for x in given]
        layout = kernel.layout if dtype.char == 'd' else kernel.layout_of_floats
        packed = layout.pack(*sizes, *addresses)
        return numpy.frombuffer(packed, _value_of(len(packed)))

    def _given(
        self, kernel: Kernel, itemsize: int, arrays: Sequence[Optional[Array]]
    ) -> list[Optional[Array]]:
        """Return the arrays as a kernel takes them: C-contiguous, and gates aligned so that the
        gates of a unit are one vector load.
        """
        load = (kernel.gates & -kernel.gates) * itemsize  # bytes
        given: list[Optional[Array]] = []
        for argument, x in zip(kernel.arguments, arrays):
            if x is not None:
                if not x.flags.c_contiguous:
                    if argument.written:
                        boundary.dense(argument, x)
                    x = self.xp.ascontiguousarray(x)
                if argument.axes[-1] == 'gates' and self._address(x) % load:
                    if argument.written:
                        raise ValueError(
                            f'expected {argument.name}, which is written into, to lie at a '
                            f'multiple of {load} bytes'
                        )
                    x = self.xp.array(x)
            given.append(x)
        return given

    def _address(self, x: Array) -> int:
        return x.data.ptr


@functools.cache
def _value_of(size: int) -> numpy.dtype:
    """Return a dtype of one element of this size, which CuPy passes to a kernel by value."""
    return numpy.dtype((numpy.void, size))


cupy_engine = CupyEngine()
