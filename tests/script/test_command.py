"""``python -m chainer_lstm``: scripts of genuine Chainer, as a user runs them."""

import pytest


def test_script_finds_what_python_would_give_it(run):
    (
        script := run(
            """
        import __main__
        import os, sys
        import chainer.links as L
        from chainer.links.rnn.lstm import StatelessLSTM
        assert __name__ == '__main__' and __main__.L is L
        print(sys.argv, os.path.basename(__file__), os.path.basename(sys.path[0]))
        print(L.LSTM.__module__, StatelessLSTM.__module__, L.Linear.__module__)
    """,
            '-m',
            '--engine',
            'x',
            '-h',
        )
    ).check_returncode()
    assert script.stdout.splitlines() == [
        "['scripts/script.py', '-m', '--engine', 'x', '-h'] script.py scripts",
        'chainer_lstm.links.lstm chainer_lstm.links.lstm chainer.links.connection.linear',
    ]
    assert script.stderr == ''


def test_module(run):
    script = run(
        'import sys, chainer.links; print(__name__, sys.argv[1:], chainer.links.LSTM.__module__)',
        '-m',
        'x',
        command=['-m', 'scripts.script'],
    )
    assert (script.stdout, script.stderr) == ("__main__ ['-m', 'x'] chainer_lstm.links.lstm\n", '')


@pytest.mark.slow
def test_module_beside_the_script_and_its_pickle(run, tmp_path):
    """The second script reads what the first one pickled, a class of its own with a link inside."""
    (tmp_path / 'scripts').mkdir()
    (tmp_path / 'scripts' / 'net.py').write_text('import chainer.links as L\nmake = L.LSTM\n')
    model = """
        import pickle, chainer, net
        class Model(chainer.Chain):
            def __init__(self):
                super().__init__(lstm=net.make(3, 4))
    """
    assert (
        run(
            model
            + """
        pickle.dump(Model(), open('model.pickle', 'wb'))"""
        ).stderr
        == ''
    )
    script = run(
        model
        + """
        print(type(pickle.load(open('model.pickle', 'rb')).lstm).__module__)"""
    )
    assert (script.stdout, script.stderr) == ('chainer_lstm.links.lstm\n', '')


@pytest.mark.parametrize(
    'text, status',
    [
        ('raise SystemExit', 0),
        ('raise SystemExit(3)', 3),
        ('import sys; sys.exit("no")', 1),
        ('1 / 0', 1),
        ('', 0),
    ],
)
def test_exit_status(run, text, status):
    assert run(text).returncode == status


@pytest.mark.parametrize('command', [None, ['-m', 'scripts.script']], ids=['script', 'module'])
def test_traceback_is_the_scripts_own(run, command):
    script = run(
        """
        def fail():
            raise ValueError('no')
        fail()
    """,
        command=command,
    )
    lines = script.stderr.splitlines()
    assert lines[0] == 'Traceback (most recent call last):'
    assert 'script.py", line 4, in <module>' in lines[1]
    assert lines[-1] == 'ValueError: no'
    assert script.stderr.count('File "') == 2


def test_syntax_error_is_shown_without_a_traceback(run):
    script = run('x = (')
    assert script.returncode == 1
    assert 'Traceback' not in script.stderr and 'script.py", line 1' in script.stderr


def test_options(run):
    script = run(
        """
        import chainer, chainer.links as L
        print(chainer.config.lstm_engine, L.LSTM(2, 3).upward.b.array[2::4],
              L.StatelessLSTM(2, 3).upward.b.array[2])
        print(L.LSTM(2, 3, forget_bias_init=2).upward.b.array[2])
    """,
        before=['--engine', 'numpy', '--forget-bias=0'],
    )
    assert (script.stdout, script.stderr) == ('numpy [0. 0. 0.] 0.0\n2.0\n', '')


def test_v1(run):
    script = run(
        'from chainer import FunctionSet, links\nprint(links.LSTM(2, 3).upward.b.array[2])',
        before=['--v1'],
    )
    assert (script.stdout, script.stderr) == ('0.0\n', '')


@pytest.mark.parametrize(
    'args, message',
    [
        ([], 'expected a script or -m and a module'),
        (['no_such.py'], "expected a script, but there is no file 'no_such.py'"),
        (['scripts'], "expected a script, but there is no __main__.py in 'scripts'"),
        (['-m'], 'argument -m: expected one argument'),
        (['-m', 'no_such_module'], "expected a module, but there is no 'no_such_module'"),
        (['-m', 'no_such.module'], "expected a module, but there is no 'no_such.module'"),
        (['-m', '.relative'], "expected a module, but there is no '.relative'"),
        (['-m', 'email'], "expected a module, but there is no 'email' to run"),
        (['--engine', 'auto'], 'expected a script or -m and a module'),
        (
            ['--forget-bias', 'nan', 'scripts/script.py'],
            'expected --forget-bias to be a finite number, got nan',
        ),
        (['--engine', 'abacus', 'scripts/script.py'], "got 'abacus'"),
        (['--engine'], 'expected one argument'),
        (['--forget-bias', 'much', 'scripts/script.py'], "invalid float value: 'much'"),
        (['--turbo', 'scripts/script.py'], 'unrecognized arguments: --turbo'),
    ],
)
def test_wrong_arguments_end_with_one_line_and_status_2(run, args, message):
    script = run('print(1)', command=args)
    assert script.returncode == 2
    assert message in script.stderr.splitlines()[-1]
    assert 'Traceback' not in script.stderr and script.stdout == ''


def test_help(run):
    script = run('', command=['--help'])
    assert script.returncode == 0
    assert 'Run an old Chainer program' in script.stdout
