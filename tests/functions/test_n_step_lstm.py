"""``n_step_lstm`` and ``n_step_bilstm`` against the reference loop,
finite differences and Chainer's functions.
"""

from typing import NamedTuple

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check
from chainer.backends import cuda

from chainer_lstm import functions
from tests.support import reference
from tests.support.arrays import LAYOUTS, assert_close, gradients, unaligned, uniforms, variables

pytestmark = pytest.mark.pairwise

INPUT, UNITS = 3, 2


class Case(NamedTuple):
    """Sizes, and how a flat list of arrays becomes the arguments of the function."""

    layers: int
    directions: int
    rows: int
    batches: tuple

    @property
    def name(self):
        return 'n_step_lstm' if self.directions == 1 else 'n_step_bilstm'

    def shapes(self):
        """hx, cx, for every layer and direction 8 matrices and 8 biases, xs."""
        state = (self.layers * self.directions, self.rows, UNITS)
        weights = []
        for layer in range(self.layers):
            width = self.directions * UNITS if layer else INPUT
            for _ in range(self.directions):
                weights += [(UNITS, width)] * 4 + [(UNITS, UNITS)] * 4 + [(UNITS,)] * 8
        return [state, state, *weights, *((batch, INPUT) for batch in self.batches)]

    def arguments(self, arrays):
        hx, cx, *arrays = arrays
        cells = [arrays[16 * k : 16 * (k + 1)] for k in range(self.layers * self.directions)]
        return (
            hx,
            cx,
            [cell[:8] for cell in cells],
            [cell[8:] for cell in cells],
            arrays[16 * len(cells) :],
        )

    def call(self, module, arrays, dropout=0.0):
        """hy, cy and all ys of the function of ``chainer.functions`` or of this package."""
        hy, cy, ys = getattr(module, self.name)(self.layers, dropout, *self.arguments(arrays))
        assert isinstance(ys, tuple)
        return [hy, cy, *ys]

    def expected(self, arrays):
        """The same from the reference, which takes sequences."""
        hx, cx, ws, bs, xs = self.arguments(arrays)
        sequences = [
            numpy.array([x[k] for x in xs if len(x) > k]).reshape(-1, INPUT)
            for k in range(self.rows)
        ]
        hy, cy, ys = reference.n_step(hx, cx, ws, bs, sequences, self.directions)
        width = self.directions * UNITS
        steps = [
            numpy.array([y[t] for y in ys if len(y) > t]).reshape(-1, width) for t in range(len(xs))
        ]
        return [hy, cy, *steps]


