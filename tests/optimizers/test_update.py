"""``optimizers.update`` against ``optimizer.update`` of Chainer: every rule, hook and parameter."""

import chainer
import chainer.links as L
import numpy
import pytest
from chainer import optimizer_hooks, optimizers
from chainer.optimizers.sgd import SGDRule

import chainer_lstm
from chainer_lstm.optimizers import steps, update

TOLERANCE = {'f': 2e-6, 'd': 1e-14}
OPTIMIZERS = {
    'SGD': lambda: optimizers.SGD(0.1),
    'MomentumSGD': lambda: optimizers.MomentumSGD(0.1),
    'Adam': optimizers.Adam,
    'AdamW': lambda: optimizers.AdamW(eta=0.5, weight_decay_rate=0.1),
    'AMSGrad': optimizers.AMSGrad,
    'AdaBound': optimizers.AdaBound,
    'AMSBound': optimizers.AMSBound,
    'RMSprop': optimizers.RMSprop,  # Chainer's code
}


class Model(chainer.Chain):
    """Parameters that NumPy updates, and one that kernels update in several threads."""

    def __init__(self, dtype='f'):
        super().__init__()
        with self.init_scope(), chainer.using_config('dtype', numpy.dtype(dtype)):
            self.embed = L.EmbedID(300, 70)
            self.out = L.Linear(3, 2)
        random = numpy.random.RandomState(0)
        for param in self.params():
            param.array[...] = random.normal(size=param.shape)


def fill(model, k):
    """Draw gradients, many of them zeros."""
    random = numpy.random.RandomState(k)
    for param in model.params():
        gradient = random.normal(size=param.shape) * random.randint(0, 2, param.shape)
        param.grad = gradient.astype(param.dtype)


def values(optimizer):
    """Everything that an update changes."""
    found = {'t': optimizer.t}
    for name, param in optimizer.target.namedparams():
        found[name], found[f'{name}.grad'] = param.array, param.grad
        if param.update_rule is not None:
            found[f'{name}.t'] = param.update_rule.t
            states = param.update_rule.state or {}
            found.update((f'{name}.{key}', value) for key, value in states.items())
    return {name: numpy.array(value) for name, value in found.items()}


def check(prepare, count=5, dtype='f', each=lambda k, optimizer: None, tolerance=TOLERANCE):
    """Compare updates of two models.

    Args:
        prepare: a model -> its optimizer.
        count: of updates.
        dtype: of the parameters.
        each: called before every update with its number and the optimizer.
        tolerance: by dtype.

    Returns:
        The optimizer that the package has updated.
    """
    ours, chainers = (prepare(Model(dtype)) for _ in range(2))
    for k in range(count):
        for optimizer, step in ((ours, update), (chainers, type(chainers).update)):
            fill(optimizer.target, k)
            each(k, optimizer)
            step(optimizer)
    found, expected = values(ours), values(chainers)
    assert found.keys() == expected.keys()
    for name in found:
        atol = tolerance.get(found[name].dtype.char, 0) * max(abs(expected[name]).max(), 1)
        numpy.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)
    return ours


def clipped(make, threshold=5.0, *hooks):
    """A function that sets an optimizer up, with ``GradientClipping`` and more hooks."""

    def prepare(model):
        optimizer = make().setup(model)
        optimizer.add_hook(optimizer_hooks.GradientClipping(threshold))
        for hook in hooks:
            optimizer.add_hook(hook)
        return optimizer

    return prepare


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


@pytest.mark.parametrize(
    ('engine', 'threshold', 'dtype'),
    [('auto', 5.0, 'f'), ('auto', 1e9, 'f'), ('auto', 5.0, 'd'), ('numpy', 5.0, 'f')],
)
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_many_updates(name, engine, threshold, dtype, kernels):
    with chainer.using_config('lstm_engine', engine):
        optimizer = check(clipped(OPTIMIZERS[name], threshold), 40, dtype)
    rule = type(optimizer.target.embed.W.update_rule).__name__
    assert kernels == (set() if name == 'RMSprop' else {rule})


