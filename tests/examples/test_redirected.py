"""The output of every example, sent into a pipe or a file, is plain text."""

import os
import subprocess
import sys

import pytest

from tests.examples.warm import Script
from tests.support.examples import EXAMPLES

TEXT = 'the time traveller sees a cat\n' * 60
LOGGING = ['--bproplen', '5', '--epoch', '4']  # 20 updates, and a line of the log every 10
SMALL = ['--unit', '8', '--batchsize', '4', '--test']


@pytest.fixture
def data(tmp_path):
    """A folder with a text in three parts."""
    for part in ('train', 'valid', 'test'):
        (tmp_path / f'{part}.txt').write_text(TEXT)
    return tmp_path


@pytest.mark.slow
def test_pipe_gets_the_log_without_escape_sequences(data):
    script = EXAMPLES / 'ptb' / 'train_ptb.py'
    command = [sys.executable, script, '--data', data, '--out', data / 'out', *LOGGING, *SMALL]
    environment = {**os.environ, 'PYTHONPATH': str(EXAMPLES.parent), 'MPLBACKEND': 'Agg'}
    finished = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b'\x1b' not in finished.stdout + finished.stderr
    rows = [line.split()[:2] for line in finished.stdout.decode().splitlines()]
    header = rows.index(['epoch', 'iteration'])
    assert [iteration for _, iteration in rows[header + 1 : header + 3]] == ['10', '20']


@pytest.mark.slow
@pytest.mark.parametrize(
    ('path', 'options'),
    [
        ('ptb/train_ptb.py', ['--data', 'TEXTS', *LOGGING]),
        ('time_machine/train_time_machine.py', ['--data', 'TEXTS/train.txt']),
        ('reber/train_reber.py', []),
        ('adding/train_adding.py', []),
    ],
)
def test_file_gets_no_escape_sequences(data, path, options):
    options = [str(option).replace('TEXTS', str(data)) for option in options]
    script = Script(data, path, '--out', data / 'out', *options, *SMALL)
    assert script.finish() == 0, script.complained
    assert len(script.printed.splitlines()) > 2
    assert '\x1b' not in script.printed + script.complained
