"""benchmarks/gpu.py from end to end with NumPy in place of a GPU;
what it measures then means nothing.
"""

import json
import pathlib
import sys
import time

import numpy
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'benchmarks'))

import gpu
import gpu_contestants

CASES = ['4/6/16/2', '5/7/24/1 ragged', 'PTB 3/4/8/2']


class Cpu(gpu.Gpu):
    torch_name = 'cpu'
    engines = (('auto', 'highest'), ('numpy', 'high'))

    def __init__(self):
        self.xp = numpy

    def facts(self):
        return {'gpu': 'none'}

    def synchronize(self):
        pass

    def split(self, call, before=lambda: None):
        before()
        return {'host': self._spent(call, 1), 'device': self._spent(call, 1)}


class Missing:
    def __init__(self, *args):
        raise ImportError('no torch')


def run(out, *args):
    status = gpu.main(['--quick', '--out', str(out), *args], Cpu)
    return status, json.loads((out / 'gpu.json').read_text())


def test_without_a_gpu(tmp_path, capsys):
    def make_device():
        raise RuntimeError('no CUDA device\nand more')

    assert gpu.main(['--out', str(tmp_path)], make_device) == 2
    assert capsys.readouterr().err == 'gpu.py needs an NVIDIA GPU and CuPy: no CUDA device\n'
    assert not list(tmp_path.iterdir())


def entries(results):
    return [*results['cases'], *results['updates']]


def without_torch(monkeypatch):
    for name in 'Torch', 'TorchUpdates':
        monkeypatch.setattr(gpu_contestants, name, Missing)


def test_tables_and_files(tmp_path, capsys, monkeypatch):
    without_torch(monkeypatch)
    status, results = run(tmp_path, '--only', 'benchmark')
    assert status == 0
    assert [entry['name'] for entry in entries(results)] == CASES
    for entry in entries(results):
        modes = {'train'} if entry in results['updates'] else {'train', 'infer'}
        for found in entry['comparisons']:
            assert {mode: {*times} for mode, times in found['times'].items()} == {
                mode: {'ours'} for mode in modes
            }
            assert all(found['split'][mode]['ours']['host'] > 0 for mode in modes)
    for entry in results['cases']:
        assert len(entry['recurrences']) == 4
        assert all(found['microseconds a step'] > 0 for found in entry['recurrences'])
    printed = capsys.readouterr().out
    assert (tmp_path / 'gpu.txt').read_text() in printed
    assert '5/7/24/1 ragged' in printed


def test_beside_torch(tmp_path):
    pytest.importorskip('torch', reason='torch is not installed')
    status, results = run(tmp_path, '--only', 'benchmark')
    assert status == 0
    for entry in entries(results):
        for found in entry['comparisons']:
            assert 0 < found['difference'] < 1e-5
            assert {*found['times']['train']} == {'ours', 'torch'}


def test_a_difference_is_an_error_and_timed_all_the_same(tmp_path, capsys, monkeypatch):
    class Wrong(gpu_contestants.Ours):
        name = 'torch'

        def results(self):
            found = super().results()
            found['weight_hh_l0'] *= 1.1
            return found

    without_torch(monkeypatch)
    monkeypatch.setattr(gpu_contestants, 'Torch', Wrong)
    status, results = run(tmp_path, '--only', 'benchmark')
    assert status == 1
    assert len(results['wrong']) == 4
    assert all(
        {*found['times']} == {'train', 'infer'}
        for entry in results['cases']
        for found in entry['comparisons']
    )
    assert "4/6/16/2 at 'highest': ours and torch differ by" in capsys.readouterr().err


def test_an_error_ends_nothing_but_what_raised_it(tmp_path, capsys, monkeypatch):
    class Fails(gpu_contestants.Ours):
        name = 'torch'

        def train(self):
            raise RuntimeError('an illegal memory access')

    without_torch(monkeypatch)
    monkeypatch.setattr(gpu_contestants, 'Torch', Fails)
    status, results = run(tmp_path, '--only', 'benchmark')
    assert status == 1
    assert len(results['wrong']) == 4
    assert (
        'wrong: 4/6/16/2, comparisons: RuntimeError: an illegal memory access'
        in capsys.readouterr().err
    )
    assert all(
        entry['comparisons'] == [] and len(entry['recurrences']) == 4 for entry in results['cases']
    )
    assert all(len(entry['comparisons']) == 2 for entry in results['updates'])


def test_targets(tmp_path, capsys, monkeypatch):
    class Fast(gpu_contestants.Ours):
        name = 'torch'

    class Slow(gpu_contestants.Ours):
        def train(self):
            time.sleep(0.05)
            return super().train()

    without_torch(monkeypatch)
    monkeypatch.setattr(gpu_contestants, 'Torch', Fast)
    monkeypatch.setattr(gpu_contestants, 'Ours', Slow)
    status, results = run(tmp_path, '--only', 'benchmark')
    assert status == 0
    assert len(results['missed']) >= 2
    assert 'missed: 4/6/16/2: 0.' in capsys.readouterr().out


@pytest.mark.parametrize(('code', 'passed'), [('', True), ('raise SystemExit(3)', False)])
def test_tests_are_run(tmp_path, monkeypatch, code, passed):
    (tmp_path / 'pytest.py').write_text(f'print("2 passed")\n{code}\n')
    monkeypatch.setattr(gpu, 'ROOT', tmp_path)
    status, results = run(tmp_path, '--only', 'tests')
    assert (status, results['tests']) == (
        int(not passed),
        {'passed': passed, 'summary': '2 passed'},
    )
    assert (tmp_path / 'tests.txt').read_text().startswith('2 passed')
    assert 'cases' not in results


@pytest.mark.parametrize('args', [['--only', 'nothing'], ['--out', __file__], ['--unknown']])
def test_wrong_options(args, capsys):
    with pytest.raises(SystemExit) as caught:
        gpu.main(args)
    assert caught.value.code == 2
    assert 'error:' in capsys.readouterr().err
