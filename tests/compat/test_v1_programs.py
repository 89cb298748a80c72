"""``install(v1=True)``: what programs of Chainer v1 do besides calling functions."""

import copy
import pickle

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import training
from chainer.training import extensions
from chainer.utils import type_check

import chainer_lstm
from chainer_lstm.compat.v1 import arguments

X = numpy.arange(12, dtype='f').reshape(4, 3)


@pytest.mark.usefixtures('v1')
def test_no_array_of_numbers_of_a_variable():
    """NumPy asks for the length, and reads a scalar that has one as an empty sequence."""
    assert numpy.asarray(chainer.Variable(X)).dtype == object


@pytest.mark.usefixtures('v1')
def test_steps_are_chained():
    """Volatile flags do not keep the steps from handing their gradients on."""
    link = L.LSTM(3, 2)
    for volatile in ('off', 'auto'):
        link.reset_state()
        for _ in range(3):
            h = link(chainer.Variable(X, volatile))
        node = h.creator
        assert type(node).__module__.startswith('chainer_lstm.')
        assert type(node.inputs[0].creator_node) is type(node)
        assert node.is_of_same_weights(node.inputs[0].creator_node)


@pytest.mark.usefixtures('v1')
def test_function_of_a_program():
    class Double(chainer.Function):
        def forward(self, inputs):
            return (2 * inputs[0],)

        def backward(self, inputs, grads):
            return (2 * grads[0],)

    x = chainer.Variable(X)
    y = F.sum(Double()(x))
    y.backward()
    assert (x.grad == 2).all() and y.volatile == 'off'
    assert Double()(chainer.Variable(X, True)).creator is None


@pytest.mark.usefixtures('v1')
def test_subclasses_of_links():
    class Small(L.Linear):
        def __init__(self, *args):
            super().__init__(3, 2, *args)

    class Tested(L.BatchNormalization):
        def __call__(self, x):
            return super().__call__(x, True)

    assert (Small(1, 0.5).b.array == 0.5).all() and Small(1, 0, True).b is None
    bn = Tested(3)
    assert bn(X).array.max() > 100 and (bn.avg_mean == 0).all()  # by a variance of 0


@pytest.mark.usefixtures('v1')
def test_pickle_and_copy():
    model = chainer.FunctionSet(l2=F.Linear(3, 2), l1=F.Linear(2, 2))
    classifier = L.Classifier(model, lossfun=F.softmax_cross_entropy)
    for copied in (
        pickle.loads(pickle.dumps(classifier)),
        copy.deepcopy(classifier),
        classifier.copy(),
    ):
        paths = [path for path, _ in copied.namedparams()]
        assert paths == ['/predictor/l2/W', '/predictor/l2/b', '/predictor/l1/W', '/predictor/l1/b']
        assert copied.lossfun is F.softmax_cross_entropy
        for found, expected in zip(copied.predictor.parameters, model.parameters):
            numpy.testing.assert_array_equal(found, expected)
    assert pickle.loads(pickle.dumps(chainer.ON)) is copy.deepcopy(chainer.ON) is chainer.ON
    assert copy.copy(chainer.Variable(X, 'on')).volatile == 'on'


def test_npz_of_a_function_set(tmp_path):
    with chainer_lstm.installed(v1=True):
        model = chainer.FunctionSet(l2=F.Linear(3, 2), l1=F.Linear(2, 2))
        chainer.serializers.save_npz(tmp_path / 'model.npz', model)
    chain = chainer.Chain(l1=L.Linear(2, 2), l2=L.Linear(3, 2))
    chainer.serializers.load_npz(tmp_path / 'model.npz', chain)
    numpy.testing.assert_array_equal(chain.l2.W.array, model.l2.W.array)


@pytest.mark.usefixtures('v1')
def test_npz_of_a_parameter_without_a_shape(tmp_path):
    model = chainer.Link(W=(2, 3))
    model.W.array[...] = X[:2]
    chainer.serializers.save_npz(tmp_path / 'model.npz', model)
    late = chainer.Link()
    late.add_uninitialized_param('W')
    with pytest.raises(AttributeError, match='W'):
        late.add_uninitialized_param('W')
    chainer.serializers.load_npz(tmp_path / 'model.npz', late)
    numpy.testing.assert_array_equal(late.W.array, X[:2])
    assert not late.has_uninitialized_params


