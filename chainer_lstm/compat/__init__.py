"""Import Chainer 7.8.1 on today's Python, NumPy, CuPy, protobuf and onnx.

Some of Chainer's modules use names and behaviour that these libraries have removed or deprecated,
or print advice about CuPy's cuDNN and NCCL that no longer applies; one unpickles npz files, and one
fails at links that an HDF5 file does not have.  ``EDITS`` lists these modules, and the text that is
replaced when one of them is imported.  Every other module is imported as it is; modules that had
another name before v7 can be imported by that name too.  Nothing is added to NumPy, to
``sys.modules`` or to the warning filters, and no file is changed.

``import chainer_lstm`` calls ``install``.  If the package is installed by pip, so does the first
import of Chainer, through ``_chainer_lstm_startup``.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import re
import sys
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainer_lstm.compat import moved

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SUPPORTED = '7.8.1'

# replacements that several modules share
_CAFFE = (
    'from chainer.links.caffe.protobuf3 import caffe_pb2 as caffe_pb',
    'from chainer_lstm.compat import caffe_pb2 as caffe_pb',
)
_PADDING = ('import numpy\n', 'import numpy; from chainer_lstm.compat import padding as _padding\n')
_REQUIREMENTS = (
    'import pkg_resources',
    'from chainer_lstm.compat import requirements as pkg_resources',
)
# CuPy 12 added ufunc.at and deprecated scatter_add
_SCATTER_ADD = ('cuda.cupyx.scatter_add', 'cuda.cupy.add.at')
_TENSOR_TYPES = ('from onnx.mapping import', 'from chainer_lstm.compat.tensor_types import')

# module -> pairs of the text in Chainer's file and its replacement, which has as many lines, so
# that tracebacks stay right
EDITS: dict[str, tuple[tuple[str, str], ...]] = {
    'chainer._environment_check': (
        # numpy.distutils: Python 3.12; pkg_resources: setuptools 82
        ('import numpy.distutils.system_info\nimport pkg_resources\n', '\n\n'),
        ('    _check_osx_numpy_backend()\n    _check_optional_dependencies()\n', '\n\n'),
    ),
    'chainer.backends.cuda': (
        # "reinstall CuPy after you install cudnn": CuPy 14 has no cuDNN
        ('if (not cudnn_enabled and\n', 'if (False and\n'),
    ),
    'chainer.dataset.convert': (
        _PADDING,
        # positional out: deprecated in NumPy 2.4
        ('maximum(shape, array.shape, shape)', 'maximum(shape, array.shape, out=shape)'),
        (
            'full(shape, padding, dtype=arrays[0].dtype)',
            'full(shape, _padding.wrap(padding, arrays[0].dtype), dtype=arrays[0].dtype)',
        ),
    ),
    'chainer.distributions.categorical': (
        # numpy.meshgrid returns a tuple: NumPy 2
        ('numpy.meshgrid(\n', 'list(numpy.meshgrid(\n'),
        ("indexing='ij')", "indexing='ij'))"),
    ),
    'chainer.exporters.caffe': (_CAFFE,),
    'chainer.function_hooks.cuda_profile': (
        ('cuda.cupy.cuda.nvtx_enabled', 'cuda.cupy.cuda.nvtx.available'),
    ),
    'chainer.function_node': (
        # F.concat and F.stack of one array, whose rows Chainer v1 to v6 took for the inputs
        (
            '    if not inputs:\n        return False, ()\n',
            '    if len(inputs) == 0:\n        return False, ()\n',
        ),
    ),
    'chainer.functions.array.as_strided': (
        # numpy.sctypes: NumPy 2
        ("np.sctypes['int']", '(np.int8, np.int16, np.int32, np.int64)'),
        ("np.sctypes['float']", '(np.float16, np.float32, np.float64, np.longdouble)'),
        _SCATTER_ADD,
    ),
    'chainer.functions.array.get_item': (
        ('gx.scatter_add(slices, inputs[0])', 'xp.add.at(gx, slices, inputs[0])'),
    ),
    'chainer.functions.array.pad_sequence': (
        _PADDING,
        ('y[i, l:] = self.padding', 'y[i, l:] = _padding.wrap(self.padding, y.dtype)'),
        ('(ptrs, lengths, self.padding,', '(ptrs, lengths, _padding.wrap(self.padding, y.dtype),'),
    ),
    'chainer.functions.array.resize_images': (
        # numpy.float: NumPy 1.24
        ('dtype=numpy.float)', 'dtype=float)'),
    ),
    'chainer.functions.array.scatter_add': (_SCATTER_ADD,),
    'chainer.functions.array.spatial_transformer_sampler': (_SCATTER_ADD,),
    'chainer.functions.math.fix': (
        # numpy.fix: deprecated in NumPy 2.5
        ('xp.fix(x)', 'xp.trunc(x)'),
    ),
    'chainer.functions.math.sparse_matmul': (
        # SciPy refuses matrices of float16
        (
            '    _n = B.shape[-1]\n    if B.ndim == 2:\n        sp_A',
            '    _n = B.shape[-1]; '
            'A_data = A_data.astype(numpy.result_type(A_data, "f"), copy=False)\n'
            '    if B.ndim == 2:\n        sp_A',
        ),
    ),
    'chainer.iterators.multiprocess_iterator': (
        # Thread.setDaemon: deprecated in Python 3.10
        # and Python 3.13 waits for ever for such a thread if it is there when the interpreter ends
        ('thread.setDaemon(True)', 'thread.daemon = True; _worker.terminate_at_exit(self)'),
        # the default of Python 3.14, forkserver: workers of a clone that is not installed have to
        # import chainer_lstm first
        ('import signal\n', 'import signal; from chainer_lstm.compat import worker as _worker\n'),
        (
            'initializer=_fetch_setup,\n            initargs=(self.dataset',
            'initializer=_worker.start,\n            initargs=(_fetch_setup, self.dataset',
        ),
    ),
    'chainer.links.caffe.caffe_function': (_CAFFE,),
    'chainer.serializers.hdf5': (
        # a group that the file does not have has no groups in it either: they are skipped, or an
        # error where the file is read strictly
        (
            "        name = self.group.name + '/' + key\n        try:\n"
            '            group = self.group.require_group(name)\n',
            '        try:\n            group = None if self.group is None else (\n'
            "                self.group.require_group(self.group.name + '/' + key))\n",
        ),
        # h5py 3 reads strings as bytes
        (
            'type(value)(numpy.asarray(dataset))',
            'type(value)(numpy.asarray('
            'dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset))',
        ),
        # no Python has sys.exec_info: it hid the error that h5py raised
        ('sys.exec_info()', 'sys.exc_info()'),
    ),
    'chainer.serializers.npz': (
        # numpy.load(allow_pickle=True) executes code that the file contains
        (
            "_allow_pickle_kwargs = {}\nif numpy.lib.NumpyVersion(numpy.__version__) >= '1.10.0':\n"
            "    _allow_pickle_kwargs['allow_pickle'] = True\n",
            'from chainer_lstm.compat import npz as unpickled\n\n\n',
        ),
        ('numpy.load(file, **_allow_pickle_kwargs)', 'unpickled.Arrays(file, path)'),
    ),
    'chainer.testing.doctest_helper': (_REQUIREMENTS,),
    'chainer.testing.helper': (_REQUIREMENTS,),
    'chainer.training.updaters.multiprocess_parallel_updater': (
        ('from cupy.cuda import nccl\n', 'from chainer_lstm.compat.quiet_nccl import nccl\n'),
    ),
    'chainer.utils.sparse': (_SCATTER_ADD,),
    'chainer.variable': (
        # arrays of NumPy 2 have a device, 'cpu', which debug_print printed instead of 'CPU'
        (
            "device = getattr(array, 'device', 'CPU')",
            "device = 'CPU' if xp is numpy else getattr(array, 'device', 'CPU')",
        ),
    ),
    'chainermn.communicators._memory_utility': (
        # copy=False raises where a copy is needed: NumPy 2
        ('xp.array(v, copy=False, dtype=transfer_dtype)', 'xp.asarray(v, dtype=transfer_dtype)'),
    ),
    # onnx.mapping: removed from onnx
    'onnx_chainer.context': (
        ('import onnx\n', 'from chainer_lstm.compat import tensor_types\n'),
        ('onnx.mapping.STORAGE_TENSOR_TYPE_TO_FIELD', 'tensor_types.STORAGE_TENSOR_TYPE_TO_FIELD'),
    ),
    'onnx_chainer.export': (
        _TENSOR_TYPES,
        ("'onnx<1.7.0\\'", "'onnx\\'"),
        # the newest version is one that most runtimes do not read yet; 6 is that of opset 11
        ('model.ir_version = onnx.IR_VERSION', 'model.ir_version = 6'),
    ),
    'onnx_chainer.functions.array': (_TENSOR_TYPES,),
    'onnx_chainer.functions.math': (_TENSOR_TYPES,),
}


def edited(module: str, source: str) -> str:
    """Return the source of one of Chainer's modules with its ``EDITS``, if it has any.

    Raises:
        ImportError: the source does not contain the text that is to be replaced.
    """
    for old, new in EDITS.get(module, ()):
        if old not in source:
            raise ImportError(
                f'{module} is not the one of Chainer {SUPPORTED}, which chainer_lstm supports: '
                f'expected to find {old.strip()!r} in it'
            )
        source = source.replace(old, new)
    return source


class _EditedLoader(importlib.machinery.SourceFileLoader):
    """Load a module from its edited source.

    Python caches its code beside that of the unedited source, under a name with a hash of the
    edits.
    """

    def get_data(self, path: str) -> bytes:
        if path == self.path:
            return edited(self.name, super().get_data(path).decode()).encode()
        return super().get_data(self._cached(path))

    def path_stats(self, path: str) -> dict[str, float]:
        # the size is compared with the one in the cache, which is that of the edited source
        return {**super().path_stats(path), 'size': len(self.get_data(path))}

    def set_data(self, path: str, data: ReadableBuffer, **options: int) -> None:
        super().set_data(self._cached(path), data, **options)

    def _cached(self, path: str) -> str:
        edits = importlib.util.source_hash(repr(EDITS[self.name]).encode()).hex()
        return f'{path.removesuffix(".pyc")}-chainer_lstm-{edits}.pyc'


class _Finder(importlib.abc.MetaPathFinder):
    """Find the modules in ``EDITS`` and no others."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in EDITS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _EditedLoader(fullname, spec.loader.path)
        return spec


