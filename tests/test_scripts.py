"""Scripts of genuine Chainer, unchanged, give with this package's links the numbers
that they give without.
"""

import os
import pathlib
import subprocess
import sys

import numpy
import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPTS = ROOT / 'tests' / 'scripts'
# today's Chainer, with its own links
GENUINE = [
    '-c',
    'import os, sys, runpy, chainer_lstm; del sys.argv[0]; '
    'sys.path[0] = os.path.dirname(sys.argv[0]); runpy.run_path(sys.argv[0], run_name="__main__")',
]
OURS = ['-m', 'chainer_lstm']


def run(command, folder, script, *args):
    """-> the numbers that the script prints on its lines of results."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    finished = subprocess.run(
        [sys.executable, *command, str(SCRIPTS / script), *args],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert (finished.returncode, finished.stderr) == (0, '')
    results = [
        line.split()[1:]
        for line in finished.stdout.splitlines()
        if line.startswith(('loss', 'scores'))
    ]
    assert results
    return numpy.array([float(number) for line in results for number in line])


@pytest.mark.slow
@pytest.mark.parametrize(
    'script', ['language_model.py', 'language_model.py --loop', 'translate.py', 'classify.py']
)
def test_numbers_are_chainers(script, tmp_path):
    expected = run(GENUINE, tmp_path / 'genuine', *script.split())
    found = run(OURS, tmp_path / 'ours', *script.split())
    numpy.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_files_are_chainers(tmp_path):
    run(GENUINE, tmp_path / 'genuine', 'language_model.py')
    run(OURS, tmp_path / 'ours', 'language_model.py')
    for name in ('model.npz', 'result/snapshot'):
        found, expected = (
            numpy.load(tmp_path / mode / name, allow_pickle=True) for mode in ('ours', 'genuine')
        )
        assert sorted(found.files) == sorted(expected.files)
        for key in (key for key in found.files if key.endswith(('/W', '/b'))):
            numpy.testing.assert_allclose(
                found[key], expected[key], rtol=1e-4, atol=1e-5, err_msg=key
            )
