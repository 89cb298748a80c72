"""``chainer.grad`` with ``grad_outputs`` of any shape, on every function and link.

Those that NumPy broadcasts to the shape of the output have Chainer's gradients with the broadcast
array; all others are a ValueError.  No shape reaches a kernel.
"""

import chainer
import chainer.functions as F
import chainer.links
import numpy
import pytest
from chainer.utils import type_check

import chainer_lstm.functions
import chainer_lstm.links
from tests.kernels import cases
from tests.support.arrays import uniform, uniforms, variables, weighted_sum
from tests.support.links import INPUT, UNITS, inputs, pair

pytestmark = pytest.mark.pairwise

ROWS = 5
BATCHES = (5, 5, 5)
CLASSES = numpy.array([2, -1, 0, 1, -1], 'i')


def links(name, *args):
    """-> this package's link and Chainer's, with numbers other than zero in every parameter."""
    found = pair(name, *args)[::-1]
    for link in found:
        for seed, param in enumerate(link.params()):
            param.array[...] = uniform(param.shape, param.dtype, seed=seed)
    return found


def steps(name, batches):
    """The output of the last step and the states of a link that was called step by step."""

    def run():
        for link in links(name, INPUT, UNITS):
            xs = inputs(batches)
            for x in xs:
                y = link(x)
            outputs = [y, link.c] if link.h is y else [y, link.c, link.h]
            yield outputs, [*link.params(), *xs]

    return run


def stateless():
    for link in links('StatelessLSTM', INPUT, UNITS):
        c, h, x = variables(uniforms([(ROWS, UNITS), (ROWS, UNITS), (ROWS, INPUT)], 'f'))
        yield list(link(c, h, x)), [*link.params(), c, h, x]


def lstm(*axes):
    def run():
        for module in (chainer_lstm.functions, F):
            c, x = variables(uniforms([(ROWS, UNITS, *axes), (ROWS - 1, 4 * UNITS, *axes)], 'f'))
            yield list(module.lstm(c, x)), [c, x]

    return run


def forward_sequence(name, dense, batches=BATCHES):
    def run():
        ours, chainers = links(name, INPUT, UNITS)
        xs = inputs(batches)
        ys = ours.forward_sequence(F.stack(xs) if dense else xs)
        yield [*([ys] if dense else ys), ours.c, ours.h], [*ours.params(), *xs]
        xs = inputs(batches)
        ys = [chainers(x) for x in xs]
        yield [*([F.stack(ys)] if dense else ys), chainers.c, chainers.h], [*chainers.params(), *xs]

    return run


def n_step(name, lengths, layers=1):
    def run():
        for link in links(name, layers, INPUT, UNITS, 0.0):
            xs = inputs(lengths)
            hx, cx = variables(
                uniforms([(layers * (2 if 'Bi' in name else 1), len(lengths), UNITS)] * 2, 'f')
            )
            hy, cy, ys = link(hx, cx, xs)
            yield [hy, cy, *ys], [*link.params(), hx, cx, *xs]

    return run


def sequence(lengths=None, **options):
    """``SequenceLSTM`` beside a loop of Chainer's link of one layer without masked steps."""

    def run():
        link = chainer_lstm.links.SequenceLSTM(INPUT, UNITS, return_state=True, **options)
        for seed, param in enumerate(link.params()):
            param.array[...] = uniform(param.shape, 'f', seed=seed)
        (x,) = variables([uniform((ROWS, 3, INPUT), 'f')])
        yield (
            list(link(x, lengths=lengths)),
            [link.l0.upward.W, link.l0.upward.b, link.l0.lateral.W, x],
        )
        if lengths is not None or link.n_layers > 1:
            return
        plain = chainer.links.StatelessLSTM(INPUT, UNITS)
        plain.copyparams(link.l0)
        (x,) = variables([uniform((ROWS, 3, INPUT), 'f')])
        c, h, ys = None, None, []
        for t in range(3):
            c, h = plain(c, h, x[:, t])
            ys.append(h)
        yield (
            [F.stack(ys, axis=1) if link.return_sequences else F.identity(h), c, h],
            [plain.upward.W, plain.upward.b, plain.lateral.W, x],
        )

    return run


def linear():
    for module in (chainer_lstm.functions, F):
        given = variables(uniforms([(ROWS, INPUT), (UNITS, INPUT), (UNITS,)], 'f'))
        yield [module.linear(*given)], given