def _installed_version() -> str:
    """Return the version of the Chainer that is installed, without importing it."""
    spec = importlib.util.find_spec('chainer')
    if spec is None or spec.origin is None:
        raise ImportError(
            f'chainer_lstm needs Chainer {SUPPORTED}, and none is installed. '
            'It builds with setuptools < 81 only:\n'
            "    echo 'setuptools<81' > constraint.txt\n"
            '    PIP_CONSTRAINT=constraint.txt PIP_BUILD_CONSTRAINT=constraint.txt '
            f'pip install chainer=={SUPPORTED}'
        )
    file = pathlib.Path(spec.origin).with_name('_version.py')
    match = re.search(r"__version__ = '([^']+)'", file.read_text()) if file.exists() else None
    return match.group(1) if match else 'before 3.0'


def install() -> None:
    """Make a following ``import chainer`` work, and the names that modules had before v7.

    If Chainer is imported already, its modules stay as they are.

    Raises:
        ImportError: Chainer is not installed, or is not version 7.8.1.
    """
    imported = sys.modules.get('chainer')
    version = _installed_version() if imported is None else imported.__version__
    if version != SUPPORTED:
        raise ImportError(f'chainer_lstm supports Chainer {SUPPORTED}; got Chainer {version}')
    if imported is None and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    moved.install()
