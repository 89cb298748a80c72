"""Runs that are killed, interrupted, or out of room:
what they leave is whole, and going on is bit for bit.
"""

import json
import os
import random
import re
import signal
import time

import numpy
import pytest

from tests.examples.warm import Script
from tests.support.examples import flipped

pytestmark = pytest.mark.slow

PTB = 'ptb/train_ptb.py'
OPTIONS = [
    '--preset',
    'medium',
    '--unit',
    '8',
    '--bproplen',
    '5',
    '--batchsize',
    '4',
    '--epoch',
    '12',
    '--seed',
    '3',
    '--decay-after',
    '2',
]  # with dropout .5 and a learning rate that falls
KILLS = 20


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    random = numpy.random.RandomState(0)
    for part, lines in (('train', 30), ('valid', 5), ('test', 5)):
        (folder / f'{part}.txt').write_text(
            ''.join(
                'the {} sees a {}\n'.format(*random.choice(['dog', 'cat', 'bird'], 2))
                for _ in range(lines)
            )
        )
    return folder


@pytest.fixture(scope='module')
def undisturbed(data, tmp_path_factory):
    """The folder of a whole run, and the seconds it took."""
    folder = tmp_path_factory.mktemp('undisturbed')
    assert (
        Script(
            folder, PTB, '--data', data, '--out', folder / 'warm up', *OPTIONS, '--epoch', 1
        ).finish()
        == 0
    )
    start = time.monotonic()
    assert Script(folder, PTB, '--data', data, '--out', folder, *OPTIONS).finish() == 0
    return folder, time.monotonic() - start


@pytest.fixture
def train(data, tmp_path):
    """Starts a run with its results in a folder."""

    def train(out, *args, **kwargs):
        return Script(tmp_path, PTB, '--data', data, '--out', out, *OPTIONS, *args, **kwargs)

    return train


def snapshots(out):
    return {path.name: path.read_bytes() for path in out.glob('snapshot_iter_*')}


def assert_same_model(out, expected):
    with numpy.load(expected / 'model.npz') as expected, numpy.load(out / 'model.npz') as resumed:
        assert sorted(expected.files) == sorted(resumed.files)
        for key in expected.files:
            numpy.testing.assert_array_equal(resumed[key], expected[key], err_msg=key)


def kill(script, draw, seconds, snapshot):
    """SIGKILL after a random time, or about when a snapshot is begun;
    -> whether it came before the end.
    """
    if snapshot is None:
        script.process.join(draw.uniform(0, seconds))
    else:
        while script.wait_for(snapshot) and draw.random() < 0.5:
            time.sleep(draw.uniform(0, seconds / 10))
    killed = script.process.is_alive()
    script.process.kill()
    script.process.join()
    return killed


def test_killed_at_twenty_random_moments_resumes_bit_for_bit(train, undisturbed, tmp_path):
    whole, seconds = undisturbed
    seed = time.time_ns()
    print(f'seed {seed}')
    draw = random.Random(seed)
    kills = in_snapshot = runs = 0
    while kills < KILLS:  # as many runs as it takes
        out = tmp_path / f'run {runs}'
        out.mkdir()
        runs += 1

        def being_written(out=out):
            return list(out.glob('tmpsnapshot_iter_*'))

        killed = True
        while killed:
            script = train(out, '--resume')
            killed = kills < KILLS and kill(
                script, draw, seconds / 3, being_written if kills % 4 == 3 else None
            )
            kills += killed
            in_snapshot += bool(killed and being_written())
        assert script.finish() == 0, script.complained
        assert_same_model(out, whole)
        assert not being_written()
    print(f'{kills} kills, {in_snapshot} of them in a snapshot, {runs} runs')
    assert in_snapshot > 0


def test_damaged_snapshots_are_passed_over(train, undisturbed, tmp_path):
    out = tmp_path / 'run'
    assert train(out, '--epoch', 8).finish() == 0
    newest = sorted(out.glob('snapshot_iter_*'))[-1]
    content = newest.read_bytes()
    (out / 'snapshot_iter_999997').write_bytes(b'')
    (out / 'snapshot_iter_999998').write_bytes(content[:-100])  # as a full disk may leave it
    (out / 'snapshot_iter_999999').write_bytes(
        flipped(content)
    )  # its directory, at its end, is whole
    (out / 'snapshot_iter_5.bak').write_bytes(b'')
    script = train(out, '--resume')
    assert script.finish() == 0, script.complained
    assert f'resumed from {newest}\n' in script.printed
    assert_same_model(out, undisturbed[0])


def test_full_disk(train, undisturbed, tmp_path):
    out = tmp_path / 'run'
    assert train(out, '--epoch', 8).finish() == 0
    before = snapshots(out)
    script = train(out, '--resume', file_size=len(max(before.values())) // 2)
    assert script.finish() == 2
    assert script.complained == 'train_ptb.py: error: [Errno 27] File too large\n'
    assert snapshots(out) == before
    assert not list(out.glob('*tmp*'))
    assert train(out, '--resume').finish() == 0
    assert_same_model(out, undisturbed[0])


def test_full_disk_when_the_model_is_saved(train, tmp_path):
    out = tmp_path / 'run'
    assert train(out, '--epoch', 1).finish() == 0
    model = (out / 'model.npz').read_bytes()
    (out / 'model.npz').write_bytes(model * 9)
    for path in out.glob('snapshot_iter_*'):  # only the model is to be written
        path.write_bytes(path.read_bytes())
    script = train(out, '--epoch', 1, '--resume', file_size=len(model) // 2)
    assert script.finish() == 2
    assert script.complained.count('\n') == 1
    assert (out / 'model.npz').read_bytes() == model * 9
    assert not list(out.glob('*.part'))


@pytest.mark.parametrize(
    ('number', 'told'), [(signal.SIGINT, 'interrupted'), (signal.SIGTERM, 'terminated')]
)
def test_signal_leaves_a_snapshot_of_the_moment(train, undisturbed, tmp_path, number, told):
    out = tmp_path / 'run'
    script = train(out, signal_after=(40, number))  # in the middle of an epoch
    assert script.finish() == 128 + number
    assert (
        script.complained
        == f'\n{told}; go on with --resume and the same options (snapshots are in {out})\n'
    )
    assert 'snapshot_iter_40' in snapshots(out)
    script = train(out, '--resume')
    assert script.finish() == 0, script.complained
    assert_same_model(out, undisturbed[0])


@pytest.mark.parametrize(
    ('path', 'options', 'key'),
    [
        (
            'time_machine/train_time_machine.py',
            ['--data', 'TEXT', '--unit', 4, '--epoch', 200],
            'perplexity',
        ),
        ('reber/train_reber.py', ['--strings', 20, '--epoch', 200], 'error'),
        ('adding/train_adding.py', ['--length', 5, '--iteration', 500], 'error'),
    ],
)
def test_interrupted_examples_save_what_they_have(tmp_path, path, options, key):
    (tmp_path / 'text').write_text('time traveller went on\n' * 60)
    options = [tmp_path / 'text' if option == 'TEXT' else option for option in options]
    script = Script(tmp_path, path, '--out', tmp_path, *options)
    first = re.compile('^epoch 20:|^50 updates:', re.MULTILINE)
    assert script.wait_for(lambda: first.search(script.printed)), script.complained
    os.kill(script.process.pid, signal.SIGINT)
    assert script.finish() == 130, script.complained
    assert script.complained == f'\ninterrupted; what was learned so far is in {tmp_path}\n'
    results = json.loads((tmp_path / 'results.json').read_text())
    assert 20 <= len(results[key]) < options[-1]
