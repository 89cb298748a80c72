"""Optimizers, their models and what an update changes."""

import chainer
import chainer.links as L
import numpy
from chainer import optimizer_hooks, optimizers

from chainer_lstm.optimizers import update

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
    for param in model.params(False):
        gradient = random.normal(size=param.shape) * random.randint(0, 2, param.shape)
        param.grad = param.device.send(gradient.astype(param.dtype))


def values(optimizer):
    """Everything that an update changes."""
    found = {'t': optimizer.t}
    for name, param in optimizer.target.namedparams():
        found[name], found[f'{name}.grad'] = param.array, param.grad
        if param.update_rule is not None:
            found[f'{name}.t'] = param.update_rule.t
            states = param.update_rule.state or {}
            found.update((f'{name}.{key}', value) for key, value in states.items())
    return {name: numpy.array(chainer.cuda.to_cpu(value)) for name, value in found.items()}


def check(device, prepare, count=5, dtype='f', each=lambda k, optimizer: None, tolerance=TOLERANCE):
    """Compare updates of two models.

    Args:
        device: of the models.
        prepare: a model -> its optimizer.
        count: of updates.
        dtype: of the parameters.
        each: called before every update with its number and the optimizer.
        tolerance: by dtype.

    Returns:
        The optimizer that the package has updated.
    """
    models = Model(dtype), Model(dtype)
    for model in models:
        model.to_device(device)
    ours, chainers = map(prepare, models)
    for k in range(count):
        for optimizer, step in ((ours, update), (chainers, type(chainers).update)):
            fill(optimizer.target, k)
            each(k, optimizer)
            step(optimizer)
    assert_same_values(ours, chainers, tolerance)
    return ours


def assert_same_values(ours, chainers, tolerance=TOLERANCE):
    """Compare everything that updates change."""
    found, expected = values(ours), values(chainers)
    assert found.keys() == expected.keys()
    for name in found:
        atol = tolerance.get(found[name].dtype.char, 0) * abs(expected[name]).max(initial=1)
        numpy.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)


def clipped(make, threshold=5.0, *hooks):
    """A function that sets an optimizer up, with ``GradientClipping`` and more hooks."""

    def prepare(model):
        optimizer = make().setup(model)
        if threshold is not None:
            optimizer.add_hook(optimizer_hooks.GradientClipping(threshold))
        for hook in hooks:
            optimizer.add_hook(hook)
        return optimizer

    return prepare
