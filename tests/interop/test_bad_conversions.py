"""What converters to and from torch, Keras and separate gates refuse."""

import importlib.util

import chainer
import pytest

import chainer_lstm
from chainer_lstm import interop, links
from tests.support.arrays import zeros
from tests.support.files import with_state
from tests.support.links import INPUT, UNITS

LINEAR = chainer.links.Linear(2, 3)
LSTM = links.LSTM(INPUT, UNITS)
GATES, KERAS = interop.to_gates(LSTM), interop.to_keras(LSTM)
W, U, b = KERAS
STATE = zeros(1, 2, UNITS)
HAS_TORCH = importlib.util.find_spec('torch') is not None
TORCH = pytest.mark.skipif(not HAS_TORCH, reason='torch is not installed')

FROM_LINKS = {
    'to_gates': interop.to_gates,
    'to_keras': interop.to_keras,
    'convert': lambda link: interop.convert(link, links.LSTM),
    **({'to_torch': interop.to_torch} if HAS_TORCH else {}),
}
INTO_LINKS = {
    'convert': lambda into: interop.convert(LSTM, into),
    'from_gates': lambda into: interop.from_gates(GATES, into),
    'from_keras': lambda into: interop.from_keras(KERAS, into),
}
WRONG_GATES = {
    'None': (None, TypeError, 'expected a dictionary of gates, got NoneType'),
    'a list': ([], TypeError, 'got list'),
    'empty': ({}, KeyError, 'W_hc: expected the keys .* got only \\[\\]'),
    'other key': (
        {**GATES, 'x': zeros(1)},
        KeyError,
        'x: expected the keys .* got this one too',
    ),
    'missing key': (
        {key: value for key, value in GATES.items() if key != 'b_c'},
        KeyError,
        'b_c: expected the',
    ),
    'other width': (
        {**GATES, 'W_xi': zeros(3, 5)},
        ValueError,
        r'W_xi: expected shape \(any, 4\), got \(3, 5\)',
    ),
    'None in it': ({**GATES, 'b_f': None}, TypeError, 'b_f: expected floats, got object'),
    'integers': (
        {**GATES, 'W_xi': zeros(3, 4, dtype='i')},
        TypeError,
        'W_xi: expected floats, got int32',
    ),
    'a string in it': ({**GATES, 'W_hi': 'a'}, TypeError, 'W_hi: expected floats, got <U1'),
}
WRONG_KERAS = {
    'None': (None, TypeError, 'NoneType'),
    'a number': (5, TypeError, 'int'),
    'empty': ([], ValueError, 'kernel, recurrent_kernel and bias of every layer, got 0 arrays'),
    'one array': ([W], ValueError, 'got 1 arrays'),
    'bias of another length': (
        [W, U, zeros(5)],
        ValueError,
        r'arrays\[2\] \(bias\): .* \(16,\), got \(5,\)',
    ),
    'kernel transposed': (
        [W.T, U, b],
        ValueError,
        r'arrays\[0\] \(kernel\): .* \(16, 16\), got \(16, 3\)',
    ),
    'integers': (
        [W.astype('i'), U, b],
        TypeError,
        r'arrays\[0\] \(kernel\): expected floats, got int32',
    ),
    'None in it': ([None] * 3, TypeError, 'expected floats, got object'),
    'two layers': (
        [W, U, b] * 2,
        ValueError,
        r'arrays\[3\] \(kernel\): expected shape \(4, 16\), got \(3, 16\)',
    ),
}
WRONG_TORCH_STATES = {
    'a number': (5, TypeError, 'int'),
    'one': ((STATE,), ValueError, r'expected a pair \(h, c\), got 1 items'),
    'three': ([STATE] * 3, ValueError, 'got 3 items'),
    'None twice': ((None, None), TypeError, 'h: expected floats'),
    'integers': ((STATE.astype('i'), STATE), TypeError, 'h: expected floats, got int32'),
    'two layers': (
        (zeros(2, 2, UNITS),) * 2,
        ValueError,
        r'h: expected shape \(1, any, 4\), got \(2, 2, 4\)',
    ),
    'other units': (
        (STATE, zeros(1, 2, 5)),
        ValueError,
        r'c: expected shape \(1, any, 4\), got \(1, 2, 5\)',
    ),
    'other rows': ((STATE, zeros(1, 3, UNITS)), ValueError, 'expected c and h of one shape'),
    'two axes': (
        (zeros(2, UNITS),) * 2,
        ValueError,
        r'h: expected shape \(any, any, any\), got \(2, 4\)',
    ),
}
KEEPS_NO_STATE = [None, LINEAR, links.StatelessLSTM(2, 3)]


