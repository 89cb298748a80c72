"""``optimizers.update`` against ``optimizer.update`` of Chainer: every rule, hook and parameter."""

import chainer
import chainer.links as L
import numpy
import pytest
from chainer import optimizer_hooks, optimizers
from chainer.optimizers.sgd import SGDRule

import chainer_lstm
from chainer_lstm.models.shared import SharesParameters
from chainer_lstm.optimizers import steps, update
from tests.optimizers.cases import OPTIMIZERS, Model, check, clipped, fill, values


@pytest.fixture
def kernels(monkeypatch):
    """The names of the rules whose steps kernels take."""
    found = set()
    take = steps.take

    def counting(taken, engine, scale):
        found.update(type(step.rule).__name__ for step in taken)
        take(taken, engine, scale)

    monkeypatch.setattr(steps, 'take', counting)
    return found


@pytest.mark.parametrize(('threshold', 'dtype'), [(5.0, 'f'), (1e9, 'f'), (None, 'f'), (5.0, 'd')])
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_many_updates(device, name, threshold, dtype, kernels):
    optimizer = check(device, clipped(OPTIMIZERS[name], threshold), 40, dtype)
    rule = type(optimizer.target.embed.W.update_rule).__name__
    assert kernels == (set() if name == 'RMSprop' else {rule})


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_many_updates_with_numpy(name):
    with chainer.using_config('lstm_engine', 'numpy'):
        check('@numpy', clipped(OPTIMIZERS[name]), 40)


def test_learning_rates_that_change(device, kernels):
    def each(k, optimizer):
        optimizer.alpha = 0.01 / (k + 1)
        optimizer.target.out.W.update_rule.hyperparam.beta1 = 0.5

    check(device, clipped(optimizers.AdaBound), each=each)
    assert kernels == {'AdamRule'}


HOOKS = {
    'weight decay after clipping': [optimizer_hooks.WeightDecay(0.1)],
    'noise before, clipping twice': [
        optimizer_hooks.GradientHardClipping(-1, 1),
        type('Other', (optimizer_hooks.GradientClipping,), {'name': 'other'})(3.0),
    ],
    'after the update': [type('After', (optimizer_hooks.Lasso,), {'timing': 'post'})(0.01)],
}


@pytest.mark.parametrize('hooks', HOOKS.values(), ids=HOOKS)
def test_hooks_of_the_optimizer(device, hooks, kernels):
    check(device, clipped(optimizers.MomentumSGD, 5.0, *hooks))
    assert kernels == {'MomentumSGDRule'}


class OwnRule(SGDRule):
    def update_core_cpu(self, param):
        param.array[...] -= 1

    update_core_gpu = update_core_cpu


def _own_rule(optimizer):
    optimizer.target.out.b.update_rule = OwnRule(optimizer.hyperparam)


def _own_method(optimizer):
    rule = optimizer.target.out.b.update_rule
    rule.update_core = lambda param: param.array.fill(7)


def _rule_hook(optimizer):
    optimizer.target.out.b.update_rule.add_hook(lambda rule, param: param.array.fill(7), 'hook')


def _shared_gradient(optimizer):
    optimizer.target.out.b.grad = optimizer.target.out.W.grad[0, :2]


def _shared_memory(optimizer):
    optimizer.target.out.b.array = optimizer.target.out.W.array[0, :2]


def _not_contiguous(optimizer):
    W = optimizer.target.out.W
    W.array = W.xp.asfortranarray(W.array)


def _scaled_loss(optimizer):
    for param in optimizer.target.params():
        param.__dict__['_loss_scale'] = 4.0


@pytest.mark.parametrize(
    'change',
    [
        _own_rule,
        _own_method,
        _rule_hook,
        _shared_gradient,
        _shared_memory,
        _not_contiguous,
        _scaled_loss,
    ],
)
def test_chainers_code_where_kernels_do_not_fit(device, change, kernels):
    def each(k, optimizer):
        if k == 0 or change not in (_own_rule, _rule_hook):
            change(optimizer)

    check(device, clipped(OPTIMIZERS['SGD']), each=each)
    assert not kernels


def test_parameters_that_are_not_updated(device, kernels):
    """Their gradients are clipped all the same."""

    def prepare(model):
        optimizer = clipped(optimizers.Adam)(model)
        model.embed.disable_update()
        model.out.b.update_rule = None
        return optimizer

    optimizer = check(device, prepare)
    assert kernels == {'AdamRule', 'NoneType'}
    assert optimizer.target.embed.W.update_rule.t == 0


