"""``links.SequenceLSTM`` beside the float64 loop,
steps of ``links.LSTM`` and finite differences.
"""

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check
from chainer.backends import cuda

from chainer_lstm import links
from tests.links.sequence_cases import BATCH, MASKS, SHAPES, TIME, full, make, samples
from tests.support import reference
from tests.support.arrays import assert_close, gradients, uniform, variables
from tests.support.links import INPUT, UNITS


def valid_steps(lengths=None, mask=None, time=TIME, batch=BATCH):
    if lengths is not None:
        return numpy.arange(time) < numpy.array(lengths)[:, None]
    return (
        numpy.ones((batch, time), bool)
        if mask is None
        else numpy.array(mask).reshape(batch, time) == 1
    )


def expected(link, x, valid, c0, h0):
    """The slow loop over the valid steps of each sequence -> y (B, T, D * H), last y, c, h."""
    cells = [getattr(link, name) for name in sorted(link._children)]
    directions = 2 if hasattr(link, 'l0_reverse') else 1
    gates = (1, 2, 0, 3)
    ws = [
        [cuda.to_cpu(m.array)[g::4] for m in (cell.upward.W, cell.lateral.W) for g in gates]
        for cell in cells
    ]
    bs = [
        [
            b if k < 4 else 0 * b
            for k in range(8)
            for b in [cuda.to_cpu(cell.upward.b.array)[gates[k % 4] :: 4]]
        ]
        for cell in cells
    ]
    h, c, ys = reference.n_step(
        h0, c0, ws, bs, [row[steps] for row, steps in zip(x, valid)], directions
    )
    outputs = numpy.zeros((*valid.shape, directions, h0.shape[2]))
    for b, y in enumerate(ys):
        for d in range(directions):
            now, rest = (
                h0[len(h0) - directions + d, b],
                list(y.reshape(len(y), directions, h0.shape[2])[:, d]),
            )
            for t in range(valid.shape[1]) if d == 0 else reversed(range(valid.shape[1])):
                if valid[b, t]:
                    now = rest.pop(0 if d == 0 else -1)
                outputs[b, t, d] = now
    return outputs.reshape(*valid.shape, -1), numpy.concatenate(h[-directions:], axis=1), c, h


@pytest.mark.parametrize('given', MASKS.values(), ids=MASKS)
@SHAPES
def test_outputs_and_states(n_layers, bidirectional, given, xp):
    link = full(n_layers=n_layers, bidirectional=bidirectional, xp=xp)
    x, c, h = samples(n_layers * (1 + bidirectional))
    y, last, c1, h1 = expected(link, x, valid_steps(**given), c, h)
    dx, *state = (xp.asarray(v) for v in (x, c, h))
    one = [v[0] if len(c) == 1 else v for v in (c1, h1)]
    assert_close(link(dx, state, **given), (y, *one))
    link.return_sequences = False
    assert_close(link(dx, state, **given), (last, *one))
    link.return_state = False
    assert_close([link(dx, state, **given)], [last])
    link.batch_first = False
    assert_close([link(dx.swapaxes(0, 1), state, **given)], [last])
    link.return_sequences = True
    assert_close([link(dx.swapaxes(0, 1), state, **given)], [y.swapaxes(0, 1)])


@pytest.mark.parametrize('given', [MASKS['no mask'], MASKS['holes']], ids=['no mask', 'holes'])
@pytest.mark.parametrize('dtype', ['e', 'f'])
def test_dtypes(dtype, given, xp):
    link = full(n_layers=2, dtype=dtype, xp=xp)
    x, c, h = samples(2, dtype)
    y, _, c, h = expected(link, x, valid_steps(**given), 0 * c, 0 * h)
    assert_close(link(xp.asarray(x), **given), [v.astype(dtype) for v in (y, c, h)])


@pytest.mark.parametrize('kind', [numpy.array, list, chainer.Variable])
def test_lengths_are_right_padding(kind, xp):
    link, lengths = full(bidirectional=True, xp=xp), [3, 0, 5, 1]
    x, c, h = samples(2, xp=xp)
    mask = valid_steps(lengths)
    expected = link(x, (c, h), mask=mask)
    given = kind(xp.asarray(lengths)) if kind is chainer.Variable else kind(lengths)
    assert_close(link(x, (c, h), lengths=given), expected)
    for same in (
        mask.tolist(),
        mask[..., None],
        mask.astype('d'),
        chainer.Variable(xp.asarray(mask, 'f')),
    ):
        assert_close(link(x, (c, h), mask=same), expected)


def test_garbage_in_masked_steps_is_not_read():
    link, valid = full(n_layers=2, bidirectional=True), valid_steps(**MASKS['holes'])
    x, c, h = samples(4)
    expected = link(x, (c, h), mask=valid)
    assert_close(link(numpy.where(valid[..., None], x, numpy.nan), (c, h), mask=valid), expected)


