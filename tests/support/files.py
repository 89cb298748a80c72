"""Links to write into files of each format, and links that read them."""

import functools
from typing import NamedTuple

import chainer.links as L
import h5py
import numpy
import pytest
from chainer import serializers

import chainer_lstm.links
from tests.support.arrays import assert_same, uniform
from tests.support.links import INPUT, UNITS, contents


class Format(NamedTuple):
    """How Chainer writes and reads one kind of file;
    ``load_loosely`` is not strict about missing keys.
    """

    name: str
    save: object
    load: object
    load_loosely: object


def load_hdf5_loosely(path, link):
    with h5py.File(path, 'r') as opened:
        serializers.HDF5Deserializer(opened, strict=False).load(link)


FORMATS = [
    Format(
        'npz',
        serializers.save_npz,
        serializers.load_npz,
        functools.partial(serializers.load_npz, strict=False),
    ),
    Format('hdf5', serializers.save_hdf5, serializers.load_hdf5, load_hdf5_loosely),
]
ARGUMENTS = {
    'LSTM': (INPUT, UNITS),
    'StatelessLSTM': (INPUT, UNITS),
    'StatefulPeepholeLSTM': (INPUT, UNITS),
    'StatefulZoneoutLSTM': (INPUT, UNITS),
    'NStepLSTM': (2, INPUT, UNITS, 0.0),
    'NStepBiLSTM': (2, INPUT, UNITS, 0.0),
}
DEFERRABLE = ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM']

MODULES = {'ours': chainer_lstm.links, "Chainer's": L}


def new(name, module=chainer_lstm.links, deferred=False):
    """A link that no other one equals; biases not zero."""
    link = getattr(module, name)(*((None, UNITS) if deferred else ARGUMENTS[name]))
    for param in link.params(include_uninit=False):
        param.array[...] = numpy.random.uniform(-1, 1, param.shape)
    return link


def stored(link):
    """What a file of the link holds, in one order: Chainer's parameters are in a set."""
    serializer = serializers.DictionarySerializer()
    serializer.save(link)
    return dict(sorted(serializer.target.items()))


def with_state(link, batch=2):
    """The link, its state set where it has one."""
    if hasattr(link, 'set_state'):
        link.set_state(uniform((batch, UNITS), 'f', seed=20), uniform((batch, UNITS), 'f', seed=21))
    return link


def assert_load_fails(file, link, data, error, message):
    before = contents(link)
    file.save(data)
    with pytest.raises(error, match=message):
        file.load(link)
    assert_same(contents(link), before)
