"""Processes that multiprocessing starts, where the distribution is not installed."""

import multiprocessing
import os
import subprocess
import sys
import textwrap

import pytest

from tests.support import ROOT

METHODS = multiprocessing.get_all_start_methods()
OPTIONS = """
    def apply(bias):
        import chainer, chainer_lstm, sys
        sys.applied = getattr(sys, 'applied', 0) + 1
        chainer_lstm.install()
        chainer.global_config.lstm_forget_bias = bias
    """
RUNNER = """
    import runpy, sys
    import options
    from chainer_lstm.compat import worker

    options.apply(0.5)
    worker.inherit(options.apply, 0.5)
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name='__main__')
    """
PROGRAM = """
    import multiprocessing, subprocess, sys
    import chainer
    from chainer.links import LSTM

    def begun(link):
        return (__name__, type(link).__module__, LSTM.__module__,
                chainer.config.lstm_forget_bias, sys.applied, sys.argv[1:])

    def of_child(link):
        with multiprocessing.Pool(1) as pool:
            return pool.map(begun, [link])

    def of_program():
        code = 'import chainer_lstm, chainer.links; print(chainer.links.LSTM.__module__)'
        return subprocess.run(
            [sys.executable, '-c', code], text=True, capture_output=True).stdout.strip()

    class Data(chainer.dataset.DatasetMixin):
        def __len__(self): return 4
        def get_example(self, i): return LSTM.__module__

    if __name__ == '__main__':
        multiprocessing.set_start_method(sys.argv[1])
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(1) as pool:
            print(*pool.map(begun, [LSTM(2, 3)]))
            print(*pool.submit(of_child, LSTM(2, 3)).result())
            print(pool.submit(of_program).result())
        iterator = chainer.iterators.MultiprocessIterator(Data(), 2, n_processes=1)
        print(iterator.next()[0], iterator.next()[0])
        iterator.finalize()
    """


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_children_and_their_children_are_as_the_parent_is_and_other_programs_are_not(
    tmp_path, method
):
    for name, text in (('options', OPTIONS), ('runner', RUNNER), ('program', PROGRAM)):
        (tmp_path / f'{name}.py').write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, 'runner.py', 'program.py', method],
        text=True,
        timeout=120,
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}'},
    )
    name = '__main__' if method == 'fork' else '__mp_main__'
    ours = 'chainer_lstm.links.lstm'
    expected = (name, ours, ours, 0.5, 1, [method])
    assert (done.stdout.splitlines(), done.stderr) == (
        [str(expected), str(expected), 'chainer.links.rnn.lstm', f'{ours} {ours}'],
        '',
    )


@pytest.mark.skipif(
    sys.platform != 'linux',
    reason='elsewhere processes were never copies by default, or are no more',
)
@pytest.mark.parametrize(
    'program, output',
    [
        (
            """
        import chainer
        iterator = chainer.iterators.MultiprocessIterator(
            [1, 2, 3, 4], 2, repeat=False, shuffle=False, n_processes=1)
        print(list(iterator))
        """,
            '[[1, 2], [3, 4]]',
        ),
        (
            """
        import multiprocessing
        multiprocessing.set_start_method('spawn')
        print(multiprocessing.get_start_method())
        """,
            'spawn',
        ),
    ],
    ids=['no guard', 'another way'],
)
def test_processes_are_copies_unless_the_program_chooses_another_way(tmp_path, program, output):
    """Also where the default is another one, as on Python 3.14."""
    (tmp_path / 'program.py').write_text(textwrap.dedent(program))
    code = """
        from multiprocessing import context
        context._default_context._default_context = (
            context._default_context.get_context('forkserver'))
        from chainer_lstm.script.command import main
        main(['program.py'])
        """
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)],
        text=True,
        timeout=60,
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert (done.stdout, done.stderr) == (f'{output}\n', '')


@pytest.mark.parametrize('repeat', [True, False])
def test_program_that_finalizes_no_iterator_ends(tmp_path, repeat):
    """Python 3.13 waited for ever for the iterator's thread."""
    (tmp_path / 'program.py').write_text(
        textwrap.dedent(f"""
        import chainer_lstm, chainer
        iterator = chainer.iterators.MultiprocessIterator(
            list(range(6)), 2, repeat={repeat}, shuffle=False, n_processes=2, n_prefetch=2)
        print(iterator.next(), iterator.next())
        """)
    )
    done = subprocess.run(
        [sys.executable, 'program.py'],
        text=True,
        timeout=60,
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    assert (done.stdout, done.stderr) == ('[0, 1] [2, 3]\n', '')
