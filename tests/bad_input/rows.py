"""What the tables of wrong calls are written with."""

import contextlib
import io
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import chainer
import numpy

from chainer_lstm import links
from tests.support.arrays import uniform
from tests.support.links import INPUT, UNITS, contents


class Row(NamedTuple):
    """A wrong call.

    Attributes:
        name: what is called, and what is wrong.
        make: gives what the call may not change: a link or whatever has attributes, a list of them,
            or None.
        act: the call, of what was made.  Like ``make`` it runs in an empty folder.
        error: the exception, or several.
        message: a regular expression found in it; None where Python says it.
        draws: whether random numbers are drawn before the error shows, as initializers do.
    """

    name: str
    make: Callable[[], Any]
    act: Callable[[Any], Any]
    error: Any
    message: Any = None
    draws: bool = False


class Refused(Exception):
    """A command line ended with status 2; the text is all that it printed."""


def nothing():
    """For constructors and functions."""


def zeros(*shape, dtype='f'):
    return numpy.zeros(shape, dtype)


def started(name):
    """A link with a state of two rows."""

    def make():
        link = getattr(links, name)(INPUT, UNITS)
        link.set_state(uniform((2, UNITS), 'f'), uniform((2, UNITS), 'f', seed=1))
        return link

    return make


def fresh(name, *sizes, **options):
    return lambda: getattr(links, name)(*(sizes or (INPUT, UNITS)), **options)


def deferred(name, **initial):
    return lambda: getattr(links, name)(None, UNITS, **initial)


def state_of(thing):
    """Copies of everything in it, to be compared."""
    if isinstance(thing, (list, tuple)):
        return {
            f'{k} {key}': value
            for k, each in enumerate(thing)
            for key, value in state_of(each).items()
        }
    if isinstance(thing, chainer.Link):
        return {
            **contents(thing),
            **{
                f'{path} gradient': param.grad
                for path, param in thing.namedparams()
                if param.array is not None
            },
        }
    values = {} if thing is None else vars(thing)
    return {
        key: numpy.copy(value)
        for key, value in values.items()
        if numpy.isscalar(value) or value is None or isinstance(value, numpy.ndarray)
    }


def numbers_drawn():
    """The state of NumPy's generator."""
    _, keys, *position = numpy.random.get_state()
    return keys.tobytes(), position


def state_of_everything_else():
    """Configuration, what is installed in Chainer, the import path, and the files of the folder."""
    config = {
        f'{kind} {key}': value
        for kind, place in (('global', chainer.global_config), ('local', chainer.config))
        for key, value in vars(place).items()
        if not key.startswith('_')
    }
    files = {str(path): path.read_bytes() for path in pathlib.Path().rglob('*') if path.is_file()}
    return [
        {key: repr(value) for key, value in config.items()},
        chainer.links.LSTM,
        chainer.functions.lstm,
        sys.argv[:],
        sys.path[:],
        sys.excepthook,
        files,
    ]


def refused(main):
    """Calls a command line's main function; what ends with status 2 is raised with what it printed.

    Raises:
        Refused: the status was 2, and one line was printed, on stderr.
        AssertionError: another status, more lines or another place.
    """
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main()
    except SystemExit as error:
        status = error.code
    printed = err.getvalue()
    assert (status, out.getvalue(), printed.count('\n')) == (2, '', 1), (
        status,
        out.getvalue(),
        printed,
    )
    raise Refused(printed)
