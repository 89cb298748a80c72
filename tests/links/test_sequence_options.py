"""Options of ``links.SequenceLSTM``: each beside calls of a link without it."""

import itertools

import chainer
import chainer.functions as F
import numpy
import pytest

from chainer_lstm import cells
from tests.cells import gru
from tests.links.cell_cases import states
from tests.links.sequence_cases import BATCH, MASKS, SHAPES, TIME, full, make, samples
from tests.support.arrays import assert_close, gradients, uniform
from tests.support.engines import CPU_ENGINES
from tests.support.links import INPUT, UNITS

RESETS = numpy.array([[0, 0, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])


def learned(link):
    for k, name in enumerate(('c0', 'h0')):
        getattr(link, name).array[...] = uniform(getattr(link, name).shape, seed=k)
    return link


def in_pieces(link, x, state, mask, resets):
    """What a call with resets returns, by a call for each piece of each sequence."""
    groups, kinds = len(link.cell_names), len(link.cell.states)
    anew = [numpy.zeros((groups, UNITS))] * kinds
    if link.learn_initial_state:
        anew = [getattr(link, f'{name}0').array for name in link.cell.states]
    outputs, last = [], [numpy.empty((groups, BATCH, UNITS)) for _ in state]
    for b in range(BATCH):
        cuts = [0, *(t for t in range(1, TIME) if resets[b][t]), TIME]
        pieces = []
        for k, (begin, end) in enumerate(itertools.pairwise(cuts)):
            # the direction of a group decides which piece begins with the state that is given
            begins = [k == 0 and not resets[b][0], k == len(cuts) - 2]
            given = numpy.array([begins[g % link.directions] for g in range(groups)])[:, None]
            first = [numpy.where(given, s[:, b], new)[:, None] for s, new in zip(state, anew)]
            found = link(x[b : b + 1, begin:end], first, mask=mask[b : b + 1, begin:end])
            pieces.append([y.array for y in found])
        ends = [pieces[-1 if g % link.directions == 0 else 0] for g in range(groups)]
        for s in range(kinds):
            for g, end in enumerate(ends):
                last[s][g, b] = end[s - kinds].reshape(groups, UNITS)[g]
        outputs.append([numpy.concatenate(ys, axis=1)[0] for ys in zip(*pieces)][:-kinds])
    return [*map(numpy.stack, zip(*outputs)), *(s[0] if groups == 1 else s for s in last)]


@pytest.mark.parametrize('engine', CPU_ENGINES)
@pytest.mark.parametrize('learn', [False, True], ids=['zeros', 'learned'])
@pytest.mark.parametrize('given', ['no mask', 'holes'])
@SHAPES
def test_resets(n_layers, bidirectional, given, learn, engine):
    link = full(
        n_layers=n_layers,
        bidirectional=bidirectional,
        learn_initial_state=learn,
        return_cells=True,
    )
    link = learned(link) if learn else link
    x, *state = samples(len(link.cell_names))
    mask = numpy.array(MASKS[given].get('mask', numpy.ones((BATCH, TIME))))
    with chainer.using_config('lstm_engine', engine):
        found = link(x, state, mask=mask, resets=RESETS)
        assert_close(found, in_pieces(link, x, state, mask, RESETS))


@pytest.mark.parametrize('cells_too', [False, True])
@SHAPES
def test_gradients_of_resets(n_layers, bidirectional, cells_too):
    link = learned(
        full(
            n_layers=n_layers,
            bidirectional=bidirectional,
            learn_initial_state=True,
            return_cells=cells_too,
        )
    )
    x, *state = (chainer.Variable(v) for v in samples(len(link.cell_names)))
    inputs = [x, *state, *link.params()]

    def outputs():
        return link(x, state, mask=MASKS['holes']['mask'], resets=RESETS)

    once = gradients(outputs(), inputs)
    assert_close(gradients(outputs(), inputs, 2)[: len(once)], once)

    def loss():
        found = outputs()
        return sum(float((y.array * uniform(y.shape, seed=k)).sum()) for k, y in enumerate(found))

    found = outputs()
    whole = sum(F.sum(y * uniform(y.shape, seed=k)) for k, y in enumerate(found))
    for v, g in zip(inputs, chainer.grad([whole], inputs)):
        at = tuple(n // 2 for n in v.shape)
        value = v.array[at]
        v.array[at] = value + 1e-6
        above = loss()
        v.array[at] = value - 1e-6
        assert abs((above - loss()) / 2e-6 - g.array[at]) < 1e-6
        v.array[at] = value


def test_resets_of_a_cell_without_c():
    link, x, state = full(cell=gru, bidirectional=True), samples(2)[0], states(gru, 2)
    mask = numpy.ones((BATCH, TIME))
    assert_close(link(x, state, resets=RESETS), in_pieces(link, x, state, mask, RESETS))


def test_resets_begin_with_the_kept_state():
    x, c, h = samples(1)
    link, other = full(stateful=True), full()
    other.copyparams(link)
    link.set_state(c, h)
    assert_close(link(x, resets=RESETS), other(x, (c, h), resets=RESETS))


def test_time_major_resets():
    x, c, h = samples(1)
    link, other = full(batch_first=False), full()
    other.copyparams(link)
    y, *rest = link(x.swapaxes(0, 1), (c, h), resets=RESETS)
    assert_close((F.transpose(y, (1, 0, 2)), *rest), other(x, (c, h), resets=RESETS))


def test_a_reset_of_the_last_step_fed():
    link, x = learned(full(go_backwards=True, learn_initial_state=True)), samples(1)[0]
    resets = numpy.arange(TIME) < [[1]] * BATCH
    found, expected = link(x, resets=resets), link(x)
    assert_close(found, [y.array for y in expected])
    inputs = list(link.params())
    assert_close(gradients(found, inputs, 2), gradients(expected, inputs, 2))


def test_resets_at_no_step_change_nothing():
    link, x = full(), samples(1)[0]
    expected = [y.array for y in link(x)]
    for resets in (numpy.zeros((BATCH, TIME)), numpy.zeros((BATCH, TIME, 1), bool)):
        for y, of in zip(link(x, resets=resets), expected):
            numpy.testing.assert_array_equal(y.array, of)


@pytest.mark.parametrize(
    ('resets', 'error', 'message'),
    [
        (numpy.zeros((BATCH, TIME + 1)), ValueError, 'expected resets of shape'),
        (numpy.full((BATCH, TIME), 2), ValueError, 'expected resets to be of 0 and 1, got 2'),
        ([['a'] * TIME] * BATCH, TypeError, 'expected resets to be booleans or numbers'),
    ],
)
def test_wrong_resets(resets, error, message):
    link = full(stateful=True)
    x = samples(1)[0]
    link(x)
    before = link.h.array.copy()
    with pytest.raises(error, match=message):
        link(x, resets=resets)
    numpy.testing.assert_array_equal(link.h.array, before)


@pytest.mark.parametrize('given', MASKS.values(), ids=MASKS)
def test_zero_masked(given):
    x = samples(1)[0]
    link, other = full(bidirectional=True, zero_masked=True), full(bidirectional=True)
    other.copyparams(link)
    y, *rest = other(x, **given)
    valid = numpy.ones((BATCH, TIME), bool)
    if 'lengths' in given:
        valid = numpy.arange(TIME) < numpy.array(given['lengths'])[:, None]
    if 'mask' in given:
        valid = numpy.reshape(given['mask'], valid.shape) == 1
    outputs = link(x, **given)
    assert_close(outputs, (y.array * valid[..., None], *rest))
    once = gradients(outputs, list(link.params()))
    twice = gradients(link(x, **given), list(link.params()), 2)
    assert_close(twice[: len(once)], once)


@pytest.mark.parametrize('batch_first', [True, False])
def test_go_backwards(batch_first):
    link, other = (full(go_backwards=go, batch_first=batch_first) for go in (True, False))
    other.copyparams(link)
    x, time = samples(1)[0], 1 if batch_first else 0
    x = x if batch_first else x.swapaxes(0, 1)
    mask = numpy.array(MASKS['holes']['mask'])
    assert_close(link(x, mask=mask), other(numpy.flip(x, time), mask=mask[:, ::-1]))
    flipped = numpy.zeros_like(RESETS)
    for b, t in zip(*RESETS[:, 1:].nonzero()):
        flipped[b, TIME - 1 - t] = 1
    assert_close(link(x, resets=RESETS), other(numpy.flip(x, time), resets=flipped))


@pytest.mark.parametrize('sequences', [True, False])
@pytest.mark.parametrize(
    ('mode', 'merged'),
    [
        ('sum', lambda a, b: a + b),
        ('mul', lambda a, b: a * b),
        ('ave', lambda a, b: (a + b) / 2),
        ('concat', lambda a, b: numpy.concatenate((a, b), axis=-1)),
    ],
)
def test_merge_mode(mode, merged, sequences):
    options = {'bidirectional': True, 'return_sequences': sequences, 'return_cells': True}
    link, other = make(merge_mode=mode, **options), make(**options)
    other.copyparams(link)
    x = samples(1)[0]
    expected = [merged(*numpy.split(y.array, 2, axis=-1)) for y in other(x)]
    assert_close(link(x), expected)


@pytest.mark.parametrize('sequences', [True, False])
def test_return_cells(sequences):
    link = make(return_cells=True, return_state=True, return_sequences=sequences)
    x = samples(1)[0]
    y, cs, c, _ = link(x)
    assert cs.shape == y.shape
    for t in range(TIME) if sequences else ():
        *_, c_t, h_t = link(x[:, : t + 1])
        assert_close((y[:, t], cs[:, t]), (h_t, c_t))
    last = cs[:, -1] if sequences else cs
    assert_close((last,), (c,))


def test_weight_dropout():
    link, x = make(weight_dropout=0.5, n_layers=2, return_sequences=True), samples(1)[0]
    with chainer.using_config('train', False):
        kept = link(x)
    plain = make(n_layers=2, return_sequences=True)
    plain.copyparams(link)
    assert_close((kept,), (plain(x),))
    numpy.random.seed(0)
    found = link(x)
    numpy.random.seed(0)
    for child in (plain.l0, plain.l1):
        child.lateral.W.array[...] = F.dropout(child.lateral.W.array, 0.5).array
    assert_close((found,), (plain(x),))
    link.cleargrads()
    F.sum(found).backward()
    dropped = plain.l0.lateral.W.array == 0
    assert dropped.any()
    assert not link.l0.lateral.W.grad[dropped].any()


@pytest.mark.parametrize('peephole', ['diagonal', 'full'])
def test_weight_dropout_leaves_the_weights_of_c(peephole):
    link, x = make(weight_dropout=0.9, peephole=peephole, return_sequences=True), samples(1)[0]
    for name in ('W', 'U'):
        getattr(link.l0, name).array[...] = 0
    for name in ('P_i', 'P_f', 'P_o'):
        getattr(link.l0, name).array[...] = 1
    found = link(x)
    with chainer.using_config('train', False):
        assert_close((found,), (link(x),))


@pytest.mark.parametrize('batch_first', [True, False])
@pytest.mark.parametrize('options', [{}, {'n_layers': 2, 'bidirectional': True}])
def test_one_sequence(options, batch_first):
    link = full(batch_first=batch_first, return_cells=True, **options)
    groups = len(link.cell_names)
    x, state = uniform((TIME, INPUT)), [uniform((groups, UNITS), seed=k) for k in (1, 2)]
    given = {'mask': [1, 1, 0, 1, 1], 'resets': [0, 0, 0, 1, 0]}
    many = {name: [value] for name, value in given.items()}
    found = link(x, state, **given)
    whole = link(x[None] if batch_first else x[:, None], [s[:, None] for s in state], **many)
    axis = 0 if batch_first else 1
    expected = [y.array.squeeze(axis) for y in whole[:2]]
    expected += [s.array.reshape(groups, UNITS) for s in whole[2:]]
    assert_close(found, [e[0] if e.shape == (1, UNITS) else e for e in expected])
    link.return_sequences = False
    assert link(x, state)[0].shape == (link.directions * UNITS,)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'merge_mode': 'max', 'bidirectional': True}, "expected merge_mode to be one of .* 'max'"),
        ({'merge_mode': 'sum'}, 'expected merge_mode with bidirectional=True'),
        ({'go_backwards': True, 'bidirectional': True}, 'go_backwards or bidirectional, got both'),
        ({'return_cells': True, 'cell': gru}, 'expected return_cells of a cell with c'),
        ({'weight_dropout': 1}, 'weight_dropout'),
        ({'bidirectional': True, 'merge_mode': ['sum']}, 'expected merge_mode to be one of'),
        ({'zoneout': numpy.full(2, 0.1)}, 'expected zoneout to be no array'),
        ({'peephole': numpy.ones(UNITS)}, 'expected peephole to be no array'),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(**options)


def test_peephole_with_all_options():
    link = full(
        cell=cells.peephole,
        bidirectional=True,
        merge_mode='ave',
        zero_masked=True,
        return_cells=True,
        learn_initial_state=True,
    )
    y, cs, c, h = link(samples(2)[0], resets=RESETS, lengths=[5, 3, 0, 1])
    assert y.shape == cs.shape == (BATCH, TIME, UNITS)
    assert c.shape == h.shape == (2, BATCH, UNITS)
    assert not y.array[2].any()
