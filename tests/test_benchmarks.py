"""The benchmark works from end to end; what it measures depends on the machine."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'benchmarks'))

import contestants
import goals
import layers
import peers
import trees
import turns
import ways

from chainer_lstm.kernels import native

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = [sys.executable, str(ROOT / 'benchmarks' / 'layers.py')]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT)}
PEER_OF = {'NStepLSTM': 'chainer NStepLSTM', 'LSTM steps': 'chainer LSTM steps'}
NAMES = {*PEER_OF, *PEER_OF.values(), 'forward_sequence'}


class WrongSteps(contestants.ChainerSteps):
    """The gradient of one bias is off by a thousandth."""

    def gradient(self, name):
        found = super().gradient(name)
        if name == 'bias_hh_l1':
            found[0] *= 1.001
        return found


class BrokenSteps(contestants.ChainerSteps):
    def infer(self):
        raise ArithmeticError('this one is broken')


class DyingSteps(contestants.ChainerSteps):
    def infer(self):
        os._exit(7)


class UntouchedSteps(contestants.ChainerSteps):
    """With the native engine this process would keep freed memory,
    and a peer in it would be the faster for it.
    """

    def train(self):
        assert native.library.cache_info().currsize == 0
        return super().train()


class LikeTorch(contestants.OurSequence):
    name = 'torch LSTM'
    family = 'torch'


class WrongLast(LikeTorch):
    """Gradients are off by a thousandth."""

    def last(self, ys):
        return super().last(ys) * 1.001


class MissingLSTM(peers.TorchLSTM):
    @staticmethod
    def versions():
        raise ImportError('there is no such library')


def quick(out, *args):
    return layers.main(['--quick', '--out', str(out), *args])


@pytest.mark.slow
def test_language_model(tmp_path, capsys):
    import language_model

    assert language_model.main(['--quick', '--peers', 'chainer', '--out', str(tmp_path)]) == 0
    (entry,) = json.loads((tmp_path / 'language_model.json').read_text())['shapes']
    assert {*entry['words/sec']} == {'chainer_lstm', 'chainer'}
    assert entry['ratios']['chainer'] == pytest.approx(
        entry['words/sec']['chainer_lstm'] / entry['words/sec']['chainer']
    )
    assert 'words a second' in capsys.readouterr().out


@pytest.mark.slow
def test_language_models_that_differ_are_not_timed(tmp_path, capsys, monkeypatch):
    import language_model

    monkeypatch.setattr(
        language_model, 'measure', lambda *args: (_ for _ in ()).throw(RuntimeError('other losses'))
    )
    assert language_model.main(['--quick', '--peers', 'none', '--out', str(tmp_path)]) == 1
    assert 'error: other losses' in capsys.readouterr().err


@pytest.mark.slow
def test_table_and_file(tmp_path):
    args = ['--quick', '--shapes', '3/4/5/2', '1/1/2/1', '--peers', 'chainer', '--out', 'new/out']
    done = subprocess.run(
        [*SCRIPT, *args], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, '')
    lines = [line.split('  ')[0] for line in done.stdout.splitlines()]
    for mode in 'training', 'inference':
        assert {f'{mode}, {name}' for name in NAMES} <= {*lines}
        assert {f'{mode}, {ours} / {peer}' for ours, peer in PEER_OF.items()} <= {*lines}
    assert 'peak memory of forward_sequence' in done.stdout

    results = json.loads((tmp_path / 'new/out/layers.json').read_text())
    assert {*results} == {'machine', 'families', 'options', 'shapes'}
    assert {*results['families']} == {'chainer_lstm', 'chainer'}
    assert results['families']['chainer']['chainer'] == '7.8.1'
    assert [entry['name'] for entry in results['shapes']] == ['3/4/5/2', '1/1/2/1']
    for entry in results['shapes']:
        assert {*entry['parity']} == NAMES
        assert all(found['agrees'] for found in entry['parity'].values())
        for mode in 'train', 'infer':
            assert {*entry['times'][mode]} == NAMES
            assert all(
                0 < figures['min'] <= figures['median'] <= figures['max']
                and len(figures['runs']) == 1
                for figures in entry['times'][mode].values()
            )
            assert {*entry['ratios'][mode]} == {*PEER_OF}
        assert entry['memory']['ratio'] > 0.9


@pytest.mark.slow
def test_wrong_contestant_is_an_error_and_not_timed(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(layers.FAMILIES, 'chainer', (contestants.ChainerNStep, WrongSteps))
    assert quick(tmp_path, '--shapes', '2/3/4/2', '--peers', 'chainer') == 1
    printed = capsys.readouterr()
    assert 'chainer LSTM steps and chainer NStepLSTM differ by' in printed.err
    assert 'bias_hh_l1; not timed' in printed.err
    (entry,) = json.loads((tmp_path / 'layers.json').read_text())['shapes']
    assert {name for name, found in entry['parity'].items() if not found['agrees']} == {
        'chainer LSTM steps'
    }
    for mode in 'train', 'infer':
        assert {*entry['times'][mode]} == NAMES - {'chainer LSTM steps'}
        assert {*entry['ratios'][mode]} == {'NStepLSTM'}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        (BrokenSteps, 'ArithmeticError: this one is broken'),
        (DyingSteps, 'ended with status 7 in results'),
    ],
)
def test_contestant_that_fails(kind, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(layers.FAMILIES, 'chainer', (contestants.ChainerNStep, kind))
    assert quick(tmp_path, '--peers', 'chainer') == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_peers_compute_in_processes_without_our_engine(tmp_path, monkeypatch):
    monkeypatch.setitem(layers.FAMILIES, 'chainer', (contestants.ChainerNStep, UntouchedSteps))
    assert quick(tmp_path, '--peers', 'chainer') == 0


@pytest.mark.slow
def test_missing_peer_is_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(layers.FAMILIES, 'torch', (MissingLSTM,))
    assert quick(tmp_path, '--shapes', '2/3/4/1', '--peers', 'torch') == 0
    printed = capsys.readouterr().out
    assert 'torch is left out: there is no such library' in printed
    assert 'forward_sequence' in printed
    assert 'Times as ratios' not in printed


@pytest.mark.parametrize(
    'args',
    [
        ['--shapes'],
        ['--shapes', '20/35/650'],
        ['--shapes', '20/35/650/0'],
        ['--shapes', '20/x/650/2'],
        ['--runs', '0'],
        ['--runs', 'many'],
        ['--peers', 'keras'],
        ['--peers', ''],
        ['--out', __file__],
        ['--unknown'],
    ],
)
def test_wrong_options(args, capsys):
    with pytest.raises(SystemExit) as caught:
        layers.main(args)
    assert caught.value.code == 2
    assert 'error:' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('actual', 'expected', 'apart'),
    [
        ([1, 4], [1, 5], 0.2),
        ([0, 0], [0, 0], 0),
        ([1], [1, 1], turns.MAX),
        ([1, 'nan'], [1, 1], turns.MAX),
        ([1, 1], [1, 'nan'], turns.MAX),
        ([1, 'inf'], [1, 'inf'], turns.MAX),
    ],
)
def test_difference(actual, expected, apart):
    actual, expected = (turns.numpy.array(x, 'd') for x in (actual, expected))
    assert turns.difference(actual, expected) == pytest.approx(apart)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'killpg'), reason='no process groups here')
def test_trees(tmp_path, capsys):
    args = ['--trees', '2', '--units', '4', '--runs', '1', '--out', str(tmp_path)]
    assert trees.main(args) == 0
    assert capsys.readouterr().out.count('times as fast') == len(trees.LINKS)
    for case in json.loads((tmp_path / 'trees.json').read_text())['cases']:
        found = case['parity'][trees.ChainerTrees.name]
        assert found['agrees'] and found['where']  # of other code, so not to the last bit


def test_interrupt_leaves_no_processes(tmp_path):
    process = subprocess.Popen(
        [
            *SCRIPT,
            '--shapes',
            '2/3/4/1',
            '--runs',
            '100000',
            '--peers',
            'chainer',
            '--out',
            str(tmp_path),
        ],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # a shell's background job ignores it
    try:
        printed = b''
        while b'training' not in printed:
            byte = process.stdout.read(1)
            assert byte, process.stderr.read()
            printed += byte
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == b'\ninterrupted\n'
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail('processes were left behind')


@pytest.mark.slow
def test_options(tmp_path):
    script = [sys.executable, str(ROOT / 'benchmarks' / 'options.py')]
    given = ['--shape', '4/6/16/1', '--runs', '1', '--only', 'coupled', 'resets', '--out', tmp_path]
    done = subprocess.run(
        [*script, *map(str, given)], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    times = json.loads((tmp_path / 'options.json').read_text())['times']
    assert {f'chainer_lstm {name}' for name in ('no option', 'coupled', 'resets')} <= times.keys()
    assert all(len(found['runs']) == 1 and found['min'] > 0 for found in times.values())
    assert 'chainer_lstm coupled' in done.stdout


@pytest.fixture
def native_engine():
    """Not asked for at import: the peers' processes import this module and must not load it."""
    if native.library() is None:
        pytest.skip('the goals are for the native engine, which was not built')


