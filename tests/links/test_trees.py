"""``links.ChildSumTreeLSTM`` and ``NaryTreeLSTM`` beside Chainer's, node by node and as whole trees
against a recursion in float64.
"""

from typing import Any

import chainer
import chainer.functions as F
import numpy
import pytest
from chainer import gradient_check, link_hooks, serializers
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from chainer_lstm.kernels import levels
from tests.support import reference
from tests.support.arrays import (
    DTYPES,
    assert_close,
    assert_same,
    gradients,
    uniform,
    uniforms,
    variables,
)
from tests.support.engines import CPU_ENGINES
from tests.support.links import INPUT, UNITS, contents, pair

pytestmark = pytest.mark.pairwise

B = 3
LINKS = {
    'child sum': ('ChildSumTreeLSTM', 2, ()),
    'binary': ('NaryTreeLSTM', 2, ()),
    'ternary': ('NaryTreeLSTM', 3, (3,)),
}
KINDS = pytest.mark.parametrize('kind', LINKS)

# nodes in no order, whose numbers of children differ in a level; a child in the second place alone
CHILDREN = [[], [9, 2], [], [], [0, 1], [], [5], [None, 3], [4, 7], [], [6, 8], []]
WIDE = [[], [0, 2, 3, 5], [], [4], [], [], [1, 7], []]

# of Chainer 7.8.1 under seed 0: sums of the weights; c, h of ``uniform`` of seeds 1 to 5
RECORDED = {
    'ChildSumTreeLSTM': (
        {'/W_h_aio/W': 0.8125124797224998, '/W_h_f/W': 1.232516124844551,
         '/W_x/W': 5.548100493848324, '/W_x/b': 0.0},
        [[0.09044383466243744, -0.1014661192893982], [0.41253218054771423, 0.16404405236244202]],
        [[0.013837742619216442, -0.060627296566963196], [0.14386501908302307, 0.08271758258342743]],
    ),
    'NaryTreeLSTM': (
        {'/W_h1/W': -4.424883209168911, '/W_h2/W': -5.831150498241186,
         '/W_x/W': 7.6704987194389105, '/W_x/b': 0.0},
        [[-0.4530543386936188, -0.3670784533023834], [0.011376798152923584, -0.059610798954963684]],
        [[-0.12245422601699829, -0.1444641798734665],
         [0.005685831885784864, -0.02745850197970867]],
    ),
}  # fmt: skip


def make(kind, dtype='d', in_size: Any = INPUT):
    name, _, more = LINKS[kind]
    numpy.random.seed(1)
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        link = getattr(links, name)(in_size, UNITS, *more)
    if in_size:
        link.W_x.b.array[...] = uniform(link.W_x.b.shape, seed=7)
    return link


def both(kind, xp=numpy, in_size=INPUT):
    name, _, more = LINKS[kind]
    return pair(name, in_size, UNITS, *more, xp=xp)


def children_of(kind, children=CHILDREN):
    """Child-sum trees have no places: nothing is missing."""
    if kind == 'child sum':
        return [[k for k in row if k is not None] for row in children]
    return children


def expected(link, children, x):
    names = {'ChildSumTreeLSTM': ('W_h_aio', 'W_h_f')}.get(type(link).__name__)
    names = names or [f'W_h{k + 1}' for k in range(link.n_ary)]
    weights = [link.W_x.W, link.W_x.b, *(link[name].W for name in names)]
    loop = reference.child_sum_trees if names[0] == 'W_h_aio' else reference.n_ary_trees
    return loop(children, x.astype('d'), *(w.array.astype('d') for w in weights))


@KINDS
@pytest.mark.parametrize('in_size', [INPUT, None])
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
def test_initial_weights_equal_chainer_bit_for_bit(kind, in_size, dtype):
    with chainer.using_config('dtype', dtype):
        results = []
        for link in both(kind, in_size=in_size):
            numpy.random.seed(2)
            link(*[None] * (2 * LINKS[kind][1]), numpy.zeros((2, INPUT), chainer.get_dtype()))
            results.append({**contents(link), 'next number': numpy.random.random(1)})
        assert_same(*results)


