"""Links under test: their sizes, inputs, and all that they give."""

import chainer
import numpy
import pytest

import chainer_lstm.links
from tests.support.arrays import gradients, uniforms, variables

INPUT, UNITS = 3, 4  # sizes of the links


STATEFUL = pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
# the batch of each step of a link with a state
BATCHES = {
    'one batch size': (3, 3, 3),
    'shrinking': (4, 3, 1),
    'one row': (3, 1, 1),
    'growing again': (4, 1, 3, 4, 2),
    'batch 0 between': (3, 0, 2),
    'batch 0 at the end': (3, 2, 0, 0),
    'batch 0 only': (0, 0),
}


def pair(name, *args, xp=numpy, **kwargs):
    """Chainer's link of that name and ours, drawn from one seed."""
    links = []
    for module in (chainer.links, chainer_lstm.links):
        numpy.random.seed(1)
        links.append(getattr(module, name)(*args, **kwargs))
        links[-1].to_device('@numpy' if xp is numpy else '@cupy:0')
    return links


def inputs(batches, dtype='f', xp=numpy, width=INPUT):
    """One variable (batch, width) a step."""
    return variables(uniforms([(batch, width) for batch in batches], dtype, xp))


def outputs_and_states(link, xs):
    """y, c and h of every step of a link with a state."""
    results = []
    for x in xs:
        results += [link(x), link.c, link.h]
    return results


def outputs_states_and_gradients(link, xs, order=1):
    """These, and their gradients by the parameters and inputs."""
    results = outputs_and_states(link, xs)
    return [*results, *gradients(results, [*link.params(), *xs], order)]


def contents(link):
    """Copies of all parameters and, where there is one, the state; to see whether they changed."""
    values = {path: param.array for path, param in link.namedparams()}
    values.update((name, getattr(link, name)) for name in ('c', 'h') if hasattr(link, name))
    return {
        key: None if value is None else chainer.as_array(value).copy()
        for key, value in values.items()
    }
