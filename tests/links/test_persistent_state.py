"""Files with the state in them."""

import chainer
import numpy
import pytest

from tests.support.arrays import assert_close, assert_same
from tests.support.files import MODULES, assert_load_fails, new, stored, with_state
from tests.support.links import STATEFUL, UNITS, contents, inputs, outputs_and_states


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
        for one, other in zip(
            outputs_and_states(second, xs[2:]), outputs_and_states(first, xs[2:])
        ):
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
    (numpy.zeros((2, UNITS + 1), 'f'), numpy.zeros((2, UNITS), 'f'), ValueError,
     r'expected c of shape .*got \(2, 5\)'),
    (numpy.zeros((2, UNITS), 'f'), numpy.zeros((2, 1), 'f'), ValueError,
     r'expected h of shape .*got \(2, 1\)'),
    (numpy.zeros((2, UNITS), 'f'), numpy.zeros((3, UNITS), 'f'), ValueError,
     r'one shape, got \(2, 4\) and \(3, 4\)'),
    (numpy.zeros((UNITS,), 'f'), numpy.zeros((UNITS,), 'f'), ValueError, r'expected c of shape'),
    (numpy.zeros((2, UNITS), 'i'), numpy.zeros((2, UNITS), 'i'), TypeError,
     r'expected c of a float dtype, got int32'),
], ids=['width of c', 'width of h', 'rows', 'axes', 'dtype'])  # fmt: skip
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
