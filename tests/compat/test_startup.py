"""``import chainer`` by itself, in environments in which the distribution is installed."""

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from base64 import urlsafe_b64encode

import pytest

from tests.support import ROOT
from tests.support.interpreter import STARTUP, Environment, fake_chainer

OFF = {'CHAINER_LSTM_STARTUP': '0'}


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    return Environment.with_libraries(tmp_path_factory.mktemp('installed'))


@pytest.fixture(scope='module')
def without_libraries(tmp_path_factory):
    """Return an environment with the distribution and nothing else, in which Chainer is absent."""
    return Environment(tmp_path_factory.mktemp('alone')).install()


@pytest.mark.parametrize(
    'first',
    [
        'import chainer',
        'import chainer.links as L',
        'from chainer import functions',
        'import onnx_chainer',
        'import chainermn',
        'import chainer_lstm',
        'import importlib; importlib.import_module("chainer.links")',
    ],
)
def test_any_order_of_imports(installed, first):
    if 'chainermn' in first:
        pytest.importorskip(
            'mpi4py', reason="no mpi4py in this environment: pip install 'chainer-lstm[mpi]'"
        )
    assert (
        installed.printed(f"""
        {first}
        import chainer
        import chainer_lstm.links as L, numpy
        print(chainer.__version__, L.LSTM(3, 4)(numpy.ones((2, 3), 'f')).shape)
        """)
        == '7.8.1 (2, 4)'
    )


def test_threads_that_import_at_once(installed):
    """Packages only: Python itself refuses some imports of a package and of a module
    in it at one time.
    """
    assert (
        installed.printed("""
        import importlib, sys, threading
        sys.setswitchinterval(1e-6)
        names = ['onnx_chainer', 'chainer', 'chainer_lstm', 'pathlib', 'chainer'] * 2
        barrier, failed = threading.Barrier(len(names)), []
        def work(name):
            barrier.wait()
            try:
                importlib.import_module(name)
            except BaseException as error:
                failed.append((name, error))
        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(failed, len({id(sys.modules[name]) for name in names}))
        """)
        == '[] 4'
    )


def test_security_of_npz_files_holds_with_chainer_alone(installed):
    assert (
        installed.printed("""
        import chainer.serializers.npz as npz
        print(hasattr(npz, 'unpickled'), hasattr(npz, '_allow_pickle_kwargs'))
        """)
        == 'True False'
    )


def test_start_imports_one_module(installed):
    modules = 'import sys; print(sorted(sys.modules))'
    pth = installed.site / STARTUP[0]
    imported = set(eval(installed.printed(modules)))
    pth.rename(pth.with_suffix('.off'))
    try:
        before = set(eval(installed.printed(modules)))
    finally:
        pth.with_suffix('.off').rename(pth)
    assert imported - before == {'_chainer_lstm_startup'}


def test_start_takes_less_than_3_ms(installed):
    code = """
        import sys, time
        name = '_chainer_lstm_startup'
        del sys.modules[name]
        begin = time.perf_counter()
        __import__(name)
        print(time.perf_counter() - begin)
        """
    assert min(float(installed.printed(code)) for _ in range(5)) < 3e-3


def test_switched_off(installed, tmp_path):
    fake_chainer(tmp_path)
    code = 'import chainer, sys; print(chainer.__version__, "chainer_lstm" in sys.modules)'
    assert installed.printed(code, path=[tmp_path]) == '7.8.1 True'
    assert installed.printed(code, path=[tmp_path], env=OFF) == '7.8.1 False'


def as_without_us(environment, code, path):
    """Assert that a program does the same with and without the finder; -> what it did."""
    on, off = (environment.run(code, path=path, env=env) for env in ((), OFF))
    results = [(done.returncode, done.stdout, done.stderr) for done in (on, off)]
    assert results[0] == results[1]
    return on.stdout + on.stderr


def test_chainer_is_absent(without_libraries, tmp_path):
    for name in ('chainer', 'chainermn', 'onnx_chainer', 'chainer.links'):
        assert f"No module named '{name.partition('.')[0]}'" in as_without_us(
            without_libraries, f'import {name}', [tmp_path]
        )


@pytest.mark.parametrize('version', ['7.8.0', '8.0.0b1'])
def test_other_version(without_libraries, tmp_path, version):
    fake_chainer(tmp_path, version)
    assert (
        as_without_us(
            without_libraries,
            """
        import chainer, sys
        finders = [finder for finder in sys.meta_path if 'chainer_lstm.' in repr(finder)]
        print(chainer.__version__, 'chainer_lstm' in sys.modules, finders)
        """,
            [tmp_path],
        )
        == f'{version} False []\n'
    )


