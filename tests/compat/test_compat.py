"""Each case is a fresh interpreter: what counts is what an import does to it."""

import numpy
import pytest

from chainer_lstm import compat
from chainer_lstm.compat import requirements
from tests.support.interpreter import fake_chainer, run

IMPORT = 'import chainer_lstm, chainer, chainer.testing\n'
BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == gone or name.startswith(gone + '.') for gone in {gone!r}):
            raise ModuleNotFoundError(f'blocked: {{name}}', name=name)

sys.meta_path.insert(0, Blocker())
"""
GONE = ('setuptools', 'pkg_resources', 'distutils', 'numpy.distutils')


def test_chainer_imports_quietly_and_computes():
    assert (
        run(
            IMPORT,
            """
        import chainer_lstm.links as L, numpy
        print(L.LSTM(3, 4)(numpy.ones((2, 3), numpy.float32)).shape)
        """,
        )
        == '(2, 4)'
    )


def test_chainermn_imports_quietly_and_communicates():
    pytest.importorskip(
        'mpi4py', reason="no mpi4py in this environment: pip install 'chainer-lstm[mpi]'"
    )
    assert (
        run(
            IMPORT,
            """
        import chainermn
        print(chainermn.create_communicator('naive').allreduce_obj(3))
        """,
        )
        == '3'
    )


@pytest.mark.parametrize('gone', [GONE, (*GONE, 'cupy')])
def test_chainer_imports_without_what_is_gone_from_python(gone):
    assert run(BLOCK.format(gone=gone), IMPORT, 'print(chainer.__version__)') == compat.SUPPORTED


def test_nothing_is_left_behind_in_numpy_modules_and_warning_filters():
    printed = run("""
        import contextlib, sys, types, warnings, numpy, numpy.testing
        with contextlib.suppress(ImportError):
            import scipy.sparse, scipy.special  # which Chainer imports, and which add filters
        names, filters = set(dir(numpy)), list(warnings.filters)
        import chainer_lstm, chainer, chainer.testing
        new = {name for name in set(dir(numpy)) - names
               if not isinstance(getattr(numpy, name), types.ModuleType)}
        print(new, warnings.filters == filters, 'pkg_resources' in sys.modules,
              'distutils' in sys.modules, 'numpy.distutils' in sys.modules)
        """)
    assert printed == 'set() True False False False'


@pytest.mark.slow
@pytest.mark.skipif(
    int(numpy.__version__.split('.')[0]) < 2, reason='NumPy 1 has numpy.sctypes itself'
)
def test_numpy_2_gets_no_sctypes_and_plain_chainer_still_fails_afterwards():
    assert run(IMPORT, 'import numpy; print(hasattr(numpy, "sctypes"))') == 'False'
    # the code of the edited modules is not taken for that of Chainer's
    assert 'sctypes' in run('import warnings; warnings.simplefilter("ignore"); import chainer')


def test_patched_functions_work():
    assert (
        run(
            IMPORT,
            """
        import numpy
        x = numpy.arange(16, dtype=numpy.float32).reshape(1, 1, 4, 4)
        resized = chainer.functions.resize_images(x, (2, 2)).array.ravel().tolist()
        strided = chainer.functions.as_strided(chainer.Variable(x.ravel()), (2, 3), (4, 1))
        strided.grad = numpy.ones((2, 3), numpy.float32)
        strided.backward()
        print(resized, strided.array.tolist())
        """,
        )
        == '[0.0, 3.0, 12.0, 15.0] [[0.0, 1.0, 2.0], [4.0, 5.0, 6.0]]'
    )


def test_requirement_decorator_skips_and_runs():
    assert (
        run(
            IMPORT,
            """
        import unittest
        class Case(unittest.TestCase):
            @chainer.testing.with_requires('numpy>=1.0')
            def test_met(self): print('met')
            @chainer.testing.with_requires('numpy>=1000')
            def test_unmet(self): print('unmet')
            @chainer.testing.with_requires('no-such-distribution')
            def test_absent(self): print('absent')
        unittest.TextTestRunner(stream=__import__("io").StringIO()).run(
            unittest.defaultTestLoader.loadTestsFromTestCase(Case))
        """,
        )
        == 'met'
    )


def test_requirements_name_what_is_missing():
    requirements.WorkingSet().require('numpy>=1.0', 'chainer==7.8.1')
    with pytest.raises(requirements.ResolutionError, match='numpy>=1000: version .* is installed'):
        requirements.WorkingSet().require('numpy>=1000')
    with pytest.raises(requirements.ResolutionError, match='no-such-distribution: not installed'):
        requirements.WorkingSet().require('no-such-distribution')


def test_chainer_imported_before_is_left_alone():
    assert (
        run("""
        import sys, types
        chainer = sys.modules['chainer'] = types.ModuleType('chainer')
        chainer.__version__ = '7.8.1'
        finders = list(sys.meta_path)
        import chainer_lstm
        assert sys.meta_path[:len(finders)] == finders
        print([type(finder).__module__ for finder in sys.meta_path[len(finders):]])
        """)
        == "['chainer_lstm.compat.moved']"
    )


def test_finder_answers_for_the_edited_modules_only_and_is_installed_once():
    assert (
        run("""
        import sys, chainer_lstm
        from chainer_lstm import compat
        compat.install()
        finders = [finder for finder in sys.meta_path if isinstance(finder, compat._Finder)]
        print(len(finders), finders[0].find_spec('json'), finders[0].find_spec('chainer.links'))
        """)
        == '1 None None'
    )


def test_other_version_is_refused_before_it_is_imported(tmp_path):
    fake_chainer(tmp_path, '7.8.0')
    assert run('import chainer_lstm', path=[tmp_path]).endswith(
        'ImportError: chainer_lstm supports Chainer 7.8.1; got Chainer 7.8.0'
    )


def test_version_of_chainer_1_and_2_is_refused(tmp_path):
    fake_chainer(tmp_path)
    (tmp_path / 'chainer' / '_version.py').unlink()
    assert run('import chainer_lstm', path=[tmp_path]).endswith(
        'ImportError: chainer_lstm supports Chainer 7.8.1; got Chainer before 3.0'
    )


def test_other_version_imported_before_is_refused(tmp_path):
    fake_chainer(tmp_path, '8.0.0b1')
    assert run('import chainer, chainer_lstm', path=[tmp_path]).endswith(
        'ImportError: chainer_lstm supports Chainer 7.8.1; got Chainer 8.0.0b1'
    )


def test_altered_chainer_is_refused(tmp_path):
    fake_chainer(tmp_path, _environment_check='import numpy\n')
    assert 'chainer._environment_check is not the one of Chainer 7.8.1' in run(
        'import chainer_lstm, chainer._environment_check', path=[tmp_path]
    )


def test_missing_chainer_says_how_to_install_it():
    without_site_packages = ('-I', '-S')
    assert 'pip install chainer==7.8.1' in run('import chainer_lstm', options=without_site_packages)


CUPY_WITHOUT_LIBRARIES = 'raise ImportError("libcublas.so: cannot open shared object file")\n'
CUPY_14 = """
import sys, types
from unittest import mock

