"""The kernels that update many parameters in one launch: on the CPU, and compiled for GPUs."""

import itertools
import re
import subprocess
import types

import numpy
import pytest

from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines import cupy_updates
from chainer_lstm.kernels.engines.cupy import CupyEngine
from chainer_lstm.kernels.engines.numpy import NumpyEngine
from tests.kernels import fibres, nvrtc, updates_on_cpu

INFINITE = numpy.inf
# rule, arrays of a parameter, rates
RULES = {
    'scale': ('scale', 1, ()),
    'SGD': ('sgd', 2, (0.1, 0.0)),
    'MomentumSGD': ('sgd', 3, (0.1, 0.9)),
    'Adam': ('adam', 4, (0.1, 0.01, 1e-8, 0.01, -INFINITE, INFINITE, 0.99, 0.8)),
    'AMSBound': ('adam', 5, (0.1, 0.01, 1e-8, 0.01, 0.01, 0.02, 1.0, 1.0)),
}
TILE = updates_on_cpu.THREADS * 4  # of float32
# empty ones, of less than a vector, at the bounds of tiles and of launches
SIZES = (1, 0, TILE, 5, TILE + 3, 3 * TILE - 1, 7 * TILE, 2, 0)
TOLERANCE = {'f': 2e-6, 'd': 4e-15}

# name -> (a rule that shows it, what stands in the source, what is put there)
MUTANTS = {
    'one sum of all blocks': ('scale', 'sums[blockIdx.x] =', 'sums[0] ='),
    'a barrier too few': ('scale', '        __syncthreads();\n        if', '        if'),
    'half of a block': ('scale', 'int n = THREADS / 2', 'int n = THREADS / 4'),
    'half of the sums': ('many sums', 'k += THREADS', 'k += 2 * THREADS'),
    'square of the norm': ('scale', 'sqrt(sum_of_block(sum))', 'sum_of_block(sum)'),
    'scaled up': ('scale', 'scale > 1 ? REAL(1) : scale', 'scale'),
    'gradients left unscaled': ('SGD', 'if (scale != 1) vector', 'if (false) vector'),
    'the tile of another parameter': ('SGD', '.end <= tile', '.end < tile'),
    'tiles of one parameter': ('SGD', '(tile - first)', 'tile'),
    'a stride of one block': ('SGD', 'tile += gridDim.x', 'tile += 1'),
    'the end left out': ('SGD', 'i < parameter.size', 'i < parameter.size - 1'),
    'momentum of the gradient': ('MomentumSGD', 'rates[1] * of[2]', 'rates[1] * of[0]'),
    'no square': ('Adam', 'g * g - of[3]', 'g - of[3]'),
    'the least v': ('AMSBound', 'of[4] > most', 'of[4] < most'),
    'no lower bound': ('AMSBound', 'if (step < low) step = low;', ''),
    'no upper bound': ('AMSBound', 'if (step > high) step = high;', ''),
    'no decay': ('Adam', 'keep * of[1]', 'of[1]'),
    'no eta': ('Adam', 'eta * step', 'step'),
    'another size': ('scale', 'index_t n_sums;', 'index_t n_sums, more;'),
}


def arrays(name, dtype='f'):
    """The arrays of parameters, all numbers positive as squares are."""
    random = numpy.random.RandomState(0)
    return [
        [abs(random.normal(size=size)).astype(dtype) for _ in range(RULES[name][1])]
        for size in SIZES
    ]


def run(engine, name, given, threshold):
    """Update them twice."""
    rule, _, rates = RULES[name]
    for _ in range(2):
        scale = None
        if threshold is not None:
            scale = engine.clipping([each[0] for each in given], lambda: threshold)
        engine.update(rule, given, scale, [lambda rate=rate: rate for rate in rates])


def check(engine, name, dtype, threshold):
    """Compare updates with those in float64 -> the arrays"""
    given = arrays(name, dtype)
    expected = [[x.astype('d') for x in each] for each in given]
    run(engine, name, given, threshold)
    run(NumpyEngine(), name, expected, threshold)
    tolerance = TOLERANCE[dtype]
    for x, y in zip(itertools.chain(*given), itertools.chain(*expected)):
        numpy.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)
    return given


def check_many_blocks(engine):
    """Scale gradients by more sums than a block has threads."""
    g = numpy.ones((updates_on_cpu.THREADS + 6) * TILE, 'f')
    scale = engine.clipping([g], lambda: g.size**0.5 / 2)
    engine.update('scale', [(g,)], scale, ())
    numpy.testing.assert_allclose(g, 0.5, rtol=1e-6)


@pytest.fixture
def need_compiler():
    if fibres.missing() is not None:
        pytest.skip(fibres.missing())


