"""The gates of LSTMs over trees: array code and the kernel for GPUs against each other, and both
against the equations.
"""

import numpy
import pytest

from chainer_lstm.cells import tree
from chainer_lstm.kernels import forest, levels, tree_gates
from chainer_lstm.kernels.engines.numpy import numpy_engine
from tests.kernels import cuda_on_cpu
from tests.kernels.elementwise_on_cpu import ElementwiseEngine
from tests.support.arrays import assert_close, uniform

N, H = 5, 3
COUNTS = [(1, 0), (1, 1), (1, 3), (2, 2)]

pytestmark = pytest.mark.skipif(
    cuda_on_cpu.missing() is not None, reason=str(cuda_on_cpu.missing())
)


def gates_of(buffer, inputs):
    a, i, o, f = numpy.split(buffer, (inputs, 2 * inputs, 2 * inputs + 1))
    return tree.Gates(list(a), list(i), o[0], list(f))


@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize(('inputs', 'children'), COUNTS)
def test_kernel_equals_array_code(inputs, children, dtype):
    count = 2 * inputs + 1 + children
    cs = list(uniform((children, N, H), dtype, seed=1))
    gc, gh = uniform((2, N, H), dtype, seed=2)
    results = []
    for xp in (numpy, ElementwiseEngine.xp):
        buffer, room = uniform((count, N, H), dtype), numpy.empty((count, N, H), dtype)
        gates, gcs = gates_of(buffer, inputs), numpy.empty((children, N, H), dtype)
        given = tree_gates.forward(xp, gates, buffer[:inputs], [buffer[inputs:]], cs)
        results.append([*given, buffer])
        for g in ((gc, gh), (gc, 0), (0, gh)):
            tree_gates.backward(xp, gates, cs, given[1], *g, gates_of(room, inputs), list(gcs))
            results[-1] += [room.copy(), gcs.copy()]
    assert_close(*results)
    expected = tree.forward(numpy, gates_of(uniform((count, N, H), dtype), inputs), cs)
    assert_close([results[0][0], results[0][2]], expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'children'),
    [
        (tree.ChildSum(), [[], [0], [], [1, 2], [], [4, 3, 6], []]),  # ragged levels, too
        (tree.ChildSum(), [[], [], [0, 1], [], [], [3, 4], [2, 5]]),
        (tree.Nary(2), [[], [0], [], [1, 2], [], [None, 3], []]),
    ],
    ids=['ragged', 'balanced', 'binary'],
)
def test_trees_on_kernels_equal_array_code(kind, children):
    x = uniform((len(children), kind.blocks * H))
    rows = {'U_aio': 3, 'U_f': 1}
    weights = [
        uniform((rows.get(name, kind.blocks) * H, H), seed=k) for k, name in enumerate(kind.weights)
    ]
    plan = levels.plan(children, len(x), kind)
    results = []
    for engine in (numpy_engine, ElementwiseEngine()):
        saved = forest.forward(engine, kind, plan, x, weights, (), ())
        gc, gh = uniform((2, len(x) + 1, H), seed=3)
        gx, of_weights = forest.backward(engine, kind, saved, weights, gc, gh)
        results.append([saved.c[:-1], saved.h[:-1], gx, *of_weights])
    assert_close(*results)
