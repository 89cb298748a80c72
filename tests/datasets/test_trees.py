"""Trees as numbered nodes."""

import pytest

from chainer_lstm.datasets import children_of, flatten_trees


def test_nodes_are_numbered_from_the_leaves():
    flat = flatten_trees([('a', ['b', 'c', 'd']), 'e', (('f',),)])
    assert flat.children == [[], [], [], [], [1, 2, 3], [0, 4], [], [], [7], [8]]
    assert flat.values == ['a', 'b', 'c', 'd', None, None, 'e', 'f', None, None]
    assert flat.roots.tolist() == [5, 6, 9]


def test_deep_trees():
    tree = 'leaf'
    for _ in range(5000):
        tree = (tree,)
    assert len(flatten_trees([tree]).children) == 5001


def test_no_trees():
    assert flatten_trees([]).children == []


def test_an_empty_tuple_is_refused():
    with pytest.raises(ValueError, match='entries, got an empty one'):
        flatten_trees([('a', ())])


def test_a_list_in_itself_is_refused():
    tree = ['a', ['b']]
    assert len(flatten_trees([(tree, tree)]).children) == 9
    tree[1].append(tree)
    with pytest.raises(ValueError, match='got a list that contains itself'):
        flatten_trees([tree])


def test_children_of_parents():
    assert children_of([2, 2, -1, 2, 3]) == [[], [], [0, 1, 3], [4], []]


@pytest.mark.parametrize('wrong', [2, -2])
def test_parents_out_of_range(wrong):
    with pytest.raises(ValueError, match=rf'parents\[1\]: .* below 2, .* got {wrong}'):
        children_of([-1, wrong])


@pytest.mark.parametrize('wrong', [1.0, None, [0]])
def test_parents_of_other_types(wrong):
    with pytest.raises(TypeError, match=r'parents\[1\]: expected an integer, got'):
        children_of([-1, wrong])
