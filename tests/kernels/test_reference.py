import numpy
import pytest

from chainer_lstm import kernels
from chainer_lstm.kernels import layout, reference
from tests import reference as loops
from tests.kernels import cases

B, H = 3, 4


def uniforms(*columns):
    random = numpy.random.RandomState(0)
    return [random.uniform(-2, 2, (B, width)) for width in columns]


def check_gradients(loss, inputs, gradients):
    expected = cases.numerical_gradients(loss, inputs)
    cases.assert_close(gradients, expected, (1e-7, 1e-8))


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def test_sigmoid():
    x = numpy.linspace(-30, 30, 101)
    numpy.testing.assert_allclose(reference.sigmoid(numpy, x), sigmoid(x), rtol=0, atol=1e-15)


@pytest.mark.parametrize('dtype', 'efd')
def test_sigmoid_does_not_overflow(dtype):
    x = numpy.array([-6e4, 6e4], dtype)
    y = reference.sigmoid(numpy, x)
    assert y.dtype == dtype
    numpy.testing.assert_array_equal(y, [0, 1])


def test_split_order():
    x = numpy.arange(B * 4 * H).reshape(B, 4 * H)
    for g, gate in enumerate(reference.split(numpy, x)):
        assert gate.shape == (B, H)
        for unit in range(H):
            numpy.testing.assert_array_equal(gate[:, unit], x[:, 4 * unit + g])


@pytest.mark.parametrize('batch', [0, 1, 3])
def test_join_undoes_split(batch):
    x = numpy.arange(batch * 4 * H).reshape(batch, 4 * H)
    numpy.testing.assert_array_equal(reference.join(numpy, reference.split(numpy, x)), x)
    numpy.testing.assert_array_equal(kernels.Engine().split(x), reference.split(numpy, x))


