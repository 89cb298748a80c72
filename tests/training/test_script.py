import argparse
import builtins
import json
import sys

import numpy
import pytest

from chainer_lstm.training import script


def parse(*args):
    return script.parser('A script.').parse_args(args)


def test_options_of_every_script():
    args = parse('--seed', '3', '-g', '-o', 'here', '--test')
    assert (args.seed, args.device, str(args.out), args.test) == (3, '0', 'here', True)
    assert parse().device == '-1'
    assert parse('--gpu', '2').device == '2'


def test_start_makes_the_folder_and_seeds(tmp_path):
    drawn = []
    for _ in range(2):
        device = script.start(parse('--seed', '3', '--out', str(tmp_path / 'a' / 'b')))
        drawn.append(numpy.random.rand(3))
    assert device.xp is numpy
    assert (tmp_path / 'a' / 'b').is_dir()
    numpy.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
    ('error', 'status', 'message'),
    [
        (ValueError('expected this, got that'), 2, 'error: expected this, got that\n'),
        (FileNotFoundError(2, 'No such file', 'words'), 2, "No such file: 'words'\n"),
        (KeyboardInterrupt(), 130, '\ninterrupted; see result\n'),
    ],
)
def test_how_a_script_ends(monkeypatch, capsys, error, status, message):
    def run(args):
        raise error

    monkeypatch.setattr(sys, 'argv', ['script.py'])
    with pytest.raises(SystemExit) as ended:
        script.main(script.parser('A script.'), run, 'see {out}')
    assert ended.value.code == status
    complaint = capsys.readouterr().err
    assert complaint.endswith(message)
    assert 'Traceback' not in complaint


def test_a_bug_is_no_bad_input(monkeypatch):
    def run(args):
        raise AttributeError('a bug')

    monkeypatch.setattr(sys, 'argv', ['script.py'])
    with pytest.raises(AttributeError, match='a bug'):
        script.main(script.parser('A script.'), run)


@pytest.mark.parametrize('terminal', [True, False])
def test_progress_passes_all_on_and_shows_on_terminals_only(monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: terminal, raising=False)
    assert list(script.progress(iter('abc'), 3, script.Signals())) == ['a', 'b', 'c']
    shown = capsys.readouterr().err
    assert ('3/3' in shown) == terminal
    assert shown.endswith('\r\033[K') or not terminal


def test_results_hold_the_options(tmp_path):
    args = argparse.Namespace(out=tmp_path, epoch=3, data=None)
    script.save_results(tmp_path, args, {'error': [0.5, 0.25]})
    assert json.loads((tmp_path / 'results.json').read_text()) == {
        'options': {'out': str(tmp_path), 'epoch': 3, 'data': None},
        'error': [0.5, 0.25],
    }


def test_plot(tmp_path):
    script.save_plot(
        tmp_path / 'a.png', {'one': [3, 2, 1], 'two': [1, 2, 3]}, 'epoch', 'error', log=True
    )
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')


def test_no_plot_without_matplotlib(tmp_path, monkeypatch, capsys):
    def without(name, *args, **kwargs):
        if name.startswith('matplotlib'):
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, '__import__', without)
    script.save_plot(tmp_path / 'a.png', {'one': [1]}, 'epoch', 'error')
    assert capsys.readouterr().out == 'no a.png: it needs matplotlib (pip install matplotlib)\n'
    assert not (tmp_path / 'a.png').exists()
