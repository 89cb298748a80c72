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
import layers

from chainer_lstm.kernels import native

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = [sys.executable, str(ROOT / 'benchmarks' / 'layers.py')]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT)}
PEER_OF = {'ours NStepLSTM': 'chainer NStepLSTM', 'ours LSTM steps': 'chainer LSTM steps'}
NAMES = {*PEER_OF, *PEER_OF.values(), 'ours forward_sequence'}


class WrongSteps(contestants.ChainerSteps):
    """The gradient of one bias is off by a thousandth."""

    def gradients(self):
        found = super().gradients()
        found['bias_hh_l1'][0] *= 1.001
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


class WrongLast(LikeTorch):
    """The forget gates are not open."""

    def open_forget_gates(self):
        pass


class MissingLSTM(contestants.TorchLSTM):
    @staticmethod
    def versions():
        raise ImportError('there is no such library')


def quick(out, *args):
    return layers.main(['--quick', '--out', str(out), *args])


def test_language_model(tmp_path, capsys):
    import language_model

    assert language_model.main(['--quick', '--peers', 'chainer', '--out', str(tmp_path)]) == 0
    (entry,) = json.loads((tmp_path / 'language_model.json').read_text())['shapes']
    assert {*entry['words/sec']} == {'ours', 'chainer'}
    assert entry['ratios']['chainer'] == pytest.approx(
        entry['words/sec']['ours'] / entry['words/sec']['chainer']
    )
    assert 'words a second' in capsys.readouterr().out


def test_language_models_that_differ_are_not_timed(tmp_path, capsys, monkeypatch):
    import language_model

    monkeypatch.setattr(
        language_model, 'measure', lambda *args: (_ for _ in ()).throw(RuntimeError('other losses'))
    )
    assert language_model.main(['--quick', '--peers', 'none', '--out', str(tmp_path)]) == 1
    assert 'error: other losses' in capsys.readouterr().err


def test_table_files_and_chart(tmp_path):
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
    assert 'lengths drawn from 1 to 4' in done.stdout

    results = json.loads((tmp_path / 'new/out/layers.json').read_text())
    assert {*results} == {'machine', 'families', 'options', 'shapes', 'ragged', 'last'}
    assert {*results['families']} == {'ours', 'chainer'}
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
    assert len(results['ragged']['lengths']) == 3
    assert 'Loss on the last output only, 3/4/5/2' in done.stdout
    assert {*results['last']['times']} == {'ours forward_sequence'}
    assert results['last']['ratio'] is None
    assert (tmp_path / 'new/out/layers.png').read_bytes().startswith(b'\x89PNG')


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
        assert {*entry['ratios'][mode]} == {'ours NStepLSTM'}


def test_loss_on_the_last_output(tmp_path, monkeypatch):
    monkeypatch.setitem(layers.FAMILIES, 'torch', (LikeTorch,))
    assert quick(tmp_path, '--shapes', '2/3/4/2', '--peers', 'torch') == 0
    last = json.loads((tmp_path / 'layers.json').read_text())['last']
    assert all(found['agrees'] for found in last['parity'].values())
    assert last['ratio'] == pytest.approx(
        last['times']['ours forward_sequence']['median'] / last['times']['torch LSTM']['median']
    )


def test_wrong_gradients_of_the_last_output(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(layers.FAMILIES, 'torch', (WrongLast,))
    assert quick(tmp_path, '--shapes', '2/3/4/2', '--peers', 'torch') == 1
    assert (
        'error: 2/3/4/2, the last output: ours forward_sequence and torch LSTM'
        in capsys.readouterr().err
    )
    assert json.loads((tmp_path / 'layers.json').read_text())['last']['ratio'] is None


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


def test_peers_compute_in_processes_without_our_engine(tmp_path, monkeypatch):
    monkeypatch.setitem(layers.FAMILIES, 'chainer', (contestants.ChainerNStep, UntouchedSteps))
    assert quick(tmp_path, '--peers', 'chainer') == 0


def test_missing_peer_is_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(layers.FAMILIES, 'torch', (MissingLSTM,))
    assert quick(tmp_path, '--shapes', '2/3/4/1', '--peers', 'torch') == 0
    printed = capsys.readouterr().out
    assert 'torch is left out: there is no such library' in printed
    assert 'ours forward_sequence' in printed
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
        ([1], [1, 1], layers.MAX),
        ([1, 'nan'], [1, 1], layers.MAX),
        ([1, 1], [1, 'nan'], layers.MAX),
        ([1, 'inf'], [1, 'inf'], layers.MAX),
    ],
)
def test_difference(actual, expected, apart):
    actual, expected = (layers.numpy.array(x, 'd') for x in (actual, expected))
    assert layers.difference(actual, expected) == pytest.approx(apart)


@pytest.mark.skipif(not hasattr(os, 'killpg'), reason='no process groups here')
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


def test_options(tmp_path):
    script = [sys.executable, str(ROOT / 'benchmarks' / 'options.py')]
    given = ['--shape', '4/6/16/1', '--runs', '1', '--only', 'coupled', 'resets', '--out', tmp_path]
    done = subprocess.run(
        [*script, *map(str, given)], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    times = json.loads((tmp_path / 'options.json').read_text())['times']
    assert {'ours no option', 'ours coupled', 'ours resets'} <= times.keys()
    assert all(len(turns) == 1 and turns[0] > 0 for turns in times.values())
    assert 'ours coupled' in done.stdout
