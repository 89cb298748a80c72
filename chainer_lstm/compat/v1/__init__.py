"""Run programs of Chainer v1: its arguments, flags, defaults and names, on v7's functions.

v1's calls are turned into calls of Chainer 7.8.1 and this package, which compute.
``chainer_lstm.install(v1=True)`` installs it.
"""

from __future__ import annotations

import sys

import chainer

from chainer_lstm.compat.replacements import Replacements
from chainer_lstm.compat.v1 import (
    arguments,
    arrays,
    cuda,
    flags,
    functions,
    links,
    optimizers,
    training,
    type_checks,
)


def install(replacements: Replacements) -> None:
    """Replace v7's interface by v1's."""
    for module in (
        arguments,
        arrays,
        cuda,
        flags,
        links,
        functions,
        optimizers,
        training,
        type_checks,
    ):
        module.install(replacements)
    replacements.set(sys.modules, 'chainer.function_set', links)
    replacements.set(chainer, 'function_set', links)
    replacements.set(chainer.global_config, 'lstm_forget_bias', 0)
