"""Projected links from and to torch: numbers recorded from torch 2.13.0, and torch itself."""

import chainer
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases
from tests.support.arrays import assert_close

I, H, P, T, B = 2, 3, 2, 3, 2  # noqa: E741


def wave(*shape):
    """Numbers that are the same with every version of NumPy."""
    return numpy.sin(numpy.arange(1, numpy.prod(shape) + 1)).reshape(shape)


def state_dict():
    """Two layers in both directions, by torch's names."""
    found = {}
    for layer, inputs in ((0, I), (1, 2 * P)):
        for end in (f'_l{layer}', f'_l{layer}_reverse'):
            shapes = {
                'weight_ih': (4 * H, inputs),
                'weight_hh': (4 * H, P),
                'bias_ih': (4 * H,),
                'bias_hh': (4 * H,),
                'weight_hr': (P, H),
            }
            for k, (name, shape) in enumerate(shapes.items()):
                found[name + end] = wave(*shape) + 0.1 * k - 0.2 * layer * end.count('_')
    return found


# of torch.nn.LSTM(2, 3, 2, bidirectional=True, proj_size=2) in float64: y of step 1, h and c
RECORDED = (
    [
        [0.304371188778, -0.156082306309, 0.09400130622, -0.09106615838],
        [0.26932504014, -0.132768226558, 0.078820434317, -0.077268220629],
    ],
    [[0.049921233607, -0.05587584448], [0.130198860403, -0.125219774608]],
    [
        [1.160524746696, 1.421916614747, 0.516756669852],
        [0.767364170972, 1.22109502963, 0.714175880374],
    ],
)


@pytest.mark.parametrize('cls', [ours.SequenceLSTM, ours.NStepBiLSTM])
def test_recorded_numbers(cls):
    with chainer.using_config('dtype', numpy.dtype('d')):
        link = interop.load(state_dict(), cls)
    found = cases.run(link, wave(T, B, I), wave(4, B, P), wave(4, B, H))
    assert_close([found[0][1], found[1][3], found[2][0]], [numpy.array(x) for x in RECORDED])


def projected(name, layers=2, dtype='f'):
    with chainer.using_config('dtype', numpy.dtype(dtype)):
        if name.startswith('NStep'):
            link = getattr(ours, name)(layers, cases.INPUT, cases.UNITS, 0.0, proj_size=3)
        else:
            link = ours.SequenceLSTM(
                cases.INPUT,
                cases.UNITS,
                n_layers=layers,
                bidirectional=name.startswith('bidirectional'),
                proj_size=3,
            )
    return cases.randomize(link)


LINKS = ['NStepLSTM', 'NStepBiLSTM', 'SequenceLSTM', 'bidirectional SequenceLSTM']


def arguments(name, layers=2, dtype='f'):
    x, h0, c0 = cases.arguments_of(name, layers, dtype)
    return x, h0[:, :, :3].copy(), c0


@pytest.mark.parametrize('into', [ours.SequenceLSTM, ours.NStepLSTM])
def test_between_links(into):
    link, args = projected('NStepLSTM'), arguments('NStepLSTM')
    assert_close(cases.run(interop.convert(link, into), *args), cases.run(link, *args))


@pytest.mark.filterwarnings('ignore:LSTM with projections is not supported with oneDNN')
@pytest.mark.parametrize('dtype', 'fd')
@pytest.mark.parametrize('name', LINKS)
def test_to_torch_and_back(name, dtype):
    torch = pytest.importorskip('torch', reason='torch is not installed')
    link, args = projected(name, dtype=dtype), arguments(name, dtype=dtype)
    expected = cases.run(link, *args)
    module = interop.to_torch(link)
    module.batch_first = False
    x, h0, c0 = map(torch.from_numpy, args)
    with torch.no_grad():
        y, (h, c) = module(x, (h0, c0))
    assert_close([v.numpy() for v in (y, h, c)], expected)
    assert_close(cases.run(interop.from_torch(module, type(link)), *args), expected)
    assert_close(cases.run(interop.from_torch(module, link), *args), expected)


def test_torch_has_no_wide_projections():
    pytest.importorskip('torch', reason='torch is not installed')
    with pytest.raises(ValueError, match='proj_size: expected less than 3, .* got 3'):
        interop.to_torch(ours.SequenceLSTM(2, 3, proj_size=3))


@pytest.mark.parametrize('convert, message', [
    (lambda link: interop.convert(link, ours.LSTM), 'proj_size: expected None for LSTM, got 3'),
    (lambda link: interop.convert(link, ours.SequenceLSTM(7, 5)),
     'proj_size: expected None for SequenceLSTM, got 3'),
    (lambda link: interop.convert(link, ours.SequenceLSTM(7, 5, proj_size=2)),
     'proj_size: expected 2 for SequenceLSTM, got 3'),
    (lambda link: interop.convert(ours.NStepLSTM(1, 7, 5, 0.0), link),
     'proj_size: expected 3 for SequenceLSTM, got None'),
    (interop.to_keras, 'proj_size: expected None for .*, got 3'),
    (interop.to_gates, 'proj_size: expected None for .*, got 3'),
])  # fmt: skip
def test_what_cannot_have_a_projection(convert, message):
    link = projected('SequenceLSTM', 1)
    before = {path: param.array.copy() for path, param in link.namedparams()}
    with pytest.raises(ValueError, match=message):
        convert(link)
    for path, param in link.namedparams():
        numpy.testing.assert_array_equal(param.array, before[path])
