"""Programs run as by ``python`` itself: the same prints, tracebacks and exit status."""

import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import zipfile

import pytest

from tests.support import ROOT

# what a program can ask about itself
PROBE = '''\
# -*- coding: latin-1 -*-
"""Doc."""
import sys
import os.path
main = sys.modules['__main__']
print(main.__dict__ is globals(), 'é', os.getcwd() == sys.path[0])
for name, value in sorted(vars(main).items()):
    if name.startswith('__'):
        print(name, type(value).__name__.replace('SourceFileLoader', 'Loader'), value)
print(sys.argv, sys.path[0])
x: int = 3
def fail():
    raise ValueError('no')
fail()
'''
PROGRAMS = [
    ['script.py'],
    ['./script.py'],
    ['folder/__main__.py'],
    ['folder'],
    ['archive.zip'],
    ['-'],
    ['-m', 'script'],
    ['-m', 'folder'],
    ['-m', 'folder.module'],
    ['-mscript'],
    ['script.pyc'],
    ['link.py'],
    ['bom.py'],
]


@pytest.fixture
def programs(tmp_path):
    """PROBE in every form that python takes."""
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'other').mkdir()
    (tmp_path / 'folder' / '__init__.py').touch()
    for name in ('script.py', 'folder/__main__.py', 'folder/module.py', 'other/script.py'):
        (tmp_path / name).write_bytes(PROBE.encode('latin-1'))
    (tmp_path / 'bom.py').write_bytes(PROBE.replace('latin-1', 'utf-8').encode('utf-8-sig'))
    (tmp_path / 'link.py').symlink_to('other/script.py')
    with zipfile.ZipFile(tmp_path / 'archive.zip', 'w') as archive:
        archive.write(tmp_path / 'script.py', '__main__.py')
    command = [
        sys.executable,
        '-c',
        'import py_compile; py_compile.compile("script.py", "script.pyc")',
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path


def outcome(python, programs):
    with open(programs / 'script.py') as stdin:
        done = subprocess.run(
            [sys.executable, *python],
            cwd=programs,
            stdin=stdin,
            text=True,
            capture_output=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONDONTWRITEBYTECODE': '1'},
        )
    # where an object is, and the class of our loader; python's traceback begins with runpy's frames
    out = re.sub(r'<[\w.]*Loader object at \w+>|at 0x\w+', '<loader>', done.stdout)
    err = re.sub(r'  File "[^"]*runpy[^"]*".*\n(    .*\n)*', '', done.stderr)
    return out, err, done.returncode


@pytest.mark.parametrize('options', [[], ['--numpy1', '--cpu']], ids=['plain', 'rewritten'])
@pytest.mark.parametrize('program', PROGRAMS, ids=' '.join)
def test_as_python(programs, program, options):
    expected = outcome([*program, 'a', '-b'], programs)
    assert expected[1].endswith('ValueError: no\n'), expected
    assert outcome(['-m', 'chainer_lstm', *options, *program, 'a', '-b'], programs) == expected


@pytest.mark.skipif(sys.version_info < (3, 11), reason='Python 3.11 added -P')
@pytest.mark.parametrize(
    'program', [['script.py'], ['folder'], ['archive.zip'], ['-']], ids=' '.join
)
def test_as_python_with_safe_path(programs, program):
    assert outcome(['-P', '-m', 'chainer_lstm', *program], programs) == outcome(
        ['-P', *program], programs
    )


def test_main_lives_until_the_interpreter_ends(run):
    script = run("""
        import atexit, pickle, threading, time

        class Thing:
            pass

        def late():
            while threading.main_thread().is_alive():
                time.sleep(.01)
            print(type(pickle.loads(pickle.dumps(Thing()))).__name__, 'of a thread')

        atexit.register(
            lambda: print(type(pickle.loads(pickle.dumps(Thing()))).__name__, 'at exit'))
        threading.Thread(target=late).start()
    """)
    assert (script.stdout, script.stderr) == ('Thing of a thread\nThing at exit\n', '')


def test_source_is_found(run):
    """By inspect, doctest and pdb."""
    script = run(
        '''
        import doctest, inspect, pdb, sys

        def twice(x):
            """
            >>> twice(2)
            4
            """
            return 2 * x

        print(inspect.getsource(twice).splitlines()[0], doctest.testmod())
        pdb.Pdb(stdin=sys.stdin, stdout=sys.stdout).runcall(twice, 3)
    ''',
        before=['--numpy1'],
        input='print(x + 4)\nlist\ncontinue\n',
    )
    assert script.stdout.startswith('def twice(x): TestResults(failed=0, attempted=1)\n')
    assert '(Pdb) 7\n' in script.stdout and 'return 2 * x' in script.stdout


def test_error_in_the_package_of_a_module(run, tmp_path):
    """Its own traceback, and not that there is no such module."""
    (tmp_path / 'package').mkdir()
    (tmp_path / 'package' / '__init__.py').write_text('import no_such_library\n')
    (tmp_path / 'package' / 'module.py').touch()
    script = run('', command=['-m', 'package.module'])
    assert script.returncode == 1
    assert (
        script.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'no_such_library'"
    )
    assert script.stderr.splitlines()[1].startswith(f'  File "{tmp_path}')


def test_packages_are_imported_when_the_family_is_installed(run, tmp_path):
    (tmp_path / 'package').mkdir()
    (tmp_path / 'package' / '__init__.py').write_text('from chainer.links import LSTM\n')
    (tmp_path / 'package' / 'module.py').write_text(
        'from package import LSTM\nprint(LSTM.__module__)\n'
    )
    script = run('', command=['-m', 'package.module'])
    assert (script.stdout, script.stderr) == ('chainer_lstm.links.lstm\n', '')


CHILDREN = """
    import multiprocessing, sys
    import chainer, chainer.links, numpy
    import net

    class Thing:
        pass

    def ask(array):
        return (chainer.links.LSTM.__module__, chainer.config.lstm_engine,
                float(array), net.number(array), numpy.float,
                chainer.backends.cuda.get_device_from_id(3).id, array.get().shape,
                type(Thing()).__module__ == __name__, sys.argv[1:])

    if __name__ == '__main__':
        with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
            print(pool.map(ask, [numpy.ones(1)], 1)[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize('method', multiprocessing.get_all_start_methods())
@pytest.mark.parametrize('command', [None, ['-m', 'script']], ids=['script', 'module'])
def test_options_reach_the_processes_of_multiprocessing(run, tmp_path, method, command):
    (tmp_path / 'scripts').mkdir()
    (tmp_path / 'scripts' / 'net.py').write_text('def number(x):\n    return float(x)\n')
    if command is not None:
        (tmp_path / 'net.py').write_text((tmp_path / 'scripts' / 'net.py').read_text())
        (tmp_path / 'script.py').write_text(textwrap.dedent(CHILDREN))
    script = run(
        CHILDREN, method, before=['--numpy1', '--cpu', '--engine', 'numpy'], command=command
    )
    assert (script.stdout, script.stderr) == (
        "('chainer_lstm.links.lstm', 'numpy', 1.0, 1.0, <class 'float'>, "
        f'3, (1,), True, [{method!r}])\n',
        '',
    )


def test_names_that_moved_to_collections_abc(run):
    script = run("""
        import collections
        from collections import Iterable, Mapping
        print(isinstance([], Iterable), isinstance({}, Mapping),
              issubclass(list, collections.Sequence))
    """)
    assert (script.stdout, script.stderr) == ('True True True\n', '')
