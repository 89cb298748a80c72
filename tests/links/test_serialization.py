"""Files: from and to Chainer's own links, wrong ones, and the state in them."""
import functools
import re
from typing import NamedTuple

import chainer
import chainer.links as L
import h5py
import numpy
import pytest
from chainer import serializers

import chainer_lstm.links
from tests.conftest import INPUT
from tests.conftest import UNITS
from tests.conftest import assert_close
from tests.conftest import assert_same
from tests.conftest import contents
from tests.conftest import inputs
from tests.conftest import outputs_and_states
from tests.conftest import pair
from tests.conftest import uniform


class Format(NamedTuple):
    """How Chainer writes and reads one kind of file; ``load_loosely`` is not strict about missing keys."""

    name: str
    save: object
    load: object
    load_loosely: object


def load_hdf5_loosely(path, link):
    with h5py.File(path, 'r') as opened:
        serializers.HDF5Deserializer(opened, strict=False).load(link)


FORMATS = [
    Format('npz', serializers.save_npz, serializers.load_npz, functools.partial(serializers.load_npz, strict=False)),
    Format('hdf5', serializers.save_hdf5, serializers.load_hdf5, load_hdf5_loosely),
]
ARGUMENTS = {
    'LSTM': (INPUT, UNITS),
    'StatelessLSTM': (INPUT, UNITS),
    'StatefulPeepholeLSTM': (INPUT, UNITS),
    'NStepLSTM': (2, INPUT, UNITS, 0.),
    'NStepBiLSTM': (2, INPUT, UNITS, 0.),
}
DEFERRABLE = ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM']
STATEFUL = pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
MODULES = {'ours': chainer_lstm.links, "Chainer's": L}


def new(name, module=chainer_lstm.links, deferred=False):
    """A link that no other one equals; biases not zero."""
    link = getattr(module, name)(*((None, UNITS) if deferred else ARGUMENTS[name]))
    for param in link.params(include_uninit=False):
        param.array[...] = numpy.random.uniform(-1, 1, param.shape)
    return link


def stored(link):
    """What a file of the link holds."""
    serializer = serializers.DictionarySerializer()
    serializer.save(link)
    return dict(serializer.target)


def with_state(link, batch=2):
    """The link, its state set where it has one."""
    if hasattr(link, 'set_state'):
        link.set_state(uniform((batch, UNITS), 'f', seed=20), uniform((batch, UNITS), 'f', seed=21))
    return link


@pytest.fixture(params=FORMATS, ids=lambda format_: format_.name)
def file(request, tmp_path):
    """A file in each format: the functions with the path filled in."""
    name, *functions = request.param
    return Format(name, *(functools.partial(function, str(tmp_path / 'file')) for function in functions))


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
    assert_close(second if isinstance(second, tuple) else [second], first if isinstance(first, tuple) else [first])


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
    assert_same(contents(second), {key: None if value is None else value.astype(dtype).astype('f')
                                   for key, value in contents(first).items()})


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

KEYS = [(name, key) for name in ARGUMENTS for key in stored(new(name))
        if not name.startswith('NStep') or key in ('0/w0', '1/w3', '1/w7', '1/b5')]
NAMES_AND_KEYS = pytest.mark.parametrize('name, key', KEYS, ids=[f'{name} {key}' for name, key in KEYS])


def assert_load_fails(file, link, data, error, message):
    before = contents(link)
    file.save(data)
    with pytest.raises(error, match=message):
        file.load(link)
    assert_same(contents(link), before)


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
    lambda x: x[..., :1], lambda x: x[:1], lambda x: x[None], lambda x: x[..., None], lambda x: x.ravel()[0],
    lambda x: numpy.concatenate((x, x)), lambda x: x[:-1], lambda x: x[:0],
], ids=['one column', 'one row', 'axis in front', 'axis behind', 'scalar', 'too many rows', 'too few rows', 'empty'])
def test_misshapen_key_changes_nothing(file, name, key, reshape):
    """Also where the shape could be broadcast, which Chainer does."""
    data = stored(new(name))
    expected = data[key].shape
    data[key] = reshape(data[key])
    message = re.escape(f'{key}: expected shape {expected}, got {data[key].shape}')
    assert_load_fails(file, with_state(new(name)), data, ValueError, message)


@pytest.mark.parametrize('name', DEFERRABLE)
@pytest.mark.parametrize('key, shape', [
    ('upward/W', (4 * UNITS - 1, INPUT)), ('upward/W', (4 * UNITS,)), ('upward/W', (4 * UNITS, INPUT, 1)),
    ('upward/W', (INPUT, 4 * UNITS)), ('upward/b', (1,)), ('lateral/W', (4 * UNITS, 1)),
], ids=str)
def test_misshapen_key_leaves_a_deferred_link_deferred(file, name, key, shape):
    data = {**stored(new(name)), key: numpy.zeros(shape, 'f')}
    link = with_state(new(name, deferred=True))
    assert_load_fails(file, link, data, ValueError, rf'{key}: expected shape .*got {re.escape(str(shape))}')
    assert link.upward.W.array is None


@pytest.mark.parametrize('name', ARGUMENTS)
def test_file_of_another_size_changes_nothing(file, name):
    arguments = [2 * value if value == UNITS else value for value in ARGUMENTS[name]]
    data = stored(getattr(L, name)(*arguments))
    assert_load_fails(file, with_state(new(name)), data, ValueError, r'expected shape \(\d+, ?\d*\), got')


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
    serializers.save_npz(str(tmp_path / 'file'), {**stored(first), 'upward/W': numpy.zeros((1, 1), 'f')})
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
    """A link whose ``upward`` is no Linear, and has a child that waits for the size of its input."""
    link = new('LSTM')
    link.upward = chainer.Sequential(L.Linear(INPUT, 4 * UNITS), L.LayerNormalization())
    return link


