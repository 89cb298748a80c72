import chainer
import numpy
import pytest

from chainer_lstm import functions, links
from chainer_lstm.functions import config


def call():
    return links.LSTM(2, 3).forward_sequence(numpy.zeros((2, 1, 2), 'f'))


def test_defaults():
    assert chainer.config.lstm_engine == 'auto'
    assert chainer.config.lstm_matmul_precision == 'highest'


@pytest.mark.parametrize('engine', ['auto', 'numpy'])
@pytest.mark.parametrize('precision', ['highest', 'high', 'medium'])
def test_engines_and_precisions_for_numpy(engine, precision):
    with (
        chainer.using_config('lstm_engine', engine),
        chainer.using_config('lstm_matmul_precision', precision),
    ):
        assert call().shape == (2, 1, 3)


@pytest.mark.parametrize(
    ('entry', 'value', 'message'),
    [
        ('lstm_engine', 'cupy', "got 'cupy': it cannot compute numpy arrays"),
        ('lstm_engine', 'persistent', "got 'persistent': it cannot compute numpy arrays"),
        (
            'lstm_engine',
            'fast',
            r"one of \('auto', 'numpy', 'native', 'cupy', 'persistent'\), got 'fast': there is no",
        ),
        ('lstm_matmul_precision', 'low', r"one of \('highest', 'high', 'medium'\), got 'low'"),
    ],
)
def test_what_cannot_be_done_is_refused(entry, value, message):
    with chainer.using_config(entry, value), pytest.raises(ValueError, match=message):
        call()
    with chainer.using_config(entry, value), pytest.raises(ValueError, match=message):
        functions.lstm(numpy.zeros((1, 1), 'f'), numpy.zeros((1, 4), 'f'))


def test_an_entry_set_before_the_import_stays(monkeypatch):
    import importlib

    monkeypatch.setattr(chainer.global_config, 'lstm_engine', 'numpy')
    importlib.reload(config)
    assert chainer.global_config.lstm_engine == 'numpy'


@pytest.mark.parametrize(
    ('engine', 'deterministic', 'expected'),
    [
        ('auto', False, 'AutoEngine'),
        ('auto', True, 'StepwiseEngine'),
        ('persistent', True, 'PersistentEngine'),
        ('cupy', False, 'CupyEngine'),
    ],
)
def test_engine_on_a_gpu(engine, deterministic, expected):
    """Nothing is chosen by times where results must be the same in every run."""
    with (
        chainer.using_config('lstm_engine', engine),
        chainer.using_config('cudnn_deterministic', deterministic),
    ):
        assert type(config.engine_of(object())).__name__ == expected