@pytest.mark.parametrize('shape', [(H,), (H, 3), (H, 3, 2)])
def test_layouts_convert_into_each_other(shape):
    gates = list(numpy.random.RandomState(0).uniform(size=(4, *shape)))  # a, i, f, o
    orders = {
        layout.INTERLEAVED: numpy.array([gates[row % 4][row // 4] for row in range(4 * H)]),
        layout.PLANAR: numpy.array([gates[row // H][row % H] for row in range(4 * H)]),
        layout.N_STEP: [gates['aifo'.index(gate)] for gate in 'ifao'],
    }
    for source, x in orders.items():
        for target, expected in orders.items():
            numpy.testing.assert_array_equal(layout.convert(numpy, x, source, target), expected)


def test_lstm_fwd():
    pre, c_prev = uniforms(4 * H, H)
    gates, c, h = reference.lstm_fwd(numpy, pre, c_prev)
    cases.assert_close((c, h), loops.lstm(c_prev, pre), (1e-14, 1e-14))
    for unit in range(H):
        expected = (numpy.tanh, sigmoid, sigmoid, sigmoid)
        for gate in range(4):
            column = 4 * unit + gate
            numpy.testing.assert_allclose(
                gates[:, column], expected[gate](pre[:, column]), rtol=1e-14, atol=1e-14
            )


def test_lstm_bwd():
    pre, c_prev, gc, gh = uniforms(4 * H, H, H, H)

    def loss(pre, c_prev):
        _, c, h = reference.lstm_fwd(numpy, pre, c_prev)
        return (c * gc).sum() + (h * gh).sum()

    gates, c, _ = reference.lstm_fwd(numpy, pre, c_prev)
    check_gradients(loss, (pre, c_prev), reference.lstm_bwd(numpy, gates, c_prev, c, gc, gh))


def test_peephole_cell_bwd():
    pre, pi, pf, c_prev, gc, go = uniforms(4 * H, H, H, H, H, H)

    def loss(pre, pi, pf, c_prev):
        gates, c = reference.peephole_cell_fwd(numpy, pre, pi, pf, c_prev)
        return (c * gc).sum() + (reference.split(numpy, gates)[3] * go).sum()

    gates, _ = reference.peephole_cell_fwd(numpy, pre, pi, pf, c_prev)
    gpre, gc_prev = reference.peephole_cell_bwd(numpy, gates, c_prev, gc, go)
    _, gi, gf, _ = reference.split(numpy, gpre)
    check_gradients(loss, (pre, pi, pf, c_prev), (gpre, gi, gf, gc_prev))


def test_peephole_out_bwd():
    o, po, c, gc, gh = uniforms(H, H, H, H, H)
    rest = uniforms(H, H, H)

    def forward(o, po, c):
        return reference.peephole_out_fwd(numpy, reference.join(numpy, (*rest, o)), po, c)

    def loss(o, po, c):
        return (forward(o, po, c)[1] * gh).sum() + (c * gc).sum()

    go, gc_sum = reference.peephole_out_bwd(numpy, forward(o, po, c)[0], c, gc, gh)
    check_gradients(loss, (o, po, c), (go, go, gc_sum))


@pytest.mark.parametrize('call', cases.CALLS, ids=str)
def test_engine_is_the_reference(call):
    values = dict(zip(call.arguments, cases.call_inputs(call, 'd', B, H)))
    outputs = getattr(kernels.Engine(), call.method)(*values.values())
    if 'xw' in values:
        parts = [values.pop(name) for name in ('xw', 'hu', 'b')]
        values = {'pre': sum(part for part in parts if part is not None), **values}
    values = [0 if x is None else x for x in values.values()]
    cases.assert_close(outputs, getattr(reference, call.method)(numpy, *values), (1e-14, 1e-14))


@pytest.mark.parametrize(
    'dtypes, expected',
    [
        ('e', 'f'),
        ('f', 'f'),
        ('d', 'd'),
        ('ee', 'f'),
        ('ef', 'f'),
        ('fd', 'd'),
        ('ed', 'd'),
    ],
)
def test_wide_dtype(dtypes, expected):
    engine = kernels.Engine()
    assert engine.wide_dtype(*dtypes) == expected
    wide = engine.wide(*(numpy.zeros(2, dtype) for dtype in dtypes), None)
    assert wide.pop() is None
    assert [x.dtype.char for x in wide] == [expected] * len(dtypes)


@pytest.mark.parametrize('dtype', 'efd')
def test_wide_like(dtype):
    engine = kernels.Engine()
    a, none, b = engine.wide_like(
        numpy.zeros(1, dtype), numpy.ones(2, 'd'), None, numpy.ones(2, 'e')
    )
    assert none is None
    assert a.dtype == b.dtype == dtype


def test_wide_does_not_copy():
    x = numpy.zeros(2, 'f')
    y, z = kernels.Engine().wide(x, numpy.zeros(2, 'e'))
    assert y is x
    assert z.dtype == 'f'


def test_engine_of_numpy():
    assert type(kernels.engine_of(numpy.zeros(1), 'numpy')) is kernels.Engine


@pytest.mark.parametrize('none', cases.NO_GRADIENT, ids=str)
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_dtypes(case, dtype, none):
    cases.check_step(kernels.Engine(), numpy, case, dtype, none)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_empty_batch(case):
    cases.check_step(kernels.Engine(), numpy, case, 'f', B=0, I=2, H=3)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_gradients(case):
    cases.check_step_gradients(kernels.Engine(), numpy, case)


@pytest.mark.parametrize('case', cases.STEPS, ids=str)
def test_step_forward(case):
    (c_prev, x, *parameters), _, _ = cases.step_inputs(case, 'd', B=B, I=2, H=H)
    c, h = cases.forward_step(kernels.Engine(), case, (c_prev, x, *parameters))
    if case.name == 'LSTM':
        expected = loops.lstm(c_prev, x)
    else:
        h_prev, U = parameters[-2:] if 'U' in case.shapes else (None, numpy.zeros((4 * H, H)))
        W, b, *peepholes = parameters[:-2] if 'U' in case.shapes else parameters
        loop = loops.peephole_step if peepholes else loops.lstm_step
        expected = loop(c_prev, h_prev, x, W, b, U, *peepholes)
    cases.assert_close((c, h), expected, (1e-13, 1e-13))
