"""The choice of combinations that tests run: every pair of values, and few rows."""

import itertools

import pytest

from tests.support.pairwise import covering


def pairs(rows):
    return {pair for row in rows for pair in itertools.combinations(enumerate(row), 2)}


@pytest.mark.parametrize(
    ('sizes', 'most'),
    [((3,), 3), ((4, 3), 12), ((3, 3, 3), 12), ((2, 2, 2, 2, 2), 8), ((9, 5, 2, 2), 47)],
    ids=str,
)
def test_every_pair_occurs(sizes, most):
    rows = list(itertools.product(*map(range, sizes)))
    chosen = covering(rows)
    assert chosen == covering(rows) == sorted(set(chosen))
    assert pairs(rows[k] for k in chosen) == pairs(rows)
    assert max(sizes) <= len(chosen) <= most


def test_pairs_that_never_occur_are_not_missed():
    rows = [row for row in itertools.product(range(3), repeat=3) if row[0] != row[1]]
    assert pairs(rows[k] for k in covering(rows)) == pairs(rows)