def _add(model, *arrays):
    with model.init_scope():
        for k, x in enumerate(arrays):
            setattr(model, f'p{k}', chainer.Parameter(model.xp.asarray(x)))


def _many(model):
    _add(model, *numpy.random.RandomState(1).normal(size=(150, 5)).astype('f'))


def _empty(model):
    _add(model, numpy.zeros((0, 3), 'f'), numpy.ones((), 'f'), numpy.zeros((3, 0), 'f'))


@pytest.mark.parametrize('change', [_many, _empty])
@pytest.mark.parametrize('name', ['SGD', 'AMSGrad'])
def test_more_parameters(device, name, change, kernels):
    def prepare(model):
        change(model)
        return clipped(OPTIMIZERS[name])(model)

    check(device, prepare)
    assert len(kernels) == 1


@pytest.mark.parametrize('name', ['SGD', 'MomentumSGD', 'Adam', 'AMSGrad'])
def test_more_parameters_by_the_numpy_engine(name, kernels):
    def prepare(model):
        _empty(model)
        return clipped(OPTIMIZERS[name])(model)

    with chainer.using_config('lstm_engine', 'numpy'):
        check('@numpy', prepare)
    assert len(kernels) == 1


def _shifted(x, by):
    """A copy that begins so many numbers after its memory does."""
    memory = chainer.backend.get_array_module(x).zeros(x.size + by, x.dtype)
    memory[by:] = x.ravel()
    return memory[by:].reshape(x.shape)


@pytest.mark.parametrize('by', [(1, 1), (0, 2), (3, 0)], ids=str)
def test_arrays_that_are_not_aligned(device, by, kernels):
    of_array, of_gradient = by

    def each(k, optimizer):
        for param in optimizer.target.params():
            if k == 0:
                param.array = _shifted(param.array, of_array)
            param.grad = _shifted(param.grad, of_gradient)

    check(device, clipped(optimizers.Adam), each=each)
    assert kernels == {'AdamRule'}


class Shared(SharesParameters, Model):
    """Counts a parameter of two links once."""


@pytest.mark.parametrize('cls', [Model, Shared])
def test_tied_parameters(device, cls, kernels):
    """Chainer updates them once for each link."""

    def prepare(model):
        model.__class__ = cls
        with model.init_scope():
            model.other = L.Linear(3, 2)
        model.other.to_device(device)
        model.other.W = model.out.W
        model.other.b.array[...] = 1
        return clipped(optimizers.MomentumSGD)(model)

    check(device, prepare)
    assert kernels == (set() if cls is Model else {'MomentumSGDRule'})


def test_gradients_that_are_none(device, kernels):
    def each(k, optimizer):
        optimizer.target.embed.cleargrads()

    check(device, clipped(optimizers.Adam), each=each)
    assert kernels == {'AdamRule'}


def test_dtypes_side_by_side(device, kernels):
    def each(k, optimizer):
        b = optimizer.target.out.b
        if k == 0:
            b.array = b.xp.ones(2, 'd')
        b.grad = b.xp.ones(2, 'd')

    check(device, clipped(optimizers.Adam), each=each, tolerance={'f': 2e-6, 'd': 2e-6})
    assert kernels == {'AdamRule'}


def test_float16_with_a_float32_copy(kernels):
    def prepare(model):
        for param in model.params():
            param.array = param.array.astype('e')
        optimizer = optimizers.SGD(0.1)
        optimizer.use_fp32_update()
        return optimizer.setup(model)

    ours, chainers = (prepare(Model()) for _ in range(2))
    for optimizer, step in ((ours, update), (chainers, type(chainers).update)):
        fill(optimizer.target, 0)
        step(optimizer)
    found, expected = values(ours), values(chainers)
    for name in expected:
        numpy.testing.assert_array_equal(found[name], expected[name])
    assert not kernels


@pytest.mark.filterwarnings('ignore:Non finite number', 'ignore:invalid value encountered')
def test_dynamic_loss_scaling_leaves_out_an_update(device):
    found = []
    for step in (update, optimizers.SGD.update):
        model = Model()
        model.to_device(device)
        optimizer = clipped(OPTIMIZERS['SGD'])(model)
        optimizer.loss_scaling()
        for k in range(3):
            fill(model, k)
            if k == 1:
                model.embed.W.grad[0, 0] = numpy.inf
            step(optimizer)
        assert (optimizer.t, model.embed.W.update_rule.t) == (3, 2)
        found.append(values(optimizer)['/embed/W'])
    numpy.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.filterwarnings('ignore:invalid value encountered', 'ignore:overflow encountered')
