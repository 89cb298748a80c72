"""Ours in the place of Chainer's: which names, which links, pickles and files,
and that all goes back.
"""

import copy
import importlib
import pickle
import sys

import chainer
import chainer.links as L
import numpy
import pytest

import chainer_lstm
import chainer_lstm.functions
import chainer_lstm.links
from tests.support.arrays import assert_close, assert_same
from tests.support.links import INPUT, UNITS, contents, inputs, outputs_states_and_gradients, pair

LINKS = {
    'LSTM': 'lstm',
    'StatelessLSTM': 'lstm',
    'StatefulPeepholeLSTM': 'peephole',
    'StatefulZoneoutLSTM': 'zoneoutlstm',
    'NStepLSTM': 'n_step_lstm',
    'NStepBiLSTM': 'n_step_lstm',
}
TREES = {'ChildSumTreeLSTM': 'tree_lstm', 'NaryTreeLSTM': 'tree_lstm'}  # not called with x alone
FUNCTIONS = {
    'lstm': 'lstm',
    'n_step_lstm': 'n_step_lstm',
    'n_step_bilstm': 'n_step_lstm',
    'slstm': 'slstm',
    'tree_lstm': 'tree_lstm',
}
ARGUMENTS = {
    name: (2, INPUT, UNITS, 0.0) if name.startswith('NStep') else (INPUT, UNITS) for name in LINKS
}
ORIGINAL = {name: getattr(L, name) for name in LINKS}


@pytest.fixture
def installed():
    with chainer_lstm.installed():
        yield


def names():
    """Everything that Chainer has under the names of the family, wherever a user may look."""
    found = {}
    for kind, table in (('links', LINKS | TREES), ('functions', FUNCTIONS)):
        for name, module in table.items():
            path = f'chainer.{kind}.rnn.{module}'
            found[f'{kind}.{name}'] = [
                getattr(getattr(chainer, kind), name),
                getattr(importlib.import_module(path), name),
                getattr(getattr(getattr(chainer, kind).rnn, module), name),
                getattr(sys.modules[path], name),
            ]
    return found


def test_every_name_is_ours_and_goes_back():
    before = names()
    with chainer_lstm.installed():
        for path, found in names().items():
            kind, name = path.split('.')
            ours = getattr(getattr(chainer_lstm, kind), name)
            assert found == [ours] * 4, path
            assert ours not in before[path]
    assert names() == before


def test_install_twice_and_uninstall_once():
    before = names()
    chainer_lstm.install()
    try:
        chainer_lstm.install()
        with chainer_lstm.installed():
            pass
        assert L.LSTM is chainer_lstm.links.LSTM  # the block leaves it installed, as it was
    finally:
        chainer_lstm.uninstall()
    assert names() == before
    chainer_lstm.uninstall()
    assert names() == before


def test_goes_back_after_an_error():
    before = names()
    with pytest.raises(ZeroDivisionError), chainer_lstm.installed():
        1 / 0  # noqa: B018
    assert names() == before


@pytest.mark.usefixtures('installed')
def test_other_names_of_the_modules_are_chainers():
    from chainer.functions.rnn import lstm
    from chainer.links.rnn.n_step_lstm import NStepLSTMBase

    assert issubclass(L.NStepLSTM, NStepLSTMBase)
    assert (
        lstm.LSTM is not chainer_lstm.functions.lstm.__globals__['LSTM']
    )  # Chainer's FunctionNode
    assert {'LSTM', 'lstm', 'lstm_grad_grad'} <= set(dir(lstm))
    assert lstm.__spec__.name == lstm.__name__ == 'chainer.functions.rnn.lstm'
    with pytest.raises(AttributeError, match='no_such_name'):
        lstm.no_such_name  # noqa: B018


