"""The links under Chainer's optimizers and trainer:
training gives the weights that Chainer's links get.
"""

import itertools

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import optimizer_hooks, optimizers, serializers, training
from chainer.training import extensions

import chainer_lstm.functions
import chainer_lstm.links
from tests.support.arrays import assert_close, assert_same, uniform
from tests.support.links import INPUT, STATEFUL, UNITS, contents

pytestmark = pytest.mark.pairwise


class Model(chainer.Chain):
    """Classifies sequences x (B, T, I) by the last output."""

    def __init__(self, module, name, carry_state=False, in_size=INPUT):
        super().__init__()
        self.carry_state = carry_state
        with self.init_scope():
            make = getattr(module, name)
            self.rnn = (
                make(2, INPUT, UNITS, 0.2) if name.startswith('NStep') else make(in_size, UNITS)
            )
            self.out = L.Linear(None, 3)

    def forward(self, x, t):
        return F.softmax_cross_entropy(self.out(self.last_output(x)), t)

    def last_output(self, x):
        rnn = self.rnn
        if isinstance(rnn, (L.NStepLSTM, L.NStepBiLSTM)):
            return F.stack([y[-1] for y in rnn(None, None, list(x))[2]])
        if isinstance(rnn, L.StatelessLSTM):
            c = h = None
            for t in range(x.shape[1]):
                c, h = rnn(c, h, x[:, t])
            return h
        if not self.carry_state or rnn.c is None:
            rnn.reset_state()
        else:
            rnn.c.unchain_backward()
            rnn.h.unchain_backward()
        for t in range(x.shape[1]):
            y = rnn(x[:, t])
        return y


def make_model(module, name, **kwargs):
    numpy.random.seed(5)
    return Model(module, name, **kwargs)


def batch(seed, dtype='f'):
    return uniform((6, 4, INPUT), dtype, seed=seed), numpy.random.RandomState(seed).randint(
        0, 3, 6
    ).astype('i')


@pytest.mark.parametrize(
    'name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM', 'NStepLSTM', 'NStepBiLSTM']
)
@pytest.mark.parametrize('double', [False, True], ids=['once', 'twice differentiable'])
def test_gradients_share_no_memory(name, double):
    """Optimizer hooks change them in place, and would change a shared one twice."""
    model = make_model(chainer_lstm.links, name)
    model.cleargrads()
    model.forward(*batch(0)).backward(enable_double_backprop=double)
    grads = {path: param.grad for path, param in model.namedparams()}
    shared = [
        paths
        for paths in itertools.combinations(grads, 2)
        if numpy.shares_memory(*(grads[path] for path in paths))
    ]
    assert shared == []


OPTIMIZERS = {
    'SGD': (lambda: optimizers.SGD(0.5), ()),
    'SGD, clipping and decay': (
        lambda: optimizers.SGD(0.5),
        (lambda: optimizer_hooks.GradientClipping(0.1), lambda: optimizer_hooks.WeightDecay(0.01)),
    ),
    'MomentumSGD, hard clipping and Lasso': (
        lambda: optimizers.MomentumSGD(0.1),
        (
            lambda: optimizer_hooks.GradientHardClipping(-0.1, 0.1),
            lambda: optimizer_hooks.Lasso(0.001),
        ),
    ),
    'Adam': (optimizers.Adam, ()),
    'Adam, clipping and decay': (
        lambda: optimizers.Adam(0.01),
        (lambda: optimizer_hooks.GradientClipping(1), lambda: optimizer_hooks.WeightDecay(0.01)),
    ),
}


def make_optimizer(kind, model):
    make, hooks = OPTIMIZERS[kind]
    optimizer = make().setup(model)
    for hook in hooks:
        optimizer.add_hook(hook())
    return optimizer


@pytest.mark.parametrize(
    'name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM', 'NStepLSTM', 'NStepBiLSTM']
)
@pytest.mark.parametrize('kind', OPTIMIZERS)
@pytest.mark.parametrize('dtype', ['f', 'd'])
def test_trained_weights_equal_chainer(name, kind, dtype):
    results = []
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        for module in (L, chainer_lstm.links):
            model = make_model(module, name)
            optimizer = make_optimizer(kind, model)
            losses = []
            for seed in range(5):
                x, t = batch(seed, dtype)
                numpy.random.seed(seed)  # of dropout and of deferred weights
                optimizer.update(model, x, t)
                losses.append(model.forward(x, t))
            results.append([*losses, *model.params()])
    assert_close(results[1], results[0])


