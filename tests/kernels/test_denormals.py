"""Denormal numbers are zero in the native engine, in every thread, and as before in the caller."""

import concurrent.futures
import ctypes
import ctypes.util
import platform

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm.kernels import boundary, native
from tests.kernels import cases
from tests.kernels.boundary_cases import arrays_of, sizes_of
from tests.kernels.native_cases import INSTRUCTION_SETS
from tests.support.arrays import uniform
from tests.support.interpreter import answer
from tests.support.links import pair

pytestmark = pytest.mark.pairwise

TINY = {dtype: numpy.finfo(dtype).tiny for dtype in 'fd'}
FLUSH, ROUND_DOWN = 0x8040, 0x2000  # of MXCSR
_MXCSR = 28  # where fegetenv of glibc puts it


@pytest.fixture(params=INSTRUCTION_SETS)
def engine(request):
    return cases.native_engine(request.param)


@pytest.fixture(params=[1, 4], ids=lambda n: f'{n} threads')
def threads(request):
    """Computes in so many threads."""
    cases.native_engine('baseline')
    library = native.library()
    library.chainer_lstm_force_threads(request.param)
    yield request.param
    library.chainer_lstm_force_threads(0)


def has_denormals(x):
    return bool(((x != 0) & (numpy.abs(x) < numpy.finfo(x.dtype).tiny)).any())


def assert_denormals_are_kept():
    """NumPy, which computes in the calling thread, still makes them and computes with them."""
    for dtype in 'fd':
        tiny = numpy.full(1000, TINY[dtype], dtype)
        assert has_denormals(tiny * tiny.dtype.type(0.25))
        assert (tiny * tiny.dtype.type(0.25) * 4 == tiny).all()


def mode():
    """MXCSR of this thread without its flags of past exceptions."""
    if platform.machine() not in ('x86_64', 'AMD64') or platform.libc_ver()[0] != 'glibc':
        pytest.skip('where the mode of floating point arithmetic is known: glibc on x86-64')
    environment = (ctypes.c_uint8 * 32)()
    ctypes.CDLL(ctypes.util.find_library('m')).fegetenv(environment)
    return int.from_bytes(bytes(environment[_MXCSR : _MXCSR + 4]), 'little') & ~0x3F


def set_mode(value):
    library = ctypes.CDLL(ctypes.util.find_library('m'))
    environment = (ctypes.c_uint8 * 32)()
    library.fegetenv(environment)
    environment[_MXCSR : _MXCSR + 4] = value.to_bytes(4, 'little')
    library.fesetenv(environment)


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize(
    'shape', [(3, 5, 4), (300, 200, 50), (4, 2000, 600), (2000, 30, 300)], ids=str
)
def test_products(engine, threads, shape, dtype):
    """Results below the normal numbers are zero, and so are operands."""
    M, N, K = shape
    root = numpy.sqrt(TINY[dtype])
    small = numpy.full((M, K), root / K, dtype), numpy.full((K, N), root / 2, dtype)
    operands = numpy.full((M, K), TINY[dtype] / 2, dtype), numpy.full((K, N), 1024, dtype)
    for a, b in (small, operands):
        assert not engine.matmul(a, b).any()
        out = numpy.ones((M, N), dtype)
        assert not engine.matmul(a, numpy.asfortranarray(b), out).any()
        assert not engine.linear(a, b.T, numpy.zeros(N, dtype)).any()
    assert_denormals_are_kept()


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('name', boundary.KERNELS)
@pytest.mark.parametrize('exponent', [0.4, 0.5, 0.6, 0.9, 1.0])
def test_no_kernel_writes_them(engine, name, dtype, exponent):
    """Products and sums of small normal numbers are normal or zero."""
    kernel = boundary.KERNELS[name]
    arrays = arrays_of(kernel, dtype)
    for x in arrays:
        if x.dtype.kind == 'f':
            x *= TINY[dtype] ** exponent
            x[numpy.abs(x) < TINY[dtype]] = 0
    native.kernel(engine.instruction_set, name, numpy.dtype(dtype))(sizes_of(kernel), *arrays)
    for argument, x in zip(kernel.arguments, arrays):
        assert not (argument.written and has_denormals(x)), argument.name
    assert_denormals_are_kept()