@pytest.mark.parametrize('name', LINKS)
def test_links_made_before_and_after_compute_the_same(name):
    theirs, ours = pair(name, *ARGUMENTS[name])
    with chainer_lstm.installed():
        numpy.random.seed(1)
        new = getattr(L, name)(*ARGUMENTS[name])
        assert type(new) is type(ours) and isinstance(new, ORIGINAL[name])
        assert_same(contents(new), contents(ours))
        assert type(theirs) is ORIGINAL[name]
        if hasattr(new, 'reset_state'):
            xs = inputs((3, 3, 2) if name == 'LSTM' else (3, 3))
            found = []
            for link in (theirs, new):
                numpy.random.seed(2)  # of zoneout
                found.append(outputs_states_and_gradients(link, xs))
            theirs.to_device('@numpy')  # methods of Chainer's that look their class up by its name
        else:
            xs = inputs((3, 2))
            found = [
                link(None, None, xs)[:2] if name.startswith('NStep') else link(None, None, xs[0])
                for link in (theirs, new)
            ]
        assert_close(found[1], found[0])


def test_class_imported_and_subclass_made_before_go_on():
    class Mine(ORIGINAL['LSTM']):
        pass

    with chainer_lstm.installed():
        link = Mine(INPUT, UNITS)
        assert link(inputs((2,))[0]).shape == (2, UNITS)
        assert ORIGINAL['StatefulPeepholeLSTM'](INPUT, UNITS)(inputs((2,))[0]).shape == (2, UNITS)


@pytest.mark.usefixtures('installed')
def test_subclass_made_after():
    class Mine(L.LSTM):
        def __init__(self):
            super().__init__(INPUT, UNITS)

    link = Mine()
    assert link(inputs((2,))[0]).shape == (2, UNITS)
    assert isinstance(link.copy(), chainer_lstm.links.LSTM)


@pytest.mark.parametrize('name', LINKS)
@pytest.mark.parametrize('of_chainer', [True, False], ids=["Chainer's", 'ours'])
def test_pickle(name, of_chainer):
    """What genuine Chainer pickled is read as ours, weights, state and all;
    ours stays ours either way.
    """
    link = pair(name, *ARGUMENTS[name])[0 if of_chainer else 1]
    if hasattr(link, 'reset_state'):
        link(inputs((2,))[0])
    data = pickle.dumps(link)
    with chainer_lstm.installed():
        read = pickle.loads(data)
        assert type(read) is getattr(chainer_lstm.links, name)
        assert_same(contents(read), contents(link))
        xs = inputs((2, 2))
        call = (
            (lambda link: [*link(None, None, xs)[:2]])
            if name.startswith('NStep')
            else (lambda link: [*link(None, None, xs[0])])
            if name == 'StatelessLSTM'
            else (lambda link: [link(x) for x in xs])
        )
        with chainer.using_config('train', False):
            assert_close(call(read), call(link))
        again = pickle.dumps(read)
    assert type(pickle.loads(again)) is getattr(chainer_lstm.links, name)
    assert type(pickle.loads(data)) is type(link)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('name', LINKS)
def test_pickle_and_copy_of_a_link_made_before(name, protocol):
    link, _ = pair(name, *ARGUMENTS[name])
    if hasattr(link, 'reset_state'):
        link(inputs((2,))[0])
    with chainer_lstm.installed():
        data = pickle.dumps(link, protocol)
        copies = [pickle.loads(data), copy.deepcopy(link), link.copy('copy')]
    copies.append(pickle.loads(data))
    for each in copies:
        assert type(each) is ORIGINAL[name]
        assert_same(contents(each), contents(link))
    assert pickle.dumps(link, protocol) != data  # as Chainer's again


def test_pickle_of_a_deferred_link_and_of_a_chain():
    data = pickle.dumps(chainer.Sequential(L.LSTM(UNITS), L.Linear(UNITS, 2)))
    with chainer_lstm.installed():
        model = pickle.loads(data)
        assert isinstance(model[0], chainer_lstm.links.LSTM)
        assert model(inputs((2,))[0]).shape == (2, 2)


@pytest.mark.parametrize('name', LINKS)
def test_npz_of_chainers_link(name, tmp_path):
    theirs, _ = pair(name, *ARGUMENTS[name])
    chainer.serializers.save_npz(tmp_path / 'link.npz', theirs)
    with chainer_lstm.installed():
        link = getattr(L, name)(*ARGUMENTS[name])
        chainer.serializers.load_npz(tmp_path / 'link.npz', link)
    assert_same(contents(link), contents(theirs))
