"""``install(v1=True)``: what it touches and gives back, what fails, and what it leaves alone."""

import sys
import types

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer.backends import cuda

import chainer_lstm
from chainer_lstm.compat.v1 import arguments, links
from tests.compat.v1_numbers import NUMBERS, v1_cases

X = numpy.arange(12, dtype='f').reshape(4, 3)


def everything():
    """Every attribute of Chainer's modules and ours, and of the classes in them."""
    found = {}
    for module_name, module in [*sys.modules.items()]:
        if module_name.partition('.')[0] in ('chainer', 'chainer_lstm'):
            found[module_name, ''] = module
            for name, value in [*vars(module).items()]:
                found[module_name, name] = value
                if isinstance(value, type):
                    found.update(
                        {(module_name, name, each): of for each, of in [*vars(value).items()]}
                    )
    found.update(
        {('global_config', name): value for name, value in vars(chainer.global_config).items()}
    )
    return found


def assert_same_objects(found, expected):
    assert found.keys() == expected.keys()
    assert [key for key in expected if found[key] is not expected[key]] == []


@pytest.fixture(scope='module')
def before():
    with chainer_lstm.installed(v1=True):
        pass  # whatever is imported, is imported now
    return everything()


@pytest.mark.parametrize('steps', [[True], [False], [False, True], [True, False], [True, True]])
def test_uninstall_gives_everything_back(before, steps):
    for k, v1 in enumerate(steps):
        chainer_lstm.install(v1=v1)
        assert hasattr(chainer, 'FunctionSet') == any(steps[: k + 1])
    chainer_lstm.uninstall()
    assert_same_objects(everything(), before)


def test_twice_changes_nothing():
    with chainer_lstm.installed(v1=True):
        first = everything()
        chainer_lstm.install(v1=True)
        chainer_lstm.install()
        assert_same_objects(everything(), first)
        with chainer_lstm.installed(v1=True):
            pass
        assert_same_objects(everything(), first)


def test_block_in_a_block(before):
    with chainer_lstm.installed():
        plain = everything()
        with pytest.raises(ZeroDivisionError), chainer_lstm.installed(v1=True):
            assert L.LSTM is chainer_lstm.links.LSTM
            1 / 0  # noqa: B018
        assert_same_objects(everything(), plain)
    assert_same_objects(everything(), before)


def test_without_v1_nothing_of_it_is_there():
    with chainer_lstm.installed():
        assert not hasattr(chainer, 'Flag') and 'chainer.flag' not in sys.modules
        with pytest.raises(ValueError, match='train'):
            F.dropout(X, train=False)


@pytest.mark.usefixtures('v1')
def test_names():
    from chainer.flag import ON, aggregate_flags
    from chainer.function_set import FunctionSet

    assert ON is chainer.ON is chainer.flag.Flag('on') and FunctionSet is chainer.FunctionSet
    assert aggregate_flags([chainer.AUTO, ON]) is ON
    assert all(getattr(F, name) is getattr(L, name) for name in links.PARAMETRIC)
    assert issubclass(L.GRU, L.StatelessGRU)


@pytest.mark.filterwarnings('ignore:chainer.optimizer:DeprecationWarning')
@pytest.mark.usefixtures('v1')
def test_a_class_of_v1_written_with_init_scope():
    """It draws, drops and learns as the one of v1 that registers its links in the constructor."""

    class WithScope(v1_cases.LanguageModel):
        def __init__(self, n_vocab, n_units, train=True):
            chainer.Chain.__init__(self)
            with self.init_scope():
                self.embed = L.EmbedID(n_vocab, n_units)
                self.l1 = L.LSTM(n_units, n_units)
                self.l2 = L.LSTM(n_units, n_units)
                self.l3 = L.Linear(n_units, n_vocab)
            self.draw()
            self.train = train

    numpy.random.seed(7)
    expected = NUMBERS['language_model']
    numpy.testing.assert_allclose(v1_cases.language_model(WithScope), expected, rtol=2e-6)


@pytest.mark.usefixtures('v1')
@pytest.mark.parametrize(
    'given, expected',
    [
        ({'train': False}, (False, 'auto', False)),
        ({'train': 1}, (True, 'auto', False)),
        ({'test': True}, (False, 'auto', False)),
        ({'test': False}, (True, 'auto', False)),
        ({'use_cudnn': False}, (True, 'never', False)),
        ({'use_cudnn': True, 'deterministic': True}, (True, 'auto', True)),
        ({'train': False, 'deterministic': False}, (False, 'auto', False)),
    ],
)
def test_configuration(given, expected):
    def configuration(x):
        return chainer.config.train, chainer.config.use_cudnn, chainer.config.cudnn_deterministic

    taking = arguments.taking(
        'x train test use_cudnn deterministic', arguments.CONFIGURATION, arguments.configured
    )
    assert taking(configuration)(X, **given) == expected
    with chainer.using_config('train', False):
        assert taking(configuration)(X)[0] is False  # as it is, where nothing is said
    assert configuration(X) == (True, 'auto', False)


