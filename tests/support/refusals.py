"""Wrong calls: they raise, and all is as it was before them."""

import pathlib
import sys

import chainer
import numpy
import pytest

from tests.support.arrays import assert_same
from tests.support.links import contents


def check(call, error, message=None, thing=None, draws=False):
    """Check that a call raises an error and changes nothing.

    Args:
        call: A function without arguments.
        error: The exception, or several.
        message: A regular expression found in it; None where Python says it.
        thing: What the call may not change: a link or whatever has attributes, or None.
        draws: Whether random numbers are drawn before the error shows, as initializers do.
    """
    before, around, random = state_of(thing), surroundings(), numbers_drawn()
    with pytest.raises(error, match=message):
        call()
    assert_same(state_of(thing), before)
    assert surroundings() == around
    assert draws or numbers_drawn() == random


def state_of(thing):
    """Copies of everything in it, to be compared."""
    if isinstance(thing, chainer.Link):
        gradients = {
            f'{path} gradient': param.grad
            for path, param in thing.namedparams()
            if param.array is not None
        }
        return {**contents(thing), **gradients}
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


def surroundings():
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
