"""Copies of tables on a GPU, which is made up."""

import types

import numpy

from chainer_lstm.kernels import tables


class Cupy:
    """Counts the copies to devices."""

    def __init__(self):
        self.place = [0, 0]
        self.copies = 0
        stream = types.SimpleNamespace
        self.cuda = types.SimpleNamespace(
            get_device_id=lambda: self.place[0],
            get_current_stream=lambda: stream(ptr=self.place[1]),
        )

    def asarray(self, table):
        self.copies += 1
        return table.copy()


def test_numpy_has_the_table_itself():
    table = numpy.arange(3)
    assert tables.on_device(numpy, table) is table


def test_one_copy_for_each_device_and_stream():
    xp, table = Cupy(), numpy.arange(3)
    for _ in range(2):
        for place in [0, 0], [0, 1], [1, 0]:
            xp.place = place
            numpy.testing.assert_array_equal(tables.on_device(xp, table), table)
    assert xp.copies == 3


def test_a_table_in_the_place_of_another_one():
    """Nothing is kept of a table that is gone, whose address is soon that of the next one."""
    xp, before = Cupy(), len(tables._copies)
    for k in range(100):
        assert tables.on_device(xp, numpy.full(3, k))[0] == k
    assert xp.copies == 100
    assert len(tables._copies) == before
