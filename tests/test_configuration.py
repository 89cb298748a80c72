import json
import os
import pathlib
import shutil
import subprocess
import sys
from importlib import machinery

import pytest

import chainer_lstm
from chainer_lstm import configuration
from chainer_lstm.kernels import native
from chainer_lstm.kernels.engines import auto
from chainer_lstm.kernels.engines.verdicts import Verdict


def test_show_config(capsys):
    chainer_lstm.show_config()
    rows = dict(line.split('  ', 1) for line in capsys.readouterr().out.splitlines())
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows['chainer_lstm'] == chainer_lstm.__version__
    assert rows['chainer'] == '7.8.1'
    assert rows['engine numpy'] == 'ready'
    if native.library() is None:
        assert rows['engine native'].startswith('not ')
    else:
        assert rows['engine native'].startswith(f'ready: {native.instruction_sets()[0]}')
        assert rows['engine native'].endswith('threads')
    assert 'engines cupy, persistent' in rows


def test_verdicts_are_shown(capsys, monkeypatch):
    monkeypatch.setattr(configuration.gpu, 'missing', lambda: None)
    monkeypatch.setattr(configuration.gpu, 'number', lambda: 2)
    monkeypatch.setattr(configuration, '_cupy', lambda: 'ready')
    monkeypatch.setattr(
        auto, 'verdicts', lambda k: {'lstm': Verdict('faster', 'by far')} if k else {}
    )
    chainer_lstm.show_config()
    assert capsys.readouterr().out.endswith('persistent on GPU 1: lstm faster: by far\n')


SHOW = """
import importlib.metadata
import chainer_lstm
if {alone}:  # no other installation
    found = importlib.metadata.distributions
    importlib.metadata.distributions = lambda **options: [
        each for each in found(**options)
        if not options or str(each.locate_file('').absolute()).startswith({folder!r})]
chainer_lstm.show_config()
import numpy
from chainer_lstm import kernels
try:
    kernels.engine_of(numpy.ones(1), 'native')
except ValueError as error:
    print(error)
"""
COMPILER = (
    "not built: a C++ compiler or Python's headers (python3-dev) were missing, or it failed, "
    'when the package was installed'
)
SHADOWED = (
    'not built: the source folder {clone} shadows the installed package, which has it; '
    'run from another folder, or build it in place with pip install -e .'
)
SOURCE = 'not built: {clone} is a source folder; build it in place with pip install -e .'


def copy_package(folder, built):
    """Copy this package into a folder, with a library that only exists, or none."""
    target = folder / 'chainer_lstm'
    unwanted = shutil.ignore_patterns('_native.*', '__pycache__')
    shutil.copytree(pathlib.Path(chainer_lstm.__file__).parent, target, ignore=unwanted)
    if built:
        file = f'_native{machinery.EXTENSION_SUFFIXES[0]}'
        (target / 'kernels' / 'native' / file).write_bytes(b'')


def add_metadata(folder, kind, editable=None):
    """Add what pip writes beside an installed package, or a build beside its source."""
    info = folder / f'chainer_lstm-0.1.0.{kind}'
    info.mkdir()
    text = 'Metadata-Version: 2.1\nName: chainer-lstm\nVersion: 0.1.0\n'
    if kind == 'egg-info':
        (info / 'PKG-INFO').write_text(text)
        return
    (info / 'METADATA').write_text(text)
    (info / 'RECORD').write_text('')
    if editable is not None:
        origin = {'url': editable.as_uri(), 'dir_info': {'editable': True}}
        (info / 'direct_url.json').write_text(json.dumps(origin))


@pytest.fixture
def show(tmp_path):
    """Run show_config and ask for the engine, from a folder; return the two answers."""

    def show(folder, alone=True):
        environment = {**os.environ, 'PYTHONPATH': str(tmp_path / 'site packages')}
        environment.pop('CHAINER_LSTM_NATIVE', None)
        code = SHOW.format(alone=alone, folder=str(tmp_path))
        done = subprocess.run(
            [sys.executable, '-c', code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        (row,) = (line for line in done.stdout.splitlines() if line.startswith('engine native'))
        return row.removeprefix('engine native').strip(), done.stdout.splitlines()[-1]

    return show


@pytest.fixture
def folders(tmp_path):
    """A clone, a folder of installed packages, and one to run in."""
    made = [tmp_path / name for name in ('clone', 'site packages', 'elsewhere')]
    for folder in made:
        folder.mkdir()
    return made


def check(answers, reason):
    config, error = answers
    assert config == f'{reason}; numpy is used'
    assert error.endswith(f"got 'native': it was {reason}")


@pytest.mark.slow
@pytest.mark.parametrize('egg_info', [True, False])
def test_clone_that_shadows_the_installed_package(folders, show, egg_info):
    clone, site, _ = folders
    copy_package(clone, built=False)
    copy_package(site, built=True)
    add_metadata(site, 'dist-info')
    if egg_info:  # pip install . leaves it in the clone
        add_metadata(clone, 'egg-info')
    for alone in (True, False):
        check(show(clone, alone), SHADOWED.format(clone=clone))


def test_clone_that_shadows_another_one_installed_in_place(folders, show):
    clone, site, other = folders
    copy_package(clone, built=False)
    copy_package(other, built=True)
    add_metadata(site, 'dist-info', editable=other)
    check(show(clone), SHADOWED.format(clone=clone))


def test_clone_that_was_never_installed(folders, show):
    clone, _, _ = folders
    copy_package(clone, built=False)
    check(show(clone), SOURCE.format(clone=clone))


@pytest.mark.slow
@pytest.mark.parametrize('where', ['installed', 'shadowed', 'in place'])
def test_package_without_a_compiler(folders, show, where):
    clone, site, elsewhere = folders
    copy_package(clone if where == 'in place' else site, built=False)
    if where == 'shadowed':
        copy_package(clone, built=False)
    add_metadata(site, 'dist-info', editable=clone if where == 'in place' else None)
    check(show(elsewhere if where == 'installed' else clone), COMPILER)


def test_library_that_cannot_be_loaded(folders, show):
    _, site, elsewhere = folders
    copy_package(site, built=True)
    add_metadata(site, 'dist-info')
    config, error = show(elsewhere)
    assert config.startswith('not loaded: ') and config.endswith('file too short; numpy is used')
    assert "got 'native': it was not loaded: " in error
