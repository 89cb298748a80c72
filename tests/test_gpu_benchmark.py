"""benchmarks/gpu.py from end to end with NumPy in place of a GPU;
what it measures then means nothing.
"""

import json
import os
import pathlib
import sys
import time

import chainer
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'benchmarks'))

import gpu
import gpu_contestants
import gpu_report
import gpu_tasks

CASES = ['4/6/16/2', '5/7/24/1 ragged', 'PTB 3/4/8/2']


class Missing:
    def __init__(self, *args):
        raise ImportError('no torch')


def in_process(command, seconds, log, **environment):
    """``gpu.start``, but measured here, where a test has replaced what it replaces."""
    if '--task' not in command:
        return gpu.Ending('ok', 0.0)
    try:
        code = gpu.main(command[2:])
    except Exception as error:
        return gpu.Ending(repr(error), 0.0)
    return gpu.Ending('ok' if code == 0 else f'ended with status {code}', 0.0)


def run(out, *args, start=in_process):
    status = gpu.main(['--quick', '--device', 'cpu', '--out', str(out), *args], start)
    return status, json.loads((out / 'gpu.json').read_text())


def entries(results):
    return [*results['layers'], *results['updates']]


@pytest.fixture(autouse=True)
def _settings():
    """Ends settings of contestants, which have a process of their own elsewhere."""
    with (
        chainer.using_config('lstm_engine', 'auto'),
        chainer.using_config('lstm_matmul_precision', 'highest'),
    ):
        yield


@pytest.fixture
def without_torch(monkeypatch):
    for name in 'Torch', 'TorchUpdates':
        monkeypatch.setattr(gpu_contestants, name, Missing)


@pytest.fixture
def measured(monkeypatch, without_torch):
    """Run some parts with other contestants."""

    def measured(out, *parts, **contestants):
        for name, value in contestants.items():
            monkeypatch.setattr(gpu_contestants, name, value)
        return run(out, '--only', *parts)

    return measured


def test_without_a_gpu(tmp_path, capsys, monkeypatch):
    def make_device():
        raise RuntimeError('no CUDA device\nand more')

    monkeypatch.setitem(gpu.DEVICES, 'gpu', make_device)
    assert gpu.main(['--out', str(tmp_path)], in_process) == 2
    assert capsys.readouterr().err == 'gpu.py needs an NVIDIA GPU and CuPy: no CUDA device\n'


def test_tables_and_files(tmp_path, capsys, measured):
    status, results = measured(tmp_path, 'layers', 'updates')
    assert status == 0
    assert [entry['name'] for entry in entries(results)] == CASES
    for entry in entries(results):
        modes = {'train'} if entry in results['updates'] else {'train', 'infer'}
        for found in entry['comparisons']:
            assert {mode: {*times} for mode, times in found['times'].items()} == {
                mode: {'ours'} for mode in modes
            }
            assert all(found['split'][mode]['ours']['host'] > 0 for mode in modes)
    for entry in results['layers']:
        assert len(entry['recurrences']) == 4
        assert all(found['microseconds a step'] > 0 for found in entry['recurrences'])
    printed = capsys.readouterr().out
    assert (tmp_path / 'gpu.txt').read_text() in printed
    assert '5/7/24/1 ragged' in printed
    assert {path.name for path in tmp_path.iterdir()} <= {'gpu.json', 'gpu.txt', 'log.txt'}


def test_beside_torch(tmp_path):
    pytest.importorskip('torch', reason='torch is not installed')
    status, results = run(tmp_path, '--only', 'layers', 'updates')
    assert status == 0
    for entry in entries(results):
        for found in entry['comparisons']:
            assert 0 < found['difference'] < 1e-5
            assert {*found['times']['train']} == {'ours', 'torch'}


def test_a_difference_is_an_error_and_timed_all_the_same(tmp_path, capsys, measured):
    class Wrong(gpu_contestants.Ours):
        name = 'torch'

        def results(self):
            found = super().results()
            found['weight_hh_l0'] *= 1.1
            return found

    status, results = measured(tmp_path, 'layers', Torch=Wrong)
    assert status == 1
    assert len(results['wrong']) == 4
    assert all(
        {*found['times']} == {'train', 'infer'}
        for entry in results['layers']
        for found in entry['comparisons']
    )
    assert "4/6/16/2 at 'highest': chainer_lstm and torch differ by" in capsys.readouterr().err


def test_an_error_ends_nothing_but_what_raised_it(tmp_path, capsys, measured):
    class Fails(gpu_contestants.Ours):
        name = 'torch'

        def train(self):
            raise RuntimeError('an illegal memory access')

    status, results = measured(tmp_path, 'layers', 'updates', Torch=Fails)
    assert status == 1
    assert len(results['wrong']) == 4
    message = 'wrong: 4/6/16/2, comparisons: RuntimeError: an illegal memory access'
    assert message in capsys.readouterr().err
    for entry in results['layers']:
        assert entry['comparisons'] == [] and len(entry['recurrences']) == 4
    assert all(len(entry['comparisons']) == 2 for entry in results['updates'])


