"""``train_ptb.py`` killed at any moment and resumed ends with the bits of a run that nobody disturbed."""
import os
import pathlib
import subprocess
import sys
import time

import numpy
import pytest

ROOT = pathlib.Path(__file__).parents[2]
OPTIONS = ['--preset', 'medium', '--unit', '8', '--bproplen', '5', '--batchsize', '4', '--epoch', '9', '--seed', '3',
           '--decay-after', '2']  # with dropout .5 and a learning rate that falls


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    random = numpy.random.RandomState(0)
    for part, lines in (('train', 60), ('valid', 5), ('test', 5)):
        (folder / f'{part}.txt').write_text(''.join(
            'the {} sees a {}\n'.format(*random.choice(['dog', 'cat', 'bird'], 2)) for _ in range(lines)))
    return folder


def start(data, out, *args):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'MPLBACKEND': 'Agg'}
    return subprocess.Popen(
        [sys.executable, ROOT / 'examples/ptb/train_ptb.py', '--data', data, '--out', out, *OPTIONS, *args],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(process):
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def kill_when(process, condition):
    """SIGKILL at the first moment that the condition holds."""
    end = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.001)
    process.kill()
    process.communicate()


def snapshots(out):
    return sorted(int(path.name[14:]) for path in out.glob('snapshot_iter_*') if path.name[14:].isdigit())


def test_killed_run_resumes_bit_for_bit(data, tmp_path):
    whole, out = tmp_path / 'whole', tmp_path / 'killed'
    finish(start(data, whole))
    kill_when(start(data, out), out.is_dir)  # before anything is written
    assert not snapshots(out)
    # while a snapshot is being written, in a folder of its own; then after some more
    kill_when(start(data, out, '--resume'), lambda: list(out.glob('tmpsnapshot_iter_*')))
    kill_when(start(data, out, '--resume'), lambda: len(snapshots(out)) == 2)
    last = snapshots(out)[-1]
    kill_when(start(data, out, '--resume'), lambda: snapshots(out)[-1:] > [last + 30])
    newest = snapshots(out)[-1]
    (out / 'snapshot_iter_999999').write_bytes(b'PK\3\4 half a snapshot')  # as a full disk may leave it
    (out / 'snapshot_iter_5.bak').write_bytes(b'')
    assert f'resumed from {out}/snapshot_iter_{newest}' in finish(start(data, out, '--resume'))
    with numpy.load(whole / 'model.npz') as expected, numpy.load(out / 'model.npz') as resumed:
        assert sorted(expected.files) == sorted(resumed.files)
        for key in expected.files:
            numpy.testing.assert_array_equal(resumed[key], expected[key], err_msg=key)
