"""The orders of the gates, each written down here a second time, by name."""

import numpy
import pytest

from chainer_lstm.kernels import layout

pytestmark = pytest.mark.pairwise

UNITS = 3
# row by row; N_STEP is a list of four
ORDERS = {
    layout.INTERLEAVED: [f'{gate}{unit}' for unit in range(UNITS) for gate in 'aifo'],
    **{
        order: [f'{gate}{unit}' for gate in gates for unit in range(UNITS)]
        for order, gates in (
            (layout.PLANAR, 'aifo'),
            (layout.TORCH, 'ifao'),
            (layout.ONNX, 'iofa'),
            (layout.TENSORFLOW, 'iafo'),
            (layout.N_STEP, 'ifao'),
        )
    },
}


def rows(order, columns):
    """An array (4H, …) of names, or the list of four."""
    x = numpy.array(ORDERS[order])
    x = (
        x
        if columns is None
        else numpy.stack([numpy.char.add(x, str(k)) for k in range(columns)], axis=1)
    )
    return list(x.reshape(4, UNITS, *x.shape[1:])) if order == layout.N_STEP else x


@pytest.mark.parametrize('source', ORDERS)
@pytest.mark.parametrize('target', ORDERS)
@pytest.mark.parametrize('columns', [None, 1, 2])
def test_convert(source, target, columns):
    numpy.testing.assert_array_equal(
        layout.convert(numpy, rows(source, columns), source, target), rows(target, columns)
    )


@pytest.mark.parametrize('columns', [None, 1, 2])
def test_planar(columns):
    found = layout.planar(rows(layout.INTERLEAVED, columns))
    numpy.testing.assert_array_equal(found, rows(layout.PLANAR, columns))


@pytest.mark.parametrize('order', ORDERS)
def test_split(order):
    for gate, part in zip('aifo', layout.split(rows(order, None), order)):
        assert list(part) == [f'{gate}{unit}' for unit in range(UNITS)]


@pytest.mark.parametrize('order', [order for order in ORDERS if order != layout.N_STEP])
def test_gates_are_views(order):
    x = numpy.zeros((2, 4 * UNITS))
    for value, gate in enumerate(layout.gates(x, order)):
        gate[...] = value
    assert [f'{"aifo"[int(value)]}' for value in x[0]] == [name[0] for name in ORDERS[order]]
