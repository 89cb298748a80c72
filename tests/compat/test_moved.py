"""Modules of Chainer v1 to v6 under their old names."""

import importlib
import pickle
import subprocess
import sys

import chainer
import pytest

import chainer_lstm
from chainer_lstm.compat import moved

# what programs import from them, by old module; all of it was there in Chainer v1 or v3
NAMES = {
    'chainer.functions.activation.lstm': ('LSTM', 'lstm', '_extract_gates'),
    'chainer.functions.activation.slstm': ('SLSTM', 'slstm'),
    'chainer.functions.activation.tree_lstm': ('TreeLSTM', 'tree_lstm'),
    'chainer.functions.caffe': ('CaffeFunction',),
    'chainer.functions.connection.n_step_gru': ('n_step_gru', 'n_step_bigru'),
    'chainer.functions.connection.n_step_lstm': ('n_step_lstm', 'n_step_bilstm', '_stack_weight'),
    'chainer.functions.connection.n_step_rnn': ('n_step_rnn', 'n_step_birnn'),
    'chainer.functions.math.squared_difference': ('squared_difference',),
    'chainer.functions.pooling.max_pooling_2d': ('max_pooling_2d',),
    'chainer.links.connection.gru': ('GRUBase', 'StatefulGRU'),
    'chainer.links.connection.lstm': ('LSTM', 'LSTMBase', 'StatelessLSTM'),
    'chainer.links.connection.mgu': ('StatelessMGU', 'StatefulMGU'),
    'chainer.links.connection.n_step_gru': ('NStepGRU', 'argsort_list_descent', 'permutate_list'),
    'chainer.links.connection.n_step_lstm': (
        'NStepLSTM',
        'NStepBiLSTM',
        'NStepLSTMBase',
        'argsort_list_descent',
        'permutate_list',
    ),
    'chainer.links.connection.n_step_rnn': (
        'NStepRNNTanh',
        'argsort_list_descent',
        'permutate_list',
    ),
    'chainer.links.connection.peephole': ('StatefulPeepholeLSTM',),
    'chainer.links.connection.tree_lstm': ('ChildSumTreeLSTM', 'NaryTreeLSTM'),
    'chainer.links.connection.zoneoutlstm': ('StatefulZoneoutLSTM',),
    'chainer.training.triggers.interval': ('IntervalTrigger',),
}


@pytest.mark.parametrize('name', moved.MOVED)
def test_names(name):
    module = importlib.import_module(name)
    assert module.__name__ == name and sys.modules[name] is module
    package, _, last = name.rpartition('.')
    # where chainer.functions.activation has a function of the name already,
    # the module takes its place as in v1
    assert getattr(sys.modules[package], last) is module
    for each in NAMES[name]:
        assert each in (*dir(module), 'argsort_list_descent', 'permutate_list')
        assert getattr(module, each).__name__ == each
    with pytest.raises(AttributeError, match='no_such_name'):
        module.no_such_name  # noqa: B018
    with pytest.raises(AttributeError, match='__no_such_name__'):
        module.__no_such_name__  # noqa: B018


def test_all_are_tested_and_none_is_there_in_7():
    assert NAMES.keys() == moved.MOVED.keys()
    for name in moved.MOVED:
        package, _, last = name.rpartition('.')
        path = importlib.import_module(package).__path__[0]
        assert importlib.machinery.PathFinder.find_spec(name, [path]) is None, last


def test_ours_while_installed():
    from chainer.functions.connection import n_step_lstm
    from chainer.links.connection import lstm

    theirs = lstm.LSTM, n_step_lstm.n_step_lstm
    with chainer_lstm.installed():
        assert lstm.LSTM is chainer_lstm.links.LSTM is not theirs[0]
        assert n_step_lstm.n_step_lstm is chainer_lstm.functions.n_step_lstm
        assert lstm.LSTMBase is theirs[0].__mro__[1]  # the rest is Chainer's
    assert (lstm.LSTM, n_step_lstm.n_step_lstm) == theirs


def test_pickle_by_an_old_name():
    """Classes pickled by Chainer v3, which has their old module in the file."""
    data = pickle.dumps(chainer.links.LSTM, 0).replace(
        b'chainer.links.rnn.lstm', b'chainer.links.connection.lstm'
    )
    assert pickle.loads(data) is chainer.links.LSTM
    with chainer_lstm.installed():
        assert pickle.loads(data) is chainer_lstm.links.LSTM


def test_install_twice_and_other_names():
    moved.install()
    assert sum(type(finder) is moved._Finder for finder in sys.meta_path) == 1
    with pytest.raises(ModuleNotFoundError, match='no_such_module'):
        importlib.import_module('chainer.functions.activation.no_such_module')


@pytest.mark.parametrize(
    'statement',
    [
        'import chainer.functions.activation.lstm as m; m.lstm',
        'from chainer.functions.activation import lstm; lstm.lstm',
        'from chainer.links.connection.lstm import LSTM, StatelessLSTM',
        'from chainer.links.connection import n_step_rnn; n_step_rnn.argsort_list_descent',
    ],
)
def test_in_a_new_process(statement):
    subprocess.run([sys.executable, '-c', f'import chainer_lstm; {statement}'], check=True)
