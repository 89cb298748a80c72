"""The inputs that every engine is tested with, and the comparisons; for NumPy and CuPy."""

from typing import NamedTuple

import numpy
import pytest

from chainer_lstm.kernels import native, products
from chainer_lstm.kernels.engines.native import NativeEngine
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from chainer_lstm.kernels.engines.types import Part
from tests.cells import CELLS

# by dtype: relative and absolute error of one kernel, then of a whole step;
# float16 is stored, not computed in
TOLERANCE = {'e': (5e-4, 2e-6), 'f': (2e-6, 2e-6), 'd': (1e-13, 1e-13)}
STEP_TOLERANCE = {'e': (1e-2, 1e-2), 'f': (1e-5, 1e-5), 'd': (1e-12, 1e-12)}
WIDE = {'e': 'f', 'f': 'f', 'd': 'd'}
LAYOUTS = ('dense', 'strided', 'transposed', 'misaligned')
NO_GRADIENT = ((), ('gc',), ('gh',))  # which of a step's output gradients are None


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
    """A call of a stage of a cell, with some of its optional arguments None."""

    method: str
    cell: str
    index: int
    none: tuple[str, ...]

    def __str__(self):
        names = (f'{name}_none' for name in self.none)
        return '-'.join((self.cell, self.method, str(self.index), *names))

    @property
    def stage(self):
        return CELLS[self.cell].stages[self.index]


def _calls():
    for name, cell in CELLS.items():
        for index, stage in enumerate(cell.stages):
            wide = ['hu'] if any(p.gates == cell.gates for p in stage.products) else []
            noise = ['noise'] if cell.noise else []
            optional = {'stage_forward': [*wide, 'b', *noise] if index == 0 else []}
            known = {state for done in cell.stages[: index + 1] for state in done.writes}
            of_states = [f'g{state}' for state in cell.states if state in known]
            optional['stage_backward'] = [*of_states, *noise]
            for method, names in optional.items():
                for bits in range(2 ** len(names)):
                    none = tuple(each for k, each in enumerate(names) if bits >> k & 1)
                    yield Call(method, name, index, none)


CALLS = list(_calls())


class StepCase(NamedTuple):
    """A step of a cell, or the gates of an LSTM alone; with all of its inputs, or as a first step
    has them.
    """

    cell: str
    first: bool

    def __str__(self):
        return self.cell + ('' if self.first else '-h')

    @property
    def names(self):
        """The names of the inputs: states, x, and weights."""
        cell = CELLS[self.cell]
        dropped = {'h', 'U'} if self.first else set()
        return [name for name in (*cell.states, 'x', *cell.weights) if name not in dropped]


STEPS = [
    StepCase(name, first)
    for name, cell in CELLS.items()
    for first in (False, True)
    if not first or 'h' not in cell.stages[0].reads
]


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


def noise_of(cell, rows, batch, units, dtype):
    """Noise of a cell by name, in [0, 1): 0 and 1 would hide mistakes."""
    random = numpy.random.RandomState(1)
    sizes = {**dict.fromkeys(cell.noise, rows), **dict.fromkeys(cell.sequence_noise, batch)}
    return {name: random.uniform(size=(n, units)).astype(dtype) for name, n in sizes.items()}


def call_inputs(call, dtype, batch, units):
    """NumPy arrays for a call by name; its parts, states, gates and gradients."""
    random, cell, stage = numpy.random.RandomState(0), CELLS[call.cell], call.stage
    gates = len(cell.gates) * units
    shapes = {'gates': (batch, gates), 'gpre': (batch, gates)}
    if call.index == 0:
        shapes.update(xw=(batch, len(cell.inputs) * units), b=(len(cell.inputs) * units,))
    for product in stage.products:
        name = 'hu' if product.gates == cell.gates else product.weight
        shapes[name] = (units,) if product.diagonal else (batch, len(product.gates) * units)
    for name in cell.states:
        shapes.update({name: (batch, units), f'new_{name}': (batch, units)})
        shapes[f'g{name}'] = batch, units
    found = {}
    # one summand of a gate alone: large ones that cancel each other leave little of float32
    saturating = 'xw' if 'xw' in shapes else 'hu'
    for name, shape in shapes.items():
        x = random.uniform(-1, 1, shape)
        if name in ('xw', 'hu', 'b') or name.isupper():
            x *= numpy.where((random.uniform(size=shape) < 0.1) & (name == saturating), 60, 4)
        found[name] = None if name in call.none else x.astype(dtype)
    return (
        found if 'noise' in call.none else {**found, **noise_of(cell, batch, batch, units, dtype)}
    )


def run_call(engine, call, inputs):
    """-> the outputs of the stage, by name."""
    cell, stage = CELLS[call.cell], call.stage
    state = cell.State(*(inputs[name] for name in cell.states))
    names = [*cell.noise, *(p.weight for p in stage.products if p.diagonal)]
    more = {name: inputs[name] for name in names if name in inputs}
    if call.method == 'stage_forward':
        if call.index == 0:
            parts = [Part(inputs['xw'], cell.inputs)]
        else:
            parts = [Part(engine.xp.ascontiguousarray(inputs['gates']).copy(), cell.gates)]
        for product in (p for p in stage.products if not p.diagonal):
            value = inputs['hu' if product.gates == cell.gates else product.weight]
            parts += [] if value is None else [Part(value, product.gates)]
        if inputs.get('b') is not None:
            parts.append(Part(inputs['b'], cell.inputs))
        gates, new = engine.stage_forward(cell, stage, parts, state, more)
        return {'gates': gates, **{name: getattr(new, name) for name in stage.writes}}
    new = cell.State(*(inputs[f'new_{name}'] for name in cell.states))
    gradients = cell.State(*(inputs[f'g{name}'] for name in cell.states))
    gpre = engine.xp.ascontiguousarray(inputs['gpre']).copy()
    found = engine.stage_backward(cell, stage, inputs['gates'], state, new, gradients, more, gpre)
    return {'gpre': gpre, **{name: getattr(found, name) for name in stage.reads}}