@pytest.mark.usefixtures('v1')
def test_evaluator_leaves_its_users_own_mode():
    """An evaluator evaluates in the mode it is called in; v7's own would switch to test mode."""
    seen = []

    class Mine(extensions.Evaluator):
        def evaluate(self):
            seen.append(chainer.config.train)
            return {}

    iterator = chainer.iterators.SerialIterator([(X[0], 1)], 1, False, False)
    Mine(iterator, chainer.Chain())()
    with chainer.using_config('train', False):
        Mine(iterator, chainer.Chain())()
    assert seen == [True, False]


class Scaled(chainer.Function):
    """A function of v1: its check of types asks expressions for their values."""

    def check_type_forward(self, in_types):
        type_check.expect(in_types.size() >= 1)
        x_type = in_types[0]
        type_check.expect(x_type.dtype.kind == 'f', x_type.ndim == 2)
        if in_types.size().eval() == 2 and x_type.ndim.eval() == 2:
            type_check.expect(in_types[1].shape == (x_type.shape[1].eval(),))

    def forward(self, inputs):
        return (inputs[0] * inputs[1] if len(inputs) == 2 else inputs[0],)

    def backward(self, inputs, gradients):
        return gradients * len(inputs)


@pytest.mark.usefixtures('v1')
def test_type_checks_take_the_values_of_expressions():
    x = chainer.Variable(X)
    numpy.testing.assert_array_equal(Scaled()(x).data, X)
    numpy.testing.assert_array_equal(Scaled()(x, chainer.Variable(X[0])).data, X * X[0])
    for inputs, expected in [
        ((x, chainer.Variable(X[0, :2])), r'in_types\[1\]\.shape == \(3,\)'),
        ((chainer.Variable(X[0]),), r'in_types\[0\]\.ndim == 2'),
        ((chainer.Variable(X.astype('i')),), 'dtype.kind'),
    ]:
        with pytest.raises(type_check.InvalidType, match=expected):
            Scaled()(*inputs)


# drawn by Chainer 1.24 after numpy.random.seed(0): two batches, a number, and again after reset()
DRAWN = {
    False: [[2, 0, 1], [3, 4], 835, [0, 2, 1], [4, 3], 277],
    True: [[2, 0, 1], [3, 4, 2], 277, [1, 3, 4], [0, 2, 0], 486],
}


@pytest.mark.usefixtures('v1')
@pytest.mark.parametrize('repeat', DRAWN)
def test_iterator_draws_as_in_v1(repeat):
    numpy.random.seed(0)
    iterator = chainer.iterators.SerialIterator(list(range(5)), 3, repeat)
    drawn = [iterator.next(), iterator.next(), numpy.random.randint(1000)]
    iterator.reset()
    drawn += [iterator.next(), iterator.next(), numpy.random.randint(1000)]
    assert drawn == DRAWN[repeat]


@pytest.mark.usefixtures('v1')
def test_iterator_without_order_ends():
    assert [*chainer.iterators.SerialIterator([1, 2, 3], 2, False, False)] == [[1, 2], [3]]


@pytest.mark.usefixtures('v1')
@pytest.mark.parametrize(
    'batch, kind', [((X, X[:, 0]), tuple), ({'x': X}, dict), (X, chainer.Variable)]
)
def test_updater_and_evaluator_give_variables(batch, kind):
    class Model(chainer.Chain):
        def __call__(self, *args, **kwargs):
            given = args or tuple(kwargs.values())
            seen.append([x.volatile for x in given])
            loss = F.sum(self.l(given[0]))
            chainer.report({'loss': loss}, self)
            return loss

    seen = []
    model = Model(l=L.Linear(3, 2))
    optimizer = chainer.optimizers.SGD()
    optimizer.setup(model)
    iterator = chainer.iterators.SerialIterator([0], 1, False, False)
    training.StandardUpdater(
        chainer.iterators.SerialIterator([0], 1), optimizer, converter=lambda *_: batch
    ).update()
    extensions.Evaluator(iterator, model, converter=lambda *_: batch)()
    n = len(batch) if kind is not chainer.Variable else 1
    assert seen == [[chainer.OFF] * n, [chainer.ON] * n]