@pytest.mark.parametrize('started', [True, False], ids=['into initialized', 'into deferred'])
def test_replaced_upward_round_trip(file, started):
    first, second = with_normalized_upward(), with_normalized_upward()
    x, = inputs((2,))
    first(x)
    if started:
        second(x)
    file.save(first)
    file.load(second)
    second.reset_state()
    first.reset_state()
    assert_close([second(x)], [first(x)])


# The state

@STATEFUL
@pytest.mark.parametrize('deferred', [False, True], ids=['into initialized', 'into deferred'])
@pytest.mark.parametrize('dtype', 'efd')
def test_persistent_state_round_trip(file, name, deferred, dtype):
    """The state goes on bit for bit."""
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        first, second = new(name), new(name, deferred=deferred)
        first.persistent_state = second.persistent_state = True
        xs = inputs((3, 2, 3), dtype)
        outputs_and_states(first, xs[:2])
        file.save(first)
        file.load(second)
        assert_same(contents(second), contents(first))
        for one, other in zip(outputs_and_states(second, xs[2:]), outputs_and_states(first, xs[2:])):
            numpy.testing.assert_array_equal(one.array, other.array)
    assert first.c.dtype == second.c.dtype == dtype


@STATEFUL
def test_persistent_state_none(file, name):
    """A link without a state makes the one that reads its file forget its own."""
    first, second = new(name), with_state(new(name))
    first.persistent_state = second.persistent_state = True
    file.save(first)
    file.load(second)
    assert second.c is None and second.h is None
    assert_same(contents(second), contents(first))


@STATEFUL
def test_persistent_state_of_a_deferred_link(file, name):
    first, second = new(name, deferred=True), with_state(new(name, deferred=True))
    first.persistent_state = second.persistent_state = True
    file.save(first)
    file.load(second)
    assert second.c is None and second.upward.W.array is None


@STATEFUL
@pytest.mark.parametrize('target', MODULES.values(), ids=MODULES.keys())
def test_file_with_state_is_read_without_it(file, name, target):
    first, second = with_state(new(name)), new(name, target)
    first.persistent_state = True
    assert {'c', 'h'} <= stored(first).keys()
    file.save(first)
    file.load(second)
    assert second.c is None and second.h is None
    assert_same({**contents(second), 'c': first.c.array, 'h': first.h.array}, contents(first))


@STATEFUL
@pytest.mark.parametrize('source', MODULES.values(), ids=MODULES.keys())
def test_file_of_weights_alone_keeps_the_state(file, name, source):
    first, second = new(name, source), with_state(new(name))
    second.persistent_state = True
    state = second.c.array.copy(), second.h.array.copy()
    file.save(first)
    file.load(second)
    assert_close([second.c, second.h], state)
    numpy.testing.assert_array_equal(second.upward.W.array, first.upward.W.array)


@STATEFUL
@pytest.mark.parametrize('c, h, error, message', [
    (numpy.zeros((2, UNITS + 1), 'f'), numpy.zeros((2, UNITS), 'f'), ValueError, r'expected c of shape .*got \(2, 5\)'),
    (numpy.zeros((2, UNITS), 'f'), numpy.zeros((2, 1), 'f'), ValueError, r'expected h of shape .*got \(2, 1\)'),
    (numpy.zeros((2, UNITS), 'f'), numpy.zeros((3, UNITS), 'f'), ValueError, r'one shape, got \(2, 4\) and \(3, 4\)'),
    (numpy.zeros((UNITS,), 'f'), numpy.zeros((UNITS,), 'f'), ValueError, r'expected c of shape'),
    (numpy.zeros((2, UNITS), 'i'), numpy.zeros((2, UNITS), 'i'), TypeError, r'expected c of a float dtype, got int32'),
], ids=['width of c', 'width of h', 'rows', 'axes', 'dtype'])
def test_misshapen_state_changes_nothing(file, name, c, h, error, message):
    data = {**stored(new(name)), 'c': c, 'h': h}
    link = with_state(new(name))
    link.persistent_state = True
    assert_load_fails(file, link, data, error, message)


@STATEFUL
def test_misshapen_parameter_keeps_the_state(file, name):
    first = with_state(new(name), batch=5)
    first.persistent_state = True
    data = stored(first)
    data['lateral/W'] = data['lateral/W'][:1]
    link = with_state(new(name))
    link.persistent_state = True
    assert_load_fails(file, link, data, ValueError, 'lateral/W: expected shape')


@STATEFUL
def test_state_missing_in_part_keeps_the_state(file, name):
    link = with_state(new(name))
    link.persistent_state = True
    state = link.c.array.copy(), link.h.array.copy()
    file.save({**stored(new(name)), 'c': numpy.zeros((5, UNITS), 'f')})
    for load in (file.load, file.load_loosely):
        load(link)
        assert_close([link.c, link.h], state)


@STATEFUL
def test_persistent_state_stays_with_copies(name):
    link = new(name)
    link.persistent_state = True
    assert all(link.copy(mode).persistent_state for mode in ('share', 'copy', 'init'))
    assert not new(name).persistent_state


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
