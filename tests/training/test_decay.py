"""The learning rate of every optimizer decays, and of a resumed run too."""

import types

import chainer
import numpy
import pytest
from chainer import optimizers
from chainer.training import extensions

from chainer_lstm.training import ExponentialDecay, ParallelSequentialIterator


def decayed(epoch, decay=0.5, first=4, lr=1.0):
    optimizer = chainer.optimizers.SGD(lr=lr)
    updater = types.SimpleNamespace(epoch=epoch, get_optimizer=lambda name: optimizer)
    extension = ExponentialDecay(decay, first)
    extension.initialize(types.SimpleNamespace(updater=updater))
    return optimizer.lr


def test_decay_begins_after_the_epochs_with_the_full_rate():
    assert [decayed(epoch) for epoch in range(7)] == [1, 1, 1, 1, 1 / 2, 1 / 4, 1 / 8]
    assert decayed(8, decay=1 / 1.2, first=6, lr=2.0) == pytest.approx(2 / 1.2**3)


GIVEN = pytest.mark.parametrize(
    'given', [True, False], ids=['optimizer given', 'optimizer of the trainer']
)
ATTRIBUTES = {
    'SGD': 'lr', 'MomentumSGD': 'lr', 'CorrectedMomentumSGD': 'lr', 'NesterovAG': 'lr',
    'RMSprop': 'lr', 'RMSpropGraves': 'lr', 'AdaGrad': 'lr', 'SMORMS3': 'lr', 'MSVAG': 'lr',
    'Adam': 'alpha', 'AdamW': 'alpha', 'AMSGrad': 'alpha', 'AdaBound': 'alpha', 'AMSBound': 'alpha',
}  # fmt: skip


def begin(extension, optimizer, epoch=0):
    """Begin a training at an epoch; return its trainer."""
    updater = types.SimpleNamespace(epoch=epoch, get_optimizer=lambda name: optimizer)
    trainer = types.SimpleNamespace(updater=updater)
    extension.initialize(trainer)
    return trainer


def test_every_optimizer_of_chainer_is_known_here():
    found = {name for name in dir(optimizers) if isinstance(getattr(optimizers, name), type)}
    assert found == {*ATTRIBUTES, 'AdaDelta'}


@pytest.mark.parametrize('name', ATTRIBUTES)
@GIVEN
def test_decay_of_every_optimizer(name, given):
    optimizer = getattr(optimizers, name)().setup(chainer.links.Linear(2, 3))
    others = optimizer.hyperparam.get_dict()
    full = others.pop(ATTRIBUTES[name])
    extension = ExponentialDecay(0.5, 1, optimizer=optimizer if given else None)
    trainer = begin(extension, optimizer)
    assert getattr(optimizer.hyperparam, ATTRIBUTES[name]) == full
    for optimizer.t in (0, 7):  # Adam's computed lr cannot be read before the first update
        trainer.updater.epoch = 2
        extension(trainer)
        assert getattr(optimizer.hyperparam, ATTRIBUTES[name]) == full / 4
    assert {key: getattr(optimizer.hyperparam, key) for key in others} == others


@pytest.mark.parametrize(
    ('optimizer', 'attr', 'message'),
    [
        (
            optimizers.AdaDelta(),
            None,
            "attr: expected 'eps' or 'rho' for AdaDelta, got None: AdaDelta "
            'has no learning rate; name one of these, or do without',
        ),
        (optimizers.AdaDelta(), 'lr', "attr: expected 'eps' or 'rho' for AdaDelta, got 'lr'"),
        (optimizers.SGD(), 'alpha', "attr: expected 'lr' for SGD, got 'alpha'"),
        (optimizers.Adam(), 'lr', "attr: expected 'alpha' or 'beta1' or .* for Adam, got 'lr'"),
        (optimizers.Adam(), 'amsgrad', "for Adam, got 'amsgrad'"),
        (optimizers.SGD(), 'setup', "for SGD, got 'setup'"),
    ],
)
def test_attribute_that_the_optimizer_does_not_have(optimizer, attr, message):
    with pytest.raises(ValueError, match=message):
        ExponentialDecay(0.5, 1, attr, optimizer)
    with pytest.raises(ValueError, match=message):
        begin(ExponentialDecay(0.5, 1, attr), optimizer)


def test_another_attribute():
    optimizer = optimizers.AdamW(eta=1.0)
    begin(ExponentialDecay(0.5, 1, 'eta'), optimizer, epoch=1)
    assert (optimizer.eta, optimizer.alpha) == (0.5, 0.001)


class OwnOptimizer:
    """An optimizer that keeps its rate behind a property of its own."""

    target = None

    def __init__(self):
        self.rate = 1.0

    @property
    def lr(self):
        return self.rate

    @lr.setter
    def lr(self, value):
        self.rate = value


def test_property_that_can_be_set():
    optimizer = OwnOptimizer()
    begin(ExponentialDecay(0.5, 1), optimizer, epoch=1)
    assert optimizer.rate == 0.5


def test_optimizer_inside_that_of_chainermn():
    chainermn = pytest.importorskip('chainermn.optimizers', exc_type=ImportError)
    optimizer = optimizers.Adam(alpha=1.0)
    wrapped = chainermn.create_multi_node_optimizer(optimizer, None)
    begin(ExponentialDecay(0.5, 1), wrapped, epoch=1)
    assert optimizer.alpha == 0.5


def trainer(folder, epochs, optimizer, given):
    """Make a trainer that loads the newest snapshot of the folder when its training begins."""
    model = chainer.links.Classifier(chainer.links.EmbedID(4, 4))
    words = ParallelSequentialIterator(numpy.arange(8) % 4, 2)
    optimizer.setup(model)
    updater = chainer.training.updaters.StandardUpdater(words, optimizer)
    made = chainer.training.Trainer(updater, (epochs, 'epoch'), out=str(folder))
    made.extend(ExponentialDecay(0.5, 1, optimizer=optimizer if given else None))
    made.extend(extensions.snapshot(autoload=True), trigger=(1, 'epoch'))
    rates = []
    made.extend(
        lambda trainer: rates.append((trainer.updater.epoch_detail, optimizer.alpha)),
        name='rates',
        trigger=(1, 'iteration'),
        priority=1000,
    )  # before the decay
    return made, rates


@GIVEN
def test_resumed_run_has_the_rate_of_a_whole_one(tmp_path, given):
    def run(folder, epochs):
        optimizer = optimizers.Adam(alpha=1.0)
        made, rates = trainer(folder, epochs, optimizer, given)
        made.run()
        return rates

    whole = run(tmp_path / 'whole', 4)
    assert [rate for _, rate in whole[3::4]] == [1, 0.5, 0.25, 0.125]
    assert run(tmp_path / 'parts', 2) + run(tmp_path / 'parts', 4) == whole
