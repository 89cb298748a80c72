"""What is missing for a GPU: show_config and --gpu say the same, on machines that are made up."""

import sys
import types

import pytest
from chainer.backends import cuda

import chainer_lstm
from chainer_lstm.kernels.engines import auto
from chainer_lstm.training import script
from tests.support.examples import load

LIBRARY = 'libcublasLt.so.13 or libcublasLt.so.12'
CAUSE = 'ImportError: libcudart.so.13: cannot open shared object file'
BANNER = f"""
================================================================
Failed to import CuPy.

Original error:
  {CAUSE}
================================================================
"""
PIP = "; pip install 'chainer-lstm[cuda13]', or [cuda12] for an older driver, or leave --gpu out"
DRIVER = "; look after NVIDIA's driver, or leave --gpu out"


class CUDARuntimeError(RuntimeError):
    """As CuPy raises it."""


def count(number):
    """Make a CuPy that finds this number of GPUs, or raises."""

    def get_device_count():
        if isinstance(number, Exception):
            raise number
        return number

    properties = {'name': b'H100', 'major': 9, 'minor': 0}
    runtime = types.SimpleNamespace(
        getDeviceCount=get_device_count,
        CUDARuntimeError=CUDARuntimeError,
        getDeviceProperties=lambda k: properties,
    )
    module = types.ModuleType('cupy')
    module.__spec__ = types.SimpleNamespace()
    module.cuda = types.SimpleNamespace(runtime=runtime)
    return module


class Broken(types.ModuleType):
    """A CuPy that cannot be imported."""

    @property
    def cuda(self):
        raise ImportError(BANNER)


def broken():
    module = Broken('cupy')
    module.__spec__ = types.SimpleNamespace()
    return module


NO_DEVICE = CUDARuntimeError('cudaErrorNoDevice: no CUDA-capable device is detected')
# what is there, whether Chainer finds CUDA's libraries, and what is said
CASES = {
    'no CuPy': (None, False, 'CuPy is not installed', PIP),
    'CuPy cannot be imported': (broken(), False, f'CuPy cannot be imported: {CAUSE}', PIP),
    'no driver': (count(NO_DEVICE), True, f'no GPU found: {NO_DEVICE}', DRIVER),
    'no GPU': (count(0), True, 'no GPU found: CUDA counts 0', DRIVER),
    'neither GPU nor libraries': (count(NO_DEVICE), False, f'no GPU found: {NO_DEVICE}', DRIVER),
    'no libraries': (count(1), False, f"CUDA's libraries are missing: {LIBRARY}", PIP),
    'another CuPy': (count(1), None, 'Chainer cannot use CuPy: no attribute', PIP),
}


def make_up(monkeypatch, module, available):
    """Let the machine be one with this CuPy, and CUDA's libraries or none."""
    reason = ImportError(f'Failure finding "{LIBRARY}": No such file: listdir("/a"): libnvrtc.so')
    if available is None:
        reason = AttributeError('no attribute')
    monkeypatch.setitem(sys.modules, 'cupy', module)
    monkeypatch.setattr(cuda, 'available', available)
    monkeypatch.setattr(cuda, '_resolution_error', reason, raising=False)


@pytest.mark.parametrize('device', ['0', '1', '@cupy:0'])
@pytest.mark.parametrize('case', CASES)
def test_reason_and_remedy_in_one_line(monkeypatch, case, device):
    module, available, reason, remedy = CASES[case]
    make_up(monkeypatch, module, available)
    with pytest.raises(RuntimeError) as raised:
        script.get_device(device)
    index = device.removeprefix('@cupy:')
    expected = f'--gpu {index}: expected a GPU that CuPy can use, got none ({reason}){remedy}'
    assert str(raised.value) == expected


@pytest.mark.parametrize('case', CASES)
def test_show_config_has_the_same_reason(monkeypatch, capsys, case):
    module, available, reason, _ = CASES[case]
    make_up(monkeypatch, module, available)
    monkeypatch.setattr('chainer_lstm.configuration._version', lambda name: '')
    chainer_lstm.show_config()
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.removeprefix('engines cupy, persistent').strip() == reason


def test_gpus_that_are_there(monkeypatch, capsys):
    make_up(monkeypatch, count(2), True)
    monkeypatch.setattr(script.chainer, 'get_device', lambda name: name)
    assert [script.get_device(name) for name in ('0', '@cupy:1', '-1')] == ['0', '@cupy:1', '-1']
    for name in ('2', '@cupy:2'):
        with pytest.raises(ValueError, match='--gpu 2: expected a number below 2, got 2'):
            script.get_device(name)
    monkeypatch.setattr('chainer_lstm.configuration._version', lambda name: '')
    monkeypatch.setattr(auto, 'verdicts', lambda number: {'a kind': 'faster'})
    chainer_lstm.show_config()
    printed = capsys.readouterr().out
    assert 'ready: H100 (compute capability 9.0), H100' in printed
    assert 'persistent on GPU 1: a kind faster' in printed


@pytest.mark.parametrize('option', [['--gpu', '0'], ['--gpu'], ['--device', '@cupy:0']])
@pytest.mark.parametrize(
    'path',
    [
        'ptb/train_ptb.py',
        'ptb/gentxt.py',
        'time_machine/train_time_machine.py',
        'reber/train_reber.py',
        'adding/train_adding.py',
    ],
)
def test_every_script_ends_with_that_line_before_it_does_anything(
    monkeypatch, capsys, tmp_path, path, option
):
    make_up(monkeypatch, None, False)
    monkeypatch.chdir(tmp_path)
    required = ['-m', 'none'] if path == 'ptb/gentxt.py' else []
    monkeypatch.setattr(sys, 'argv', [path, *option, *required])
    with pytest.raises(SystemExit) as ended:
        load(path).main()
    out, err = capsys.readouterr()
    error = f'--gpu 0: expected a GPU that CuPy can use, got none (CuPy is not installed){PIP}'
    line = f'{path.rpartition("/")[2]}: error: {error}\n'
    assert (ended.value.code, out, err) == (2, '', line)
    assert list(tmp_path.iterdir()) == []