class ndarray: pass

__version__ = '14.2.0'
cuda = types.ModuleType('cupy.cuda')
cuda.cublas = types.ModuleType('cupy.cuda.cublas')
cuda.runtime = types.ModuleType('cupy.cuda.runtime')
for name in ('Device', 'Event', 'Stream'):
    setattr(cuda, name, type(name, (), {'__init__': lambda self, *args: None}))
cuda.Stream.null = None
sys.modules.update({'cupy.cuda': cuda, 'cupy.cuda.cublas': cuda.cublas})
_util = types.ModuleType('cupy._util')
_util.PerformanceWarning = type('PerformanceWarning', (Warning,), {})
sys.modules['cupy._util'] = _util
get_default_memory_pool = get_default_pinned_memory_pool = \\
    ElementwiseKernel = ReductionKernel = mock.Mock
memoize = lambda for_each_device=False: lambda function: function
fuse = lambda *args, **options: args[0] if args else lambda function: function
"""


def write_cupy(folder, text):
    (folder / 'cupy').mkdir()
    (folder / 'cupy' / '__init__.py').write_text(text)
    scipy = folder / 'cupyx' / 'scipy'
    scipy.mkdir(parents=True)
    for path in (
        scipy.parent / '__init__.py',
        scipy / '__init__.py',
        scipy / 'linalg.py',
        scipy / 'special.py',
    ):
        path.write_text('')


def test_cupy_without_its_libraries_means_cpu_quietly(tmp_path):
    write_cupy(tmp_path, CUPY_WITHOUT_LIBRARIES)
    assert run(IMPORT, 'print(chainer.backends.cuda.available)', path=[tmp_path]) == 'False'


def test_cupy_without_cudnn_is_available_and_no_reinstallation_is_advised(tmp_path):
    write_cupy(tmp_path, CUPY_14)
    assert (
        run(
            IMPORT,
            """
        chainer.backends.cuda.check_cuda_available()
        print(chainer.backends.cuda.available, chainer.backends.cuda.cudnn_enabled)
        """,
            path=[tmp_path],
        )
        == 'True False'
    )


@pytest.mark.parametrize(
    'options', [(), ('-W', 'default')], ids=['warnings are errors', 'warnings are shown']
)
def test_with_the_cupy_that_is_installed_here(options):
    pytest.importorskip('cupyx')
    assert run(IMPORT, 'print(chainer.__version__)', options=options) == compat.SUPPORTED
