"""What docs/migration.md shows is run, in its order, beside files that genuine Chainer wrote."""
import os
import pathlib
import pickle
import re
import subprocess
import sys

import chainer
import numpy
import pytest

import chainer_lstm

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / 'docs' / 'migration.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
OPTIONAL = ('torch', 'onnx', 'onnxruntime')


def missing(block):
    """The first optional package that a block imports and that is not there."""
    for name in OPTIONAL:
        if re.search(rf'import {name}\b|export_{name}\b', block):
            try:
                __import__(name)
            except ImportError:
                return name
    return None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link = chainer.links.LSTM(3, 4)
    chainer.serializers.save_npz('old.npz', link)
    with open('old.pickle', 'wb') as file:
        pickle.dump(link, file)
    (tmp_path / 'train.py').write_text('import sys, chainer\nprint(sys.argv[1:], chainer.links.LSTM.__module__)\n')
    return tmp_path


@pytest.mark.filterwarnings('ignore::ResourceWarning')  # the files that the blocks open and leave to Python to close
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_python_blocks_run(folder, monkeypatch):
    monkeypatch.setattr(chainer.global_config, 'lstm_forget_bias', 1)
    scope, skipped = {}, []
    try:
        for block in BLOCKS:
            if missing(block):
                skipped.append(missing(block))
            else:
                exec(block, scope)
            if 'old.pickle' in block:
                assert type(scope['lstm']) is chainer_lstm.links.LSTM
    finally:
        chainer_lstm.uninstall()
    assert chainer.global_config.lstm_forget_bias == 0
    assert type(scope['stacked']) is chainer_lstm.links.NStepLSTM
    if 'torch' not in skipped:
        assert type(scope['link']) is chainer_lstm.links.NStepBiLSTM
    if not {'onnx', 'onnxruntime'} & set(skipped):
        lstm = scope['lstm']
        lstm.reset_state()
        numpy.testing.assert_allclose(
            scope['y'], lstm.forward_sequence(numpy.ones((5, 2, 3), 'f')).array, rtol=1e-5, atol=1e-6)
    if skipped:
        pytest.skip(f'all but the blocks that need what is not installed: {", ".join(sorted(set(skipped)))}')


def test_commands_run(folder):
    lines = re.findall(r'^\$ python (-m chainer_lstm .*?)  +#', TEXT, re.MULTILINE)
    assert lines
    for line in lines:
        printed = subprocess.run([sys.executable, *line.split()], env={**os.environ, 'PYTHONPATH': str(ROOT)},
                                 check=True, text=True, capture_output=True).stdout
        assert printed == "['--epoch', '2'] chainer_lstm.links.lstm\n"
