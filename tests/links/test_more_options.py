"""Options of the links that Chainer has too: each beside calls without it."""

import itertools

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer.link_hooks import TimerHook

from chainer_lstm import cells, links
from tests.support.arrays import assert_close, gradients, uniform
from tests.support.links import INPUT, UNITS

TIME, BATCH = 5, 3
RESETS = numpy.array([[0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]])
LINKS = {'lstm': links.LSTM, 'peephole': links.StatefulPeepholeLSTM}


@pytest.fixture(params=LINKS.values(), ids=LINKS)
def make(request):
    def made(**options):
        with chainer.using_config('dtype', numpy.float64):
            link = request.param(INPUT, UNITS, **options)
        for k, name in enumerate(('c0', 'h0') if link.learn_initial_state else ()):
            getattr(link, name).array[...] = uniform((UNITS,), seed=k)
        return link

    return made


def step_by_step(link, xs, resets):
    """h and c of all steps by single steps, a sequence at a time."""
    ys, cs = numpy.empty((2, TIME, BATCH, UNITS))
    for b in range(BATCH):
        link.reset_state()
        for t in range(TIME):
            if resets[t, b]:
                link.reset_state()
            ys[t, b] = link(xs[t, b : b + 1]).array
            cs[t, b] = link.c.array
    link.reset_state()
    return ys, cs


@pytest.mark.parametrize('learn', [False, True])
def test_resets_and_cells_of_a_sequence(make, learn):
    link, xs = make(learn_initial_state=learn), uniform((TIME, BATCH, INPUT))
    expected = step_by_step(link, xs, RESETS)
    assert_close(link.forward_sequence(xs, return_cells=True, resets=RESETS), expected)
    link.reset_state()
    ys, cs = link.forward_sequence(list(xs), return_cells=True, resets=list(RESETS))
    assert_close((F.stack(ys), F.stack(cs)), expected)
    link.reset_state()
    link.upward.add_hook(TimerHook())  # calls the links inside
    assert_close(link.forward_sequence(xs, return_cells=True, resets=RESETS), expected)


@pytest.mark.parametrize('learn', [False, True])
def test_reset_some_rows(make, learn):
    link, xs = make(learn_initial_state=learn), uniform((TIME, BATCH, INPUT))
    expected, _ = step_by_step(link, xs, RESETS)
    for x, y, resets in zip(xs, expected, RESETS):
        link.reset_state(resets)
        assert_close((link(x),), (y,))


def test_shrinking_batches(make):
    link, xs = make(), [uniform((n, INPUT), seed=n) for n in (3, 2, 1)]
    resets = [[0, 1, 0], [1, 0], [1]]
    found = link.forward_sequence(xs, resets=resets)
    c, h = link.c.array, link.h.array
    link.reset_state()
    for x, y, anew in zip(xs, found, resets):
        if link.h is not None:
            link.reset_state([*anew, *[0] * (3 - len(anew))])
        assert_close((link(x),), (y,))
    assert_close((link.c, link.h), (c, h))


def test_gradients_of_resets(make):
    link = make(learn_initial_state=True)
    xs = chainer.Variable(uniform((TIME, BATCH, INPUT)))
    inputs = [xs, *link.params()]

    def outputs():
        link.reset_state()
        return link.forward_sequence(xs, return_cells=True, resets=RESETS)

    once = gradients(outputs(), inputs)
    assert_close(gradients(outputs(), inputs, 2)[: len(once)], once)
    link.reset_state()
    steps = []
    for x, resets in zip(xs, RESETS):
        link.reset_state(resets)
        steps.append((link(x), link.c))
    assert_close(gradients([F.stack(y) for y in zip(*steps)], inputs), once)


def test_learned_state_of_single_steps(make):
    link, x = make(learn_initial_state=True), uniform((BATCH, INPUT))
    other = make()
    found = link(x)
    for name in ('upward', 'lateral', *(('peep_i', 'peep_f', 'peep_o') * hasattr(link, 'peep_i'))):
        getattr(other, name).copyparams(getattr(link, name))
    other.set_state(*(numpy.tile(getattr(link, n).array, (BATCH, 1)) for n in ('c0', 'h0')))
    assert_close((found,), (other(x),))
    assert {'/c0', '/h0'} <= {name for name, _ in link.namedparams()}


@pytest.mark.parametrize('call', ['step', 'sequence', 'whole batches'])
def test_learned_state_of_an_empty_batch(make, call):
    link = make(learn_initial_state=True)
    if call == 'step':
        y = link(uniform((0, INPUT)))
    elif call == 'sequence':
        y = link.forward_sequence(uniform((TIME, 0, INPUT)))
    else:
        with chainer.using_config('dtype', numpy.float64):
            link = links.SequenceLSTM(INPUT, UNITS, cell=link.cell, learn_initial_state=True)
        y = link(uniform((0, TIME, INPUT)))
    assert y.shape[-2:] == (0, UNITS)
    link.cleargrads()
    F.sum(y).backward()
    assert not link.c0.grad.any()
    assert not link.h0.grad.any()


