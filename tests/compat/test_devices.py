"""Devices that are compared with integers, as before v6."""

import operator

import chainer
import pytest
from chainer import backend, training
from chainer.backends import cuda

import chainer_lstm
from chainer_lstm.compat import devices

COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


class Gpu:
    """A device of CuPy."""

    def __init__(self, number):
        self.id = number


@pytest.fixture(params=[-1, 0, 3])
def device(request):
    if request.param < 0:
        return backend.CpuDevice()
    gpu = backend.GpuDevice.__new__(backend.GpuDevice)
    gpu.device = Gpu(request.param)
    return gpu


@pytest.mark.parametrize('compare', COMPARISONS)
def test_comparisons(device, compare):
    with chainer_lstm.installed():
        number = devices.number(device)
        for other in (-1, 0, 2, 3):
            assert compare(device, other) is compare(number, other)
            assert compare(other, device) is compare(other, number)


def test_integers(device):
    number = devices.number(device)
    with chainer_lstm.installed():
        assert int(device) == number and (number < 0 or list(range(5))[device] == number)
    with pytest.raises(TypeError):
        int(device)


def test_as_without():
    cpu = backend.CpuDevice()
    for block in (chainer_lstm.installed(), chainer_lstm.installed(v1=True)):
        with block:
            assert cpu == backend.CpuDevice() and cpu != '@numpy' and cpu is not None
            assert hash(cpu) == hash(backend.CpuDevice())
            with pytest.raises(TypeError):
                cpu < 'a'  # noqa: B015
    assert cpu != -1
    with pytest.raises(TypeError):
        cpu >= 0  # noqa: B015


@pytest.mark.parametrize(
    'get', [cuda._get_device_or_current, cuda.get_device_from_id, cuda._get_cuda_device]
)
def test_number_of_a_gpu(monkeypatch, device, get):
    """For ``to_gpu(x, device)``, ``get_device(device)`` and the like."""
    pytest.importorskip('cupy', reason='CuPy is not installed: it has no devices')
    monkeypatch.setattr(cuda, 'check_cuda_available', lambda: None)
    for module in (cuda, cuda.cuda):
        monkeypatch.setattr(module, 'Device', Gpu)
    if device != backend.CpuDevice():
        with chainer_lstm.installed():
            assert int(get(device).id) == devices.number(device)


def test_updater_of_an_old_program():
    class Updater(training.StandardUpdater):
        def update_core(self):
            x = self.converter(self.get_iterator('main').next(), self.device)
            seen.append((self.device >= 0, self.device < 0, x.sum()))

    seen = []
    with chainer_lstm.installed():
        optimizer = chainer.optimizers.SGD()
        optimizer.setup(chainer.links.Linear(3, 2))
        iterator = chainer.iterators.SerialIterator([1, 2], 2)
        Updater(iterator, optimizer, device=-1).update()
    assert seen == [(False, True, 3)]