@pytest.mark.parametrize('name', RECORDED)
def test_equals_recorded_numbers(name):
    sums, c, h = RECORDED[name]
    numpy.random.seed(0)
    link = getattr(links, name)(3, 2)
    assert {path: param.array.sum(dtype='d') for path, param in link.namedparams()} == sums
    given = [uniform((2, 3 if k == 4 else 2), 'f', seed=k + 1) for k in range(5)]
    assert_close(link(*given), numpy.array([c, h], 'f'))


@KINDS
def test_files_are_chainers(kind, tmp_path):
    theirs, ours = both(kind)
    serializers.save_npz(tmp_path / 'a.npz', theirs)
    other = make(kind)
    serializers.load_npz(tmp_path / 'a.npz', other)
    assert_same(contents(other), {k: v.astype('d') for k, v in contents(ours).items()})
    assert isinstance(ours, type(theirs))


@KINDS
@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize('missing', [(), (0,), (1,), (-2,), (0, -2), (-1,), range(-1)], ids=str)
def test_nodes_equal_chainer(xp, kind, dtype, missing):
    count = 2 * LINKS[kind][1]
    results = []
    with chainer.using_config('dtype', dtype):
        of_inputs = [(B, UNITS)] * count + [(B, INPUT)]
        for link in both(kind, xp):
            given = variables(uniforms(of_inputs, chainer.get_dtype(), xp))
            left = range(count) if missing == range(-1) else [k % (count + 1) for k in missing]
            args = [None if k in left else x for k, x in enumerate(given)]
            outputs = link(*args)
            known = [x for x in args if x is not None]
            found = gradients(outputs, [*known, *link.params()])
            results.append([*outputs, *found])
    assert_close(*results)


@KINDS
@pytest.mark.parametrize('engine', CPU_ENGINES)
@pytest.mark.parametrize('leaf', [False, True])
def test_gradients_of_nodes_of_both_orders(kind, engine, leaf):
    link, count = make(kind), 2 * LINKS[kind][1]
    names = [path for path, _ in sorted(link.namedparams())]
    states = [] if leaf else uniforms([(B, UNITS)] * count)

    def call(x, *given):
        return link(*(given[: len(states)] or [None] * count), x)

    given = [uniform((B, INPUT), seed=9), *states]
    of_outputs = uniforms([(B, UNITS)] * 2)
    params = [link[p.split('/')[1]].W for p in names if p.endswith('W') and not leaf]
    with chainer.using_config('lstm_engine', engine):
        gradient_check.check_backward(call, given, of_outputs, params, dtype='d', atol=1e-6)
        second = [uniform(x.shape, seed=3) for x in (*given, *params)]
        gradient_check.check_double_backward(
            call, given, of_outputs, second[: len(given)], params, second[len(given) :],
            dtype='d', atol=1e-6,
        )  # fmt: skip


@KINDS
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('children', [CHILDREN, CHILDREN[::-1], [[]] * 3, [[], [0], [1]]], ids=len)
def test_trees_equal_a_recursion(xp, kind, dtype, children):
    if children == CHILDREN[::-1]:
        last = len(children) - 1
        children = [[k if k is None else last - k for k in row] for row in children]
    link, children = make(kind, dtype), children_of(kind, children)
    x = uniform((len(children), INPUT), dtype)
    c, h = expected(link, children, x)
    link.to_device('@numpy' if xp is numpy else '@cupy:0')
    assert_close(link.forward_trees(children, xp.asarray(x)), [c.astype(dtype), h.astype(dtype)])


def test_a_level_of_many_children_equals_a_recursion():
    link, x = make('child sum'), uniform((len(WIDE), INPUT))
    assert_close(link.forward_trees(WIDE, x), expected(link, WIDE, x))


@KINDS
def test_arrays_equal_lists(kind):
    link, children = make(kind), children_of(kind)
    width = max(LINKS[kind][1], 2)
    array = numpy.full((len(children), width), -1, 'i')
    for row, given in zip(array, CHILDREN):
        row[: len(given)] = [-1 if k is None else k for k in given]
    x = uniform((len(children), INPUT))
    assert_close(link.forward_trees(array, x), link.forward_trees(children, x))


