"""Products by cuBLAS: the numbers that it gets are those of the product, whatever lies where."""

import ctypes
import types

import numpy
import pytest

from chainer_lstm.kernels.engines import cublas

LAYOUTS = {
    'dense': lambda x: x,
    'transposed': lambda x: x.T.copy().T,
    'rows apart': lambda x: numpy.repeat(x, 2, axis=0)[::2],
    'columns of more': lambda x: numpy.concatenate((x, x), axis=1)[:, : x.shape[1]],
}
OTHERS = {
    'columns apart': lambda x: numpy.repeat(x, 2, axis=1)[:, ::2],
    'one row for all': lambda x: numpy.broadcast_to(x[:1], x.shape),
    'reversed': lambda x: x[::-1],
    'float64': lambda x: x.astype('d'),
    'empty': lambda x: x[:, :0],
    'a vector': lambda x: x[0],
}


class Array(numpy.ndarray):
    """With the address where CuPy has it."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


def column_major(address, rows, columns, leading, operation, dtype=numpy.float32):
    """The matrix (rows, columns) that cuBLAS reads, from memory."""
    if operation:
        return column_major(address, columns, rows, leading, 0, dtype).T
    assert leading >= rows
    item = numpy.dtype(dtype).itemsize
    size = (columns - 1) * leading + rows
    memory = numpy.frombuffer((ctypes.c_char * (size * item)).from_address(address), dtype)
    return numpy.lib.stride_tricks.as_strided(memory, (rows, columns), (item, item * leading))


class Cublas:
    """cuBLAS, on the CPU."""

    precision = None

    def gemmEx(self, handle, first, second, m, n, k, one, a, a_type, lda, b, b_type, ldb, zero, c,
               c_type, ldc, precision, algorithm):  # fmt: skip
        assert column_major(one, 1, 1, 1, 0) == 1 and column_major(zero, 1, 1, 1, 0) == 0
        assert a_type == b_type and c_type == 0 and algorithm == -1
        dtype = {0: numpy.float32, 2: numpy.float16}[a_type]
        first = column_major(a, m, k, lda, first, dtype).astype('f')
        second = column_major(b, k, n, ldb, second, dtype).astype('f')
        column_major(c, m, n, ldc, 0)[...] = first @ second
        self.precision = precision


class Cupy:
    """NumPy with a cuBLAS."""

    def __init__(self):
        device = types.SimpleNamespace(get_cublas_handle=lambda: 0)
        self.cuda = types.SimpleNamespace(cublas=Cublas(), device=device)

    def empty(self, *args):
        return numpy.empty(*args).view(Array)


@pytest.fixture
def xp():
    return Cupy()


def matrix(rows, columns, layout, dtype='f'):
    return layout(numpy.random.rand(rows, columns).astype(dtype)).view(Array)


@pytest.mark.parametrize('shape', [(2, 3, 4), (1, 3, 1), (5, 1, 2), (1, 1, 1)], ids=str)
@pytest.mark.parametrize('of_b', LAYOUTS)
@pytest.mark.parametrize('of_a', LAYOUTS)
def test_product(xp, of_a, of_b, shape):
    rows, inner, columns = shape
    a, b = matrix(rows, inner, LAYOUTS[of_a]), matrix(inner, columns, LAYOUTS[of_b])
    out = numpy.empty((rows, columns), 'f').view(Array)
    for given in None, out:
        found = cublas.product(xp, a, b, given, cublas.TF32)
        assert given is None or found is given
        numpy.testing.assert_allclose(found, numpy.asarray(a) @ numpy.asarray(b), rtol=1e-5)
    assert xp.cuda.cublas.precision == cublas.TF32


@pytest.mark.parametrize('of_b', LAYOUTS)
@pytest.mark.parametrize('of_a', LAYOUTS)
def test_float16_into_float32(xp, of_a, of_b):
    a, b = matrix(2, 3, LAYOUTS[of_a], 'e'), matrix(3, 4, LAYOUTS[of_b], 'e')
    out = numpy.empty((2, 4), 'f').view(Array)
    assert cublas.product(xp, a, b, None, cublas.TF32) is None
    assert cublas.product(xp, a, b, out, cublas.TF32) is out
    numpy.testing.assert_allclose(out, a.astype('f') @ b.astype('f'), rtol=1e-5)
    assert xp.cuda.cublas.precision == cublas.FLOAT32  # there is no TF32 of float16


@pytest.mark.parametrize('layout', OTHERS)
def test_what_is_left_to_cupy(xp, layout):
    square, other = matrix(3, 3, LAYOUTS['dense']), matrix(3, 3, OTHERS[layout])
    assert cublas.product(xp, square, other, None, cublas.TF32) is None
    assert cublas.product(xp, other, square, None, cublas.TF32) is None
    assert cublas.product(xp, square, square[:2], None, cublas.TF32) is None
    for out in square[:, ::2], square[:2], square.astype('d'):
        assert cublas.product(xp, square, square, out.view(Array), cublas.TF32) is None
    assert xp.cuda.cublas.precision is None
