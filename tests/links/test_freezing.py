"""Frozen parameters: packed for steps, read-only, writable again, never stale."""

import copy
import pickle

import chainer
import numpy
import pytest
from chainer import serializers

from chainer_lstm import cells, links
from chainer_lstm.kernels import frozen, native
from tests.kernels import cases
from tests.support.arrays import uniform

BATCH, UNITS = 9, 11  # more rows than a register tile has
X = uniform((BATCH, UNITS), 'f')
LINKS = {
    'LSTM': links.LSTM,
    'peephole': links.StatefulPeepholeLSTM,
    'zoneout': links.StatefulZoneoutLSTM,
}


def steps(link, x=X, count=3):
    link.reset_state()
    with chainer.no_backprop_mode(), chainer.using_config('train', False):
        return [link(x).array for _ in range(count)]


def arrays(link):
    return [param.array for param in link.params()]


def writeable(link):
    return {array.flags.writeable for array in arrays(link)}


@pytest.mark.parametrize('make', LINKS.values(), ids=LINKS)
def test_numbers(make):
    cases.native_engine('baseline')
    link = make(UNITS, UNITS)
    expected = steps(link)
    with links.frozen(link):
        assert {W.ndim for W in arrays(link) if frozen.packed(W) is not None} == {2}
        found = steps(link)
    assert not frozen.any_frozen()
    numpy.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('instruction_set', ['baseline', 'avx2', 'avx512'])
@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize(('rows', 'inputs', 'units'), [(7, 5, 6), (33, 70, 37), (8, 130, 130)])
def test_packed_weights(rows, inputs, units, dtype, instruction_set):
    engine = cases.native_engine(instruction_set)
    for cell in cells.COMPILED.values():
        shapes = [
            (rows, inputs),
            *cell.shapes(inputs, units).values(),
            (rows, units),
            (rows, units),
        ]
        given = [uniform(shape, dtype, seed=seed) for seed, shape in enumerate(shapes)]
        expected = engine.whole_step(cell, given)
        with frozen.frozen([(W, engine.pack) for W in given[1:-2] if W.ndim == 2]):
            found = engine.whole_step(cell, given)
        for y, z in zip(found, expected):
            numpy.testing.assert_allclose(y, z, rtol=0, atol=1e-5 if dtype == 'f' else 1e-13)


def test_what_writes_into_parameters_fails(tmp_path):
    link = links.LSTM(UNITS, UNITS)
    before = [array.copy() for array in arrays(link)]
    optimizer = chainer.optimizers.SGD().setup(link)
    serializers.save_npz(tmp_path / 'link.npz', links.LSTM(UNITS, UNITS))
    link.cleargrads()
    chainer.functions.sum(link(X)).backward()
    with links.frozen(link):
        for write in (
            lambda: link.upward.W.array.fill(0),
            optimizer.update,
            lambda: serializers.load_npz(tmp_path / 'link.npz', link),
        ):
            with pytest.raises(ValueError, match='read-only'):
                write()
    for array, expected in zip(arrays(link), before):
        numpy.testing.assert_array_equal(array, expected)
    optimizer.update()


def test_arrays_that_are_replaced_are_computed_with():
    link, other = links.LSTM(UNITS, UNITS), links.LSTM(UNITS, UNITS)
    with links.frozen(link):
        for param, new in zip(link.params(), other.params()):
            param.array = new.array.copy()
        found = steps(link)
    numpy.testing.assert_array_equal(found, steps(other))
    assert writeable(link) == {True}


def test_blocks_may_overlap_and_fail():
    link = links.LSTM(UNITS, UNITS)
    first, second = links.frozen(link), links.frozen(link)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert writeable(link) == {False}
    with pytest.raises(KeyError), links.frozen(link):
        second.__exit__(None, None, None)
        assert writeable(link) == {False}
        raise KeyError
    assert writeable(link) == {True}
    assert not frozen.any_frozen()


def test_arrays_that_were_read_only_remain_so():
    link = links.LSTM(UNITS, UNITS)
    link.upward.b.array.flags.writeable = False
    with links.frozen(link):
        pass
    assert not link.upward.b.array.flags.writeable


def test_views_are_not_packed():
    cases.native_engine('baseline')
    link = links.LSTM(UNITS, UNITS)
    whole = link.lateral.W.array.copy()
    link.lateral.W.array = whole[:]
    with links.frozen(link):
        assert frozen.packed(link.upward.W.array) is not None
        assert frozen.packed(link.lateral.W.array) is None
        steps(link)
        whole[...] = 0
        found = steps(link)
    numpy.testing.assert_array_equal(found, steps(link))


@pytest.mark.parametrize(
    'duplicate', [copy.deepcopy, lambda link: pickle.loads(pickle.dumps(link))]
)
def test_copies_are_writable(duplicate):
    link = links.LSTM(UNITS, UNITS)
    with links.frozen(link):
        other = duplicate(link)
        assert writeable(other) == {True}
        other.to_device('@numpy')
        other.upward.W.array[...] = 0
        numpy.testing.assert_array_equal(steps(other), steps(duplicate(other)))


def test_what_is_refused():
    link = chainer.Sequential(links.LSTM(None, UNITS), chainer.links.Linear(UNITS, 2))
    with pytest.raises(ValueError, match='expected parameters that are initialized, got /0/upward'):
        links.frozen(link)
    link(X)
    with links.frozen(link):
        assert not link[1].W.array.flags.writeable
    with pytest.raises(TypeError, match='expected link to be a chainer.Link, got int'):
        links.frozen(1)


def test_without_the_library():
    if native.library() is None:
        pytest.skip('the native engine was not built')
    link = links.LSTM(UNITS, UNITS)
    with chainer.using_config('lstm_engine', 'numpy'), links.frozen(link):
        assert frozen.packed(link.upward.W.array) is None
        steps(link)
