"""``train_ptb.py --mpi`` in two processes: one model, one run, and one end for both."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import sysconfig
import time

import numpy
import pytest

from tests.support.examples import EXAMPLES

pytestmark = pytest.mark.slow

MPIEXEC = pathlib.Path(sysconfig.get_path('scripts')) / 'mpiexec'
SCRIPT = EXAMPLES / 'ptb' / 'train_ptb.py'
SMALL = ['--unit', '8', '--bproplen', '7', '--gradclip', '0.5', '--init', '0.5']

needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec('mpi4py') is None or not MPIEXEC.exists(),
    reason="no mpi4py and mpiexec in this environment: pip install 'chainer-lstm[mpi]'",
)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    random = numpy.random.RandomState(0)
    for part, lines in (('train', 150), ('valid', 10), ('test', 10)):
        (folder / f'{part}.txt').write_text(
            ''.join(
                'the {} sees a {}\n'.format(*random.choice(['dog', 'cat', 'bird'], 2))
                for _ in range(lines)
            )
        )
    return folder


@pytest.fixture
def start(data, tmp_path):
    """Starts a script in two processes."""

    def start(*args, script=SCRIPT, out=tmp_path):
        environment = {
            **os.environ,
            'PYTHONPATH': str(EXAMPLES.parent),
            'MPLBACKEND': 'Agg',
            'OMP_NUM_THREADS': '1',
        }
        return subprocess.Popen(
            [
                MPIEXEC,
                '-n',
                '2',
                sys.executable,
                script,
                '--mpi',
                '--data',
                data,
                '--out',
                out,
                *SMALL,
                *args,
            ],
            text=True,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


def finish(process):
    """-> exit status, what was printed, lines of complaint."""
    printed, complained = process.communicate(timeout=60)
    return process.returncode, printed, complained.splitlines()


def arrays(path):
    with numpy.load(path) as file:
        return {key: file[key] for key in file.files}


@needs_mpi
def test_two_ranks_give_the_losses_of_one_with_twice_the_batch(start, run, data, tmp_path):
    two, one = tmp_path / 'two', tmp_path / 'one'
    options = ['--dropout', '0', '--epoch', '2']
    status, printed, complained = finish(start('--batchsize', '5', *options, out=two))
    assert (status, complained) == (0, [])
    assert printed.count('test perplexity') == 1
    assert (
        run('ptb/train_ptb.py', '--data', data, '--out', one, *SMALL, '--batchsize', 10, *options)[
            0
        ]
        == 0
    )
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    logs = [json.loads((out / 'log').read_text()) for out in (two, one)]
    for found, expected in zip(*logs, strict=True):
        assert found.keys() == expected.keys()
        for key in found.keys() - {'elapsed_time', 'words/sec'}:
            assert found[key] == pytest.approx(expected[key], rel=1e-6), key
    assert 'validation/main/loss' in logs[0][-1]
    weights = [arrays(out / 'model.npz') for out in (two, one)]
    for key in weights[0].keys() - {f'predictor/l{k}/{name}' for k in (1, 2) for name in 'ch'}:
        numpy.testing.assert_allclose(
            weights[0][key], weights[1][key], rtol=1e-4, atol=1e-6, err_msg=key
        )


def logged_after_a_snapshot(out):
    snapshots = [path.stat().st_mtime_ns for path in out.glob('snapshot_iter_*')]
    return snapshots and (out / 'log').stat().st_mtime_ns > min(snapshots)


@needs_mpi
def test_interrupted_ranks_resume_bit_for_bit(start, run, data, tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    # so many epochs that a run is not over when the signal comes
    options = ['--dropout', '0.5', '--batchsize', '5', '--epoch', '30']
    assert finish(start(*options, out=whole))[0] == 0
    process = start(*options, out=parts)
    end = time.monotonic() + 60
    while not logged_after_a_snapshot(parts):
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    status, _, complained = finish(process)
    assert status == 130
    assert [line for line in complained if line and 'mpiexec' not in line] == [
        f'interrupted; go on with --resume and the same options (snapshots are in {parts})'
    ]
    assert len(list(parts.glob('snapshot_iter_*'))) == 2
    status, printed, complained = finish(start(*options, '--resume', out=parts))
    assert (status, complained) == (0, [])
    assert 'resumed from' in printed
    found, expected = arrays(parts / 'model.npz'), arrays(whole / 'model.npz')
    for key, value in expected.items():
        numpy.testing.assert_array_equal(found[key], value, err_msg=key)

    # by one process alone
    status, _, complained = run(
        'ptb/train_ptb.py', '--data', data, '--out', parts, *SMALL, *options, '--resume'
    )
    assert status == 2
    assert 'expected a snapshot of a run with ranks 1, got 2' in complained


@needs_mpi
@pytest.mark.parametrize(
    ('death', 'told'),
    [
        ('os.kill(os.getpid(), 9)', 'EXIT CODE: 9'),
        (
            'raise OSError(28, "No space left on device")',
            'rank 1: error: [Errno 28] No space left on device',
        ),
        ('raise AttributeError("a bug")', 'AttributeError: a bug'),
    ],
)
def test_a_rank_that_dies_ends_the_job(start, tmp_path, death, told):
    script = tmp_path / 'script.py'
    script.write_text(f"""
import os, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import train_ptb
from mpi4py import MPI

class Updater(train_ptb.BPTTUpdater):
    def update_core(self):
        super().update_core()
        if MPI.COMM_WORLD.rank == 1 and self.iteration == 9:
            {death}

train_ptb.BPTTUpdater = Updater
train_ptb.main()
""")
    status, printed, complained = finish(start('--batchsize', '5', '--epoch', '500', script=script))
    assert status != 0
    assert 'test perplexity' not in printed
    assert any(told in line for line in [*complained, *printed.splitlines()])


@needs_mpi
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['--batchsize', '500'],
            'expected a batch size between 1 and the 900 words, got 500 x 2 ranks',
        ),
        (
            [':', '-n', '1', sys.executable, SCRIPT, '--mpi'],
            'expected the same options in all ranks',
        ),
    ],
)
def test_wrong_options_end_with_one_line_and_status_2(start, options, message):
    status, printed, complained = finish(start(*options))
    assert (status, printed) == (2, '')
    assert complained == [f'train_ptb.py: error: {message}']


def test_without_mpi4py(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mpi4py', None)
    status, _, complained = run('ptb/train_ptb.py', '--mpi')
    assert status == 2
    assert complained.startswith(
        "train_ptb.py: error: --mpi needs mpi4py and MPI, pip install 'chainer-lstm[mpi]': "
    )


@pytest.mark.parametrize('name', ['PMI_SIZE', 'OMPI_COMM_WORLD_SIZE'])
def test_several_processes_without_the_option(run, monkeypatch, name):
    monkeypatch.setenv(name, '2')
    status, _, complained = run('ptb/train_ptb.py')
    assert status == 2
    assert 'expected --mpi in a job of 2 processes' in complained