@KINDS
@pytest.mark.parametrize('engine', CPU_ENGINES)
@pytest.mark.parametrize('children', [CHILDREN, WIDE], ids=['few', 'many'])
def test_gradients_of_trees_of_both_orders(kind, engine, children):
    if children is WIDE and kind != 'child sum':
        children = [[]] * 2  # leaves alone
    link, children = make(kind), children_of(kind, children)
    x = uniform((len(children), INPUT))
    of_outputs = uniforms([(len(children), UNITS)] * 2)
    has_edges = any(children)
    params = [p for path, p in sorted(link.namedparams()) if has_edges or path.startswith('/W_x')]

    def call(x):
        return link.forward_trees(children, x)

    with chainer.using_config('lstm_engine', engine):
        gradient_check.check_backward(call, x, of_outputs, params, dtype='d', atol=1e-6)
        second = [uniform(v.shape, seed=3) for v in (x, *params)]
        gradient_check.check_double_backward(
            call, x, of_outputs, second[0], params, second[1:], dtype='d', atol=1e-6
        )


@KINDS
def test_trees_equal_chainers_nodes_in_training(kind):
    """Gradients of all weights, of a loss on some nodes."""
    results = []
    children = children_of(kind)
    for link in both(kind):
        x = chainer.Variable(uniform((len(children), INPUT), 'f'))
        if hasattr(link, 'forward_trees'):
            h = link.forward_trees(children, x)[1]
        else:
            h = _node_by_node(link, children, x, LINKS[kind][1])
        loss = F.sum(h[numpy.array([10, 7, 3])] ** 2)
        # no node has a third child, of which Chainer's loop does not know
        wanted = [x, *(p for path, p in link.namedparams() if path != '/W_h3/W')]
        results.append([loss, *chainer.grad([loss], wanted)])
    assert_close(*results)


def _node_by_node(link, children, x, places):
    c: dict[Any, Any] = {None: None}
    h: dict[Any, Any] = {None: None}
    while len(h) <= len(children):
        for n, kids in enumerate(children):
            if n not in h and {*kids} <= {*h}:
                if hasattr(link, 'n_ary'):
                    kids = [*kids, *[None] * (places - len(kids))]
                states = [state[k] for state in (c, h) for k in kids]
                c[n], h[n] = link(*states, x[n : n + 1])
    return F.concat([h[n] for n in range(len(children))], axis=0)


@KINDS
def test_no_nodes(kind):
    link, x = make(kind), chainer.Variable(numpy.zeros((0, INPUT)))
    c, h = link.forward_trees([], x)
    assert c.shape == h.shape == (0, UNITS)
    F.sum(c + h).backward()
    assert x.grad.shape == x.shape


@KINDS
def test_deep_trees(kind):
    """A chain of 3000 nodes: no recursion."""
    children = [[k - 1] if k else [] for k in range(3000)]
    link = make(kind, 'f')
    h = link.forward_trees(children, uniform((3000, INPUT), 'f'))[1]
    link.cleargrads()
    F.sum(h).backward()
    assert numpy.isfinite(link.W_x.W.grad).all()


@KINDS
def test_hooked_links_are_called(kind):
    link, count = make(kind), 2 * LINKS[kind][1]
    given, children = uniforms([(B, UNITS)] * count + [(B, INPUT)]), children_of(kind)
    x = uniform((len(children), INPUT))
    expected = [*link(*given), *link.forward_trees(children, x)]
    with link_hooks.TimerHook() as hook:
        assert_close([*link(*given), *link.forward_trees(children, x)], expected)
    assert len(hook.call_history) > 4


@KINDS
def test_a_bias_of_a_product_of_h_is_added(kind):
    chainers, link = both(kind)
    for each in (chainers, link):
        product = each.W_h_f if kind == 'child sum' else each.W_h1
        with product.init_scope():
            product.b = chainer.Parameter(0.5, len(product.W))
    given = uniforms([(B, UNITS)] * (2 * LINKS[kind][1]) + [(B, INPUT)], 'f')
    assert_close(link(*given), chainers(*given))


@KINDS
def test_size_of_the_input_is_taken_from_trees(kind):
    link = make(kind, in_size=None)
    with pytest.raises(ValueError, match='in_size'):
        link(numpy.zeros((1, UNITS)), *[None] * 4 if kind != 'ternary' else [None] * 6)
    children = children_of(kind)
    link.forward_trees(children, uniform((len(children), INPUT)))
    assert link.W_x.W.shape[1] == INPUT


