"""What users get wrong: the right exception, what was expected and what came,
and nothing changed by the attempt.
"""

import collections

import pytest

from tests.bad_input import (
    command_lines,
    constructors,
    conversions,
    functions,
    models,
    sequences,
    steps,
)
from tests.bad_input.rows import numbers_drawn, state_of, state_of_everything_else
from tests.support.arrays import assert_same

TABLES = (constructors, steps, sequences, functions, models, conversions, command_lines)
ROWS = [row for table in TABLES for row in table.ROWS]


@pytest.mark.parametrize('row', [pytest.param(row, id=row.name) for row in ROWS])
def test_wrong_call_raises_and_changes_nothing(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thing = row.make()
    before, around, random = state_of(thing), state_of_everything_else(), numbers_drawn()
    with pytest.raises(row.error, match=row.message):
        row.act(thing)
    assert_same(state_of(thing), before)
    assert state_of_everything_else() == around
    assert row.draws or numbers_drawn() == random


def test_every_row_has_a_name_of_its_own():
    assert [
        name for name, count in collections.Counter(row.name for row in ROWS).items() if count > 1
    ] == []
    assert len(ROWS) > 600
