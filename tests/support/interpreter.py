"""Other interpreters: pieces of code run in a fresh one, and virtual environments."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv

from tests.support import ROOT

STARTUP = ('chainer_lstm.pth', '_chainer_lstm_startup.py')


def run(*code, options=(), path=(), env=()):
    """Runs pieces of Python code, warnings as errors;
    -> what they printed, or the error they died with.

    ``import chainer`` alone is Chainer's own there, as where chainer_lstm is in a folder and not
    installed.
    """
    paths = [*map(str, path), str(ROOT)]
    text = f'import sys; sys.path[:0] = {paths!r}\n' + '\n'.join(map(textwrap.dedent, code))
    result = subprocess.run(
        [sys.executable, '-W', 'error', *options, '-c', text],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, 'CHAINER_LSTM_STARTUP': '0', **dict(env)},
    )
    if result.returncode == 0:
        assert result.stderr == ''
        return result.stdout.strip()
    return result.stderr.strip()


def answer(code, **env):
    """What a fresh interpreter prints."""
    env = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    done = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def fake_chainer(folder, version='7.8.1', **modules):
    package = folder / 'chainer'
    package.mkdir()
    (package / '__init__.py').write_text(
        'from chainer import _version\n__version__ = _version.__version__\n'
    )
    (package / '_version.py').write_text(f"__version__ = '{version}'\n")
    for name, text in modules.items():
        (package / f'{name}.py').write_text(text)


class Environment:
    """A virtual environment, with the libraries of this one unless they are said to be absent."""

    def __init__(self, folder, *paths):
        venv.create(folder, symlinks=os.name != 'nt', with_pip=False)
        self.site = pathlib.Path(sysconfig.get_path('purelib', vars={'base': str(folder)}))
        self.python = folder / ('Scripts' if os.name == 'nt' else 'bin') / 'python'
        (self.site / 'zz_paths.pth').write_text(''.join(f'{path}\n' for path in paths))

    @classmethod
    def with_libraries(cls, folder):
        """Make one that has the distribution too."""
        paths = [path for path in sys.path if path and pathlib.Path(path) != ROOT]
        return cls(folder, *paths).install()

    def install(self):
        """Install what a wheel has, without building one."""
        for name in STARTUP:
            shutil.copy(ROOT / name, self.site)
        (self.site / 'chainer_lstm').symlink_to(ROOT / 'chainer_lstm')
        return self

    def run(self, code, *args, path=(), env=(), options=('-W', 'error'), **kwargs):
        """Run a program; -> the finished process."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ('PYTHONPATH', 'CHAINER_LSTM_STARTUP')
        }
        environment.update(env, PYTHONPATH=os.pathsep.join(map(str, path)))
        return subprocess.run(
            [self.python, *options, '-c', textwrap.dedent(code), *args],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            **kwargs,
        )

    def printed(self, code, **kwargs):
        done = self.run(code, **kwargs)
        assert (done.returncode, done.stderr) == (0, '')
        return done.stdout.strip()
