"""The inputs that every engine is tested with, and the comparisons; for NumPy and CuPy."""

from typing import NamedTuple

import numpy
import pytest

from chainer_lstm import kernels
from chainer_lstm.kernels import native, steps
from chainer_lstm.kernels.native_engine import NativeEngine

# by dtype: relative and absolute error of one kernel, then of a whole step;
# float16 is stored, not computed in
TOLERANCE = {'e': (5e-4, 2e-6), 'f': (2e-6, 2e-6), 'd': (1e-13, 1e-13)}
STEP_TOLERANCE = {'e': (1e-2, 1e-2), 'f': (1e-5, 1e-5), 'd': (1e-12, 1e-12)}
WIDE = {'e': 'f', 'f': 'f', 'd': 'd'}
LAYOUTS = ('dense', 'strided', 'transposed', 'misaligned')
NO_GRADIENT = ((), ('gc',), ('gh',), ('gc', 'gh'))  # which of a step's output gradients are None

# arguments of the engine's methods; those with '?' may be None
METHODS = {
    'lstm_fwd': ('xw', 'hu?', 'b?', 'c_prev'),
    'lstm_bwd': ('gates', 'c_prev', 'c', 'gc?', 'gh?'),
    'peephole_cell_fwd': ('xw', 'hu?', 'b?', 'pi', 'pf', 'c_prev'),
    'peephole_out_fwd': ('gates', 'po', 'c'),
    'peephole_out_bwd': ('gates', 'c', 'gc?', 'gh?'),
    'peephole_cell_bwd': ('gates', 'c_prev', 'gc', 'go'),
}


def native_engine(instruction_set):
    """The native engine with one of its instruction sets; skips the test where it cannot run."""
    if instruction_set not in native.instruction_sets():
        pytest.skip(
            'the native engine was not built'
            if native.library() is None
            else f'this processor has no {instruction_set}'
        )
    return NativeEngine(instruction_set)


class Call(NamedTuple):
    """A call of an engine's method, with some of its optional arguments None."""

    method: str
    arguments: tuple[str, ...]
    none: frozenset

    def __str__(self):
        return '-'.join((self.method, *(f'{name}_none' for name in sorted(self.none))))

    def written(self):
        """The arguments that CUDA kernels change in place."""
        return {'gates'} if self.method == 'peephole_out_fwd' else set()


def _calls():
    for method, arguments in METHODS.items():
        names = tuple(name.rstrip('?') for name in arguments)
        optional = [name[:-1] for name in arguments if name.endswith('?')]
        for bits in range(2 ** len(optional)):
            yield Call(
                method, names, frozenset(name for k, name in enumerate(optional) if bits >> k & 1)
            )


CALLS = list(_calls())


class StepCase(NamedTuple):
    """A step and the shapes of its inputs; B rows, I inputs, H units."""

    name: str
    shapes: tuple[str, ...]

    def __str__(self):
        return self.name + ('-h' if 'U' in self.shapes else '')


_SHAPES = {'c': 'BH', 'x': 'BI', 'pre': 'BG', 'W': 'GI', 'b': 'G', 'P': 'HH', 'h': 'BH', 'U': 'GH'}
STEPS = [
    StepCase('LSTM', ('c', 'pre')),
    StepCase('LSTM_STEP', ('c', 'x', 'W', 'b')),
    StepCase('LSTM_STEP', ('c', 'x', 'W', 'b', 'h', 'U')),
    StepCase('PEEPHOLE_STEP', ('c', 'x', 'W', 'b', 'P', 'P', 'P')),
    StepCase('PEEPHOLE_STEP', ('c', 'x', 'W', 'b', 'P', 'P', 'P', 'h', 'U')),
]


def call_inputs(call, dtype, batch, units):
    """A NumPy array for every argument of the call, or None."""
    random = numpy.random.RandomState(0)
    arrays = []
    for name in call.arguments:
        columns = 4 * units if name in ('xw', 'hu', 'b', 'gates') else units
        x = random.uniform(-1, 1, columns if name == 'b' else (batch, columns))
        if name in ('xw', 'hu', 'b', 'pi', 'pf', 'po'):
            x = numpy.where(random.uniform(size=x.shape) < 0.1, 60 * x, 4 * x)  # some saturate
        arrays.append(None if name in call.none else x.astype(dtype))
    return arrays


def place(xp, x, layout):
    """The array, or None, with xp's memory laid out in one of the ``LAYOUTS``."""
    if x is None:
        return None
    if layout == 'strided':
        y = xp.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    elif layout == 'transposed':
        y = xp.empty(x.shape[::-1], x.dtype).T
    elif layout == 'misaligned':
        y = xp.empty((x.size + 1,), x.dtype)[1:].reshape(x.shape)
    else:
        y = xp.empty(x.shape, x.dtype)
    y[...] = xp.asarray(x)
    return y


def to_numpy(x):
    return x if isinstance(x, numpy.ndarray) else x.get()


def cast(arrays, dtype):
    return [None if x is None else x.astype(dtype) for x in arrays]


def assert_close(actual, expected, tolerance):
    rtol, atol = tolerance
    assert len(actual) == len(expected)
    for index, (a, e) in enumerate(zip(actual, expected)):
        numpy.testing.assert_allclose(
            to_numpy(a).astype('d'), e.astype('d'), rtol=rtol, atol=atol, err_msg=f'output {index}'
        )


