"""Type checks of functions that a program defines: v1 gave them expressions, as ``size().eval()``.

v7 runs each check with plain numbers first, and with expressions for the message of an error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from chainer import function
from chainer.utils import type_check

from chainer_lstm.compat.replacements import Replacements


def install(replacements: Replacements) -> None:
    """Check functions of v1's kind with expressions only."""
    cls = function.FunctionAdapter
    replacements.set(cls, 'check_type_forward', _with_expressions(cls.check_type_forward))


def _with_expressions(check: Callable) -> Callable:
    @functools.wraps(check)
    def check_type_forward(self: function.FunctionAdapter, in_types: Any) -> None:
        if type_check.in_light_mode():
            raise type_check.InvalidType(None, None)  # lets v7 go on to expressions
        check(self, in_types)

    return check_type_forward
