"""The argument parser of the command lines of the package, its examples and its benchmarks."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that shows the description as it is written,
    and answers wrong arguments with one line.
    """

    def __init__(self, description: str | None, **options: Any) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        self.exit(2, f'{self.prog}: error: {" ".join(message.split())}\n')