def check_call(engine, xp, call, dtype, layout='dense', shape=(5, 13)):
    """The engine's method agrees with NumPy's engine,
    in the dtype that it computes in and in float64.
    """
    inputs = call_inputs(call, dtype, *shape)
    # an engine is given its own gates, from the kernel before
    placed = [
        place(xp, x, 'dense' if name in call.written() else layout)
        for name, x in zip(call.arguments, inputs)
    ]
    outputs = getattr(engine, call.method)(*placed)
    for wide in (WIDE[dtype], 'd'):
        expected = getattr(kernels.Engine(), call.method)(*cast(inputs, wide))
        assert_close(outputs, expected, TOLERANCE[dtype])
    assert all(y.dtype == dtype for y in outputs)
    for name, x, y in zip(call.arguments, inputs, placed):
        if x is not None and name not in call.written():
            numpy.testing.assert_array_equal(to_numpy(y), x, err_msg=name)


def step_inputs(case, dtype, **sizes):
    """NumPy arrays for a step, and gradients gc and gh of its outputs."""
    random = numpy.random.RandomState(0)
    sizes['G'] = 4 * sizes['H']
    shapes = [tuple(sizes[axis] for axis in _SHAPES[name]) for name in (*case.shapes, 'c', 'h')]
    *inputs, gc, gh = (random.uniform(-1, 1, shape).astype(dtype) for shape in shapes)
    return inputs, gc, gh


def forward_step(engine, case, inputs):
    """-> c, h."""
    if case.name == 'PEEPHOLE_STEP':
        P_o, cell_inputs = _peephole_inputs(inputs)
        gates, c, _ = kernels.PEEPHOLE_CELL.forward(engine, *cell_inputs)
        return c, steps.peephole_out_forward(engine, gates, c, P_o)[1]
    return getattr(kernels, case.name).forward(engine, *inputs)[1:]


def run_step(engine, case, inputs, gc, gh):
    """-> c, h and the gradients of all inputs."""
    if case.name == 'PEEPHOLE_STEP':
        return _run_peephole_step(engine, inputs, gc, gh)
    step = getattr(kernels, case.name)
    saved, c, h = step.forward(engine, *inputs)
    names = step.names[: len(inputs)]
    gradients, rows = step.backward(engine, saved, inputs, c, gc, gh, names)
    return [
        c,
        h,
        *(
            gradients[name] if name in gradients else step.weights[name](engine, rows)
            for name in names
        ),
    ]


def _run_peephole_step(engine, inputs, gc, gh):
    """Both halves of the step; without gh, the second one has no part in backward."""
    P_o, cell_inputs = _peephole_inputs(inputs)
    cell, names = kernels.PEEPHOLE_CELL, kernels.PEEPHOLE_CELL.names[: len(cell_inputs)]
    gates, c, _ = cell.forward(engine, *cell_inputs)
    gates, h = steps.peephole_out_forward(engine, gates, c, P_o)
    go, gP_o = None, engine.xp.zeros_like(P_o)
    if gh is not None:
        go, gc_of_h, rows = steps.peephole_out_backward(engine, gates, c, gh, P_o)
        gP_o = steps.gP_o(engine, rows)
        gc = gc_of_h if gc is None else gc + gc_of_h
    gradients, rows = cell.backward(engine, gates, cell_inputs, c, gc, go, names)
    found = [
        gradients[name] if name in gradients else cell.weights[name](engine, rows) for name in names
    ]
    return [c, h, *found[:6], gP_o, *found[6:]]


def _peephole_inputs(inputs):
    """-> P_o, and the inputs of the first half."""
    return inputs[6], (*inputs[:6], *inputs[7:])


def check_step(engine, xp, case, dtype, none=(), layout='dense', **sizes):
    """A step and its gradients agree with NumPy's engine in float64; gc and gh may be None."""
    inputs, gc, gh = step_inputs(case, dtype, **(sizes or {'B': 3, 'I': 5, 'H': 7}))
    gc, gh = None if 'gc' in none else gc, None if 'gh' in none else gh
    outputs = run_step(engine, case, *_placed(xp, inputs, gc, gh, layout))
    expected = run_step(kernels.Engine(), case, cast(inputs, 'd'), *cast((gc, gh), 'd'))
    assert_close(outputs, expected, STEP_TOLERANCE[dtype])


def _placed(xp, inputs, gc, gh, layout):
    return [place(xp, x, layout) for x in inputs], place(xp, gc, layout), place(xp, gh, layout)


def check_step_gradients(engine, xp, case):
    """The gradients of a step are those that finite differences of its own forward pass give,
    in float64.
    """
    inputs, gc, gh = step_inputs(case, 'd', B=2, I=3, H=3)

    def loss(*inputs):
        c, h = forward_step(engine, case, [place(xp, x, 'dense') for x in inputs])
        return (to_numpy(c) * gc).sum() + (to_numpy(h) * gh).sum()

    _, _, *gradients = run_step(engine, case, *_placed(xp, inputs, gc, gh, 'dense'))
    assert_close(gradients, numerical_gradients(loss, inputs), (1e-6, 1e-8))


def numerical_gradients(loss, inputs, step=1e-6):
    """Central differences of a scalar function by every element of its float64 inputs."""
    inputs = [x.copy() for x in inputs]
    gradients = [numpy.empty_like(x) for x in inputs]
    for x, gradient in zip(inputs, gradients):
        for at in numpy.ndindex(*x.shape):
            value = x[at]
            x[at] = value + step
            above = loss(*inputs)
            x[at] = value - step
            gradient[at] = (above - loss(*inputs)) / (2 * step)
            x[at] = value
    return gradients
