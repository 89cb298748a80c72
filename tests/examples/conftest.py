"""Examples run as a user runs them, in this process."""

import sys

import pytest

from tests.support.examples import load


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script's main; -> exit status, what it printed, what it complained."""

    def run(path, *args):
        monkeypatch.setattr(sys, 'argv', [path, *map(str, args)])
        try:
            load(path).main()
            status = 0
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return run
