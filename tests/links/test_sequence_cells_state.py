"""The state and the parameters of ``links.SequenceLSTM`` of other cells, and its files."""

import copy
import pickle

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer.utils.type_check import InvalidType

from chainer_lstm import cells, links
from chainer_lstm.links.weights import CellWeights
from tests.cells import coupled, gru, zoneout
from tests.links.cell_cases import CELLS, X, full, make, states
from tests.links.sequence_cases import BATCH, MASKS, TIME
from tests.support.arrays import assert_close, assert_same, gradients, uniform
from tests.support.links import INPUT, UNITS, contents


@pytest.fixture(params=CELLS)
def cell(request):
    with chainer.using_config('train', 'evaluation' not in request.param):
        yield CELLS[request.param]


# State


@pytest.mark.parametrize(('n_layers', 'all_steps'), [(1, True), (3, False)])
def test_stateful_halves_are_the_whole(cell, n_layers, all_steps):
    link = make(cell, n_layers=n_layers, stateful=True, return_state=True)
    link.return_sequences = all_steps
    x = chainer.Variable(X())
    outputs = link(x)
    whole = [*outputs, *gradients(outputs, [x, *link.params()])]
    assert link.h.shape == (n_layers, BATCH, cell.width('h', UNITS))
    assert (link.c is None) == ('c' not in cell.states)
    link.reset_state()
    assert link.c is None and link.h is None
    first, (second, *state) = link(x[:, :2])[0], link(x[:, 2:])
    outputs = [F.concat((first, second)) if all_steps else second, *state]
    assert_close([*outputs, *gradients(outputs, [x, *link.params()])], whole)


def test_set_state_is_an_initial_state(cell):
    link, state = make(cell, stateful=True), states(cell, 1)
    y = link(X(), state)
    link.reset_state()
    c = state[0] if len(state) == 2 else None
    for given in ((c, state[-1]), (c if c is None else c[0], chainer.Variable(state[-1][0]))):
        link.set_state(*given)
        assert link.h.shape == state[-1].shape and (link.c is None) == (c is None)
        assert_close([link(X())], [y])


def test_a_cell_of_h_alone_has_no_c():
    link, (h,) = full(gru, n_layers=2, stateful=True), states(gru, 2)
    for _ in range(2):
        assert len(link(X())) == 2
        assert link.c is None and link.h is not None
    with pytest.raises(ValueError, match='expected no c, which gru has not, got one'):
        link.set_state(h, h)
    for wrong, got in (((h, h), '2 items'), ((), '0 items'), (h, 'ndarray')):
        with pytest.raises(ValueError, match=rf'a tuple of 1 \(h\), got {got}'):
            link(X(), wrong)
    assert not hasattr(full(gru, learn_initial_state=True), 'c0')


def test_what_a_state_is_refused_for():
    link, (c, h) = full(coupled, stateful=True), states(coupled, 1)
    for wrong, message in (
        ((h,), r'a pair \(c, h\), got 1 items'),
        ((c[:, :2], h), r'expected c of shape \(1, 4, 4\), got \(1, 2, 4\)'),
        ((c, h[:, :, :3]), r'expected h of shape \(1, 4, 4\), got \(1, 4, 3\)'),
    ):
        with pytest.raises(ValueError, match=message):
            link(X(), wrong)
    with pytest.raises(TypeError, match='expected h of dtype float64, got float32'):
        link(X(), (c, h.astype('f')))
    with pytest.raises(TypeError, match='expected c to be an array or a variable'):
        link.set_state(None, h)
    assert link.c is None and link.h is None


@pytest.mark.parametrize('name', ['no mask', 'holes'])
def test_learned_initial_state(cell, name):
    link = full(cell, n_layers=2, bidirectional=True, learn_initial_state=True)
    learned = [getattr(link, f'{s}0') for s in cell.states]
    for k, (name_of_state, param) in enumerate(zip(cell.states, learned)):
        assert_close([param], [numpy.zeros((4, cell.width(name_of_state, UNITS)))])
        param.array[...] = uniform(param.shape, seed=20 + k)
    state = [chainer.Variable(numpy.repeat(p.array[:, None], BATCH, axis=1)) for p in learned]
    outputs, given = link(X(), **MASKS[name]), link(X(), state, **MASKS[name])
    assert_close(outputs, given)
    found = gradients(outputs, learned)
    assert_close(found, [g.array.sum(axis=1) for g in gradients(given, state)])