@pytest.mark.parametrize('threshold', [5.0, 1e9, None])
@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('name', RULES)
def test_updates(monkeypatch, need_compiler, name, dtype, threshold):
    check(updates_on_cpu.engine(monkeypatch), name, dtype, threshold)


def test_the_same_bits_in_any_order_of_threads(monkeypatch, need_compiler):
    first, *others = (
        check(updates_on_cpu.engine(monkeypatch, seed=seed), 'AMSBound', 'f', 5.0)
        for seed in range(3)
    )
    for other in others:
        for found, expected in zip(other, first):
            numpy.testing.assert_array_equal(found, expected)


def test_more_sums_than_threads(monkeypatch, need_compiler):
    check_many_blocks(updates_on_cpu.engine(monkeypatch, blocks=1000))


def test_arrays_of_other_shapes(monkeypatch):
    monkeypatch.setattr(cuda, 'update_kernel', None)  # nothing to launch
    engine = updates_on_cpu.UpdatesOnCpu()
    for x in numpy.zeros(4, 'f'), numpy.zeros(3, 'd'), numpy.zeros((3, 1), 'f'):
        with pytest.raises(ValueError, match=r'sgd: expected arrays of shape \(3,\) and float32'):
            engine.update('sgd', [(numpy.zeros(3, 'f'), x)], None, [])


class FakeArray:
    """An array of CuPy on the GPU of a number."""

    def __init__(self, size=3, dtype='f', contiguous=True, gpu=0):
        self.size, self.dtype = size, numpy.dtype(dtype)
        self.nbytes = size * self.dtype.itemsize
        self.flags = types.SimpleNamespace(c_contiguous=contiguous)
        self.data = types.SimpleNamespace(device_id=gpu, ptr=256)


@pytest.mark.parametrize(
    ('x', 'span'),
    [
        (FakeArray(), (256, 12)),
        (FakeArray(dtype='d'), (256, 24)),
        (FakeArray(0), (0, 0)),
        (FakeArray(dtype='e'), None),
        (FakeArray(contiguous=False), None),
        (FakeArray(gpu=1), None),
        (type('Own', (FakeArray,), {})(), None),
        (None, None),
    ],
)
def test_arrays_that_kernels_take(x, span):
    """Those of floats that are dense and on the current GPU."""
    engine = CupyEngine()
    gpu = types.SimpleNamespace(get_device_id=lambda: 0)
    engine.xp = types.SimpleNamespace(ndarray=FakeArray, cuda=gpu)
    assert engine.span(x) == span


@pytest.mark.parametrize('mutant', MUTANTS)
def test_mutant(monkeypatch, need_compiler, mutant):
    rule, old, new = MUTANTS[mutant]
    assert old in cuda.source('updates.cu'), 'the source has changed: mutate what stands there now'

    def edit(text):
        return text.replace(old, new)

    with pytest.raises((AssertionError, subprocess.CalledProcessError)):
        if rule == 'many sums':
            check_many_blocks(updates_on_cpu.engine(monkeypatch, edit, blocks=1000))
        else:
            for threshold in 5.0, 1e9:
                check(updates_on_cpu.engine(monkeypatch, edit), rule, 'f', threshold)


ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
MAX_REGISTERS = 80  # leaves room for three blocks on a multiprocessor
PROGRAMS = [('sum_of_squares', 1), *((rule, arrays) for rule, arrays, _ in RULES.values())]


def compiled(rule, arrays, dtype, architecture):
    name, options = cupy_updates.program(rule, arrays, dtype)
    return name, nvrtc.program(cuda.source('updates.cu'), options, architecture)


@pytest.mark.pairwise
@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize(('rule', 'arrays'), PROGRAMS)
def test_no_warnings_and_no_spills(rule, arrays, dtype, architecture):
    name, program = compiled(rule, arrays, dtype, architecture)
    assert not re.search('warning|error', program.log, re.IGNORECASE), program.log
    program.check_kernels([name], MAX_REGISTERS)


@pytest.mark.parametrize(('dtype', 'vector'), [('f', 'v4.f32'), ('d', 'v2.f64')])
@pytest.mark.parametrize(('rule', 'arrays'), PROGRAMS)
def test_vectors_of_16_bytes(rule, arrays, dtype, vector):
    _, program = compiled(rule, arrays, dtype, 80)
    assert program.ptx.count(f'ld.global.{vector}') == arrays
    stores = 0 if rule == 'sum_of_squares' else arrays
    assert program.ptx.count(f'st.global.{vector}') == stores


def test_a_launch_has_no_more_than_4_kb_of_arguments():
    assert cupy_updates.argument_size(5) <= 4096


def test_source_is_ascii():
    """CuPy writes it into files in the encoding of the locale."""
    assert cuda.source('updates.cu').isascii()