@pytest.fixture
def link():
    return with_state(links.LSTM(INPUT, UNITS))


@pytest.mark.parametrize('name', FROM_LINKS)
@pytest.mark.parametrize('value', [None, 5, LINEAR, links.LSTM])
def test_no_link(refuses, name, value):
    message = 'expected a link of the LSTM family, got '
    refuses(lambda: FROM_LINKS[name](value), TypeError, message)


@pytest.mark.parametrize('name', FROM_LINKS)
def test_link_without_input_size(refuses, name):
    link, message = links.LSTM(None, UNITS), 'upward/W: expected weights, got none'
    refuses(lambda: FROM_LINKS[name](link), ValueError, message, link)


@pytest.mark.parametrize('name', [name for name in FROM_LINKS if name != 'to_gates'])
def test_full_peepholes(refuses, name):
    link = links.StatefulPeepholeLSTM(INPUT, UNITS)
    message = 'peepholes: expected none for .*, got P_i, P_f, P_o'
    refuses(lambda: FROM_LINKS[name](link), ValueError, message, link)


@pytest.mark.parametrize('name', FROM_LINKS)
@pytest.mark.parametrize(
    ('options', 'message'),
    (
        ({'cell_clip': 2}, 'cell_clip: expected None .*, got a SequenceLSTM with 2'),
        (
            {'zoneout': (0.1, 0.0), 'zoneout_expectation': True},
            'zoneout_expectation: expected False .*, got a SequenceLSTM with True',
        ),
    ),
)
def test_option_that_others_lack(refuses, name, options, message):
    link = links.SequenceLSTM(INPUT, UNITS, **options)
    refuses(lambda: FROM_LINKS[name](link), ValueError, message, link)


def test_gates_of_a_hard_sigmoid(refuses):
    link = links.SequenceLSTM(INPUT, UNITS, recurrent_activation='hard_sigmoid')
    message = "recurrent_activation: expected 'sigmoid', got 'hard_sigmoid'"
    refuses(lambda: interop.to_gates(link), ValueError, message, link)


def test_gates_of_two_layers(refuses):
    link, message = (
        links.NStepLSTM(2, INPUT, UNITS, 0.0),
        'layers: expected 1 in 1 direction, got 2 in 1',
    )
    refuses(lambda: interop.to_gates(link), ValueError, message, link)


@pytest.mark.parametrize('name', INTO_LINKS)
@pytest.mark.parametrize('value', [5, 'LSTM', chainer.links.Linear, int])
def test_into_no_link(refuses, name, value):
    message = 'expected a link of the LSTM family or its class, got '
    refuses(lambda: INTO_LINKS[name](value), TypeError, message)