def measure_goals(out, monkeypatch, peer):
    """Return the exit status and the entry of a row that compares the last output with a peer."""
    goal = ways.Goal(ways.FASTER, (peer,), 1e-9, 1e9)
    row = ways.Way('train_last', contestants.OurSequence, (contestants.Shape(2, 3, 4),), (goal,))
    monkeypatch.setattr(goals, 'WAYS', {'last': row})
    status = goals.main(['--quick', '--runs', '2', '--out', str(out)])
    return status, json.loads((out / 'goals.json').read_text())['rows']['last']


@pytest.mark.slow
@pytest.mark.usefixtures('native_engine')
def test_goals(tmp_path, capsys, monkeypatch):
    status, row = measure_goals(tmp_path, monkeypatch, LikeTorch)
    assert status == 0
    ((entry,), (goal,)) = row['cases'], row['goals']
    assert (tmp_path / 'goals.png').read_bytes().startswith(b'\x89PNG')
    assert all(found['agrees'] for found in entry['parity'].values())
    turns_of = (entry['times'][name]['runs'] for name in ('torch LSTM', 'forward_sequence'))
    first, second = (peer / own for peer, own in zip(*turns_of))
    assert goal['figures'] == {entry['name']: pytest.approx((first + second) / 2)}
    assert not goal['met']
    assert (
        '| last | 2/3/8/1 | times as fast as torch LSTM | mean ≥ 1e-09, worst ≥ 1e+09 | '
        in capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.usefixtures('native_engine')
def test_goals_of_a_wrong_peer(tmp_path, capsys, monkeypatch):
    status, row = measure_goals(tmp_path, monkeypatch, WrongLast)
    assert status == 1
    (goal,) = row['goals']
    assert (goal['figures'], goal['met']) == ({}, None)
    assert 'error: last, 2/3/8/1: forward_sequence and torch LSTM differ' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures('native_engine')
def test_goals_of_a_missing_peer(tmp_path, capsys, monkeypatch):
    status, row = measure_goals(tmp_path, monkeypatch, MissingLSTM)
    assert (status, row['goals'][0]['met']) == (0, None)
    printed = capsys.readouterr().out
    assert 'torch is left out: there is no such library' in printed
    assert 'times as fast as torch LSTM; goal mean ≥ 1e-09, worst ≥ 1e+09: not measured' in printed


@pytest.mark.slow
@pytest.mark.usefixtures('native_engine')
def test_goals_beside_onnxruntime(tmp_path):
    options = ['--quick', '--rows', 'steps', 'sequences', '--out', str(tmp_path)]
    assert goals.main(options) == 0
    results = json.loads((tmp_path / 'goals.json').read_text())
    assert results['machine']['instruction sets'] == native.instruction_sets()
    for row in results['rows'].values():
        assert all(found['agrees'] for found in row['cases'][0]['parity'].values())
        assert row['goals'][0]['met'] is not None


@pytest.mark.parametrize(
    ('figure', 'figures', 'met'),
    [
        (ways.FASTER, [1, 1.21], True),
        (ways.FASTER, [0.9, 1.5], False),
        (ways.FASTER, [1, 1.1], False),
        (ways.LONGER, [1, 1.1], False),
        (ways.LONGER, [0.5, 1], True),
        (ways.LONGER, [0.5, 1.01], False),
    ],
)
def test_bounds(figure, figures, met):
    mean = 1.1 if figure == ways.FASTER else 1
    assert ways.Goal(figure, (), mean, 1).summary(figures)['met'] == met


class FakeWorker:
    """Its turns take the given seconds, beside other processes with the given load."""

    def __init__(self, turns):
        self.turns = iter(turns)

    def turn(self, name, mode, seconds):
        return next(self.turns)


@pytest.mark.parametrize(
    ('given', 'runs'),
    [
        ([(1, 0), (2, 0.1)], [1, 2]),
        ([(3, 1), (1, 0), (3, 0.5), (2, 0)], [1, 2]),
        ([(3, 1), (1, 0.6), (2, 0.5), (1, 0.9)], [1, 2]),
    ],
)
def test_disturbed_turns_are_repeated(given, runs, monkeypatch):
    monkeypatch.setattr(turns, 'SETTLE', 0)
    monkeypatch.setattr(turns, '_turn', FakeWorker.turn)
    assert turns.take_turns({'a': FakeWorker(given)}, 'train', 2, 0)['a']['runs'] == runs
