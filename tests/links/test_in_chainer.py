"""The links inside Chainer's machinery: hooks, replaced children, graphs, the namespaces."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from chainer import function_hooks, link_hooks

import chainer_lstm.functions
import chainer_lstm.links
from chainer_lstm import cells
from chainer_lstm.functions.lstm import LSTM
from chainer_lstm.functions.signature import signature
from chainer_lstm.functions.step import FirstStage, StepNode
from tests.support.arrays import (
    assert_close,
    assert_same,
    gradients,
    uniform,
    uniforms,
    weighted_sum,
)
from tests.support.links import (
    BATCHES,
    INPUT,
    UNITS,
    contents,
    inputs,
    outputs_and_states,
    outputs_states_and_gradients,
    pair,
)

pytestmark = pytest.mark.pairwise

CHILDREN = {
    'LSTM': ('upward', 'lateral'),
    'StatefulPeepholeLSTM': ('upward', 'lateral', 'peep_i', 'peep_f', 'peep_o'),
}
NAMES_AND_CHILDREN = [(name, child) for name, children in CHILDREN.items() for child in children]
STATEFUL = pytest.mark.parametrize('name', CHILDREN)
OF_BOTH = pytest.mark.parametrize('name, child', NAMES_AND_CHILDREN)


def new(name):
    return getattr(chainer_lstm.links, name)(INPUT, UNITS)


# Replaced children and hooks: the children themselves are called


class Negative(L.Linear):
    """Counts the calls of all its kind."""

    calls = 0

    def forward(self, x):
        Negative.calls += 1
        return -super().forward(x)


@OF_BOTH
def test_child_of_a_subclass_is_used(name, child):
    Negative.calls = 0
    results = []
    for link in pair(name, INPUT, UNITS):
        old = getattr(link, child)
        setattr(link, child, Negative.from_params(old.W, old.b))
        results.append(outputs_states_and_gradients(link, inputs((3, 3))))
    assert_close(results[1], results[0])
    assert Negative.calls == (2 if child == 'lateral' else 4)


@OF_BOTH
def test_child_with_another_bias_is_used(name, child):
    """The ``upward`` has one and loses it, all others get one."""
    results = []
    for link in pair(name, INPUT, UNITS):
        W = getattr(link, child).W
        setattr(
            link,
            child,
            L.Linear.from_params(
                W, None if child == 'upward' else uniform(len(W), 'f'), nobias=child == 'upward'
            ),
        )
        results.append(outputs_states_and_gradients(link, inputs((3, 3))))
    assert_close(results[1], results[0])
    plain = outputs_and_states(pair(name, INPUT, UNITS)[1], inputs((3, 3)))
    assert child == 'upward' or abs(plain[3].array - results[1][3].array).max() > 1e-3


@OF_BOTH
def test_forward_of_a_child_taken_over(name, child):
    results, calls = [], []
    for link in pair(name, INPUT, UNITS):
        linear = getattr(link, child)

        def forward(x, original=linear.forward):
            calls.append(x)
            return 2 * original(x)

        linear.forward = forward
        results.append(outputs_states_and_gradients(link, inputs((3, 3))))
    assert_close(results[1], results[0])
    assert len(calls) == (2 if child == 'lateral' else 4)


@pytest.mark.parametrize(
    'make',
    [lambda: Negative(4 * UNITS), lambda: L.Linear(None, 4 * UNITS, initial_bias=1)],
    ids=['a subclass', 'plain'],
)
def test_deferred_child_is_initialized_by_the_link(make):
    """As Chainer's: the initializers are those of the LSTM."""
    results = []
    for link in pair('LSTM', INPUT, UNITS, upward_init=0.5, bias_init=0.25):
        link.upward = make()
        numpy.random.seed(2)
        results.append(outputs_states_and_gradients(link, inputs((3, 2))))
        assert (link.upward.W.array == 0.5).all()
    assert_close(results[1], results[0])


@STATEFUL
def test_upward_that_is_no_linear(name):
    """More than Chainer's LSTM can."""
    link, other = new(name), new(name)
    other.copyparams(link)
    layers = L.Linear(INPUT, 5), L.Linear(5, 4 * UNITS)
    link.upward = chainer.Sequential(layers[0], F.tanh, layers[1])
    other.upward = layers[1]
    xs = inputs((3, 2))
    results = [
        outputs_and_states(other, [F.tanh(layers[0](x)) for x in xs]),
        outputs_and_states(link, xs),
    ]
    assert_close(results[1], results[0])
    params = [param for layer in layers for param in layer.params()]
    assert_close(gradients(results[1], params), gradients(results[0], params))