def test_what_a_process_saved_before_it_died_is_kept(tmp_path, monkeypatch, measured):
    class Dies(Exception):
        pass

    def recurrence(device, case, engine, precision):
        (tmp_path / 'seen.json').write_bytes((tmp_path / 'part.json').read_bytes())
        raise SystemExit(3) if case.ragged else ValueError('one of them')

    def start(*args, **how):
        try:
            return in_process(*args, **how)
        except SystemExit:
            return gpu.Ending('not finished after 90 seconds', 90.0)

    monkeypatch.setattr(gpu_tasks, 'recurrence', recurrence)
    status, results = run(tmp_path, '--only', 'layers', 'updates', start=start)
    assert status == 1
    assert [len(entry['comparisons']) for entry in entries(results)] == [2, 2, 2]
    assert 'layers, 5/7/24/1 ragged: not finished after 90 seconds' in results['wrong']
    assert len(json.loads((tmp_path / 'seen.json').read_text())['comparisons']) == 2


@pytest.mark.slow
def test_targets(tmp_path, measured):
    class Fast(gpu_contestants.Ours):
        name = 'torch'

    class Slow(gpu_contestants.Ours):
        def train(self):
            time.sleep(0.05)
            return super().train()

    status, results = measured(tmp_path, 'layers', Torch=Fast, Ours=Slow)
    assert status == 0
    assert len(results['missed']) >= 2
    assert 'missed: 4/6/16/2: 0.' in (tmp_path / 'gpu.txt').read_text()


def test_tests_come_last_and_get_files(tmp_path):
    commands = []

    def start(command, seconds, log, **environment):
        commands.append(command)
        (tmp_path / 'part.json').write_text('{"errors": []}')
        return gpu.Ending('ok', 1.0)

    status, results = run(tmp_path, start=start)
    assert status == 0
    assert [task['part'] for task in results['tasks']] == [
        'facts', 'layers', 'layers', 'updates', 'tests', 'tests'
    ]  # fmt: skip
    for command, name in zip(commands[-2:], ('kernels', 'rest')):
        assert f'--junitxml={tmp_path / f"junit-{name}.xml"}' in command
    for path in (path for files in gpu._TESTS.values() for path in files if '/' in path):
        assert (gpu.ROOT / path.partition('=')[2 * ('=' in path)]).exists()


def test_no_time_left(tmp_path):
    def start(command, seconds, log, **environment):
        assert seconds <= 60 * 0.001
        return gpu.Ending('ok', 0.0)

    status, results = run(tmp_path, '--minutes', '0.001', start=start)
    assert status == 1
    assert {task['status'] for task in results['tasks']} == {'left out: no time'}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('code', 'status'),
    [
        ('print("begun")', 'ok'),
        ('print("begun"); raise SystemExit(3)', 'ended with status 3'),
        ('import os; print("begun"); os.abort()', 'ended with status -6'),
        ('import time; print("begun"); time.sleep(60)', 'not finished after 1 seconds'),
    ],
    ids=['ok', 'error', 'abort', 'hang'],
)
def test_process(tmp_path, code, status):
    if 'abort' in code and sys.platform == 'win32':
        pytest.skip('another status on Windows')
    log = tmp_path / 'log.txt'
    assert gpu.start([sys.executable, '-c', code], 1.0 if 'sleep' in code else 60, log)[0] == status
    assert 'begun' in log.read_text()


def test_processes_of_its_own(tmp_path):
    status, results = run(tmp_path, '--only', 'facts', start=gpu.start)
    assert status == 0
    assert results['facts'][0]['copy'] > 0


@pytest.mark.skipif(sys.platform == 'win32', reason='the program is a shell script')
def test_sampled_clocks(tmp_path, monkeypatch):
    program = tmp_path / 'nvidia-smi'
    program.write_text('#!/bin/sh\necho "now, 1980, 2619, 300, 41"\nexec sleep 60\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    with gpu.sampled_clocks(tmp_path / 'clocks.csv') as since:
        for _ in range(1000):
            found = since()
            if found:
                break
            time.sleep(0.01)
        assert found['median SM MHz'] == 1980
        assert since() == {}
    monkeypatch.setenv('PATH', '')
    with gpu.sampled_clocks(tmp_path / 'none.csv') as since:
        assert since() == {}


def test_clocks():
    lines = [
        'x, 1980, 2619, 300.5, 41',
        'x, 345, 2619, [N/A], 40',
        'x, 1200, 2619, 120, 44',
        'x, 19',
    ]
    assert gpu_report.clocks(lines) == {
        'least SM MHz': 1200,
        'median SM MHz': 1590,
        'median memory MHz': 2619,
        'most W': 300.5,
        'most degrees': 44,
    }
    assert gpu_report.clocks([]) == {}


def test_training(tmp_path):
    log = tmp_path / 'log'
    entries = [
        {'epoch': 0, 'perplexity': 300.0},
        {'epoch': 1, 'perplexity': 200.0, 'val_perplexity': 82.0, 'elapsed_time': 5.0},
        {'epoch': 2, 'perplexity': 100.0, 'val_perplexity': 84.0, 'elapsed_time': 10.0},
    ]
    for count, missed in ((2, 0), (3, 1), (1, 1)):
        log.write_text(json.dumps(entries[:count]))
        results = {'layers': [], 'updates': [], 'train': [{'epochs': gpu_report.epochs(log)}]}
        assert len(gpu_report.missed(results)) == missed
    assert gpu_report.epochs(tmp_path / 'none') == []


@pytest.mark.parametrize(
    'args', [['--only', 'nothing'], ['--out', __file__], ['--unknown'], ['--minutes', '0']]
)
def test_wrong_options(args, capsys):
    with pytest.raises(SystemExit) as caught:
        gpu.main(args)
    assert caught.value.code == 2
    assert 'error:' in capsys.readouterr().err
