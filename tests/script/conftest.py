"""Programs that ``python -m chainer_lstm`` runs."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.support import ROOT


@pytest.fixture
def run(tmp_path):
    """Runs a script of that text, or what arguments name, in a folder of its own
    -> finished process.
    """

    def run(text, *args, before=(), command=None, python=(), **options):
        script = tmp_path / 'scripts' / 'script.py'
        script.parent.mkdir(exist_ok=True)
        script.write_text(textwrap.dedent(text))
        command = ['scripts/script.py'] if command is None else command
        return subprocess.run(
            [sys.executable, *python, '-m', 'chainer_lstm', *before, *command, *args],
            cwd=tmp_path,
            text=True,
            capture_output=True,
            timeout=120,
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            **options,
        )

    return run
