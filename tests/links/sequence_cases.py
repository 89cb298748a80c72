"""Of ``links.SequenceLSTM``: what it is made with, and its inputs."""

import chainer
import numpy
import pytest

from chainer_lstm import links
from tests.support.arrays import uniforms
from tests.support.links import INPUT, UNITS

BATCH, TIME = 4, 5
LAYERS = {
    'one layer': (1, False),
    'both directions': (1, True),
    'three layers': (3, False),
    'two layers in both directions': (2, True),
}
MASKS = {
    'no mask': {},
    'lengths': {'lengths': [3, 5, 0, 1]},
    'equal lengths': {'lengths': numpy.array([2] * 4, numpy.uint8)},
    'full lengths': {'lengths': (5,) * 4},
    'lengths 0': {'lengths': [0] * 4},
    'holes': {'mask': [[0, 1, 0, 1, 1], [1, 0, 0, 0, 1], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1]]},
    'left padding': {'mask': numpy.arange(TIME) >= numpy.array([[2], [0], [5], [4]])},
    'floats with an axis more': {'mask': numpy.array([[0, 1, 1, 0, 0]] * 4, 'f')[..., None]},
}
SHAPES = pytest.mark.parametrize(('n_layers', 'bidirectional'), LAYERS.values(), ids=LAYERS)


def make(in_size=INPUT, out_size=UNITS, dtype='d', xp=numpy, **kwargs):
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        link = links.SequenceLSTM(
            in_size, out_size, bias_init=chainer.initializers.Uniform(1), **kwargs
        )
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    return link


def full(**kwargs):
    return make(return_sequences=True, return_state=True, **kwargs)


def samples(groups, dtype='d', xp=numpy):
    """x, c, h."""
    return uniforms(
        [(BATCH, TIME, INPUT), (groups, BATCH, UNITS), (groups, BATCH, UNITS)], dtype, xp
    )
