"""Files: from and to Chainer's own links, and wrong ones."""

import re

import chainer
import chainer.links as L
import numpy
import pytest
from chainer import serializers

import chainer_lstm.links
from tests.support.arrays import assert_close, assert_same, uniform
from tests.support.files import (
    ARGUMENTS,
    DEFERRABLE,
    MODULES,
    assert_load_fails,
    new,
    stored,
    with_state,
)
from tests.support.links import INPUT, STATEFUL, UNITS, contents, inputs, pair

pytestmark = pytest.mark.pairwise


@pytest.mark.parametrize('name', ARGUMENTS)
@pytest.mark.parametrize('source', MODULES.values(), ids=[f'from {name}' for name in MODULES])
@pytest.mark.parametrize('target', MODULES.values(), ids=[f'to {name}' for name in MODULES])
def test_round_trip(file, name, source, target):
    first, second = new(name, source), new(name, target)
    file.save(first)
    file.load(second)
    assert_same(contents(second), contents(first))


@pytest.mark.parametrize('name', ARGUMENTS)
def test_keys_equal_chainer(name):
    theirs, ours = pair(name, *ARGUMENTS[name])
    assert_same(stored(with_state(ours)), stored(theirs))


@pytest.mark.parametrize('name', DEFERRABLE)
@pytest.mark.parametrize('source', MODULES.values(), ids=[f'from {name}' for name in MODULES])
@pytest.mark.parametrize('target', MODULES.values(), ids=[f'to {name}' for name in MODULES])
def test_load_into_deferred_link(file, name, source, target):
    first, second = new(name, source), new(name, target, deferred=True)
    file.save(first)
    file.load(second)
    assert_same(contents(second), contents(first))
    x = uniform((2, INPUT), 'f')
    args = (None, None, x) if name == 'StatelessLSTM' else (x,)
    first, second = (link(*args) for link in (first, second))
    assert_close(
        second if isinstance(second, tuple) else [second],
        first if isinstance(first, tuple) else [first],
    )


@pytest.mark.parametrize('name', DEFERRABLE)
@pytest.mark.parametrize('deferred', [True, False], ids=['into deferred', 'into initialized'])
def test_file_of_a_deferred_link(file, name, deferred):
    """Says nothing of upward/W, and that stays as it is; all else is read."""
    first, second = new(name, deferred=True), new(name, deferred=deferred)
    W = second.upward.W.array
    file.save(first)
    file.load(second)
    assert second.upward.W.array is W
    numpy.testing.assert_array_equal(second.lateral.W.array, first.lateral.W.array)
    numpy.testing.assert_array_equal(second.upward.b.array, first.upward.b.array)


@pytest.mark.parametrize('name', ARGUMENTS)
@pytest.mark.parametrize('dtype', 'ed')
def test_another_dtype_is_converted(file, name, dtype):
    first, second = new(name), new(name)
    file.save({key: value.astype(dtype) for key, value in stored(first).items()})
    file.load(second)
    assert_same(
        contents(second),
        {
            key: None if value is None else value.astype(dtype).astype('f')
            for key, value in contents(first).items()
        },
    )


@pytest.mark.parametrize('name', ARGUMENTS)
def test_load_onto_a_device(xp, file, name):
    first, second = with_state(new(name)), new(name)
    first.persistent_state = second.persistent_state = True
    second.to_device('@numpy' if xp is numpy else '@cupy:0')
    file.save(first)
    file.load(second)
    assert_same(contents(second), contents(first))
    assert all(isinstance(param.array, xp.ndarray) for param in second.params())
    assert name not in ('LSTM', 'StatefulPeepholeLSTM') or isinstance(second.c.array, xp.ndarray)


# Wrong files change nothing

KEYS = [
    (name, key)
    for name in ARGUMENTS
    for key in stored(new(name))
    if not name.startswith('NStep') or key in ('0/w0', '1/w3', '1/w7', '1/b5')
]
NAMES_AND_KEYS = pytest.mark.parametrize(
    'name, key', KEYS, ids=[f'{name} {key}' for name, key in KEYS]
)


