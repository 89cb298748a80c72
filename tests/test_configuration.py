import subprocess
import sys

import chainer_lstm
from chainer_lstm.kernels import native


def test_show_config(capsys):
    chainer_lstm.show_config()
    rows = dict(line.split('  ', 1) for line in capsys.readouterr().out.splitlines())
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows['chainer_lstm'] == chainer_lstm.__version__
    assert rows['chainer'] == '7.8.1'
    assert rows['engine numpy'] == 'ready'
    if native.library() is None:
        assert rows['engine native'].startswith('not built')
    else:
        assert rows['engine native'].startswith(f'ready: {native.instruction_sets()[0]}')
        assert rows['engine native'].endswith('threads')
    assert 'engines cupy, persistent' in rows


def test_show_config_without_the_library():
    code = ('from chainer_lstm.kernels import native; native._file = lambda: None; '
            'import chainer_lstm; chainer_lstm.show_config()')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert 'engine native' in done.stdout
    assert 'not built: a C++ compiler was missing' in done.stdout
