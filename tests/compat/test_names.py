"""Chainer's modules are imported, and the names that they use are there and not deprecated.

The next removal from Python, NumPy or CuPy is found here.
"""

import ast
import importlib.util
import json

import pytest

from chainer_lstm import compat
from tests.compat import names
from tests.support.interpreter import run

SOURCES = names.sources()

# packages that Chainer uses where they are installed
OPTIONAL = {
    'cupy': 'GPUs',
    'cupyx': 'GPUs',
    'h5py': 'HDF5 files',
    'matplotlib': 'plots',
    'mock': 'chainer.testing.patch',
    'mpi4py': 'ChainerMN',
    'mxnet': 'a test of onnx_chainer',
    'onnx': 'onnx_chainer',
    'onnxruntime': 'a test of onnx_chainer',
    'PIL': 'image datasets',
    'scipy': 'sparse matrices, special functions and a dataset',
    'theano': 'TheanoFunction',
}

# modules that cannot be imported with today's libraries, how the error begins, and the reason
NOT_IMPORTED = {
    'chainer.links.caffe.protobuf3.caffe_pb2': (
        'TypeError: ',
        'protobuf 4 and later refuse it; chainer_lstm.compat.caffe_pb2 replaces it',
    ),
    'onnx_chainer.testing.test_mxnet': (
        ('ImportWarning: ', "ModuleNotFoundError: No module named 'onnx'"),
        "MXNet cannot be installed on today's Python",
    ),
}

# names, and all names below them, that are used on purpose
HARMLESS = {
    'chainer.functions.scatter_add': "Chainer's own function",
    'ctypes.windll': 'on Windows only',
    'cupy.cuda.cublas': 'where the CUDA libraries are not installed, Chainer uses the CPU',
    'cupy.cuda.cudnn': 'where CuPy has no cuDNN, Chainer uses its own kernels',
    'cupy.cuda.nccl': 'where NCCL is not installed, chainermn.nccl says so when it is used',
    'cupy.cudnn': 'where CuPy has no cuDNN, Chainer uses its own kernels',
    'cupy.finfo': "deprecated is its attribute machar: it is NumPy's, see there",
    'cupy.util': 'CuPy 7 and earlier, after except ImportError',
    'cupyx.scipy.linalg': 'where the CUDA libraries are not installed, Chainer uses the CPU',
    'google.protobuf.pyext': 'protobuf 3, before except ImportError',
    'multiprocessing.pool.terminate': 'a local variable, pool, hides the module',
    'numpy.array2string': 'deprecated is its argument style, of NumPy 1',
    'numpy.broadcast_arrays': 'deprecated is to write into its results, which Chainer does not',
    'numpy.expand_dims': 'deprecated is an axis beyond the last one',
    'numpy.finfo': 'deprecated is its attribute machar, in the documentation of NumPy 1',
    'numpy.percentile': 'deprecated is its argument interpolation',
    'numpy.reshape': 'deprecated is its argument newshape',
    'operator.__div__': 'on Python 2 only',
    'scipy.io.loadmat': 'the argument whose default changes, spmatrix, is for sparse matrices',
    'time.clock': 'on Python 2 only',
}


def missing(package):
    return importlib.util.find_spec(package) is None


def harmless(name):
    return any(name == known or name.startswith(known + '.') for known in HARMLESS)


@pytest.fixture(scope='module')
def report():
    """Return the errors and problems of all modules, found by a new interpreter."""
    return json.loads(run(f'from tests.compat import names; names.main(*{list(OPTIONAL)})'))


@pytest.mark.slow
@pytest.mark.parametrize('module', [module for module in SOURCES if module not in NOT_IMPORTED])
def test_module_is_imported(report, module):
    error = report['errors'].get(module)
    for package in OPTIONAL:
        if error is not None and missing(package) and package.lower() in error.lower():
            pytest.skip(f'{module} needs {package}, which is not installed')
    assert error is None


