"""The C++ engine: stages, steps and sequences with every instruction set of this processor."""

import concurrent.futures

import numpy
import pytest

from chainer_lstm import cells
from chainer_lstm.kernels import native
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.engines.types import Shape
from tests.kernels import cases
from tests.kernels.native_cases import LENGTHS, MANY, RECURRENT, recurrence

pytestmark = pytest.mark.pairwise


@pytest.mark.parametrize('layout', cases.LAYOUTS)
@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call(engine, call, dtype, layout):
    cases.check_call(engine, numpy, call, dtype, layout)


@pytest.mark.parametrize('shape', [(1, 1), (1, 16), (7, 1), (3, 86), (0, 5)], ids=str)
@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_shapes(engine, call, shape):
    cases.check_call(engine, numpy, call, 'f', shape=shape)


@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_call_in_threads(engine, threads, call):
    threads(3)
    cases.check_call(engine, numpy, call, 'f', shape=(67, 131))


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step(engine, case, dtype):
    cases.check_step(engine, numpy, case, dtype)
    cases.check_step(engine, numpy, case, dtype, B=21, I=37, H=50)
    cases.check_step(engine, numpy, case, dtype, layout='strided')


# so few rows that nothing is packed in both directions, forward, and one too many
@pytest.mark.parametrize(
    'sizes',
    [(2, 33, 50), (3, 200, 220), (20, 310, 304), (33, 310, 304), (97, 70, 66), (20, 330, 20)],
    ids=str,
)
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_in_threads(engine, threads, case, sizes):
    threads(3)
    cases.check_step(engine, numpy, case, 'd', **dict(zip('BIH', sizes)))
    cases.check_step(engine, numpy, case, 'd', none=('gc',), **dict(zip('BIH', sizes)))


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_gradients(engine, case):
    cases.check_step_gradients(engine, numpy, case)


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('cell', RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('batches', LENGTHS.values(), ids=LENGTHS)
def test_recurrence(engine, threads, batches, reverse, cell, dtype, units=37, width=11):
    expected = recurrence(NumpyEngine(), batches, reverse, cell, 'd', units, width)
    first = None
    for count in (1, 2, 5):
        threads(count)
        found = recurrence(engine, batches, reverse, cell, dtype, units, width)
        tolerance = {'f': 2e-5, 'd': 1e-13}[dtype]
        cases.assert_close(found, expected, (tolerance, tolerance))
        first = first or found
        for x, y in zip(found, first):
            numpy.testing.assert_array_equal(x, y, err_msg=f'{count} threads')


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('cell', RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('batches', MANY.values(), ids=MANY)
def test_recurrence_in_many_threads(engine, threads, batches, reverse, cell, dtype):
    test_recurrence(engine, threads, batches, reverse, cell, dtype, units=70)


@pytest.mark.parametrize('batches', MANY.values(), ids=MANY)
def test_recurrence_without_inputs(engine, threads, batches):
    test_recurrence(engine, threads, batches, False, cells.lstm, 'f', units=70, width=0)


def test_recurrence_is_as_exact_as_with_numpy(engine):
    batches = (20,) * 12, 20
    exact, by_numpy, found = (
        recurrence(e, batches, False, cells.lstm, dtype, 120)
        for e, dtype in ((NumpyEngine(), 'd'), (NumpyEngine(), 'f'), (engine, 'f'))
    )
    for x, y, z in zip(exact, by_numpy, found):
        assert numpy.abs(z - x).max() <= 2 * numpy.abs(y - x).max()


@pytest.mark.parametrize('direction', ['forward', 'backward'])
@pytest.mark.parametrize(
    ('cell', 'dtype', 'steps', 'expected'),
    [
        (cells.lstm, 'f', 4, True),
        (cells.lstm, 'd', 4, True),
        (cells.peephole, 'f', 4, True),
        (cells.LSTM(outputs=2), 'f', 4, True),
        (cells.lstm, 'f', 3, False),
        (cells.lstm, 'e', 4, False),
        (cases.CELLS['gru'], 'f', 4, False),
    ],
)
def test_supports(engine, cell, dtype, steps, expected, direction):
    shape = Shape(steps, 2, 3, 1)
    assert engine.supports(cell, numpy.dtype(dtype), shape, direction) == expected


def test_nan_and_infinity_go_where_they_go_with_numpy(engine):
    inputs = cases.call_inputs(cases.CALLS[0], 'f', 6, 5)
    inputs['xw'][0, 0] = numpy.nan
    inputs['xw'][1, 5] = numpy.inf
    inputs['c'][2, 3] = numpy.nan
    inputs['c'][3, 1] = -numpy.inf
    found, expected = (cases.run_call(e, cases.CALLS[0], inputs) for e in (engine, NumpyEngine()))
    cases.assert_close(list(found.values()), list(expected.values()), cases.TOLERANCE['f'])


def test_two_python_threads_compute_what_one_does():
    engine = cases.native_engine(native.instruction_sets()[0] if native.library() else 'baseline')
    expected = recurrence(engine, LENGTHS['ragged'], False, cells.lstm, 'f', 90)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(
            lambda _: recurrence(engine, LENGTHS['ragged'], False, cells.lstm, 'f', 90), range(40)
        ):
            for x, y in zip(found, expected):
                numpy.testing.assert_array_equal(x, y)