@pytest.mark.usefixtures('v1')
@pytest.mark.parametrize('name', arguments.MODELS)
def test_pretrained_models_are_called_in_test_mode(monkeypatch, name):
    cls = getattr(L, name)
    model = cls.__new__(cls)
    chainer.Chain.__init__(model)
    old = {'GoogLeNet': 'train'}.get(name, 'test')
    monkeypatch.setattr(
        cls,
        'forward',
        lambda self, x, layers=None, **kwargs: (chainer.config.train, layers, kwargs),
    )
    assert model(X) == (False, None, {})
    assert model(X, ['prob'], True) == (old == 'train', ['prob'], {})
    assert model(X, **{old: False}) == (old == 'test', None, {})


def test_weights_as_arrays(v1):
    """As before v1.5."""
    model = chainer.FunctionSet(l=F.Linear(3, 2))
    model.l.W[:] = numpy.arange(6).reshape(2, 3)
    model.l.W[1] += 1
    assert [' '.join('%.1f' % w for w in row) for row in model.l.W] == [  # noqa: UP031
        '0.0 1.0 2.0',
        '4.0 5.0 6.0',
    ]
    assert int(model.l.W[1, 2]) == 6 and float(model.l.W[:1, 1]) == 1
    assert isinstance(numpy.sum([F.sum(model.l.W), F.sum(model.l.W)]), chainer.Variable)
    with pytest.raises(ValueError):
        float(model.l.W)


FOUR = numpy.arange(16, dtype='f').reshape(4, 4) / 8


@pytest.mark.parametrize(
    'make, inputs, expected',
    [
        (lambda: F.ReLU(), (X - 5,), lambda: F.relu(X - 5)),
        (lambda: F.LSTM(), (X[:, :1], FOUR), lambda: F.lstm(X[:, :1], FOUR)),
        (lambda: F.Dropout(0.0), (X,), lambda: X),
        (lambda: F.Concat(axis=1), (X, X), lambda: F.concat((X, X))),
    ],
    ids=['ReLU', 'LSTM', 'Dropout', 'Concat'],
)
def test_function_objects(v1, make, inputs, expected):
    function = make()
    found, right = (y if isinstance(y, tuple) else (y,) for y in (function(*inputs), expected()))
    for y, number in zip(found, right):
        assert y.creator is function
        numpy.testing.assert_allclose(y.array, chainer.as_array(number), rtol=1e-6)


def test_names_of_function_objects_do_not_hide_links(v1):
    assert F.BatchNormalization is L.BatchNormalization
    assert F.LSTM is not L.LSTM


def test_optimizer_of_a_snapshot_of_v1(v1, tmp_path):
    """In v1 the optimizer alone counted updates: its files have no t of a parameter."""
    link = L.Linear(3, 2, initialW=1)
    optimizer = chainer.optimizers.Adam()
    optimizer.setup(link)

    def update():
        optimizer.update(lambda: F.sum(link(X) ** 2))

    update()
    update()
    chainer.serializers.save_npz(tmp_path / 'saved.npz', optimizer)
    resumed = chainer.optimizers.Adam()
    resumed.setup(link.copy('copy'))
    saved = {
        key: value for key, value in numpy.load(tmp_path / 'saved.npz').items() if '/t' not in key
    }
    assert saved.keys() == {'t', 'epoch', 'W/m', 'W/v', 'b/m', 'b/v'}  # as of 1.24
    numpy.savez(tmp_path / 'v1.npz', **saved)
    chainer.serializers.load_npz(tmp_path / 'v1.npz', resumed)
    update()
    resumed.update(lambda: F.sum(resumed.target(X) ** 2))
    for found, expected in zip(resumed.target.params(), link.params()):
        numpy.testing.assert_array_equal(found.array, expected.array)


def test_other_keys_that_a_snapshot_lacks_are_errors(v1, tmp_path):
    optimizer = chainer.optimizers.Adam()
    optimizer.setup(L.Linear(3, 2))
    numpy.savez(tmp_path / 'optimizer.npz', t=2, epoch=0)
    with pytest.raises(KeyError, match='W/m'):
        chainer.serializers.load_npz(tmp_path / 'optimizer.npz', optimizer)