@NAMES_AND_KEYS
def test_missing_key_changes_nothing(file, name, key):
    data = stored(new(name))
    del data[key]
    group, _, last = key.rpartition('/')
    whole_group = not any(other.startswith(f'{group}/') for other in data)
    error, message = KeyError, last
    if file.name == 'hdf5' and whole_group:
        error, message = ValueError, 'Inexistent group'  # what Chainer's deserializer raises then
    assert_load_fails(file, with_state(new(name)), data, error, message)


@NAMES_AND_KEYS
@pytest.mark.parametrize('reshape', [
    lambda x: x[..., :1],
    lambda x: x[:1],
    lambda x: x[None],
    lambda x: x[..., None],
    lambda x: x.ravel()[0],
    lambda x: numpy.concatenate((x, x)),
    lambda x: x[:-1],
    lambda x: x[:0],
], ids=['one column', 'one row', 'axis in front', 'axis behind', 'scalar', 'too many rows',
        'too few rows', 'empty'])  # fmt: skip
def test_misshapen_key_changes_nothing(file, name, key, reshape):
    """Also where the shape could be broadcast, which Chainer does."""
    data = stored(new(name))
    expected = data[key].shape
    data[key] = reshape(data[key])
    message = re.escape(f'{key}: expected shape {expected}, got {data[key].shape}')
    assert_load_fails(file, with_state(new(name)), data, ValueError, message)


@pytest.mark.parametrize('name', DEFERRABLE)
@pytest.mark.parametrize(
    'key, shape',
    [
        ('upward/W', (4 * UNITS - 1, INPUT)),
        ('upward/W', (4 * UNITS,)),
        ('upward/W', (4 * UNITS, INPUT, 1)),
        ('upward/W', (INPUT, 4 * UNITS)),
        ('upward/b', (1,)),
        ('lateral/W', (4 * UNITS, 1)),
    ],
    ids=str,
)
def test_misshapen_key_leaves_a_deferred_link_deferred(file, name, key, shape):
    data = {**stored(new(name)), key: numpy.zeros(shape, 'f')}
    link = with_state(new(name, deferred=True))
    assert_load_fails(
        file, link, data, ValueError, rf'{key}: expected shape .*got {re.escape(str(shape))}'
    )
    assert link.upward.W.array is None


@pytest.mark.parametrize('name', ARGUMENTS)
def test_file_of_another_size_changes_nothing(file, name):
    arguments = [2 * value if value == UNITS else value for value in ARGUMENTS[name]]
    data = stored(getattr(L, name)(*arguments))
    assert_load_fails(
        file, with_state(new(name)), data, ValueError, r'expected shape \(\d+, ?\d*\), got'
    )


@STATEFUL
def test_wrong_part_of_a_chain_leaves_the_link(file, name):
    chain = chainer.Chain(lstm=with_state(new(name)))
    data = stored(chain)
    data['lstm/lateral/W'] = data['lstm/lateral/W'][:, :1]
    before = contents(chain.lstm)
    file.save(data)
    with pytest.raises(ValueError, match=r'lateral/W: expected shape \(16, 4\), got \(16, 1\)'):
        file.load(chain)
    assert_same(contents(chain.lstm), before)


# Files that are not read strictly


@NAMES_AND_KEYS
def test_missing_key_keeps_the_parameter_when_not_strict(file, name, key):
    first, second = new(name), with_state(new(name))
    before, data = contents(second), stored(first)
    del data[key]
    file.save(data)
    file.load_loosely(second)
    wanted = {path: value for path, value in contents(first).items() if path not in ('c', 'h')}
    assert_same(contents(second), {**before, **wanted, f'/{key}': before[f'/{key}']})