@pytest.mark.parametrize(
    ('resets', 'message'),
    [
        (RESETS[:4], 'expected resets of 5 steps, got 4'),
        (RESETS[:, :2], r'expected resets\[0\]'),
        ([*RESETS[:4], [2, 0, 0]], r'expected resets\[4\] to be of 0 and 1, got 2'),
        (1, 'expected resets to be a list or an array of steps, got int'),
    ],
)
@pytest.mark.parametrize('hooked', [False, True])
def test_wrong_resets(make, resets, message, hooked):
    link, xs = make(), uniform((TIME, BATCH, INPUT))
    if hooked:
        link.upward.add_hook(TimerHook())  # calls the links inside
    link(xs[0])
    before = link.h.array.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        link.forward_sequence(xs, resets=resets)
    with pytest.raises(ValueError, match='expected rows of shape'):
        link.reset_state([1, 0])
    numpy.testing.assert_array_equal(link.h.array, before)


@pytest.mark.parametrize('learn', [False, True])
@pytest.mark.parametrize('hooked', [False, True])
def test_resets_of_a_smaller_batch(make, learn, hooked):
    """Rows of the state beyond the first step are not used by resets."""
    link, xs = make(learn_initial_state=learn), uniform((TIME, BATCH, INPUT))
    if hooked:
        link.upward.add_hook(TimerHook())
    link(xs[0])
    for resets in (RESETS[:, 1:], numpy.zeros((TIME, BATCH - 1))):
        with pytest.raises(ValueError, match='first step of 3 rows, as the state has, .* got 2'):
            link.forward_sequence(xs[:, 1:], resets=resets)
    assert link.c.shape == link.h.shape == (BATCH, UNITS)


@pytest.mark.parametrize('learn', [False, True])
def test_resets_nowhere(make, learn):
    """The same as without, and the state has no row more."""
    link, xs = make(learn_initial_state=learn), uniform((2, TIME, BATCH, INPUT))
    expected = [link.forward_sequence(x) for x in xs] + [link.c, link.h]
    link.reset_state()
    nowhere = numpy.zeros_like(RESETS)
    found = [link.forward_sequence(x, resets=nowhere) for x in xs] + [link.c, link.h]
    assert_close(found, expected)


def test_resets_of_c_alone(make):
    """A state that was set without h is reset before the first step too."""
    link, xs = make(), uniform((TIME, BATCH, INPUT))
    expected = step_by_step(link, xs, RESETS[[3, 1, 2, 3, 4]])
    link.upward.add_hook(TimerHook())
    link.set_state(uniform((BATCH, UNITS)), None)
    found = link.forward_sequence(xs, return_cells=True, resets=RESETS[[3, 1, 2, 3, 4]])
    assert_close(found, expected)


# NStep links

NSTEP = {'one direction': links.NStepLSTM, 'both': links.NStepBiLSTM}
LENGTHS = [(2, 4, 0, 3), (5,), (3, 3)]


@pytest.fixture(params=NSTEP.values(), ids=NSTEP)
def n_step(request):
    def made(in_size=INPUT, **options):
        with chainer.using_config('dtype', numpy.float64):
            return request.param(2, in_size, UNITS, 0, initial_bias=1.0, **options)

    return made


def sequences(lengths):
    return [uniform((n, INPUT), seed=k) for k, n in enumerate(lengths)]


@pytest.mark.parametrize('lengths', LENGTHS, ids=str)
@pytest.mark.parametrize('learn', [False, True])
def test_resets_of_n_step(n_step, lengths, learn):
    link, xs = n_step(learn_initial_state=learn, return_cells=True), sequences(lengths)
    for k, name in enumerate(('c0', 'h0') * learn):
        getattr(link, name).array[...] = uniform(getattr(link, name).shape, seed=k)
    groups = 2 * link.direction
    given = [uniform((groups, len(xs), UNITS), seed=k) for k in (5, 6)]
    resets = [numpy.arange(n) % 2 for n in lengths]
    hy, cy, ys, cs = link(*given, xs, resets=resets)
    anew = [getattr(link, f'{n}0').array if learn else numpy.zeros((groups, UNITS)) for n in 'hc']
    for b, x in enumerate(xs):
        cuts = [0, *numpy.flatnonzero(resets[b]), len(x)] if len(x) else [0, 0]
        found = []
        for k, (begin, end) in enumerate(itertools.pairwise(cuts)):
            begins = [k == 0, k == len(cuts) - 2]
            own = numpy.array([begins[g % link.direction] for g in range(groups)])[:, None]
            state = [numpy.where(own, s[:, b], a)[:, None] for s, a in zip(given, anew)]
            found.append(link(*state, [x[begin:end]]))
        assert_close((ys[b],), (numpy.concatenate([ys.array for _, _, (ys,), _ in found]),))
        assert_close((cs[b],), (numpy.concatenate([cs.array for *_, (cs,) in found]),))
        for state, of_piece in ((hy, 0), (cy, 1)):
            last = [found[-1 if g % link.direction == 0 else 0][of_piece] for g in range(groups)]
            expected = numpy.stack([s.array[g, 0] for g, s in enumerate(last)])
            assert_close((state[:, b],), (expected,))


