"""From and to ``torch.nn.LSTM``, where torch is installed."""

import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases
from tests.support.arrays import assert_close, assert_same, uniform
from tests.support.links import contents

torch = pytest.importorskip('torch', reason='torch is not installed')
DTYPES = {'f': torch.float32, 'd': torch.float64}


def module(layers=1, directions=1, dtype='f', **kwargs):
    torch.manual_seed(3)
    return torch.nn.LSTM(
        cases.INPUT,
        cases.UNITS,
        layers,
        bidirectional=directions == 2,
        dtype=DTYPES[dtype],
        **kwargs,
    )


def outputs(lstm, x, h0, c0):
    """y, hn, cn of torch, time-major."""
    lstm.batch_first = False
    with torch.no_grad():
        y, (h, c) = lstm(torch.from_numpy(x), (torch.from_numpy(h0), torch.from_numpy(c0)))
    return [y.numpy(), h.numpy(), c.numpy()]


@pytest.mark.parametrize('name, layers', cases.LINKS, ids=cases.IDS)
@pytest.mark.parametrize('dtype', 'fd')
def test_to_torch_and_back(name, layers, dtype):
    link, args = cases.make(name, layers, dtype), cases.arguments_of(name, layers, dtype)
    expected = cases.run(link, *args)
    lstm = interop.to_torch(link)
    assert_close(outputs(lstm, *args), expected)
    back = interop.from_torch(lstm, type(link))
    assert_close(cases.run(back, *args), expected)
    assert_same(
        *(
            {key: value for key, value in contents(x).items() if key not in ('c', 'h')}
            for x in (back, link)
        )
    )


@pytest.mark.parametrize('name, layers', cases.LINKS, ids=cases.IDS)
@pytest.mark.parametrize('bias', [True, False], ids=['biases', 'no bias'])
def test_from_torch_into_a_class_and_a_link(name, layers, bias):
    directions = cases.FAMILY[name][1]
    lstm, args = module(layers, directions, bias=bias), cases.arguments_of(name, layers)
    expected = outputs(lstm, *args)
    link = cases.make(name, layers)
    assert_close(cases.run(interop.from_torch(lstm, type(link)), *args), expected)
    assert interop.from_torch(lstm, link) is link
    assert_close(cases.run(link, *args), expected)


def test_both_biases_stay_apart():
    lstm = module()
    back = interop.to_torch(interop.from_torch(lstm, ours.NStepLSTM))
    for key, value in lstm.state_dict().items():
        numpy.testing.assert_array_equal(back.state_dict()[key], value)


def test_torch_module_can_be_trained():
    lstm = interop.to_torch(cases.make('NStepBiLSTM', 2))
    lstm(torch.zeros(2, 1, cases.INPUT))[0].sum().backward()
    assert all(param.grad is not None for param in lstm.parameters())


def test_into_a_deferred_link_and_one_of_another_dtype():
    lstm, args = module(dtype='d'), cases.arguments(1, 1)
    link = interop.from_torch(lstm, ours.LSTM(cases.UNITS))
    assert link.upward.W.dtype == numpy.float32
    assert_close(
        cases.run(link, *args), cases.run(interop.from_torch(lstm.float(), ours.LSTM), *args)
    )


def test_dropout_and_batch_first_go_along():
    lstm = interop.to_torch(ours.SequenceLSTM(3, 4, n_layers=2, dropout=0.3))
    assert (lstm.dropout, lstm.batch_first) == (0.3, True)
    assert not interop.to_torch(ours.SequenceLSTM(3, 4, batch_first=False)).batch_first
    assert interop.to_torch(ours.NStepLSTM(1, 3, 4, 0.3)).dropout == 0
    assert interop.from_torch(lstm, ours.NStepLSTM).dropout == 0.3
    link = interop.from_torch(lstm, ours.SequenceLSTM)
    assert (link.batch_first, link.return_sequences) == (True, True)


@pytest.mark.parametrize('name', ['LSTM', 'SequenceLSTM', 'bidirectional SequenceLSTM'])
def test_state(name):
    """The next outputs are the same on either side, and the state comes back."""
    link = cases.make(name)
    lstm = interop.to_torch(link)
    x, h0, c0 = cases.arguments_of(name, 1)
    if name != 'LSTM':
        link.stateful, link.return_sequences, link.batch_first = True, True, False
        lstm.batch_first = False
    assert interop.state_to_torch(link) is None
    step = (lambda x: ours.LSTM.forward_sequence(link, x)) if name == 'LSTM' else link
    step(x)
    with torch.no_grad():
        y, state = lstm(torch.from_numpy(x), interop.state_to_torch(link))
    assert_close([step(x)], [y.numpy()])
    link.reset_state()
    interop.state_from_torch(state, link)
    assert_close(
        [link.h.array.reshape(h0.shape), link.c.array.reshape(c0.shape)], [s.numpy() for s in state]
    )
    assert_close([step(x)], [lstm(torch.from_numpy(x), state)[0].detach().numpy()])
    interop.state_from_torch(None, link)
    assert link.c is None and link.h is None


@pytest.mark.parametrize('shape', [(2, 3, cases.UNITS), (1, 3, 4), (3, cases.UNITS)], ids=str)
def test_misshapen_state_changes_nothing(shape):
    link = cases.make('LSTM')
    link.set_state(*uniform((2, 2, cases.UNITS), 'f'))
    before = contents(link)
    with pytest.raises(ValueError, match='h: expected shape'):
        interop.state_from_torch((torch.zeros(shape), torch.zeros(shape)), link)
    assert_same(contents(link), before)


@pytest.mark.parametrize('make, into, error, message', [
    (lambda: module(2), ours.LSTM, ValueError, 'layers: expected 1 for LSTM, got 2'),
    (lambda: module(1, 2), ours.NStepLSTM, ValueError,
     'directions: expected 1 for NStepLSTM, got 2'),
    (lambda: module(proj_size=2), ours.LSTM, ValueError,
     'proj_size: expected None for LSTM, got 2'),
    (lambda: torch.nn.GRU(3, 4), ours.LSTM, TypeError, 'expected a torch.nn.LSTM, got GRU'),
    (lambda: module().bfloat16(), ours.LSTM, TypeError,
     'weight_ih_l0: expected float16, float32 or float64'),
    (module, ours.LSTM(2, cases.UNITS), ValueError,
     r'upward/W: expected shape \(20, 2\), got \(20, 7\)'),
    (module, torch.nn.LSTM, TypeError, 'expected a link of the LSTM family or its class, got LSTM'),
])  # fmt: skip
def test_what_does_not_fit(make, into, error, message):
    before = contents(into) if isinstance(into, ours.LSTM) else {}
    with pytest.raises(error, match=message):
        interop.from_torch(make(), into)
    assert_same(contents(into) if isinstance(into, ours.LSTM) else {}, before)


@pytest.mark.parametrize(
    'link, error, message',
    [
        (
            lambda: cases.make('StatefulPeepholeLSTM'),
            ValueError,
            'peepholes: expected none for torch.nn.LSTM',
        ),
        (lambda: ours.LSTM(4), ValueError, 'upward/W: expected weights, got none'),
        (object, TypeError, 'expected a link of the LSTM family, got object'),
    ],
)
def test_no_torch_module_for_it(link, error, message):
    with pytest.raises(error, match=message):
        interop.to_torch(link())