@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM', 'NStepLSTM'])
def test_trained_weights_in_mixed16_equal_chainer(name):
    results = []
    with chainer.using_config('dtype', chainer.mixed16):
        for module in (L, chainer_lstm.links):
            model = make_model(module, name)
            optimizer = make_optimizer('SGD', model)
            optimizer.use_fp32_update()
            optimizer.loss_scaling(scale=8)
            for seed in range(5):
                numpy.random.seed(seed)
                optimizer.update(model, *batch(seed, 'e'))
            results.append(list(model.params()))
    assert {param.dtype.char for param in results[1]} == {'e'}
    assert_close(results[1], results[0])


@pytest.mark.parametrize('name', ['LSTM', 'StatefulPeepholeLSTM', 'NStepLSTM'])
def test_disable_update(name):
    model = make_model(chainer_lstm.links, name)
    optimizer = make_optimizer('Adam, clipping and decay', model)
    model.rnn.disable_update()
    params, out = list(model.rnn.params()), model.out.b.array.copy()
    before = [param.array.copy() for param in params]
    optimizer.update(model, *batch(0))
    assert all((param.array == old).all() for param, old in zip(params, before))
    assert (model.out.b.array != out).all()
    model.rnn.enable_update()
    optimizer.update(model, *batch(0))
    assert all((param.array != old).any() for param, old in zip(params, before))


def make_trainer(module, name, folder, iterations, persistent=False, in_size=INPUT):
    """Without shuffling: Chainer's iterator would draw its order from NumPy's generator."""
    model = make_model(module, name, carry_state=True, in_size=in_size)
    model.rnn.persistent_state = persistent
    optimizer = make_optimizer('Adam, clipping and decay', model)
    x, t = (numpy.concatenate(arrays) for arrays in zip(*(batch(seed) for seed in range(3))))
    iterator = chainer.iterators.SerialIterator(
        chainer.datasets.TupleDataset(x, t), 6, shuffle=False
    )
    updater = training.StandardUpdater(iterator, optimizer)
    trainer = training.Trainer(updater, (iterations, 'iteration'), out=str(folder))
    trainer.extend(
        extensions.snapshot(filename='snapshot_{.updater.iteration}'), trigger=(3, 'iteration')
    )
    return trainer, model


@STATEFUL
@pytest.mark.parametrize('in_size', [INPUT, None], ids=['initialized', 'deferred'])
@pytest.mark.parametrize('persistent', [True, False], ids=['persistent state', 'state lost'])
def test_trainer_snapshot_and_resume(tmp_path, name, in_size, persistent):
    """With the state in the snapshot, a resumed run ends bit for bit as an uninterrupted one."""
    whole, model = make_trainer(chainer_lstm.links, name, tmp_path, 5, persistent, in_size)
    whole.run()
    resumed, other = make_trainer(
        chainer_lstm.links, name, tmp_path / 'resumed', 5, persistent, in_size
    )
    serializers.load_npz(str(tmp_path / 'snapshot_3'), resumed)
    assert resumed.updater.iteration == 3
    resumed.run()
    if persistent:
        assert_same(contents(other), contents(model))
        assert_same(contents(other.rnn), contents(model.rnn))
    else:
        assert (other.rnn.upward.W.array != model.rnn.upward.W.array).any()


@STATEFUL
@pytest.mark.parametrize('to_ours', [True, False], ids=["Chainer's to ours", "ours to Chainer's"])
def test_trainer_snapshot_of_the_other_package(tmp_path, name, to_ours):
    """A run goes on in the other package;
    ours writes the state too, which Chainer does not read.
    """
    modules = [L, chainer_lstm.links] if to_ours else [chainer_lstm.links, L]
    first, _ = make_trainer(modules[0], name, tmp_path, 3, persistent=True)
    first.run()
    results = []
    for module in modules:
        trainer, model = make_trainer(module, name, tmp_path / 'resumed', 5)
        serializers.load_npz(str(tmp_path / 'snapshot_3'), trainer)
        trainer.run()
        results.append(list(model.params()))
    assert_close(results[1], results[0])
