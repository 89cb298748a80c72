"""Options of ``links.SequenceLSTM`` beside numbers of Keras 3.15.1 (on torch 2.13.0), float32."""

import numpy
import pytest

from chainer_lstm import cells, interop, links

VALID = numpy.array([[1, 1, 0, 0], [1, 1, 1, 0]])
MASK = [[0, 2], [2, 2]]  # of h, in all products of a sequence
BOTH = {'bidirectional': True, 'zero_masked': True}
OPTIONS = {
    'recurrent_dropout': {'recurrent_dropout': 0.5},
    'go_backwards': {'go_backwards': True},
    'hard_sigmoid': {'recurrent_activation': 'hard_sigmoid', 'hard_sigmoid_slope': 1 / 6},
    'masked': {},
    'zero masked': {'zero_masked': True},
    'sum masked': {'merge_mode': 'sum', **BOTH},
    'mul masked': {'merge_mode': 'mul', **BOTH},
    'ave masked': {'merge_mode': 'ave', **BOTH},
    'concat masked': BOTH,
}
KERAS = {  # step after step of each sequence
    'recurrent_dropout': (
        '0.162343 -0.126557 0.224147 -0.142616 0.324148 -0.03916 0.395035 -0.126039 0.170817 '
        '-0.254219 0.213364 -0.048652 0.251928 -0.124826 0.198786 -0.172707'
    ),
    'go_backwards': (
        '0.204626 -0.116576 0.276936 -0.067881 0.285829 -0.135487 0.351248 -0.182232 0.090352 '
        '-0.127603 0.160316 -0.114757 0.246518 -0.043987 0.360044 -0.331234'
    ),
    'hard_sigmoid': (
        '0.173154 -0.131084 0.237894 -0.16758 0.33181 -0.099768 0.402438 -0.174144 0.182063 '
        '-0.23168 0.242801 -0.072004 0.277909 -0.140761 0.246581 -0.191491'
    ),
    'sum masked': (
        '0.477023 -0.105714 0.405266 -0.071622 0 0 0 0 0.544113 -0.206117 0.3573 0.269516 '
        '0.223977 -0.146032 0 0'
    ),
    'mul masked': (
        '0.051086 -0.002638 0.040626 -0.010739 0 0 0 0 0.063765 -0.012229 0.029502 -0.014823 '
        '-0.009184 0.003173 0 0'
    ),
    'ave masked': (
        '0.238512 -0.052857 0.202633 -0.035811 0 0 0 0 0.272056 -0.103059 0.17865 0.134758 '
        '0.111988 -0.073016 0 0'
    ),
    'concat masked': (
        '0.162343 -0.126557 0.31468 0.020843 0.223463 -0.145455 0.181802 0.073833 0 0 0 0 0 0 '
        '0 0 0.170817 -0.254219 0.373296 0.048102 0.227779 -0.046853 0.129521 0.316369 '
        '0.259383 -0.119476 -0.035407 -0.026556 0 0 0 0'
    ),
    'masked': (
        '0.162343 -0.126557 0.223463 -0.145455 0.223463 -0.145455 0.223463 -0.145455 0.170817 '
        '-0.254219 0.227779 -0.046853 0.259383 -0.119476 0.259383 -0.119476'
    ),
    'zero masked': (
        '0.162343 -0.126557 0.223463 -0.145455 0 0 0 0 0.170817 -0.254219 0.227779 -0.046853 '
        '0.259383 -0.119476 0 0'
    ),
}


def given():
    """x (2, 4, 3), and Keras's weights of both directions, of 2 units."""
    random = numpy.random.RandomState(0)
    shapes = [(2, 4, 3), *[(3, 8), (2, 8), (8,)] * 2]
    return [random.uniform(-1, 1, shape).astype('f').round(2) for shape in shapes]


@pytest.mark.parametrize('name', OPTIONS)
def test_numbers_of_keras(name, monkeypatch):
    x, *weights = given()
    link = links.SequenceLSTM(3, 2, return_sequences=True, **OPTIONS[name])
    plain = links.SequenceLSTM(3, 2, bidirectional=link.directions == 2)
    interop.from_keras(weights[: 3 * link.directions], plain)
    for cell, of in zip(link.cells(), plain.cells()):
        for parameter, value in zip(cell.cell_weights(), of.cell_weights()):
            parameter.array[...] = value.array
    monkeypatch.setattr(
        cells.LSTMVariant, 'draw_sequence', lambda self, xp, shape, dtype: [xp.array(MASK, dtype)]
    )
    y = link(x, mask=VALID if 'masked' in name else None)
    expected = numpy.array(KERAS[name].split(), float).reshape(y.shape)
    numpy.testing.assert_allclose(y.array, expected, atol=2e-6)