@pytest.mark.usefixtures('v1')
@pytest.mark.parametrize(
    'call, message',
    [
        (
            lambda: F.relu(X, True, 3),
            r'relu\(\) of Chainer v1: expected at most 2 arguments, x use_cudnn; got 3',
        ),
        (lambda: F.dropout(X, 0.5, True, train=True), r'dropout\(\): got two values of train'),
        (
            lambda: L.Linear(3, 2, 1, 0, False, None, None, 1),
            r'expected at most 8 arguments, self in_size',
        ),
        (lambda: L.BatchNormalization(3)(X, True, test=True), 'got two values of test'),
        (lambda: F.relu(X, cudnn=True), 'unexpected keyword argument'),
        (lambda: chainer.Variable(X, 'maybe'), "'maybe' is not a valid Flag"),
        (lambda: bool(chainer.AUTO), 'AUTO is neither true nor false'),
        (
            lambda: chainer.Variable(X, 'on') + chainer.Variable(X),
            'ON and OFF flags cannot be mixed',
        ),
        (
            lambda: setattr(chainer.FunctionSet(l=F.Linear(3, 2)), 'gradients', [X]),
            'expected 2 arrays.*got 1',
        ),
        (
            lambda: setattr(chainer.FunctionSet(l=F.Linear(3, 2)), 'parameters', [X] * 3),
            'expected 2 arrays.*got 3',
        ),
    ],
)
def test_wrong_use(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.usefixtures('v1')
def test_without_cuda():
    if cuda.available:
        assert cuda.zeros_like(X).shape == cuda.full_like(X, 2).shape == X.shape
        return
    for call in (
        cuda.init,
        lambda: cuda.empty((2,)),
        lambda: cuda.ones((2,)),
        lambda: cuda.zeros_like(X),
        lambda: cuda.full((2,), 1),
        lambda: cuda.full_like(X, 1),
    ):
        with pytest.raises(RuntimeError, match='CUDA environment is not correctly set up'):
            call()


@pytest.mark.usefixtures('v1')
def test_arrays_of_cupy(monkeypatch):
    monkeypatch.setattr(cuda, 'check_cuda_available', lambda: None)
    monkeypatch.setattr(cuda, 'cupy', numpy)
    assert (
        cuda.empty((2, 3)).dtype
        == cuda.ones((2, 3)).dtype
        == cuda.full((2, 3), 4).dtype
        == numpy.float32
    )
    assert (
        cuda.zeros((2,), numpy.int32).dtype == cuda.zeros_like(X.astype('i')).dtype == numpy.int32
    )
    assert (
        cuda.full((2,), 4, numpy.int8).tolist()
        == cuda.full_like(numpy.zeros(2, 'b'), 4).tolist()
        == [4, 4]
    )
    assert cuda.full_like(X, 3).dtype == numpy.float32 and cuda.empty_like(X).shape == X.shape
    assert cuda.ones_like(X).sum() == 12 and cuda.init() is None and cuda.init(0) is None


@pytest.mark.usefixtures('v1')
def test_libraries_have_the_meaning_of_v7():
    library = types.ModuleType('chainer_lstm.of_this_test')
    exec(
        'def length(x): return len(x)\n'
        'def split(F, x): return F.split_axis(x, 1, 1)\n'
        'def softmax(F, x): return F.softmax(x, 0)\n'
        'def linear(L): return L.Linear(3, 2, True)\n'
        'def variable(chainer, x): return chainer.Variable(x)\n',
        vars(library),
    )
    x = chainer.Variable(X)
    assert library.length(x) == 4 and len(x) == 12
    assert isinstance(library.split(F, x), tuple) and isinstance(
        F.split_axis(x, 1, 1), chainer.Variable
    )
    numpy.testing.assert_allclose(library.softmax(F, x).array.sum(axis=0), 1, rtol=1e-6)
    numpy.testing.assert_allclose(F.softmax(x, 0).array.sum(axis=1), 1, rtol=1e-6)
    assert library.linear(L).b is None and L.Linear(3, 2, True).b is not None
    assert library.variable(chainer, X).volatile == 'auto' and x.volatile == 'off'


@pytest.mark.usefixtures('v1')
def test_programs_of_v7_go_on():
    x = chainer.Variable(X)
    with chainer.using_config('train', False):
        assert F.dropout(x) is x
    assert L.Linear(3, 2, nobias=True).b is None
    assert F.softmax(x, axis=0).shape == x.shape
    assert len(F.max_pooling_2d(X[None, None], 2, return_indices=True)) == 2
    assert isinstance(F.split_axis(x, 1, 1, force_tuple=True), tuple)
    assert chainer.Variable(X, requires_grad=False, name='x').name == 'x'
    assert chainer.Variable().array is None
    with chainer.no_backprop_mode():
        assert F.relu(x).creator is None
    link = L.NStepLSTM(1, 3, 2, 0.0, initialW=chainer.initializers.Constant(0.5))
    assert (link[0].w0.array == 0.5).all()
    assert [*L.BatchNormalization(3, initial_avg_var=1).avg_var] == [1, 1, 1]