class Recorder(chainer.LinkHook):
    """Changes nothing, and remembers which links were called."""

    name = 'Recorder'

    def __init__(self):
        self.called = []

    def forward_preprocess(self, args):
        self.called.append(args.link.name)


@OF_BOTH
@pytest.mark.parametrize('batches', BATCHES.values(), ids=BATCHES.keys())
def test_hook_on_a_child_is_called(name, child, batches):
    """And the composed path computes the same as the fused one."""
    link = new(name)
    xs = inputs(batches)
    expected = outputs_states_and_gradients(link, xs)
    link.reset_state()
    hook = Recorder()
    getattr(link, child).add_hook(hook)
    assert_close(outputs_states_and_gradients(link, xs), expected)
    with_h = [
        batch for batch in batches[1:] if batch or not batches[0]
    ]  # a batch of 0 looks at no h
    assert hook.called == [child] * (len(with_h) if child == 'lateral' else len(batches))
    getattr(link, child).delete_hook('Recorder')
    hook.called.clear()
    link(xs[-1])
    assert not hook.called


@STATEFUL
@pytest.mark.parametrize('make_hook', [Recorder, link_hooks.TimerHook])
def test_hook_as_context_sees_the_children(name, make_hook):
    seen, results = [], []
    for link in pair(name, INPUT, UNITS):
        with make_hook() as hook:
            results.append(outputs_and_states(link, inputs((3, 3))))
        seen.append(
            hook.called if make_hook is Recorder else [called for called, _ in hook.call_history]
        )
    assert sorted(map(str, seen[1])) == sorted(map(str, seen[0]))
    assert (
        len(seen[1]) == 2 + 2 * len(CHILDREN[name]) - 1
    )  # itself and its children, twice; no lateral at first
    assert_close(results[1], results[0])


@OF_BOTH
def test_spectral_normalization_equals_chainer(name, child):
    results = []
    for link in pair(name, INPUT, UNITS):
        numpy.random.seed(4)
        getattr(link, child).add_hook(link_hooks.SpectralNormalization())
        results.append(outputs_states_and_gradients(link, inputs((3, 3, 3))))
    assert_close(results[1], results[0])
    plain = outputs_and_states(pair(name, INPUT, UNITS)[1], inputs((3, 3, 3)))
    assert abs(plain[3].array - results[1][3].array).max() > 1e-3


# In the graph


@STATEFUL
def test_truncated_backpropagation(name):
    results = []
    for link in pair(name, INPUT, UNITS):
        xs = inputs((3, 3, 3, 3))
        link.cleargrads()
        for window in (xs[:2], xs[2:]):
            loss = weighted_sum([link(x) for x in window])
            loss.backward()
            loss.unchain_backward()
        results.append([variable.grad for variable in (*link.params(), *xs)])
        assert chainer.grad([F.sum(link(xs[3]))], [xs[1]]) == [None]
    assert_close(results[1], results[0])


@STATEFUL
def test_gradient_by_each_input_and_parameter_alone(name):
    link = new(name)
    xs = inputs((3, 2))
    ys = outputs_and_states(link, xs)
    targets = [*link.params(), *xs]
    for target, expected in zip(targets, gradients(ys, targets)):
        assert_close(gradients(ys, [target]), [expected])


@STATEFUL
def test_enable_double_backprop(name):
    """A gradient penalty: the gradient of the gradient's norm reaches the parameters."""
    results = []
    for link in pair(name, INPUT, UNITS):
        xs = inputs((3, 3))
        weighted_sum(outputs_and_states(link, xs)).backward(enable_double_backprop=True)
        penalty = sum(F.sum(F.square(x.grad_var)) for x in (*xs, link.lateral.W))
        link.cleargrads()
        penalty.backward()
        results.append([param.grad for param in link.params()])
    assert_close(results[1], results[0])