def test_without_any_valid_step_before_outputs_are_the_initial_state():
    link, (x, c, h) = full(), samples(1)
    assert_close([link(x, mask=MASKS['holes']['mask'])[0][0, 0]], [numpy.zeros(UNITS)])
    y, c1, h1 = link(x, (c, h), lengths=[0, 1, 2, 3])
    assert_close([y[0, 0], c1[0], h1[0]], [h[0, 0], c[0, 0], h[0, 0]])


@pytest.mark.parametrize('given', [{}, {'lengths': [0] * BATCH}, {'mask': numpy.ones((BATCH, 0))}])
def test_no_steps(given):
    link, (x, c, h) = full(n_layers=2, bidirectional=True), samples(4)
    assert_close(link(x[:, :0], (c, h), **given), (numpy.zeros((BATCH, 0, 2 * UNITS)), c, h))
    link.return_sequences = False
    assert_close([link(x[:, :0], (c, h), **given)[0]], [numpy.concatenate((h[2], h[3]), axis=1)])


@pytest.mark.parametrize('given', [{}, {'lengths': []}, {'mask': numpy.ones((0, TIME))}])
def test_empty_batch(given):
    y, c, h = full(bidirectional=True)(numpy.zeros((0, TIME, INPUT)), **given)
    assert (y.shape, c.shape, h.shape) == ((0, TIME, 2 * UNITS), (2, 0, UNITS), (2, 0, UNITS))


@pytest.mark.parametrize('batch_first', [True, False])
def test_steps_of_lstm_give_the_same(batch_first, xp):
    link = make(return_sequences=True, batch_first=batch_first, xp=xp)
    cell = links.LSTM(INPUT, UNITS)
    cell.to_device(link.device)
    cell.upward, cell.lateral = link.l0.upward, link.l0.lateral
    x = chainer.Variable(uniform((BATCH, TIME, INPUT), xp=xp))
    y = link(x if batch_first else F.transpose(x, (1, 0, 2)))
    expected = F.stack([cell(x[:, t]) for t in range(TIME)], axis=1 if batch_first else 0)
    params = list(link.params())
    assert_close(
        [y, *gradients([y], [x, *params])], [expected, *gradients([expected], [x, *params])]
    )


def test_as_nstep_with_the_same_weights():
    link, theirs = (
        make(n_layers=2, bidirectional=True, return_sequences=True),
        links.NStepBiLSTM(2, INPUT, UNITS, 0.0),
    )
    for name, ws, bs in zip(('l0', 'l0_reverse', 'l1', 'l1_reverse'), theirs.ws, theirs.bs):
        cell = getattr(link, name)
        for k, g in enumerate((1, 2, 0, 3)):
            for param, array in (
                (ws[k], cell.upward.W),
                (ws[k + 4], cell.lateral.W),
                (bs[k], cell.upward.b),
            ):
                param.array = array.array[g::4].copy()
            bs[k + 4].array = numpy.zeros(UNITS)
    x, lengths = uniform((3, TIME, INPUT)), [2, 5, 4]
    y = link(x, lengths=lengths)
    _, _, ys = theirs(None, None, [row[:n] for row, n in zip(x, lengths)])
    assert_close([row[:n] for row, n in zip(y, lengths)], ys)


@pytest.mark.parametrize('name', ['no mask', 'lengths', 'lengths 0', 'holes'])
@SHAPES
def test_finite_differences(n_layers, bidirectional, name):
    if name == 'lengths 0' and bidirectional:
        pytest.skip('the same way as with one direction')
    link = full(n_layers=n_layers, bidirectional=bidirectional)
    x, c, h = samples(n_layers * (1 + bidirectional))

    def run(x, c, h, *_):
        y, c, h = link(x, (c, h), **MASKS[name])
        return y, F.sin(c), F.sin(h)

    grads = [uniform(y.shape, seed=9) for y in run(x, c, h)]
    gradient_check.check_backward(
        run, (x, c, h), grads, list(link.params()), dtype='d', eps=1e-4, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize('return_sequences', [False, True])
@pytest.mark.parametrize('name', ['no mask', 'holes'])
def test_double_backprop(name, return_sequences):
    link = make(n_layers=2, bidirectional=True, return_sequences=return_sequences)
    x, c, h = samples(4)

    def run(x, c, h):
        return link(x, (c, h), **MASKS[name])

    gradient_check.check_double_backward(
        run,
        (x, c, h),
        uniform(run(x, c, h).shape),
        [uniform(v.shape, seed=7) for v in (x, c, h)],
        dtype='d',
        eps=1e-4,
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.gpu
def test_gradients_on_a_gpu(cupy):
    results = []
    for xp in (numpy, cupy):
        numpy.random.seed(0)
        link = full(n_layers=2, bidirectional=True, dtype='f', xp=xp)
        given = variables(samples(4, 'f', xp))
        outputs = link(given[0], given[1:], **MASKS['holes'])
        results.append([*outputs, *gradients(outputs, [*given, *link.params()], order=2)])
    assert_close(results[1], results[0])