def test_gradients_of_n_step(n_step):
    link, xs = n_step(learn_initial_state=True, return_cells=True), sequences((2, 4, 3))
    xs = [chainer.Variable(x) for x in xs]
    resets = [[0, 1], [0, 0, 1, 0], [1, 0, 0]]
    inputs = [*xs, *link.params()]

    def outputs():
        hy, cy, ys, cs = link(None, None, xs, resets=resets)
        return [hy, cy, *ys, *cs]

    once = gradients(outputs(), inputs)
    assert_close(gradients(outputs(), inputs, 2)[: len(once)], once)


def test_size_of_the_first_input(n_step):
    link, xs = n_step(in_size=None), sequences((2, 3))
    with pytest.raises(ValueError, match='expected xs'):
        link(None, None, [xs[0], xs[1][:, :2]])
    with pytest.raises(ValueError, match=r'of shape \(length, at least 1\), got \(2, 0\)'):
        link(None, None, [x[:, :0] for x in xs])
    assert link.ws[0][0].array is None
    found = link(None, None, xs)
    assert link.ws[0][0].shape == (UNITS, INPUT)
    other = n_step()
    other.copyparams(link)
    assert_close([*found[:2], *found[2]], [y.array for y in _flat(other(None, None, xs))])


def _flat(found):
    hy, cy, ys = found
    return [hy, cy, *ys]


def test_deferred_size_from_a_file(n_step, tmp_path):
    link, other = n_step(), n_step(in_size=None)
    chainer.serializers.save_npz(tmp_path / 'model.npz', link)
    with chainer.using_config('dtype', numpy.float64):
        chainer.serializers.load_npz(tmp_path / 'model.npz', other)
    assert_close(
        [y.array for y in _flat(other(None, None, sequences((2, 3))))],
        [y.array for y in _flat(link(None, None, sequences((2, 3))))],
    )


def test_initializers_of_n_step(n_step):
    link = n_step(lateral_init=2.0, upward_init=3.0)
    for ws in link.ws:
        assert {*numpy.concatenate([w.array.ravel() for w in ws[4:8]])} == {2.0}
        assert {*numpy.concatenate([w.array.ravel() for w in ws[:4]])} == {3.0}
    copied = link.copy('copy')
    assert copied.ws[0][0] is copied[0].w0
    with pytest.raises(ValueError, match='expected initial_bias or bias_init, got both'):
        n_step(bias_init=1.0)


def test_cell_options_of_n_step(n_step):
    xs = sequences((2, 4))
    link = n_step(cell_clip=0.05, return_cells=True)
    assert max(abs(c.array).max() for c in link(None, None, xs)[3]) <= 0.05
    link = n_step(recurrent_dropout=0.5, zoneout=(0.1, 0.2))
    assert link.cell == cells.LSTMVariant(recurrent_dropout=0.5, zoneout=(0.1, 0.2))
    inputs = list(link.params())

    def outputs():
        numpy.random.seed(0)
        return _flat(link(None, None, xs))

    once = gradients(outputs(), inputs)
    assert_close(gradients(outputs(), inputs, 2)[: len(once)], once)
    with chainer.using_config('train', False):
        plain = n_step()
        plain.copyparams(link)
        assert_close(_flat(link(None, None, xs)), [y.array for y in _flat(plain(None, None, xs))])


# Cells by options of SequenceLSTM


@pytest.mark.parametrize(
    ('options', 'cell'),
    [
        ({}, cells.lstm),
        ({'peephole': 'full'}, cells.peephole),
        ({'peephole': 'diagonal'}, cells.LSTMVariant(peephole='diagonal')),
        ({'coupled': True, 'cell_clip': 2}, cells.LSTMVariant(coupled=True, cell_clip=2)),
        ({'proj_size': 3}, cells.LSTM(outputs=3)),
        ({'proj_size': 3, 'coupled': True}, cells.LSTMVariant(coupled=True, outputs=3)),
    ],
)
def test_cell_by_options(options, cell):
    link = links.SequenceLSTM(INPUT, UNITS, **options)
    assert link.cell == cell
    x = uniform((2, TIME, INPUT), 'f')
    assert link(x).shape == (2, options.get('proj_size', UNITS))
    b = link.l0.cell_weights()[1].array
    if cell.forget is not None:
        gates = cell.inputs
        assert (b[gates.index('f') :: len(gates)] == 1).all()
        assert abs(b).sum() == UNITS


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'cell': cells.peephole, 'coupled': True}, 'expected cell or options of an LSTM'),
        ({'peephole': 'full', 'coupled': True}, "expected peephole='full' alone"),
        ({'peephole': 'wide'}, 'expected peephole to be one of'),
        ({'zoneout': (0, 2)}, 'zoneout'),
        ({'zoneout': (0, 0.5), 'proj_size': 3}, 'outputs'),
        ({'cell': cells.peephole, 'forget_bias_init': 1}, 'forget_bias_init of peephole'),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        links.SequenceLSTM(INPUT, UNITS, **options)