@STATEFUL
@pytest.mark.parametrize('share', ['children', 'copy'])
def test_parameters_shared_by_two_links(name, share):
    results = []
    for link in pair(name, UNITS, UNITS):
        if share == 'copy':
            other = link.copy('share')
        else:
            other = type(link)(UNITS, UNITS)
            for child in CHILDREN[name]:
                setattr(other, child, getattr(link, child))
        xs = inputs((3, 3), width=UNITS)
        ys = [other(link(x)) for x in xs]
        results.append([*ys, *gradients(ys, [*link.params(), *other.params(), *xs])])
    assert_close(results[1], results[0])


@STATEFUL
def test_no_backprop_mode(name):
    link = new(name)
    xs = inputs((3, 2))
    expected = outputs_and_states(link, xs)
    link.reset_state()
    with chainer.no_backprop_mode():
        actual = outputs_and_states(link, xs)
    assert_close(actual, expected)
    assert all(y.creator is None for y in actual)


def test_forget_recomputes():
    c, x = inputs((3,), width=UNITS) + inputs((3,), width=4 * UNITS)
    expected = chainer_lstm.functions.lstm(c, x)
    actual = F.forget(chainer_lstm.functions.lstm, c, x)
    assert_close([*actual, *gradients(actual, [c, x])], [*expected, *gradients(expected, [c, x])])


@STATEFUL
def test_function_hook_sees_the_step(name):
    hook = function_hooks.TimerHook()
    with hook:
        new(name)(*inputs((3,)))
    assert 'Step' in ' '.join(label for label, _ in hook.call_history)


# Parameters of Chainer's own links


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM', 'StatefulPeepholeLSTM'])
@pytest.mark.parametrize('into_ours', [True, False], ids=["from Chainer's", "into Chainer's"])
def test_copyparams_and_addgrads(name, into_ours):
    theirs, ours = pair(name, INPUT, UNITS)
    target, source = (ours, theirs) if into_ours else (theirs, ours)
    for seed, param in enumerate(source.params()):
        param.array[...] = uniform(param.shape, 'f', seed=seed)
        param.grad = uniform(param.shape, 'f', seed=seed + 10)
    target.copyparams(source)
    target.cleargrads()
    target.addgrads(source)
    assert_same(contents(target), contents(source))
    assert_close(
        [param.grad for param in target.params()], [param.grad for param in source.params()]
    )


# Namespaces


@pytest.mark.parametrize(
    'ours, theirs, replaced',
    [
        (
            chainer_lstm.links,
            chainer.links,
            {
                'LSTM',
                'StatelessLSTM',
                'StatefulPeepholeLSTM',
                'StatefulZoneoutLSTM',
                'NStepLSTM',
                'NStepBiLSTM',
                'ChildSumTreeLSTM',
                'NaryTreeLSTM',
            },
        ),
        (
            chainer_lstm.functions,
            chainer.functions,
            {
                'lstm',
                'lstm_step',
                'peephole_lstm_step',
                'n_step_lstm',
                'n_step_bilstm',
                'dropout',
                'embed_id',
                'linear',
                'softmax_cross_entropy',
                'tree_lstm',
                'slstm',
            },
        ),
    ],
    ids=['links', 'functions'],
)
def test_every_other_name_is_chainers_own(ours, theirs, replaced):
    public = {name for name in dir(theirs) if not name.startswith('_')}
    assert public <= set(dir(ours))
    for name in public - replaced:
        assert getattr(ours, name) is getattr(theirs, name), name
    for name in replaced:
        assert getattr(ours, name) is not getattr(theirs, name, None)
    assert set(ours.__all__) >= replaced & public


def test_linear_is_chainers_linear():
    assert chainer_lstm.links.Linear is chainer.links.Linear
    assert chainer_lstm.functions.relu is chainer.functions.relu


@pytest.mark.parametrize('module', [chainer_lstm.links, chainer_lstm.functions])
def test_unknown_name(module):
    with pytest.raises(AttributeError, match='NoSuchName'):
        module.NoSuchName  # noqa: B018


@pytest.mark.parametrize(
    'node',
    [
        LSTM(),
        StepNode(signature(cells.lstm, 0)),
        FirstStage(signature(cells.peephole, 0)),
    ],
)
def test_chainerx_array_raises(node):
    """Called as Chainer calls a node that is given ChainerX arrays; the wheel has no ChainerX."""
    with pytest.raises(TypeError, match='computes on NumPy and CuPy arrays; got ChainerX arrays'):
        node.forward_chainerx(tuple(uniforms([(2, UNITS), (2, 4 * UNITS)])))
