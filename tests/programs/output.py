"""The output of a program: running it, and comparing it with a recorded one."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tempfile

NUMBER = re.compile(r'-?\d+\.\d+(?:e[-+]\d+)?')
# float32 rounds to 6e-8, and some dozen updates of the weights make that 1e-5;
# another processor rounds otherwise
RELATIVE_TOLERANCE = 1e-4
ERASE_LINES = '\033[J'  # by PrintReport


def run(command: list[str], **environment: str) -> tuple[str, str]:
    """Run a command in an empty folder -> its output and its errors, without trailing spaces.

    Raises:
        RuntimeError: the command failed; with its errors.
        subprocess.TimeoutExpired: it took more than half a minute.
    """
    with tempfile.TemporaryDirectory() as folder:
        finished = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            text=True,
            capture_output=True,
            timeout=30,
        )
    if finished.returncode != 0:
        raise RuntimeError(f'{command} returned {finished.returncode}:\n{finished.stderr}')
    output = finished.stdout.replace(ERASE_LINES, '')
    return ''.join(f'{line.rstrip()}\n' for line in output.splitlines()), finished.stderr


def differences(found: str, expected: str) -> list[str]:
    """Compare two outputs -> the lines that differ, as messages.

    Numbers with a decimal point may differ by ``RELATIVE_TOLERANCE`` and one unit of their last
    printed digit; every other word has to be the same.
    """
    pairs = itertools.zip_longest(found.splitlines(), expected.splitlines(), fillvalue='(no line)')
    return [
        f'expected {line!r}, got {other!r}' for other, line in pairs if not _are_close(other, line)
    ]


def _are_close(found: str, expected: str) -> bool:
    if NUMBER.sub('#', found).split() != NUMBER.sub('#', expected).split():
        return False
    for number, reference in zip(NUMBER.findall(found), NUMBER.findall(expected)):
        last_digit = min(_last_digit(number), _last_digit(reference))
        if (
            abs(float(number) - float(reference))
            > RELATIVE_TOLERANCE * abs(float(reference)) + 1.001 * last_digit
        ):
            return False
    return True


def _last_digit(number: str) -> float:
    """Return the value of one unit of the last digit: 0.001 of '1.234', 1e-8 of '1.234e-05'."""
    digits, _, exponent = number.partition('e')
    return 10.0 ** (int(exponent or 0) - len(digits.partition('.')[2]))
