"""Lets Chainer 7.8.1 be imported on today's Python, NumPy and CuPy.

Seven of Chainer's modules refer to things that are gone: ``numpy.sctypes`` and
``numpy.float`` (NumPy 2), ``numpy.distutils`` (Python 3.12), ``pkg_resources``
(setuptools 82), and CuPy's cuDNN and NCCL, about which they warn; an eighth
unpickles whatever an npz file holds, and a ninth fails at a child of a link
that an HDF5 file does not have.  These modules, and no others, are read
with the few words of ``EDITS`` replaced when they are imported.  Nothing is
added to NumPy, to ``sys.modules`` or to the warning filters, and no file is
changed.
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

SUPPORTED = '7.8.1'

_REQUIREMENTS = ('import pkg_resources', 'from chainer_lstm.compat import requirements as pkg_resources')

# module -> (what stands there, what is read instead); the number of lines stays, so tracebacks stay right
EDITS: dict[str, tuple[tuple[str, str], ...]] = {
    'chainer._environment_check': (
        ('import numpy.distutils.system_info\nimport pkg_resources\n', '\n\n'),
        ('    _check_osx_numpy_backend()\n    _check_optional_dependencies()\n', '\n\n'),
    ),
    'chainer.backends.cuda': (
        # "reinstall CuPy after you install cudnn": today's CuPy has no cuDNN to install
        ('if (not cudnn_enabled and\n', 'if (False and\n'),
    ),
    'chainer.functions.array.as_strided': (
        ("np.sctypes['int']", '(np.int8, np.int16, np.int32, np.int64)'),
        ("np.sctypes['float']", '(np.float16, np.float32, np.float64, np.longdouble)'),
    ),
    'chainer.functions.array.resize_images': (
        ('dtype=numpy.float)', 'dtype=float)'),
    ),
    'chainer.serializers.hdf5': (
        # a group that the file does not have has no groups in it either: they are skipped, or an
        # error where the file is read strictly
        ("        name = self.group.name + '/' + key\n        try:\n"
         "            group = self.group.require_group(name)\n",
         "        try:\n            group = None if self.group is None else (\n"
         "                self.group.require_group(self.group.name + '/' + key))\n"),
    ),
    'chainer.serializers.npz': (
        # numpy.load(allow_pickle=True) runs what a file tells it to
        ("_allow_pickle_kwargs = {}\nif numpy.lib.NumpyVersion(numpy.__version__) >= '1.10.0':\n"
         "    _allow_pickle_kwargs['allow_pickle'] = True\n", 'from chainer_lstm.compat import npz as unpickled\n\n\n'),
        ('numpy.load(file, **_allow_pickle_kwargs)', 'unpickled.Arrays(file, path)'),
    ),
    'chainer.training.updaters.multiprocess_parallel_updater': (
        ('from cupy.cuda import nccl\n', 'from chainer_lstm.compat.quiet_nccl import nccl\n'),
    ),
    'chainer.testing.doctest_helper': (_REQUIREMENTS,),
    'chainer.testing.helper': (_REQUIREMENTS,),
}


class _EditedLoader(importlib.machinery.SourceFileLoader):
    """Compiles a module from its edited source; ``__pycache__`` holds the unedited one and is not used."""

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_data(self.path).decode()
        for old, new in EDITS[fullname]:
            if old not in source:
                raise ImportError(
                    f'{fullname} is not the one of Chainer {SUPPORTED}, which chainer_lstm supports: '
                    f'expected to find {old.strip()!r} in it')
            source = source.replace(old, new)
        return self.source_to_code(source, self.path)


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for the modules in ``EDITS`` and for nothing else."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: types.ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in EDITS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _EditedLoader(fullname, spec.loader.path)
        return spec


def _installed_version() -> str:
    """The version of the Chainer that ``import chainer`` will find, read without importing it."""
    spec = importlib.util.find_spec('chainer')
    if spec is None or spec.origin is None:
        raise ImportError(
            f'chainer_lstm needs Chainer {SUPPORTED}, and none is installed. It builds with setuptools < 81 only:\n'
            "    echo 'setuptools<81' > constraint.txt\n"
            '    PIP_CONSTRAINT=constraint.txt PIP_BUILD_CONSTRAINT=constraint.txt '
            f'pip install chainer=={SUPPORTED}')
    text = pathlib.Path(spec.origin).with_name('_version.py').read_text()
    match = re.search(r"__version__ = '([^']+)'", text)
    return match.group(1) if match else 'unknown'


def install() -> None:
    """Makes a following ``import chainer`` work; where Chainer is imported already, changes nothing.

    Raises:
        ImportError: Chainer is not installed, or is not version 7.8.1.
    """
    imported = sys.modules.get('chainer')
    version = _installed_version() if imported is None else imported.__version__
    if version != SUPPORTED:
        raise ImportError(f'chainer_lstm supports Chainer {SUPPORTED}; got Chainer {version}')
    if imported is None and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
