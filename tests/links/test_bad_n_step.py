"""What ``NStepLSTM`` and ``NStepBiLSTM`` refuse."""

import chainer
import pytest
from chainer.utils.type_check import InvalidType

from chainer_lstm import links
from tests.links.n_step_cases import LINKS
from tests.support.arrays import zeros
from tests.support.links import INPUT, UNITS

XS = [zeros(2, INPUT), zeros(3, INPUT)]
WRONG_XS = {
    'empty': ([], ValueError, 'expected at least one sequence in xs, got an empty list'),
    'an empty tuple': ((), ValueError, 'expected at least one sequence'),
    'an array': (zeros(2, 3, INPUT), TypeError, 'expected xs to be a list or tuple .* ndarray'),
    'a variable': (chainer.Variable(XS[0]), TypeError, 'expected xs to be .* got Variable'),
    'None': (None, TypeError, 'expected xs to be .* got NoneType'),
    '0] a list': ([[[0.0, 0.0, 0.0]]], TypeError, 'list'),
    '1] one axis': (
        [XS[0], zeros(INPUT)],
        ValueError,
        r'expected xs\[1\] of shape \(length, 3\), got \(3,\)',
    ),
    '0] three axes': ([zeros(1, 2, INPUT)], ValueError, r'xs\[0\] .* got \(1, 2, 3\)'),
    '1] other width': ([XS[0], zeros(2, 4)], ValueError, r'xs\[1\] .* got \(2, 4\)'),
    '1] of length 0 other width': ([XS[0], zeros(0, 4)], ValueError, r'xs\[1\] .* got \(0, 4\)'),
    'integers': ([zeros(2, INPUT, dtype='i')], InvalidType, r'dtype'),
    'float64': ([zeros(2, INPUT, dtype='d')], InvalidType, r'dtype.*\nActual: .*float64'),
    'of two dtypes': ([XS[0], zeros(2, INPUT, dtype='d')], InvalidType, r'dtype'),
}
ROWS = {'NStepLSTM': 2, 'NStepBiLSTM': 4}
# made of the number of layers in all directions
WRONG_STATES = {
    'hx other layers': lambda rows: (
        zeros(rows + 1, 2, UNITS),
        None,
        ValueError,
        rf'expected hx of shape \({rows}, 2, 4\), got \({rows + 1}, 2, 4\)',
    ),
    'hx one row': lambda rows: (
        zeros(rows, 1, UNITS),
        None,
        ValueError,
        rf'hx of shape \({rows}, 2, 4\), got \({rows}, 1, 4\): give one row',
    ),
    'hx no row': lambda rows: (zeros(rows, 0, UNITS), None, ValueError, r'expected hx of .* got'),
    'hx more rows, other units': lambda rows: (
        zeros(rows, 3, UNITS + 1),
        None,
        ValueError,
        r'expected hx of shape',
    ),
    'hx more rows, other layers': lambda rows: (
        zeros(rows - 1, 3, UNITS),
        None,
        ValueError,
        r'expected hx of shape',
    ),
    'cx one row': lambda rows: (
        None,
        zeros(rows, 1, UNITS),
        ValueError,
        r'expected cx of shape .* got',
    ),
    'cx other units': lambda rows: (
        zeros(rows, 2, UNITS),
        zeros(rows, 2, UNITS + 1),
        ValueError,
        r'expected cx of shape .* got',
    ),
    'hx two axes': lambda rows: (
        zeros(2, UNITS),
        None,
        ValueError,
        r'expected hx of shape .* got \(2, 4\)',
    ),
    'hx float64': lambda rows: (zeros(rows, 2, UNITS, dtype='d'), None, InvalidType, 'dtype'),
    'cx integers': lambda rows: (
        zeros(rows, 2, UNITS),
        zeros(rows, 2, UNITS, dtype='i'),
        InvalidType,
        'dtype',
    ),
    'hx a list': lambda rows: ([[[0.0] * UNITS] * 2] * rows, None, TypeError, 'list'),
}


def n_step(name):
    return getattr(links, name)(2, INPUT, UNITS, 0.0)


@LINKS
@pytest.mark.parametrize(('xs', 'error', 'message'), WRONG_XS.values(), ids=WRONG_XS)
def test_xs_of_n_step(refuses, name, xs, error, message):
    link = n_step(name)
    refuses(lambda: link(None, None, xs), error, message, link)


@LINKS
def test_generator_as_xs_of_n_step(refuses, name):
    link = n_step(name)
    refuses(
        lambda: link(None, None, iter(XS)), TypeError, 'expected xs to be a list or tuple', link
    )


@LINKS
@pytest.mark.parametrize('wrong', WRONG_STATES.values(), ids=WRONG_STATES)
def test_state_of_n_step(refuses, name, wrong):
    link = n_step(name)
    hx, cx, error, message = wrong(ROWS[name])
    refuses(lambda: link(hx, cx, XS), error, message, link)


@LINKS
@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        pytest.param(
            lambda link: link(None, None, XS, train=True),
            ValueError,
            'train argument is not supported anymore',
            id='train',
        ),
        pytest.param(
            lambda link: link(None, None, XS, dropout=0.5),
            TypeError,
            'dropout',
            id='unknown keyword',
        ),
        pytest.param(lambda link: link(XS), TypeError, 'missing', id='xs alone'),
    ],
)
def test_arguments_of_n_step(refuses, name, call, error, message):
    link = n_step(name)
    refuses(lambda: call(link), error, message, link)