# Parameters, files and copies


def test_parameters_by_layer_direction_and_name():
    link = make(gru, n_layers=2, bidirectional=True)
    shapes = {path: param.shape for path, param in link.namedparams()}
    sizes = {'l0': INPUT, 'l0_reverse': INPUT, 'l1': 2 * UNITS, 'l1_reverse': 2 * UNITS}
    assert shapes == {
        f'/{layer}/{name}': shape
        for layer, size in sizes.items()
        for name, shape in gru.shapes(size, UNITS).items()
    }
    assert [type(child) for child in link.cells()] == [CellWeights] * 4


def test_initializers():
    link = links.SequenceLSTM(
        INPUT, UNITS, lateral_init=2, upward_init=3, bias_init=4, cell=cells.peephole
    )
    found = {path: set(param.array.ravel()) for path, param in link.l0.namedparams()}
    of_states = {f'/{name}': {2} for name in ('U', 'P_i', 'P_f', 'P_o')}
    assert found == {'/W': {3}, '/b': {4}, **of_states}


@pytest.mark.parametrize('given', [{}, {'lengths': [1, 0, 3, 5]}])
def test_deferred_in_size(cell, given):
    link = make(cell, None, bidirectional=True, dtype='f')
    other = make(cell, bidirectional=True, dtype='f')
    y = link(X('f'), **given)
    W = [child.cell_weights()[0] for child in link.cells()]
    assert [w.shape for w in W] == [(len(cell.inputs) * UNITS, INPUT)] * 2
    assert (W[0].array != W[1].array).any()
    other.copyparams(link)
    assert_close([other(X('f'), **given)], [y])
    with pytest.raises(ValueError, match=r'expected x of shape .* 3\), got \(4, 5, 4\)'):
        link(uniform((BATCH, TIME, INPUT + 1), 'f'))


def test_deferred_link_waits_after_an_error(cell):
    link = links.SequenceLSTM(None, UNITS, bidirectional=True, stateful=True, cell=cell)
    for x in (X(), uniform((BATCH, TIME, 0), 'f')):
        before = contents(link)
        with pytest.raises((ValueError, InvalidType)):
            link(x)
        assert_same(contents(link), before)
        assert all(child.cell_weights()[0].array is None for child in link.cells())
    outputs = 2 * cell.width('h', UNITS)
    assert link(uniform((BATCH, TIME, INPUT + 1), 'f')).shape == (BATCH, outputs)


@pytest.mark.parametrize('in_size', [INPUT, None])
@pytest.mark.parametrize('persistent', [False, True], ids=['weights', 'and state'])
def test_npz_round_trip(cell, tmp_path, in_size, persistent):
    options = {'n_layers': 2, 'bidirectional': True, 'learn_initial_state': True}
    options |= {'stateful': True, 'dtype': 'f'}
    link, other = make(cell, **options), make(cell, in_size, **options)
    link.h0.array[...] = 0.25
    link.persistent_state = other.persistent_state = persistent
    link(X('f'))
    chainer.serializers.save_npz(tmp_path / 'link.npz', link)
    chainer.serializers.load_npz(tmp_path / 'link.npz', other)
    if not persistent:
        link.reset_state()
        assert other.h is None
    assert_same(contents(other), contents(link))
    assert_close([other(X('f'))], [link(X('f'))])