@pytest.mark.parametrize('name', INTO_LINKS)
@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (
            lambda: links.SequenceLSTM(INPUT, UNITS, coupled=True),
            'coupled: expected weights of i that are the negative ones of f, or False',
        ),
        (
            lambda: links.LSTM(INPUT + 1, UNITS),
            r'upward/W: expected shape \(16, 4\), got \(16, 3\)',
        ),
        (
            lambda: links.LSTM(INPUT, UNITS + 1),
            r'lateral/W: expected shape \(20, 5\), got \(16, 4\)',
        ),
        (
            lambda: links.NStepLSTM(2, INPUT, UNITS, 0.0),
            'layers: expected 2 for NStepLSTM, got 1',
        ),
        (
            lambda: links.NStepBiLSTM(1, INPUT, UNITS, 0.0),
            'expected (2|6) for (NStepBiLSTM|every layer), got',
        ),
    ],
    ids=['coupled gates', 'other inputs', 'other units', 'two layers', 'two directions'],
)
def test_into_a_link_that_does_not_fit(refuses, name, make, message):
    link = make()
    refuses(lambda: INTO_LINKS[name](link), ValueError, message, link)


@pytest.mark.parametrize(('gates', 'error', 'message'), WRONG_GATES.values(), ids=WRONG_GATES)
def test_gates(refuses, link, gates, error, message):
    refuses(lambda: interop.from_gates(gates, link), error, message, link)


@pytest.mark.parametrize(('arrays', 'error', 'message'), WRONG_KERAS.values(), ids=WRONG_KERAS)
def test_arrays_of_keras(refuses, link, arrays, error, message):
    refuses(lambda: interop.from_keras(arrays, link), error, message, link)


@pytest.mark.parametrize(
    ('state', 'error', 'message'), WRONG_TORCH_STATES.values(), ids=WRONG_TORCH_STATES
)
def test_state_of_torch(refuses, link, state, error, message):
    refuses(lambda: interop.state_from_torch(state, link), error, message, link)


@pytest.mark.parametrize('value', KEEPS_NO_STATE)
def test_state_of_torch_into_no_link_that_keeps_one(refuses, value):
    message = 'expected a link that keeps a state, got '
    refuses(lambda: interop.state_from_torch((STATE, STATE), value), TypeError, message)


@TORCH
@pytest.mark.parametrize('value', KEEPS_NO_STATE)
def test_state_to_torch_of_no_link_that_keeps_one(refuses, value):
    message = 'expected a link that keeps a state, got '
    refuses(lambda: interop.state_to_torch(value), TypeError, message)


# by functions of torch.nn
WRONG_MODULES = {
    'None': (lambda nn: None, TypeError, 'expected a torch.nn.LSTM, got NoneType'),
    'GRU': (lambda nn: nn.GRU(3, 4), TypeError, 'expected a torch.nn.LSTM, got GRU'),
    'projections': (
        lambda nn: nn.LSTM(3, 4, proj_size=2),
        ValueError,
        'proj_size: expected None for LSTM, got 2',
    ),
    'two layers': (lambda nn: nn.LSTM(3, 4, 2), ValueError, 'layers: expected 1 for LSTM, got 2'),
    'two directions': (
        lambda nn: nn.LSTM(3, 4, bidirectional=True),
        ValueError,
        'directions: expected 1 .* got 2',
    ),
    'bfloat16': (
        lambda nn: nn.LSTM(3, 4).bfloat16(),
        TypeError,
        'float16, float32 or float64, got torch.bfloat16',
    ),
    'other units': (
        lambda nn: nn.LSTM(3, 5),
        ValueError,
        r'lateral/W: expected shape \(16, 4\), got \(20, 5\)',
    ),
}


@TORCH
@pytest.mark.parametrize(('make', 'error', 'message'), WRONG_MODULES.values(), ids=WRONG_MODULES)
def test_module_of_torch(refuses, link, make, error, message):
    import torch

    module = make(torch.nn)
    refuses(lambda: interop.from_torch(module, link), error, message, link)


def test_install_with_an_argument(refuses):
    refuses(lambda: chainer_lstm.install('LSTM'), TypeError, 'argument')


def test_name_that_is_not_there(refuses):
    refuses(lambda: chainer_lstm.no_such_name, AttributeError, 'no_such_name')
