"""Updates whose kernels are launched again and again, with numbers of their own each time."""

import types

import numpy
import pytest
from chainer import optimizer_hooks, optimizers
from chainer.optimizers.sgd import SGDRule

from chainer_lstm.kernels import captured, cuda
from chainer_lstm.optimizers import update
from chainer_lstm.optimizers.replays import advance, by_kernels, frozen
from tests.optimizers.cases import (
    OPTIMIZERS,
    Model,
    assert_same_values,
    clipped,
    fill,
    values,
)


def change(k, optimizer):
    """Set the hyperparameters and gradients of an update; the gradients remain where they are."""
    for name, value in {
        'lr': 0.1,
        'momentum': 0.5,
        'alpha': 0.01,
        'beta1': 0.8,
        'eta': 0.5,
    }.items():
        if name in vars(optimizer.hyperparam):
            setattr(optimizer, name, value / (k + 1))
    optimizer._hookable._pre_update_hooks['GradientClipping'].threshold = 3.0 + k
    random = numpy.random.RandomState(k)
    for param in optimizer.target.params():
        param.grad[...] = param.device.send(random.normal(size=param.shape).astype('f'))


class Numbers(numpy.ndarray):
    """Their address is where CuPy has it."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


def recorded_on_cpu(optimizer, inputs, monkeypatch):
    """-> a function that launches the kernels of an update, none of which runs before"""
    inputs.numbers = inputs.numbers.view(Numbers)
    launches = []
    kernel_of = cuda.update_kernel

    def update_kernel(*program):
        kernel = kernel_of(*program)
        return lambda *args, **kwds: launches.append((kernel, args, kwds))

    with monkeypatch.context() as patch, captured.capturing(inputs):
        patch.setattr(cuda, 'update_kernel', update_kernel)
        update(optimizer)

    def launch():
        inputs.numbers[...] = inputs.values()
        for kernel, args, kwds in launches:
            kernel(*args, **kwds)

    return launch


def recorded_on_gpu(optimizer, inputs, cupy):
    """-> a function that launches the CUDA graph of an update"""
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    cupy.cuda.Device().synchronize()
    with stream, cupy.cuda.using_allocator(pool.malloc), captured.capturing(inputs):
        stream.begin_capture()
        update(optimizer)
        graph = stream.end_capture()

    def launch(pool=pool):
        inputs.numbers.set(inputs.values())
        cupy.cuda.Device().synchronize()
        graph.launch(stream)
        stream.synchronize()

    return launch


@pytest.mark.parametrize('device', ['cuda on cpu', 'cupy'], indirect=True)
@pytest.mark.parametrize('name', [name for name in OPTIMIZERS if name != 'RMSprop'])
def test_numbers_of_each_replay(device, name, request):
    models = Model(), Model()
    for model in models:
        model.to_device(device)
        fill(model, 0)
    ours, chainers = map(clipped(OPTIMIZERS[name]), models)
    update(ours)
    chainers.update()
    inputs = captured.Inputs(models[0].xp)
    before = values(ours)
    if device == '@numpy':
        launch = recorded_on_cpu(ours, inputs, request.getfixturevalue('monkeypatch'))
    else:
        launch = recorded_on_gpu(ours, inputs, request.getfixturevalue('cupy'))
    numpy.testing.assert_array_equal(values(ours)['/embed/W'], before['/embed/W'])
    for k in range(4):
        if k:
            advance(ours)
        for optimizer in ours, chainers:
            change(k, optimizer)
        launch()
        chainers.update()
        assert_same_values(ours, chainers)


def test_advance_leaves_out_what_is_not_updated():
    optimizer = clipped(optimizers.SGD)(Model())
    optimizer.target.embed.disable_update()
    optimizer.target.out.b.update_rule = None
    advance(optimizer)
    assert optimizer.t == optimizer.target.out.W.update_rule.t == 1
    assert optimizer.target.embed.W.update_rule.t == 0


def _new_array(optimizer):
    optimizer.target.out.W.array = optimizer.target.out.W.array.copy()


def _new_state(optimizer):
    state = optimizer.target.out.W.update_rule.state
    state['m'] = state['m'].copy()


def _own_rate(optimizer):
    optimizer.target.out.W.update_rule.hyperparam.alpha = 0.5


def _derive(optimizer, method):
    """Let the optimizer be of a class with this method of its own."""
    optimizer.__class__ = type('Own', (optimizers.Adam,), {method: lambda self, *args: True})


class OwnRule(SGDRule):
    """Is not looked into."""


CHANGES = {
    'another array': _new_array,
    'another state': _new_state,
    'hyperparameters of its own': _own_rate,
    'an update left out': lambda optimizer: setattr(optimizer.target.out.W.update_rule, 't', 0),
    'a parameter that stays': lambda optimizer: optimizer.target.embed.disable_update(),
    'another clipping': lambda optimizer: optimizer.remove_hook('GradientClipping'),
}
OF_CHAINER = {
    'another hook': lambda optimizer: optimizer.add_hook(optimizer_hooks.WeightDecay(0.1)),
    'another rule': lambda optimizer: setattr(optimizer.target.out.W, 'update_rule', OwnRule()),
    'a scaled loss': lambda optimizer: optimizer.loss_scaling(),
    'an update of its own': lambda optimizer: setattr(optimizer, 'update', None),
    'hooks called in another way': lambda optimizer: _derive(optimizer, 'call_hooks'),
    'another test before an update': lambda optimizer: _derive(optimizer, 'is_safe_to_update'),
    'an array for a rate': lambda optimizer: setattr(optimizer, 'eps', numpy.zeros(())),
}


@pytest.mark.parametrize('name', [*CHANGES, *OF_CHAINER])
def test_frozen(name):
    """It is equal after updates, whatever their rates, and not after any of these changes."""
    optimizer = clipped(optimizers.Adam)(Model())
    fill(optimizer.target, 0)
    update(optimizer)
    before = frozen(optimizer)
    optimizer.alpha = 0.5
    advance(optimizer)
    assert hash(frozen(optimizer)) == hash(before) and frozen(optimizer) == before
    if name in CHANGES:
        CHANGES[name](optimizer)
        assert frozen(optimizer) not in (None, before)
    else:
        OF_CHAINER[name](optimizer)
        assert frozen(optimizer) is None


def test_by_kernels():
    """Whether kernels update depends on gradients, too; missing ones are filled in."""
    optimizer = optimizers.SGD(0.1).setup(Model())
    fill(optimizer.target, 0)
    out = optimizer.target.out
    out.b.cleargrad()
    assert by_kernels(optimizer) and not out.b.grad.any()
    out.b.grad = numpy.broadcast_to(numpy.ones((), out.b.dtype), out.b.shape)
    assert frozen(optimizer) and not by_kernels(optimizer)
    out.b.grad = numpy.ones(out.b.shape, out.b.dtype)
    assert by_kernels(optimizer)
    embed = optimizer.target.embed
    embed.W.array = numpy.zeros_like(out.W.array)
    embed.W.grad = out.W.grad
    assert frozen(optimizer) and not by_kernels(optimizer)