@pytest.mark.parametrize('name', ['chainer/__init__.py', 'chainer.py', 'chainer/data.txt'])
def test_other_things_of_that_name(without_libraries, tmp_path, name):
    """As Chainer 1 and 2, which have no _version.py, a script of the user, and a folder of data."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('')
    assert (
        as_without_us(without_libraries, 'import chainer; print(chainer.__spec__.name)', [tmp_path])
        == 'chainer\n'
    )
    assert (
        'Error: chainer_lstm '
        in without_libraries.run('import chainer_lstm', path=[tmp_path]).stderr
    )


def test_spec_is_that_of_chainers_own_loader(installed):
    assert (
        installed.printed("""
        import importlib, importlib.util, inspect
        spec = importlib.util.find_spec('chainer')
        import chainer
        print(type(chainer.__loader__).__name__, chainer.__spec__.loader is chainer.__loader__,
              spec.origin == chainer.__file__,
              spec.loader.get_filename('chainer') == chainer.__file__,
              importlib.reload(chainer) is chainer, 'numpy' in inspect.getsource(chainer))
        """)
        == 'SourceFileLoader True True True True True'
    )


def test_error_in_chainer_is_the_same(without_libraries, tmp_path):
    fake_chainer(tmp_path)
    (tmp_path / 'chainer' / '__init__.py').write_text('import no_such_module\n')
    assert 'no_such_module' in as_without_us(without_libraries, 'import chainer', [tmp_path])


@pytest.mark.parametrize(
    'damage',
    ['no package', 'no startup module', 'empty package', 'startup module cut off', 'no compat'],
)
def test_damaged_installation_starts_quietly(tmp_path, damage):
    environment = Environment(tmp_path / 'env').install()
    startup, package = environment.site / STARTUP[1], environment.site / 'chainer_lstm'
    if damage == 'no startup module':
        startup.unlink()
    elif damage == 'startup module cut off':
        startup.write_text(startup.read_text()[:-30])
    else:
        package.unlink()
    if damage in ('empty package', 'no compat'):
        package.mkdir()
    if damage == 'no compat':
        shutil.copy(ROOT / 'chainer_lstm' / '__init__.py', package)
    fake_chainer(tmp_path)
    assert environment.printed('print(1)') == '1'
    assert (
        environment.printed('import chainer; print(chainer.__version__)', path=[tmp_path])
        == '7.8.1'
    )


PROGRAM = """
    import multiprocessing, sys
    import chainer
    from chainer.links import LSTM

    class Data(chainer.dataset.DatasetMixin):
        def __len__(self): return 4
        def get_example(self, i): return i, __name__, LSTM.__module__

    def where(link):
        return __name__, type(link).__module__, LSTM.__module__, sys.argv[1:]

    if __name__ == '__main__':
        multiprocessing.set_start_method(sys.argv[1])
        with multiprocessing.Pool(1) as pool:
            print(*pool.map(where, [LSTM(2, 3)]))
        iterator = chainer.iterators.MultiprocessIterator(Data(), 2, shuffle=False, n_processes=1)
        iterator.next()  # Chainer loads the first batch in this process
        print([(int(i), *modules) for i, *modules in iterator.next()])
        iterator.finalize()
    """


@pytest.mark.slow
@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
def test_processes_of_a_program_that_imports_chainer_only(installed, tmp_path, method):
    (tmp_path / 'program.py').write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [installed.python, tmp_path / 'program.py', method],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, 'PYTHONPATH': ''},
    )
    theirs = 'chainer.links.rnn.lstm'
    assert (done.stdout.splitlines(), done.stderr) == (
        [
            str(('__mp_main__', theirs, theirs, [method])),
            str([(i, '__mp_main__', theirs) for i in (2, 3)]),
        ],
        '',
    )


@pytest.fixture(scope='module')
def wheels(tmp_path_factory):
    """Return a wheel and an editable wheel, built from a copy of the source,
    without the C++ engine.
    """
    setuptools = pytest.importorskip('setuptools')
    if int(setuptools.__version__.partition('.')[0]) < 77:
        pytest.skip(
            f'setuptools {setuptools.__version__} is here, 77 is needed: '
            "pip install 'chainer-lstm[test]'"
        )
    folder = tmp_path_factory.mktemp('wheels')
    source = folder / 'source'
    shutil.copytree(
        ROOT / 'chainer_lstm',
        source / 'chainer_lstm',
        ignore=shutil.ignore_patterns('*.so', '__pycache__'),
    )
    for name in (*STARTUP, 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    build = 'from setuptools import build_meta; print("\\n" + build_meta.build_{}("."))'
    built = []
    for kind in ('wheel', 'editable'):
        done = subprocess.run(
            [sys.executable, '-c', build.format(kind)],
            cwd=source,
            text=True,
            capture_output=True,
            env={**os.environ, 'CC': 'false', 'CXX': 'false', 'PYTHONPATH': ''},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        built.append(source / done.stdout.splitlines()[-1])
    return built


@pytest.mark.parametrize('kind', [0, 1], ids=['wheel', 'editable'])
def test_wheel_has_the_pth_file_and_its_record(wheels, kind):
    with zipfile.ZipFile(wheels[kind]) as wheel:
        text = wheel.read('chainer_lstm.pth')
        record = dict(
            line.split(',', 1)
            for line in wheel.read('chainer_lstm-0.1.0.dist-info/RECORD').decode().split()
        )
        assert '_chainer_lstm_startup.py' in wheel.namelist() or kind == 1
    digest = urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b'=').decode()
    assert record['chainer_lstm.pth'] == f'sha256={digest},{len(text)}'
    assert text == (ROOT / 'chainer_lstm.pth').read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize('kind', [0, 1], ids=['wheel', 'editable'])
def test_pip_installs_and_uninstalls(wheels, kind, tmp_path):
    pytest.importorskip('pip', reason='no pip in this environment')

    def pip(*args):
        subprocess.run(
            [sys.executable, '-m', 'pip', '--python', environment.python, *args],
            check=True,
            timeout=120,
        )

    environment = Environment(tmp_path / 'env')
    fake_chainer(tmp_path)
    before = sorted(environment.site.rglob('*'))
    pip('install', '--quiet', '--no-index', '--no-deps', wheels[kind])
    code = 'import chainer, sys; print("chainer_lstm" in sys.modules)'
    assert environment.printed(code, path=[tmp_path]) == 'True'
    pip('uninstall', '--quiet', '--yes', 'chainer-lstm')
    assert environment.printed(code, path=[tmp_path]) == 'False'
    assert [
        path
        for path in environment.site.rglob('*')
        if path not in before and path.name != '__pycache__'
    ] == []