@pytest.mark.parametrize('value', [numpy.nan, numpy.inf, 1e30])
def test_norms_that_are_not_finite(device, value):
    found = []
    for step in (update, optimizers.SGD.update):
        model = Model()
        model.to_device(device)
        optimizer = clipped(OPTIMIZERS['SGD'])(model)
        fill(model, 0)
        model.embed.W.grad[3, 4] = value
        step(optimizer)
        found.append(values(optimizer))
    for name in found[0]:
        numpy.testing.assert_array_equal(*(each[name] for each in found), err_msg=name)


@pytest.mark.filterwarnings('ignore:divide by zero')
def test_gradients_that_are_zero(device):
    model = Model()
    model.to_device(device)
    optimizer = clipped(optimizers.SGD)(model)
    model.cleargrads()
    before = values(optimizer)['/embed/W']
    update(optimizer)
    numpy.testing.assert_array_equal(values(optimizer)['/embed/W'], before)


def test_zero_gradients_warn_as_chainers():
    optimizer = clipped(optimizers.SGD)(Model())
    optimizer.target.cleargrads()
    with pytest.warns(RuntimeWarning, match='divide by zero'):
        update(optimizer)


def test_a_loss_function():
    def prepare(model):
        return clipped(OPTIMIZERS['SGD'])(model)

    def loss(model, x):
        return chainer.functions.sum(model.out(x) ** 2)

    ours, chainers = prepare(Model()), prepare(Model())
    x = numpy.ones((4, 3), 'f')
    update(ours, loss, ours.target, x)
    chainers.update(loss, chainers.target, x)
    numpy.testing.assert_allclose(ours.target.out.W.array, chainers.target.out.W.array, rtol=1e-6)
    assert not ours.target.embed.W.grad.any()


def test_an_eps_that_is_too_small_changes_nothing():
    optimizer = optimizers.Adam(eps=1e-60).setup(Model())
    fill(optimizer.target, 0)
    before = optimizer.target.embed.W.array.copy()
    with pytest.raises((ValueError, AttributeError)):  # Chainer fails while it says so
        update(optimizer)
    numpy.testing.assert_array_equal(optimizer.target.embed.W.array, before)


def test_a_parameter_without_an_array(device, kernels):
    """Before a first call, and of a link that none calls; the other gradients are clipped."""
    model = Model()
    with model.init_scope():
        model.lazy = L.Linear(None, 2)
    model.to_device(device)
    optimizer = clipped(optimizers.SGD, 1e-3)(model)
    model.cleargrads()
    fill(model, 0)
    update(optimizer)
    assert model.lazy.W.update_rule.t == 1
    norm = sum(float((param.grad**2).sum()) for param in model.params(False)) ** 0.5
    assert abs(norm - 1e-3) < 1e-8
    assert not kernels
    model.lazy(model.xp.ones((1, 3), 'f'))
    fill(model, 1)
    update(optimizer)
    assert kernels == {'SGDRule'}


def test_parameters_that_have_no_arrays_yet(kernels):
    optimizer = optimizers.SGD().setup(L.Linear(None, 2))
    optimizer.target.cleargrads()
    update(optimizer)
    assert optimizer.t == 1


def test_an_optimizer_that_is_not_set_up():
    with pytest.raises(AttributeError):
        update(optimizers.SGD())


def test_an_update_of_the_users_own():
    class Own(optimizers.SGD):
        def update(self, lossfun=None, *args, **kwds):
            self.called = True
            super().update(lossfun, *args, **kwds)

    with chainer_lstm.installed():
        optimizer = Own().setup(Model())
        fill(optimizer.target, 0)
        update(optimizer)
    assert optimizer.called
    assert optimizer.t == 1


def test_chainers_optimizers_where_it_is_installed(kernels):
    optimizer = clipped(optimizers.Adam)(Model())
    fill(optimizer.target, 0)
    optimizer.update()
    assert not kernels
    with chainer_lstm.installed():
        optimizer.update()
        assert kernels == {'AdamRule'}
        kernels.clear()
    optimizer.update()
    assert not kernels
