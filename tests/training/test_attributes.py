"""Attributes of links that have changed."""

import collections
import types

import chainer
import numpy
import pytest

from chainer_lstm.training import attributes

CHANGES = {
    'number': (1, lambda link: setattr(link, 'x', 2)),
    'type of a number': (1, lambda link: setattr(link, 'x', True)),
    'variable': (
        chainer.Variable(numpy.zeros(2)),
        lambda link: setattr(link.x, 'array', numpy.zeros(2)),
    ),
    'array': (numpy.zeros(2), lambda link: link.x.fill(1)),
    'list': ([1, 2], lambda link: link.x.reverse()),
    'inner list': (([1], 2), lambda link: link.x[0].append(2)),
    'dictionary': ({'a': 1}, lambda link: link.x.update(a=2)),
    'set': ({1}, lambda link: link.x.add(2)),
    'deque': (collections.deque([1]), lambda link: link.x.append(2)),
    'object': (types.SimpleNamespace(y=1), lambda link: setattr(link.x, 'y', 2)),
    'length of a large list': ([0] * 100, lambda link: link.x.append(0)),
    'new attribute': (1, lambda link: setattr(link, 'y', 1)),
}


def holding(value):
    link = chainer.Link()
    link.x = value
    return link


@pytest.mark.parametrize('name', CHANGES)
def test_changes(name):
    value, change = CHANGES[name]
    link = holding(value)
    before = attributes.snapshot(link)
    assert attributes.changes(before) == []
    change(link)
    assert len(attributes.changes(before)) == 1


@pytest.mark.parametrize('value', [float('nan'), [float('nan')], chainer, len, holding(1)])
def test_no_changes(value):
    """Equal values and cycles are no change, nor are those in modules, functions and links."""
    link = holding([value])
    link.x.append(link.x)
    before = attributes.snapshot(link)
    if isinstance(value, chainer.Link):
        value.x = 2
    assert attributes.changes(before) == []
    attributes.kept(link.x)
