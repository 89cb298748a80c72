"""Paths, updates and examples on the stand-in, each in a process of its own."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

from tests.gpu_stand_in import paths, stand_in, updates
from tests.kernels import nvrtc

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
# the most launches and the most copies and fills of a call
MOST = {
    'parameters, SGD': (2, 0),
    'parameters, Adam': (2, 0),
    'PTB small': (32, 3),
    'PTB medium': (38, 3),
    'PTB small by a graph': (2, 6),
    'PTB medium by a graph': (2, 6),
    'training 20/35/650/2': (16, 2),
    'inference 20/35/650/2': (7, 2),
    'training ragged 64/100/512/1': (42, 11),
    'inference ragged 64/100/512/1': (24, 5),
}
# all are errors, but for that of a plot: every loss is 0
WARNINGS = ('-W', 'error', '-W', 'ignore:Data has no positive values')
# of a processor that is busy with other things, too
MOST_HOST_MILLISECONDS = 25


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Runs a script on the stand-in -> what it printed."""
    if stand_in.missing():
        pytest.skip(stand_in.missing())
    nvrtc.load()
    environment = stand_in.build(tmp_path_factory.mktemp('gpu_stand_in'))

    def run(script, *arguments):
        command = [sys.executable, *WARNINGS, '-m', 'tests.gpu_stand_in', script, *arguments]
        done = subprocess.run(
            list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout

    return run


def module(name):
    return pathlib.Path(__file__).with_name(f'{name}.py')


@pytest.fixture(scope='module')
def found(run):
    return json.loads(run(module('paths')))


@pytest.fixture(scope='module')
def counted(run):
    return json.loads(run(module('updates')))


@pytest.mark.parametrize('name', paths.PATHS)
def test_path(found, name):
    assert found[name] is None, found[name]


@pytest.mark.parametrize('name', updates.CALLS)
def test_launches_copies_and_host_time(counted, capsys, name):
    calls = counted[name]
    names = calls.pop('names')
    with capsys.disabled():
        print(f'\n{name}: {calls}')
    launches, copies = MOST[name]
    assert calls['launches'] <= launches and calls['copies'] <= copies, names
    assert calls['synchronizations'] == 0, names
    assert calls['host ms'] <= MOST_HOST_MILLISECONDS


def test_updates_by_graphs(run):
    """How often graphs are captured and replayed, and what stops that; all numbers are 0."""
    file = ROOT / 'tests' / 'training' / 'test_graphs_gpu.py'
    out = run(importlib.util.find_spec('pytest.__main__').origin, '-q', '-rs', file)
    assert ' passed' in out and 'skipped' not in out, out


def test_language_model_example(run, tmp_path):
    """Training, a snapshot, the rest of the training from it, and a text."""
    for part, lines in (('train', 60), ('valid', 10), ('test', 10)):
        tmp_path.joinpath(f'{part}.txt').write_text('the dog sees the cat\n' * lines)
    arguments = ['--data', tmp_path, '--out', tmp_path, '--gpu', 0, '--unit', 4, '--epoch', 1]
    train = ROOT / 'examples' / 'ptb' / 'train_ptb.py'
    assert 'test perplexity: ' in run(train, *arguments)
    assert 'test perplexity: ' in run(train, *arguments[:-1], 2, '--resume')
    gentxt = train.with_name('gentxt.py')
    assert run(gentxt, '-m', tmp_path / 'model.npz', '--gpu', 0, '-p', 'the')


@pytest.mark.parametrize(
    'script',
    ['time_machine/train_time_machine.py', 'reber/train_reber.py', 'adding/train_adding.py'],
)
def test_other_examples(run, tmp_path, script):
    data = ('--data', 'README.md') if 'machine' in script else ()
    run(ROOT / 'examples' / script, '--test', '--gpu', 0, '--out', tmp_path, *data)
