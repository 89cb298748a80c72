"""The options of ``python -m chainer_lstm``, and their effect on a process."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
from typing import Optional

from chainer_lstm.compat import worker


class OptionError(ValueError):
    """An option has a value that is not among the possible ones."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The options for a program, in this process and in the processes that it starts."""

    engine: str = 'auto'
    forget_bias: Optional[float] = None
    v1: bool = False
    cpu: bool = False
    numpy1: bool = False


def apply(options: Options) -> None:
    """Import Chainer with this package's LSTM family, and apply the options.

    Call it once in a process, before Chainer is imported.

    Raises:
        OptionError: there is no such engine.
    """
    # Python 3.10 removed collections.Iterable and the others, and old programs use them
    for name in collections.abc.__all__:
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))
    worker.fork_by_default()
    # modules for one option only are imported where it is used: the others start faster
    if options.cpu:
        from chainer_lstm.script import cpu

        cpu.install()
    if options.numpy1:
        from chainer_lstm.script import numpy1

        numpy1.install()

    import chainer

    import chainer_lstm
    from chainer_lstm.kernels import ENGINES

    if options.engine not in ('auto', *ENGINES):
        names = ', '.join(['auto', *ENGINES])
        raise OptionError(f'expected --engine to be one of {names}; got {options.engine!r}')
    if options.v1:
        chainer_lstm.install(v1=True)
    else:
        chainer_lstm.install()
    chainer.global_config.lstm_engine = options.engine
    if options.forget_bias is not None:
        chainer.global_config.lstm_forget_bias = options.forget_bias