def loss(reduce):
    def run():
        for module, double in ((chainer_lstm.functions, {}), (F, {'enable_double_backprop': True})):
            (x,) = variables([uniform((ROWS, UNITS), 'f')])
            yield [module.softmax_cross_entropy(x, CLASSES, reduce=reduce, **double)], [x]

    return run


SURFACES = {
    'LSTM': steps('LSTM', BATCHES),
    'LSTM, first step': steps('LSTM', BATCHES[:1]),
    'LSTM, fewer rows': steps('LSTM', (5, 5, 2)),
    'StatelessLSTM': stateless,
    'StatefulPeepholeLSTM': steps('StatefulPeepholeLSTM', BATCHES),
    'functions.lstm': lstm(),
    'functions.lstm, three axes': lstm(2),
    'functions.lstm, four axes': lstm(2, 3),
    'forward_sequence of an array': forward_sequence('LSTM', True),
    'forward_sequence of a list': forward_sequence('LSTM', False, (5, 4, 4, 2)),
    'forward_sequence with peepholes': forward_sequence('StatefulPeepholeLSTM', True),
    'NStepLSTM': n_step('NStepLSTM', (2, 5, 3, 3, 1)),
    'NStepLSTM, one sequence': n_step('NStepLSTM', (4,), layers=2),
    'NStepLSTM, equal lengths': n_step('NStepLSTM', (4, 4, 4), layers=2),
    'NStepBiLSTM': n_step('NStepBiLSTM', (2, 5, 3), layers=2),
    'SequenceLSTM': sequence(return_sequences=True),
    'SequenceLSTM, last output': sequence(),
    'SequenceLSTM, time first': sequence(return_sequences=True, batch_first=False, n_layers=2),
    'SequenceLSTM, stacked': sequence(return_sequences=True, n_layers=2, bidirectional=True),
    'SequenceLSTM, masked': sequence((3, 1, 0, 2, 2), return_sequences=True),
    'SequenceLSTM, masked, last output': sequence((3, 1, 0, 2, 2), bidirectional=True, n_layers=2),
    'functions.linear': linear,
    'loss': loss('mean'),
    'loss of each row': loss('no'),
}


def broadcasts(shape, to):
    try:
        return numpy.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def shapes_like(shape):
    """Similar shapes, with axes missing, added, of length 1, longer, shorter or in reverse."""
    found = {
        (),
        (1,),
        (1,) * len(shape),
        (1, *shape),
        (*shape, 1),
        shape[1:],
        shape[:-1],
        shape[-1:],
        shape[:1],
        shape[::-1],
        (2,),
        (0,),
        (100, 100),
    }
    for axis, length in enumerate(shape):
        found |= {
            (*shape[:axis], other, *shape[axis + 1 :])
            for other in (0, 1, length - 1, length + 1, 1000 * length)
        }
    return sorted(found - {shape})


def gradients(outputs, inputs, index, gradient, double):
    """Gradients of one output with respect to the inputs; with ``double`` also second gradients."""
    all_of_them = [chainer.Variable(numpy.zeros_like(y.array)) for y in outputs]
    all_of_them[index] = gradient
    found = chainer.grad(outputs, inputs, all_of_them, enable_double_backprop=double)
    if not double:
        return found
    second = chainer.grad([weighted_sum([g for g in found if g is not None])], [*inputs, gradient])
    return [*found, *second]


@pytest.fixture(params=['numpy', 'native'])
def _engine(request):
    if request.param == 'native':
        cases.native_engine('baseline')
    with chainer.using_config('lstm_engine', request.param):
        yield


@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize('double', [False, True], ids=['gradients', 'second gradients'])
@pytest.mark.parametrize('surface', SURFACES)
def test_gradients_that_broadcast(surface, double):
    (outputs, of_outputs), (chainers, of_chainers) = both(surface)
    for index, y in enumerate(outputs):
        for shape in {(), (1,) * y.ndim} if double else shapes_like(y.shape):
            if not broadcasts(shape, y.shape):
                continue
            given = chainer.Variable(uniform(shape, 'f', seed=7))
            full = chainer.Variable(numpy.broadcast_to(given.array, y.shape).copy())
            found = gradients(outputs, of_outputs, index, given, double)
            expected = gradients(chainers, of_chainers, index, full, double)
            if (
                double and expected[-1] is not None
            ):  # with respect to the gradient that was broadcast
                expected[-1] = F.sum_to(expected[-1], shape)
            compare(found, expected)