@pytest.mark.slow
@pytest.mark.parametrize('module', NOT_IMPORTED)
def test_module_is_imported_or_known(report, module):
    beginning, _ = NOT_IMPORTED[module]
    error = report['errors'].get(module)
    # older libraries may do without the error
    assert error is None or error.startswith(beginning)


@pytest.mark.slow
@pytest.mark.parametrize('module', SOURCES)
def test_names_are_there(report, module):
    assert [problem for problem in report['problems'][module] if not harmless(problem[0])] == []


@pytest.mark.parametrize('package', OPTIONAL)
def test_names_of_optional_packages_were_looked_up(package):
    if missing(package):
        pytest.skip(
            f'{package} is not installed, so its names were not looked up; '
            f'Chainer needs it for {OPTIONAL[package]}'
        )


@pytest.mark.slow
def test_lists_have_no_entry_that_chainer_does_not_need():
    used = {'chainer.functions.scatter_add'}
    for module, path in SOURCES.items():
        tree = ast.parse(compat.edited(module, path.read_text(encoding='utf-8')))
        used.update(name for name, _ in names.uses(tree))
    below = {
        known: [name for name in used if name == known or name.startswith(known + '.')]
        for known in [*HARMLESS, *OPTIONAL]
    }
    assert [known for known in below if not below[known]] == []
    assert set(NOT_IMPORTED) <= set(SOURCES)


@pytest.mark.parametrize('module', compat.EDITS)
def test_edited_module_has_as_many_lines(module):
    source = SOURCES[module].read_text(encoding='utf-8')
    edited = compat.edited(module, source)
    assert edited != source
    assert edited.count('\n') == source.count('\n')


@pytest.mark.parametrize(
    'source, name',
    [
        ('import numpy\nnumpy.float', 'numpy.float'),
        ('import numpy as np\nx = np.linalg.none(3)', 'numpy.linalg.none'),
        ('def f(xp):\n    return xp.float', 'numpy.float'),
        ('class A:\n    def f(self):\n        self.xp.float(1)', 'numpy.float'),
        ('from numpy import asscalar', 'numpy.asscalar'),
        ('import numpy.distutils.system_info', 'numpy.distutils.system_info'),
        ('import collections\ncollections.Mapping', 'collections.Mapping'),
        ('from inspect import getargspec', 'inspect.getargspec'),
        ('import pkg_resources', 'pkg_resources'),
        ('thread.setDaemon(True)', 'thread.setDaemon'),
        ('x.astype(int).tostring()', 'x.astype(int).tostring'),
        ('cuda.cupyx.scatter_add(x, i, y)', 'cuda.cupyx.scatter_add'),
        ('import numpy\nnumpy.maximum(x, y, x)', 'numpy.maximum'),
        ('xp.array(x, copy=False, dtype=int)', 'numpy.array'),
    ],
)
def test_problem_is_found(source, name):
    found = names.problems(source, lambda name: not name.startswith('cupy'))
    assert [problem[:2] for problem in found] == [(name, source.count('\n') + 1)]
    assert found[0][2]


@pytest.mark.parametrize(
    'source',
    [
        'import numpy as np\nnp.linalg.norm(x).shape.nothing',
        'import collections.abc\ncollections.abc.Mapping',
        'import numpy\nnumpy.maximum(x, y, out=x)',
        'xp.array(x, copy=True)',
        'x.numpy.nothing',
        'nothing.at_all',
        'from chainer import nothing',
        'from . import nothing',
        'x.astype("f", copy=False)',
    ],
)
def test_use_of_names_that_are_there_is_no_problem(source):
    assert names.problems(source, lambda name: not name.startswith('cupy')) == []


def test_syntax_that_python_warns_about_is_found():
    ((name, _, complaint),) = names.problems(r'"\d"')
    assert (name, 'escape sequence' in complaint) == ('syntax', True)
