"""Report cases that crash the process: they run in a child process, which notes its choices."""

from __future__ import annotations

import ast
import faulthandler
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from tests.fuzz.case import Case, simplest
from tests.fuzz.compare import check


class Notes:
    """The present case and its choices, in a file that outlives the process."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def begin(self, surface: str, name: str) -> None:
        """Note which case runs now, in place of the one before."""
        self._file.seek(0)
        self._file.truncate()
        self.add((surface, name))

    def add(self, entry: tuple) -> None:
        """Note a choice of the case."""
        self._file.write(f'{entry!r}\n'.encode())

    def read(self) -> list[tuple]:
        """Return the surface and the name of the case, then its choices."""
        self._file.seek(0)
        return [ast.literal_eval(line.decode()) for line in self._file]


def watch(run: Callable[[Notes], int]) -> int:
    """Run the fuzzer in a child process, and report the case that it crashes in.

    Args:
        run: runs the fuzzer, notes each case, and returns its exit status.

    Returns:
        The exit status, 1 after a crash.
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        notes = Notes(file)
        status = status_in_child(lambda: run(notes))
        if status >= 0:
            return status
        _report(notes, f'killed by {signal.Signals(-status).name}')
        return 1


def _report(notes: Notes, failure: str) -> None:
    entries = notes.read()
    if not entries:
        print(f'{failure} before the first case')
        return
    (surface, name), *choices = entries
    case = Case({})
    case.recall(choices)
    print(f'\n{name} is {failure}; making it simpler', file=sys.stderr, flush=True)
    case = simplest(case, lambda simpler: _crashes(surface, simpler, notes))
    print_reproducer(surface, case, name, failure)


def _crashes(surface: str, case: Case, notes: Notes) -> bool:
    def run():
        faulthandler.disable()
        with open(os.devnull, 'w') as nowhere:
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
        case._note = notes.add
        check(surface, case)
        return 0

    notes.begin(surface, 'a simpler case')
    if status_in_child(run) >= 0:
        return False
    case.recall(notes.read()[1:])
    return True


def status_in_child(run: Callable[[], int]) -> int:
    """Return the exit status of a child process that runs the function, negative for a signal.

    The parent must have computed nothing: threads and a GPU's context do not outlive ``fork``.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # threads of BLAS, which handles fork
        child = os.fork()
    if not child:
        _run_and_exit(run)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _run_and_exit(run: Callable[[], int]) -> None:
    status = 1
    try:
        faulthandler.enable()
        status = run()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def print_reproducer(surface: str, case: Case, name: str, failure: Any) -> None:
    """Print three lines of Python that run a case again."""
    choices = ''.join(f', {key}={value!r}' for key, value in case.asked().items())
    print(
        f'{name} fails; the same, simpler:\n\n'
        f'from tests.fuzz import run\n'
        f'# {failure}\n'
        f'run({surface!r}{choices})',
        flush=True,
    )