def test_learning_rates_that_change(kernels):
    def each(k, optimizer):
        optimizer.alpha = 0.01 / (k + 1)
        optimizer.target.out.W.update_rule.hyperparam.beta1 = 0.5

    check(clipped(optimizers.AdaBound), each=each)
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
def test_hooks_of_the_optimizer(hooks, kernels):
    check(clipped(optimizers.MomentumSGD, 5.0, *hooks))
    assert kernels == {'MomentumSGDRule'}


class OwnRule(SGDRule):
    def update_core_cpu(self, param):
        param.array[...] -= 1


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
    W.array = numpy.asfortranarray(W.array)


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
def test_chainers_code_where_kernels_do_not_fit(change, kernels):
    def each(k, optimizer):
        if k == 0 or change not in (_own_rule, _rule_hook):
            change(optimizer)

    check(clipped(OPTIMIZERS['SGD']), each=each)
    assert not kernels


def test_parameters_that_are_not_updated(kernels):
    """Their gradients are clipped all the same."""

    def prepare(model):
        optimizer = clipped(optimizers.Adam)(model)
        model.embed.disable_update()
        model.out.b.update_rule = None
        return optimizer

    optimizer = check(prepare)
    assert kernels == {'AdamRule', 'NoneType'}
    assert optimizer.target.embed.W.update_rule.t == 0


def test_gradients_that_are_none(kernels):
    def each(k, optimizer):
        optimizer.target.embed.cleargrads()

    check(clipped(optimizers.Adam), each=each)
    assert kernels == {'AdamRule'}


def test_dtypes_side_by_side(kernels):
    def each(k, optimizer):
        if k == 0:
            optimizer.target.out.b.array = numpy.ones(2, 'd')
        optimizer.target.out.b.grad = numpy.ones(2, 'd')

    check(clipped(optimizers.Adam), each=each, tolerance={'f': 2e-6, 'd': 2e-6})
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
def test_dynamic_loss_scaling_leaves_out_an_update():
    found = []
    for step in (update, optimizers.SGD.update):
        optimizer = clipped(OPTIMIZERS['SGD'])(Model())
        optimizer.loss_scaling()
        for k in range(3):
            fill(optimizer.target, k)
            if k == 1:
                optimizer.target.embed.W.grad[0, 0] = numpy.inf
            step(optimizer)
        found.append((optimizer.t, optimizer.target.embed.W.update_rule.t))
        found.append(optimizer.target.embed.W.array)
    assert found[0] == found[2] == (3, 2)
    numpy.testing.assert_allclose(found[1], found[3], atol=1e-5)


@pytest.mark.filterwarnings('ignore:invalid value encountered', 'ignore:overflow encountered')
@pytest.mark.parametrize('value', [numpy.nan, numpy.inf, 1e30])
def test_norms_that_are_not_finite(value):
    found = []
    for step in (update, optimizers.SGD.update):
        optimizer = clipped(OPTIMIZERS['SGD'])(Model())
        fill(optimizer.target, 0)
        optimizer.target.embed.W.grad[3, 4] = value
        step(optimizer)
        found.append((optimizer.target.embed.W.array, optimizer.target.embed.W.grad))
    numpy.testing.assert_array_equal(*found)


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


def test_a_parameter_without_an_array(kernels):
    model = Model()
    with model.init_scope():
        model.lazy = L.Linear(None, 2)
    optimizer = optimizers.SGD().setup(model)
    model.cleargrads()
    update(optimizer)
    assert model.lazy.W.update_rule.t == 1
    assert not kernels


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


@pytest.mark.gpu
def test_on_a_gpu(cupy, kernels):
    model = Model()
    model.to_device('@cupy:0')
    optimizer = clipped(optimizers.Adam)(model)
    for param in model.params():
        param.grad = cupy.ones_like(param.array)
    update(optimizer)
    assert optimizer.t == 1
    assert not kernels