def check_call(engine, xp, call, dtype, layout='dense', shape=(5, 13)):
    """The engine's stage agrees with NumPy's engine,
    in the dtype that it computes in and in float64.
    """
    inputs = call_inputs(call, dtype, *shape)
    placed = {name: place(xp, x, layout) for name, x in inputs.items()}
    outputs = run_call(engine, call, placed)
    for wide in (WIDE[dtype], 'd'):
        cast_inputs = dict(zip(inputs, cast(inputs.values(), wide)))
        expected = run_call(NumpyEngine(), call, cast_inputs)
        assert_close(list(outputs.values()), list(expected.values()), TOLERANCE[dtype])
    assert all(y.dtype == dtype for y in outputs.values())
    for name, x in inputs.items():
        if x is not None:
            numpy.testing.assert_array_equal(to_numpy(placed[name]), x, err_msg=name)


def step_inputs(case, dtype, B, I, H):  # noqa: E741
    """NumPy arrays for a step by name, and gradients of its outputs."""
    random, cell = numpy.random.RandomState(0), CELLS[case.cell]
    shapes = {**dict.fromkeys(cell.states, (B, H)), 'x': (B, I), **cell.shapes(I, H)}
    inputs = {name: random.uniform(-1, 1, shapes[name]).astype(dtype) for name in case.names}
    gradients = [random.uniform(-1, 1, (B, H)).astype(dtype) for _ in cell.states]
    return inputs, gradients


def run_step(engine, case, inputs, gradients=None):
    """-> the new states and, with gradients of these, those of all inputs."""
    cell = CELLS[case.cell]
    dtype = engine.wide_dtype(*(x.dtype for x in inputs.values()))
    named = {name: x.astype(dtype, copy=False) for name, x in inputs.items()}
    rows, units = len(named['x']), named['c' if 'c' in named else 'h'].shape[1]
    noise = {
        name: engine.xp.asarray(x) for name, x in noise_of(cell, rows, rows, units, dtype).items()
    }
    state = cell.State(*(named.get(name) for name in cell.states))
    states, gates = [state], None
    for stage in cell.stages:
        x = named['x'] if stage is cell.stages[0] else None
        gates, state = engine.step_forward(cell, stage, x, state, named, noise, gates)
        states.append(state)
    if gradients is None:
        return list(state)
    found, of_weights = cell.State(*gradients), {}
    gpre = engine.xp.empty(gates.shape, gates.dtype)
    for k in reversed(range(len(cell.stages))):
        stage = cell.stages[k]
        of_products = {product.weight: named[product.weight] for product in stage.products
                       if product.weight in named}  # fmt: skip
        wanted = of_products if k else {'W': named['W'], **of_products}
        gx, of_stage = engine.step_backward(
            cell, stage, gates, states[k], states[k + 1], found, wanted, noise, gpre
        )
        of_products = products.rows_of(stage, states[k], states[k + 1], noise)
        rows = {'gpre': gpre, 'x': named['x'], **of_products}
        for name, gradient in products.weight_gradients(cell, stage, cell.gates).items():
            if name in named:
                of_weights[name] = gradient(engine, rows)
        changed = dict.fromkeys(stage.writes)
        changed.update((n, g) for n, g in of_stage._asdict().items() if g is not None)
        found = found._replace(**changed)
    return [*state, *({'x': gx, **of_weights, **found._asdict()}[name] for name in inputs)]


def check_step(engine, xp, case, dtype, none=(), layout='dense', **sizes):
    """A step and its gradients agree with NumPy's engine in float64; gradients may be None."""
    inputs, gradients = step_inputs(case, dtype, **(sizes or {'B': 3, 'I': 5, 'H': 7}))
    states = CELLS[case.cell].states
    gradients = [None if f'g{n}' in none else g for n, g in zip(states, gradients)]
    placed = {name: place(xp, x, layout) for name, x in inputs.items()}
    given = [place(xp, g, layout) for g in gradients]
    dtype_in = engine.wide_dtype(numpy.dtype(dtype))
    outputs = run_step(engine, case, placed, cast(given, dtype_in))
    expected = run_step(
        NumpyEngine(), case, dict(zip(inputs, cast(inputs.values(), 'd'))), cast(gradients, 'd')
    )
    assert_close(outputs, expected, STEP_TOLERANCE[dtype])


def check_step_gradients(engine, xp, case):
    """The gradients of a step are those that finite differences of its own forward pass give,
    in float64.
    """
    inputs, gradients = step_inputs(case, 'd', B=2, I=3, H=3)

    def loss(*values):
        placed = {name: place(xp, x, 'dense') for name, x in zip(inputs, values)}
        new = run_step(engine, case, placed)
        return sum((to_numpy(y) * g).sum() for y, g in zip(new, gradients))

    placed = {name: place(xp, x, 'dense') for name, x in inputs.items()}
    given = [place(xp, g, 'dense') for g in gradients]
    found = run_step(engine, case, placed, given)[len(gradients) :]
    assert_close(found, numerical_gradients(loss, list(inputs.values())), (1e-6, 1e-8))


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