@pytest.mark.parametrize('name', ['l0/b', 'l1_reverse/U', 'h0', 'l0/W'])
def test_wrong_file_changes_nothing(cell, tmp_path, name):
    if cell is cells.lstm and name.startswith('l'):
        layer, weight = name.split('/')
        name = f'{layer}/{links.StatelessLSTM(1, 1).weight_keys[weight]}'
    options = {'n_layers': 2, 'bidirectional': True, 'learn_initial_state': True}
    link, other = make(cell, **options), make(cell, **options)
    chainer.serializers.save_npz(tmp_path / 'link.npz', link)
    with numpy.load(tmp_path / 'link.npz') as file:
        arrays = dict(file)
    before = contents(other)
    for wrong, error in (
        ({**arrays, name: arrays[name][:1]}, ValueError),
        ({key: x for key, x in arrays.items() if key != name}, KeyError),
    ):
        numpy.savez(tmp_path / 'wrong.npz', **wrong)
        with pytest.raises(error, match=name):
            chainer.serializers.load_npz(tmp_path / 'wrong.npz', other)
        assert_same(contents(other), before)


def test_save_state(cell):
    link = make(cell, stateful=True, n_layers=2)
    link(X())
    saved = link.save_state()
    assert list(saved) == list(cell.states)
    y = link(X())
    link.load_state(saved)
    assert_close([link(X())], [y])


@pytest.mark.parametrize(
    'duplicate',
    [
        lambda link: link.copy(),
        lambda link: link.copy('copy'),
        copy.deepcopy,
        lambda link: pickle.loads(pickle.dumps(link)),
    ],
    ids=['share', 'copy', 'deepcopy', 'pickle'],
)
def test_copies(cell, duplicate):
    link = make(cell, n_layers=2, stateful=True, learn_initial_state=True)
    link.h0.array[...] = 0.25
    link(X())
    other = duplicate(link)
    assert other.cell == cell
    assert_same(contents(other), contents(link))
    kept = link.h
    y = other(X())
    assert link.h is kept
    assert_close([link(X())], [y])


def test_copy_init_draws_anew(cell):
    link = links.SequenceLSTM(INPUT, UNITS, cell=cell)
    other = link.copy('init')
    for old, new in zip(link.l0.cell_weights(), other.l0.cell_weights()):
        assert old.shape == new.shape
        assert new.ndim == 1 or (old.array != new.array).all()


def test_an_update_changes_all_parameters(cell):
    link = make(cell, n_layers=2, bidirectional=True, dtype='f')
    optimizer = chainer.optimizers.SGD(1).setup(link)
    before = {path: param.array.copy() for path, param in link.namedparams()}
    link.cleargrads()
    F.sum(link(X('f'))).backward()
    optimizer.update()
    assert all((param.array != before[path]).any() for path, param in link.namedparams())


# Errors


@pytest.mark.parametrize('other', [cells.peephole, coupled, gru], ids=lambda c: c.name)
def test_forget_bias_init_is_of_cells_with_a_forget_gate(other):
    with pytest.raises(ValueError, match=f'no forget_bias_init of {other.name}'):
        make(other, forget_bias_init=1)
    assert (make(zoneout, forget_bias_init=3).l0.b.array[2::4] == 3).all()
    assert (make(cells.lstm, forget_bias_init=3).l0.upward.b.array[2::4] == 3).all()


@pytest.mark.parametrize('other', ['gru', None, type(gru)], ids=str)
def test_no_cell(other):
    with pytest.raises(TypeError, match=r'expected cell to be a chainer_lstm.cells.Cell, got '):
        make(other)


@pytest.mark.parametrize(
    'change',
    [
        lambda link: setattr(link, 'l0', links.StatelessLSTM(INPUT, UNITS)),
        lambda link: setattr(link, 'l0', chainer.links.Linear(INPUT, UNITS)),
        lambda link: link.l0.add_hook(chainer.LinkHook(), 'hook'),
    ],
    ids=['an LSTM', 'another link', 'hooked'],
)
def test_links_that_would_not_be_called_are_refused(change):
    link = make(gru, stateful=True)
    change(link)
    with pytest.raises(TypeError, match='expected l0 as it was made'):
        link(X())
    assert link.h is None


def test_weights_of_another_cell_are_refused():
    link = make(gru)
    link.l0 = CellWeights(coupled, INPUT, UNITS)
    with pytest.raises((TypeError, ValueError), match='expected l0 as it was made'):
        link(X())
