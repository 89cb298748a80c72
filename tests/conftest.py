"""The array module under test, and what several test modules need."""

import collections
import functools
import itertools
import os

import chainer_lstm  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import chainer
import chainer.functions as F
import numpy
import pytest
from chainer.backends import cuda

import chainer_lstm.links
from chainer_lstm.kernels import native
from tests import pairwise
from tests.kernels import cuda_on_cpu

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

DTYPES = {
    'float16': numpy.float16,
    'float32': numpy.float32,
    'float64': numpy.float64,
    'mixed16': chainer.mixed16,
}

# of the links under test
INPUT, UNITS = 3, 4

# of the steps that a link with a state takes
BATCHES = {
    'one batch size': (3, 3, 3),
    'shrinking': (4, 3, 1),
    'one row': (3, 1, 1),
    'growing again': (4, 1, 3, 4, 2),
    'batch 0 between': (3, 0, 2),
    'batch 0 at the end': (3, 2, 0, 0),
    'batch 0 only': (0, 0),
}


def pytest_addoption(parser):
    parser.addoption(
        '--sample',
        type=int,
        metavar='N',
        help='run at most N cases of each parametrized test, evenly spread',
    )
    parser.addoption(
        '--all-combinations',
        action='store_true',
        help='run every combination of parameters of tests that are marked "pairwise"',
    )


@pytest.hookimpl(trylast=True)  # of what -k and -m have left
def pytest_collection_modifyitems(config, items):
    most, every = config.getoption('--sample'), config.getoption('--all-combinations')
    cases = collections.defaultdict(list)
    for item in items:
        cases[item.nodeid.partition('[')[0]].append(item)
    left_out = set()
    for of_test in cases.values():
        kept = of_test
        if not every and len(of_test) > 1 and of_test[0].get_closest_marker('pairwise'):
            # apart: a case that is skipped covers nothing of what runs
            kept = _covering(filter(_runs, of_test)) + _covering(
                itertools.filterfalse(_runs, of_test)
            )
        if most is not None and len(kept) > most:
            kept = [kept[k * len(kept) // most] for k in range(most)]
        left_out.update(set(of_test).difference(kept))
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def _covering(items):
    items = list(items)
    rows = [tuple(map(id, item.callspec.params.values())) for item in items]
    return [items[k] for k in pairwise.covering(rows)]


def _runs(item):
    """Whether all engines of a case, by the names in its parameters, are there."""
    names = {value for value in item.callspec.params.values() if isinstance(value, str)}
    return not any(_is_missing(name) for name in names & ENGINES)


ENGINES = frozenset(('native', 'baseline', 'avx2', 'avx512', 'cuda', 'cuda on cpu', 'cupy'))


@functools.cache
def _is_missing(engine):
    if engine == 'cupy':
        return no_gpu() is not None
    if engine.startswith('cuda'):
        return cuda_on_cpu.missing() is not None
    return engine not in ('native', *native.instruction_sets()) or native.library() is None


CPU_ENGINES = [
    'numpy',
    pytest.param(
        'native',
        marks=pytest.mark.skipif(
            native.library() is None, reason='the native engine was not built'
        ),
    ),
]


@functools.cache
def no_gpu():
    """Why there is no GPU to test on, or None."""
    try:
        import cupy

        cupy.zeros(1).sum().item()
    except ImportError as error:
        return f'CuPy cannot be imported: {error}'
    except Exception as error:  # whatever CUDA reports
        return f'no usable GPU: {error}'
    return None


@pytest.fixture
def cupy():
    """For tests marked ``gpu``."""
    reason = no_gpu()
    if reason is not None:
        pytest.skip(reason)
    import cupy

    cupy.random.seed(0)
    return cupy


@pytest.fixture(params=['numpy', pytest.param('cupy', marks=pytest.mark.gpu)])
def xp(request):
    """numpy, and cupy where there is a GPU."""
    return numpy if request.param == 'numpy' else request.getfixturevalue('cupy')


@pytest.fixture(scope='session', autouse=True)
def _cache_folder(tmp_path_factory):
    """The verdicts of trials on a GPU are not the user's."""
    os.environ['CHAINER_LSTM_CACHE_DIR'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(autouse=True)
def _seed():
    numpy.random.seed(0)


def uniform(shape, dtype='d', xp=numpy, seed=0):
    """Random numbers in [-1, 1)."""
    return xp.asarray(numpy.random.RandomState(seed).uniform(-1, 1, shape).astype(dtype))


def uniforms(shapes, dtype='d', xp=numpy):
    """An array of its own numbers for every shape."""
    return [uniform(shape, dtype, xp, seed) for seed, shape in enumerate(shapes)]


def variables(arrays):
    return [chainer.Variable(x) for x in arrays]


def pair(name, *args, xp=numpy, **kwargs):
    """Chainer's link of that name and ours, drawn from one seed."""
    links = []
    for module in (chainer.links, chainer_lstm.links):
        numpy.random.seed(1)
        links.append(getattr(module, name)(*args, **kwargs))
        links[-1].to_device('@numpy' if xp is numpy else '@cupy:0')
    return links


def inputs(batches, dtype='f', xp=numpy, width=INPUT):
    """One variable (batch, width) a step."""
    return variables(uniforms([(batch, width) for batch in batches], dtype, xp))


def outputs_and_states(link, xs):
    """y, c and h of every step of a link with a state."""
    results = []
    for x in xs:
        results += [link(x), link.c, link.h]
    return results


def outputs_states_and_gradients(link, xs, order=1):
    """These, and their gradients by the parameters and inputs."""
    results = outputs_and_states(link, xs)
    return [*results, *gradients(results, [*link.params(), *xs], order)]


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


def contents(link):
    """Copies of all parameters and, where there is one, the state; to see whether they changed."""
    values = {path: param.array for path, param in link.namedparams()}
    values.update((name, getattr(link, name)) for name in ('c', 'h') if hasattr(link, name))
    return {
        key: None if value is None else chainer.as_array(value).copy()
        for key, value in values.items()
    }


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