def both(surface):
    """Outputs and inputs of the package's code and of Chainer's (else the package's)."""
    first, *others = SURFACES[surface]()
    (second,) = others or [next(iter(SURFACES[surface]()))]
    return first, second


def compare(found, expected):
    """Compare gradients; None, which Chainer gives for unused inputs, is zero."""
    for index, (actual, right) in enumerate(zip(found, expected)):
        if actual is None or right is None:
            known = actual if right is None else right
            assert known is None or not known.array.any(), index
            continue
        assert (actual.shape, actual.dtype) == (right.shape, right.dtype), index
        tolerance = 2e-5 * max(1, numpy.abs(right.array).max(initial=0))
        numpy.testing.assert_allclose(
            actual.array, right.array, rtol=1e-4, atol=tolerance, err_msg=str(index)
        )


@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize('double', [False, True], ids=['gradients', 'second gradients'])
@pytest.mark.parametrize('surface', SURFACES)
def test_gradients_that_do_not_broadcast(surface, double):
    outputs, given = next(iter(SURFACES[surface]()))
    for y in outputs:
        for shape in shapes_like(y.shape):
            if not broadcasts(shape, y.shape):
                gradient = chainer.Variable(uniform(shape, 'f'))
                with pytest.raises(
                    ValueError,
                    match='grad_outputs: expected a gradient that broadcasts to the shape '
                    r'of its output, \(.*\), got \(',
                ):
                    chainer.grad([y], given, [gradient], enable_double_backprop=double)


@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize('surface', SURFACES)
def test_several_gradients_at_once(surface):
    """Of all outputs, each of another shape; after an error the same graph still computes."""
    (outputs, given), (chainers, of_chainers) = both(surface)
    shapes = [() if k % 2 else (1,) * y.ndim for k, y in enumerate(outputs)]
    small = [chainer.Variable(uniform(shape, 'f', seed=k)) for k, shape in enumerate(shapes)]
    full = [
        chainer.Variable(numpy.broadcast_to(g.array, y.shape).copy())
        for g, y in zip(small, outputs)
    ]
    # InvalidType: Chainer itself adds it to another gradient of the same variable
    with pytest.raises((ValueError, type_check.InvalidType), match='grad_outputs|cannot broadcast'):
        chainer.grad(outputs, given, [*small[:-1], chainer.Variable(uniform((7, 7, 7, 7, 7), 'f'))])
    found = chainer.grad(outputs, given, small)
    compare(found, chainer.grad(chainers, of_chainers, full))


@pytest.mark.usefixtures('_engine')
@pytest.mark.parametrize(
    'surface',
    [steps('LSTM', (6000,)), forward_sequence('LSTM', True, (6000, 6000))],
    ids=['LSTM', 'forward_sequence'],
)
def test_many_rows(surface):
    """A kernel that read beyond a gradient without axes would leave the memory of the process."""
    (outputs, given), (chainers, of_chainers) = surface()
    for index, y in enumerate(outputs):
        full = chainer.Variable(numpy.ones_like(y.array))
        compare(
            gradients(outputs, given, index, chainer.Variable(numpy.ones((), 'f')), False),
            gradients(chainers, of_chainers, index, full, False),
        )


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize(
    'surface',
    [
        'LSTM',
        'functions.lstm',
        'forward_sequence of an array',
        'NStepLSTM',
        'functions.linear',
        'loss of each row',
    ],
)
def test_gradients_of_another_dtype(surface, dtype):
    """Are computed with as they are: the engine gets its own dtype."""
    (outputs, given), *_ = SURFACES[surface]()
    found = chainer.grad(outputs[:1], given, [chainer.Variable(uniform(outputs[0].shape, dtype))])
    (outputs, given), *_ = SURFACES[surface]()
    expected = chainer.grad(
        outputs[:1], given, [chainer.Variable(uniform(outputs[0].shape, dtype).astype('f'))]
    )
    for actual, right in zip(found, expected):
        if right is not None:
            numpy.testing.assert_allclose(actual.array, right.array, rtol=1e-2, atol=1e-3)