WRONG = {
    'a cycle': ([[1], [2], [0], []], ValueError, 'expected trees, got a cycle through node'),
    'a node below itself': ([[0], [], [], []], ValueError, 'a cycle through node 0'),
    'two parents': ([[], [0], [0], []], ValueError, 'node 0 as a child of nodes 1 and 2'),
    'a child twice': ([[], [0, 0], [], []], ValueError, 'node 0 as a child of nodes 1 and 1'),
    'out of range': ([[], [4], [], []], ValueError, r'children\[1\]: .* below 4, .* got 4'),
    'below -1': ([[], [-2], [], []], ValueError, r'children\[1\]: .* got -2'),
    'too few nodes': ([[], [0]], ValueError, 'expected children of 4 nodes, .* got 2'),
    'floats': ([[], [0.0], [], []], TypeError, 'integers, got float64'),
    'booleans': ([[], [False], [], []], TypeError, 'integers, got bool'),
    'lists in a list': ([[], [0, [1]], [], []], TypeError, 'got arrays of other shapes'),
    'no lists': ([0, 1, 2, 3], TypeError, r'children\[0\]: expected a list .* got int'),
    'None': (None, TypeError, 'expected children to be a list .* got NoneType'),
    'three axes': (numpy.zeros((4, 2, 1), int), ValueError, r'expected children of shape \(N, '),
    'one axis': (numpy.zeros(4, int), ValueError, r'expected children of shape \(N, '),
    'an array of floats': (numpy.zeros((4, 3)), (TypeError, ValueError), 'integers|shape'),
}


@KINDS
@pytest.mark.parametrize('wrong', WRONG)
def test_wrong_trees(kind, wrong):
    children, error, message = WRONG[wrong]
    with pytest.raises(error, match=message):
        make(kind).forward_trees(children, numpy.zeros((4, INPUT)))


def test_too_many_children():
    with pytest.raises(ValueError, match=r'children\[3\]: expected at most 2 children, got 3'):
        make('binary').forward_trees([[], [], [], [0, 1, 2]], numpy.zeros((4, INPUT)))


@KINDS
@pytest.mark.parametrize('hooked', [False, True])
@pytest.mark.parametrize('check', [True, False])
def test_states_that_chainer_would_broadcast(kind, hooked, check):
    link, count = make(kind), 2 * LINKS[kind][1]
    hook = link_hooks.TimerHook()
    if hooked:
        link.W_x.add_hook(hook)
    for k in range(count + 1):
        given = uniforms([(B, UNITS)] * count + [(B, INPUT)])
        given[k] = given[k][:1]
        with chainer.using_config('type_check', check), pytest.raises(InvalidType, match='shape'):
            link(*given)


@KINDS
def test_wrong_arguments(kind):
    link, count = make(kind), 2 * LINKS[kind][1]
    with pytest.raises(TypeError, match='arguments'):
        link(*uniforms([(B, UNITS)] * count))
    with pytest.raises(ValueError, match=r'All inputs \(cs, hs, x\) are None'):
        link(*[None] * (count + 1))
    with pytest.raises(InvalidType, match='dtype'):
        link(*uniforms([(B, UNITS)] * count, 'f'), numpy.zeros((B, INPUT)))
    with pytest.raises(TypeError, match='expected c1 to be an array'):
        link('c', *[None] * (count - 1), numpy.zeros((B, INPUT)))
    with pytest.raises(InvalidType):
        link.forward_trees([[]] * B, numpy.zeros((B, INPUT + 1)))


@pytest.mark.parametrize(
    ('name', 'sizes', 'error'),
    [
        ('ChildSumTreeLSTM', (3, 0), ValueError),
        ('ChildSumTreeLSTM', (3, None), TypeError),
        ('NaryTreeLSTM', (3, 4, 0), ValueError),
        ('NaryTreeLSTM', (3, 4, 1.5), TypeError),
    ],
)
def test_wrong_sizes(name, sizes, error):
    with pytest.raises(error, match='expected (out_size|n_ary) to be a positive integer'):
        getattr(links, name)(*sizes)


def test_levels():
    """Leaves first, and in a level nodes with most children first."""
    plan = levels.plan([[], [0], [1, 3], [], []], 5, levels.tree.ChildSum())
    assert [(level.start, level.stop) for level in plan.levels] == [(0, 3), (3, 4), (4, 5)]
    assert plan.order is not None
    assert plan.order.tolist()[3:] == [1, 2]
