"""Random uses of the package, each compared with Chainer's own code in float64:
``python -m tests.fuzz --help``.
"""

from typing import Any

import chainer_lstm  # noqa: F401  first: lets Chainer be imported in a clone that is not installed


def run(surface: str, **choices: Any) -> None:
    """Runs one case, as a failure prints it; choices that are not given are the simplest.

    Raises:
        Exception: it fails.
    """
    from tests.fuzz.case import Case
    from tests.fuzz.compare import check

    check(surface, Case(choices))
