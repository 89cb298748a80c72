"""``--cpu``: compute on the CPU what a program computes on a GPU.

Chainer is imported as if CuPy were not installed, and its functions that need a GPU are replaced by
functions that do the same with NumPy's arrays.  ``import cupy`` in the program's own files imports
the stand-in; in libraries it fails.
"""

from __future__ import annotations

import ast
import builtins
import sys
from typing import Any

import numpy

from chainer_lstm.script import own_code

# the name of ``on_gpu`` in the program's files; between underscores, no class mangles it
_ON_GPU = '__chainer_lstm_on_gpu__'


def install() -> None:
    """Import Chainer without CuPy, and let the numbers of GPUs mean the CPU."""
    modules: dict[str, Any] = sys.modules
    cupy = modules.get('cupy')
    modules['cupy'] = None  # import cupy: ModuleNotFoundError
    try:
        import chainer
    finally:
        if cupy is None:
            del modules['cupy']
        else:
            modules['cupy'] = cupy
    from chainer_lstm.script import cupy_on_cpu

    _replace_functions(chainer, cupy_on_cpu)
    builtins.__import__ = _importer(
        builtins.__import__, {'cupy': cupy_on_cpu.cupy, 'cupyx': cupy_on_cpu.cupyx}
    )
    setattr(builtins, _ON_GPU, on_gpu)
    own_code.add_transformer(_Get())


def _replace_functions(chainer: Any, cupy_on_cpu: Any) -> None:
    """Replace Chainer's functions that need a GPU."""
    from chainer_lstm import chainer_private

    cuda = chainer.backends.cuda
    device = cupy_on_cpu.Device
    cuda.cupy = cupy_on_cpu.cupy
    cuda.cupyx = cupy_on_cpu.cupyx
    cuda.cuda = cupy_on_cpu.cupy.cuda
    cuda.Device = device
    cuda.Event = cupy_on_cpu.Event
    cuda.Stream = cupy_on_cpu.Stream
    cuda.memory_pool = cuda.pinned_memory_pool = cupy_on_cpu.MemoryPool()
    cuda.check_cuda_available = cupy_on_cpu.nothing
    cuda.to_gpu = cupy_on_cpu.to_gpu
    chainer_private.replace_current_device(cupy_on_cpu.current_device)
    cuda.GpuDevice = chainer.backend.GpuDevice = cupy_on_cpu.GpuDevice
    # Parameter.to_gpu checks that the arrays of its device are CuPy's
    chainer.Parameter.to_gpu = chainer.Variable.to_gpu
    get_device = chainer.get_device

    def get_device_of(device_spec: Any) -> Any:
        if isinstance(device_spec, device):
            return cupy_on_cpu.GpuDevice()
        return get_device(device_spec)

    chainer.get_device = chainer.backend.get_device = get_device_of


def _importer(import_module: Any, stand_ins: dict[str, Any]) -> Any:
    """Return an ``__import__`` that gives a stand-in to the program's own files."""

    def import_stand_in(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        first, *rest = name.split('.')
        file = (globals or {}).get('__file__') or ''
        if level or first not in stand_ins or not own_code.is_own(file):
            return import_module(name, globals, locals, fromlist, level)
        module = stand_ins[first]
        try:
            for part in rest:
                module = getattr(module, part)
        except AttributeError as error:
            raise ModuleNotFoundError(str(error), name=name) from None
        return module if fromlist else stand_ins[first]

    return import_stand_in


class _OnGpu:
    """An array of the CPU with the method ``get`` of CuPy's."""

    def __init__(self, array: numpy.ndarray | numpy.generic) -> None:
        self._array = array

    def get(self, stream: Any = None) -> Any:
        return self._array.copy()


def on_gpu(value: Any) -> Any:
    """Return an array with ``get`` for an array of NumPy; other values as they are."""
    return _OnGpu(value) if isinstance(value, (numpy.ndarray, numpy.generic)) else value


class _Get(ast.NodeTransformer):
    """Rewrite ``value.get()`` as ``on_gpu(value).get()``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr == 'get' and not node.args:
            name = ast.Name(_ON_GPU, ast.Load())
            function.value = ast.Call(name, [function.value], [])
            ast.copy_location(name, function)
            ast.copy_location(function.value, function)
        return node
