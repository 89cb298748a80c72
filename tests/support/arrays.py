"""Arrays for inputs, their gradients, and comparisons."""

import chainer
import chainer.functions as F
import numpy
from chainer.backends import cuda

TOLERANCE = {'e': 5e-3, 'f': 2e-5, 'd': 1e-11}


# the same values elsewhere in memory
LAYOUTS = {
    'strided': lambda xp, x: x.repeat(2, axis=0).repeat(3, axis=1)[::2, ::3],
    'reversed': lambda xp, x: x[::-1, ::-1].copy()[::-1, ::-1],
    'transposed': lambda xp, x: x.T.copy().T,
    'axes moved': lambda xp, x: xp.moveaxis(xp.moveaxis(x, 1, -1).copy(), -1, 1),
    'fortran': lambda xp, x: xp.asfortranarray(x),
    'unaligned': lambda xp, x: xp.concatenate((x[:, :1], x), axis=1)[:, 1:],
}


def unaligned(x):
    """The same array of NumPy at an odd address."""
    there = numpy.empty(x.nbytes + 1, numpy.uint8)[1:].view(x.dtype).reshape(x.shape)
    there[...] = x
    return there


DTYPES = {
    'float16': numpy.float16,
    'float32': numpy.float32,
    'float64': numpy.float64,
    'mixed16': chainer.mixed16,
}


def uniform(shape, dtype='d', xp=numpy, seed=0):
    """Random numbers in [-1, 1)."""
    return xp.asarray(numpy.random.RandomState(seed).uniform(-1, 1, shape).astype(dtype))


def zeros(*shape, dtype='f'):
    return numpy.zeros(shape, dtype)


def uniforms(shapes, dtype='d', xp=numpy):
    """An array of its own numbers for every shape."""
    return [uniform(shape, dtype, xp, seed) for seed, shape in enumerate(shapes)]


def variables(arrays):
    return [chainer.Variable(x) for x in arrays]


def weighted_sum(outputs):
    """A loss, in float64, that weighs every element of every output differently."""
    return sum(
        F.sum(F.cast(y, 'd') * uniform(y.shape, 'd', y.xp, seed)) for seed, y in enumerate(outputs)
    )


def gradients(outputs, inputs, order=1):
    """Gradients of a weighted sum of the outputs by the inputs; order 2:
    also those of a weighted sum of these.
    """
    result = []
    for left in reversed(range(order)):
        found = chainer.grad([weighted_sum(outputs)], inputs, enable_double_backprop=left > 0)
        outputs = [
            chainer.Variable(x.xp.zeros_like(x.array)) if g is None else g
            for x, g in zip(inputs, found)
        ]
        result += outputs
    return result


def assert_close(actual, expected):
    """Sequences of arrays, variables or None:
    dtypes and shapes are equal, values as near as the dtype allows.
    """
    assert len(actual) == len(expected)
    for index, (a, e) in enumerate(zip(actual, expected)):
        assert (a is None) == (e is None), f'item {index}: got {a}, expected {e}'
        if a is not None:
            a, e = (cuda.to_cpu(chainer.as_array(x)) for x in (a, e))
            assert (a.dtype, a.shape) == (e.dtype, e.shape), f'item {index}'
            tolerance = TOLERANCE[a.dtype.char]
            numpy.testing.assert_allclose(
                a, e, rtol=tolerance, atol=tolerance, err_msg=f'item {index}'
            )


def assert_same(actual, expected):
    """Dictionaries of arrays or None, as from ``contents``, are equal bit for bit."""
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert (actual[key] is None) == (value is None), key
        if value is not None:
            assert actual[key].dtype == value.dtype, key
            numpy.testing.assert_array_equal(
                cuda.to_cpu(actual[key]), cuda.to_cpu(value), err_msg=str(key)
            )
