"""Where parameters are updated."""

import sys

import pytest

from chainer_lstm.optimizers import update
from tests.kernels import fibres, updates_on_cpu


@pytest.fixture(params=['cpu', 'cuda on cpu', pytest.param('cupy', marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """The device of the parameters; with 'cuda on cpu' the GPU's kernels update those on the CPU,
    as much as Chainer's code does.
    """
    if request.param == 'cupy':
        request.getfixturevalue('cupy')
        return '@cupy:0'
    if request.param == 'cuda on cpu':
        if fibres.missing() is not None:
            pytest.skip(fibres.missing())
        engine = updates_on_cpu.engine(monkeypatch)
        monkeypatch.setattr(sys.modules[update.__module__], 'engine_of', lambda x: engine)
    return '@numpy'
