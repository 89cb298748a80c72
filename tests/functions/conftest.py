"""The engines that cells are tested on."""

import chainer
import pytest

from chainer_lstm import kernels
from chainer_lstm.kernels import native
from tests.kernels import cuda_on_cpu


@pytest.fixture(params=['numpy', 'native', 'cuda'])
def engine(request, monkeypatch):
    """The name of an engine that everything is computed by."""
    if request.param == 'cuda':
        if cuda_on_cpu.missing() is not None:
            pytest.skip(cuda_on_cpu.missing())
        engine = cuda_on_cpu.engine(monkeypatch)
        # aligned as CuPy's
        engine.xp.empty_like = lambda x, order='C': engine.xp.empty(x.shape, x.dtype)
        monkeypatch.setattr(kernels, 'engine_of', lambda *args: engine)
        yield request.param
        engine.xp.check_guards()
        return
    if request.param == 'native' and native.library() is None:
        pytest.skip('the native engine was not built')
    with chainer.using_config('lstm_engine', request.param):
        yield request.param