@pytest.mark.parametrize('flags', [0, FLUSH, ROUND_DOWN, FLUSH | ROUND_DOWN])
def test_mode_of_the_caller(engine, threads, flags):
    """Is the same after every kernel, for several modes, also in other threads of Python."""

    def call_all():
        set_mode(usual | flags)
        try:
            for name, kernel in boundary.KERNELS.items():
                for dtype in 'fd':
                    native.kernel(engine.instruction_set, name, numpy.dtype(dtype))(
                        sizes_of(kernel), *arrays_of(kernel, dtype)
                    )
                    assert mode() == usual | flags, name
            large = numpy.ones((300, 300), 'f')
            engine.matmul(large, large)
            assert mode() == usual | flags
        finally:
            set_mode(usual)

    usual = mode()
    call_all()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(call_all) for _ in range(4)]:
            future.result()
    assert mode() == usual
    assert_denormals_are_kept()


NO_MEMORY = """
import resource
import numpy
from chainer_lstm.kernels import boundary, native
from tests.kernels import test_denormals as tests
kernel, units = boundary.KERNELS['lstm_sequence_forward'], 2000
steps = numpy.array([[0, 1, 2, 3, 4], [1, 1, 1, 1, 1]])
sizes = 5, 1, units, units, 1, 5, 1, 0
rest = kernel.expected(*sizes)[2:]
arrays = [None if optional else numpy.zeros(shape, 'f') for shape, optional, _ in rest]
arrays = [*steps, *arrays]
call = native.kernel('baseline', 'lstm_sequence_forward', numpy.dtype('f'))
usual = tests.mode()
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 ** 22, resource.RLIM_INFINITY))
try:
    call(sizes, *arrays)
except MemoryError as error:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(error, tests.mode() == usual)
tests.assert_denormals_are_kept()
"""


def test_mode_after_a_refused_array(engine):
    usual = mode()
    with pytest.raises(ValueError, match='matmul: expected b of shape'):
        engine.matmul(numpy.ones((2, 3), 'f'), numpy.ones((4, 2), 'f'))
    assert mode() == usual
    assert_denormals_are_kept()


def test_mode_where_there_is_no_memory():
    cases.native_engine('baseline')
    mode()
    assert answer(NO_MEMORY, OMP_NUM_THREADS='1') == 'no memory for packed weights True'


VANISHING = {'LSTM step by step': False, 'forward_sequence': True}


def last_output(link, whole, steps=500):
    """The gradients of a loss on the last output."""
    x = chainer.Variable(uniform((steps, 4, 3), 'f', seed=1))
    ys = link.forward_sequence(x) if whole else [link(x[t]) for t in range(steps)]
    F.sum(ys[-1] ** 2).backward()
    return [x.grad, *(param.grad for param in link.params())]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('how', VANISHING)
def test_vanishing_gradients(name, how):
    """Are Chainer's, but for those below the normal numbers, which are zero."""
    cases.native_engine('baseline')
    chainers, ours = pair(name, 3, 5)
    for link in chainers, ours:
        link.upward.b.array[...] = 0  # an open forget gate would keep them for longer
    found, expected = last_output(ours, VANISHING[how]), last_output(chainers, False)
    assert has_denormals(expected[0])  # the gradients of the first steps vanish
    assert not has_denormals(found[0])
    for x, y in zip(found, expected):
        numpy.testing.assert_allclose(
            x, y, rtol=2e-4, atol=1e-6 * numpy.abs(y).max() + 100 * TINY['f']
        )
    early, theirs = (
        found[0][:450],
        expected[0][:450],
    )  # small, but not zero yet, and as exact as the others
    normal = numpy.abs(theirs) > 1e8 * TINY['f']
    assert normal.any()
    numpy.testing.assert_allclose(early[normal], theirs[normal], rtol=1e-2)