class Encoder(chainer.Chain):
    """Links in links."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.lstm = with_state(new('LSTM'))
            self.inner = chainer.Chain(stack=new('NStepLSTM'), linear=L.Linear(2, 2))
            self.layers = chainer_lstm.links.SequenceLSTM(INPUT, UNITS, n_layers=2)


@pytest.mark.parametrize('missing', [
    'lstm',
    'lstm/upward',
    'inner',
    'inner/stack',
    'inner/stack/1',
    'inner/linear',
    'layers',
    'layers/l1',
    'layers/l0/lateral',
    '',
])  # fmt: skip
@pytest.mark.parametrize('persistent_state', [False, True])
def test_missing_links(file, missing, persistent_state):
    """Are left as they were at any depth, unless the file is read strictly."""
    first, second = Encoder(), Encoder()
    for chain in (first, second):
        chain.lstm.persistent_state = persistent_state
    data = {
        key: value
        for key, value in stored(first).items()
        if missing and not key.startswith(f'{missing}/')
    }
    file.save(data)
    before = contents(second)
    file.load_loosely(second)
    wanted = {path: value for path, value in contents(first).items() if path.lstrip('/') in data}
    assert_same(contents(second), {**before, **wanted})
    with pytest.raises((KeyError, ValueError)) as caught:
        file.load(second)
    if file.name == 'hdf5' and missing:
        assert str(caught.value) == 'Inexistent group is specified'


@pytest.mark.parametrize('name', ARGUMENTS)
def test_misshapen_key_raises_when_not_strict(file, name):
    data = stored(new(name))
    key = next(iter(data))
    data[key] = data[key][:1]
    link = new(name)
    before = contents(link)
    file.save(data)
    with pytest.raises(ValueError, match=f'{key}: expected shape'):
        file.load_loosely(link)
    assert_same(contents(link), before)


def test_ignored_names_are_not_read(tmp_path):
    first, second = new('LSTM'), new('LSTM')
    serializers.save_npz(
        str(tmp_path / 'file'), {**stored(first), 'upward/W': numpy.zeros((1, 1), 'f')}
    )
    W = second.upward.W.array.copy()
    serializers.load_npz(str(tmp_path / 'file'), second, ignore_names=['upward/W'])
    assert_same(contents(second), {**contents(first), '/upward/W': W})


def test_load_from_a_path_in_the_file(tmp_path):
    chain = chainer.Chain(encoder=new('LSTM'), decoder=new('LSTM'))
    serializers.save_npz(str(tmp_path / 'file'), chain)
    link = new('LSTM')
    serializers.load_npz(str(tmp_path / 'file'), link, path='decoder/')
    assert_same(contents(link), contents(chain.decoder))


def with_normalized_upward():
    """A link whose ``upward`` is no Linear, and has a child that waits for the size
    of its input.
    """
    link = new('LSTM')
    link.upward = chainer.Sequential(L.Linear(INPUT, 4 * UNITS), L.LayerNormalization())
    return link


@pytest.mark.parametrize('started', [True, False], ids=['into initialized', 'into deferred'])
def test_replaced_upward_round_trip(file, started):
    first, second = with_normalized_upward(), with_normalized_upward()
    (x,) = inputs((2,))
    first(x)
    if started:
        second(x)
    file.save(first)
    file.load(second)
    second.reset_state()
    first.reset_state()
    assert_close([second(x)], [first(x)])


def test_own_parameter_of_a_subclass_is_checked_too(tmp_path):
    class Scaled(chainer_lstm.links.LSTM):
        def __init__(self, size):
            super().__init__(INPUT, UNITS)
            with self.init_scope():
                self.scale = chainer.Parameter(numpy.ones(size, 'f'))

    path = str(tmp_path / 'link.npz')
    serializers.save_npz(path, Scaled(1))
    link = Scaled(UNITS)
    before = contents(link)
    with pytest.raises(ValueError, match=r'^scale: expected shape \(4,\), got \(1,\)$'):
        serializers.load_npz(path, link)
    assert_same(contents(link), before)