CASES = {
    'one layer': Case(1, 1, 2, (2, 2)),
    'ragged': Case(2, 1, 3, (3, 2, 2, 1)),
    'three layers': Case(3, 1, 2, (2, 1)),
    'state with more rows': Case(2, 1, 4, (3, 1)),
    'batch 0 at the end': Case(1, 1, 2, (2, 1, 0)),
    'bidirectional': Case(1, 2, 2, (2, 2)),
    'bidirectional, ragged': Case(2, 2, 3, (3, 2, 2, 1)),
    'bidirectional, three layers': Case(3, 2, 2, (2, 1)),
    'bidirectional, state with more rows': Case(2, 2, 4, (3, 1)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


def outputs_and_gradients(case, module, arrays, order=1, chosen=slice(None)):
    """The chosen outputs and their gradients by all inputs."""
    inputs = variables(arrays)
    outputs = case.call(module, inputs)[chosen]
    return [*outputs, *gradients(outputs, inputs, order)]


@pytest.mark.parametrize('dtype', 'efd')
def test_forward_equals_reference(xp, case, dtype):
    shapes = case.shapes()
    expected = [y.astype(dtype) for y in case.expected(uniforms(shapes, dtype))]
    assert_close(case.call(functions, uniforms(shapes, dtype, xp)), expected)


@pytest.mark.parametrize('order, dtype', [(1, 'e'), (1, 'f'), (1, 'd'), (2, 'f'), (2, 'd')])
def test_gradients_equal_chainer(xp, case, order, dtype):
    arrays = uniforms(case.shapes(), dtype, xp)
    expected = outputs_and_gradients(case, F, arrays, order)
    assert_close(outputs_and_gradients(case, functions, arrays, order), expected)


def test_float16_no_worse_than_chainer(xp):
    """On average, over all outputs: float16 is computed in float32."""
    case = Case(2, 1, 50, (50, 40, 30))
    exact = case.expected(uniforms(case.shapes(), 'e'))
    arrays = uniforms(case.shapes(), 'e', xp)
    error, allowed = (
        sum(
            abs(cuda.to_cpu(y.array) - right).sum()
            for y, right in zip(case.call(module, arrays), exact)
        )
        for module in (functions, F)
    )
    assert error <= allowed


@pytest.mark.parametrize(
    'chosen',
    [slice(0, 1), slice(1, 2), slice(2, 3), slice(-1, None)],
    ids=['hy', 'cy', 'first y', 'last y'],
)
@pytest.mark.parametrize('order', [1, 2])
@pytest.mark.parametrize(
    'case', [CASES['ragged'], CASES['bidirectional, ragged']], ids=['uni', 'bi']
)
def test_gradients_of_some_outputs_equal_chainer(case, order, chosen):
    arrays = uniforms(case.shapes())
    expected = outputs_and_gradients(case, F, arrays, order, chosen)
    assert_close(outputs_and_gradients(case, functions, arrays, order, chosen), expected)


@pytest.mark.parametrize(
    'case', [CASES['ragged'], CASES['bidirectional, ragged']], ids=['uni', 'bi']
)
def test_backward_finite_differences(xp, case):
    def function(*arrays):
        return tuple(case.call(functions, arrays))

    arrays = tuple(uniforms(case.shapes(), xp=xp))
    gys = tuple(uniforms([y.shape for y in function(*arrays)], xp=xp))
    gradient_check.check_backward(function, arrays, gys, dtype='d', atol=1e-5, rtol=1e-5)
    gradient_check.check_double_backward(
        function, arrays, gys, arrays, dtype='d', atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize('train', [True, False], ids=['train', 'test'])
@pytest.mark.parametrize(
    'case', [CASES['three layers'], CASES['bidirectional, ragged']], ids=['uni', 'bi']
)
def test_dropout_equals_chainer_under_one_seed(xp, case, train):
    arrays = uniforms(case.shapes(), xp=xp)
    results = []
    for module in (F, functions):
        xp.random.seed(3)
        inputs = variables(arrays)
        with chainer.using_config('train', train):
            outputs = case.call(module, inputs, dropout=0.5)
        results.append([*outputs, *gradients(outputs, inputs)])
    if xp is numpy or not train:  # a GPU draws other numbers than Chainer
        assert_close(results[1], results[0])
    without = case.call(functions, arrays)
    assert bool(xp.allclose(results[1][0].array, without[0].array, 1e-5, 1e-6)) != train


def test_gate_order_is_i_f_a_o():
    """Gates opened and closed one by one through the biases alone;
    Chainer's documentation has o and a swapped.
    """

    def run(i, f, a, o):
        zeros = [numpy.zeros((1, 1))] * 8
        biases = [numpy.array([value], 'd') for value in (i, f, a, o, 0, 0, 0, 0)]
        hy, cy, _ = functions.n_step_lstm(
            1,
            0.0,
            numpy.zeros((1, 1, 1)),
            numpy.full((1, 1, 1), 0.75),
            [zeros],
            [biases],
            [numpy.zeros((1, 1))],
        )
        return hy.array.item(), cy.array.item()

    shut, open_ = -100, 100
    assert run(shut, open_, 1, shut) == pytest.approx((0, 0.75))
    assert run(shut, open_, 1, open_) == pytest.approx((numpy.tanh(0.75), 0.75))
    assert run(open_, shut, 1, open_) == pytest.approx((numpy.tanh(numpy.tanh(1)), numpy.tanh(1)))
    assert run(open_, open_, -1, shut) == pytest.approx((0, 0.75 - numpy.tanh(1)))


def test_biases_of_input_and_hidden_state_are_added(case):
    arrays = uniforms(case.shapes())
    hx, cx, ws, bs, xs = case.arguments(arrays)
    sums = [
        [one + other for one, other in zip(b[:4], b[4:])] + [numpy.zeros(UNITS)] * 4 for b in bs
    ]
    hy, cy, ys = getattr(functions, case.name)(case.layers, 0.0, hx, cx, ws, sums, xs)
    assert_close([hy, cy, *ys], [y.array for y in case.call(functions, arrays)])


def test_non_contiguous_inputs(xp, case):
    arrays = uniforms(case.shapes(), xp=xp)
    expected = outputs_and_gradients(case, functions, arrays)
    for layout in LAYOUTS.values():
        placed = [layout(xp, x) if x.ndim > 1 else x.repeat(2)[::2] for x in arrays]
        assert_close(outputs_and_gradients(case, functions, placed), expected)


def test_weights_at_odd_addresses():
    """Copied by NumPy where a kernel copies others: matrices of more than a thousand numbers."""
    units, time = 33, 3

    def run(move):
        draw = numpy.random.RandomState(0).rand
        ws = [[move(draw(units, units).astype('f')) for _ in range(8)]]
        bs = [[draw(units).astype('f') for _ in range(8)]]
        state = draw(1, 2, units).astype('f')
        xs = [chainer.Variable(draw(2, units).astype('f')) for _ in range(time)]
        ws, bs = ([[*map(chainer.Parameter, group)] for group in groups] for groups in (ws, bs))
        _, _, ys = functions.n_step_lstm(1, 0, state, state, ws, bs, xs)
        F.sum(F.concat(ys, axis=0)).backward()
        return [y.array for y in ys] + [w.grad for w in (*ws[0], *bs[0], *xs)]

    for x, y in zip(run(unaligned), run(lambda x: x)):
        numpy.testing.assert_array_equal(x, y)


def test_read_only_inputs(case):
    arrays = uniforms(case.shapes())
    expected = outputs_and_gradients(case, functions, arrays, order=2)
    for x in arrays:
        x.flags.writeable = False
    assert_close(outputs_and_gradients(case, functions, arrays, order=2), expected)


def test_inputs_are_not_changed(xp, case):
    arrays = uniforms(case.shapes(), xp=xp)
    outputs_and_gradients(case, functions, arrays)
    assert_close(arrays, uniforms(case.shapes()))


def test_no_backprop_mode(case):
    arrays = uniforms(case.shapes())
    with chainer.no_backprop_mode():
        outputs = case.call(functions, variables(arrays))
    assert all(y.creator is None for y in outputs)
    assert_close(outputs, case.expected(arrays))
