"""ONNX files of links with the options of an LSTM, run by onnxruntime."""

import chainer
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases
from tests.support.arrays import assert_close, uniform

pytest.importorskip('onnx', reason='onnx is not installed')
onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

SIZES = (cases.INPUT, cases.UNITS)
HARD = {'recurrent_activation': 'hard_sigmoid'}
BOTH = {'bidirectional': True}


def run(path, **inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every optional input
    providers = ['CPUExecutionProvider']
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    return session.run(['y', 'hn', 'cn'], inputs)


@pytest.mark.parametrize('return_sequences', [True, False], ids=['all steps', 'last step'])
@pytest.mark.parametrize('options', [
    {'peephole': 'diagonal'},
    {'peephole': 'diagonal', 'n_layers': 2, **BOTH},
    {'coupled': True},
    {'coupled': True, 'peephole': 'diagonal', 'zoneout': (0.2, 0.1), **BOTH},
    HARD,
    {**HARD, 'hard_sigmoid_slope': 1 / 6, 'n_layers': 2, **BOTH},
    {**HARD, 'coupled': True, 'peephole': 'diagonal', **BOTH},
    {'go_backwards': True},
    {'go_backwards': True, 'n_layers': 2, 'batch_first': False, **HARD},
    {'merge_mode': 'sum', **BOTH},
    {'merge_mode': 'mul', 'batch_first': False, **BOTH},
    {'merge_mode': 'ave', 'n_layers': 2, 'recurrent_dropout': 0.5, **BOTH},
    {'weight_dropout': 0.5, 'dropout': 0.5, 'n_layers': 2},
], ids=str)  # fmt: skip
def test_sequence_lstm(tmp_path, options, return_sequences):
    """With the states given and without, and of another length than the example's."""
    link = ours.SequenceLSTM(
        *SIZES, return_sequences=return_sequences, return_state=True, **options
    )
    cases.randomize(link)
    for param in link.params():  # some gates beyond the bounds of a hard sigmoid
        param.array *= 3
    x, h0, c0 = cases.arguments(link.n_layers, link.directions)
    x = x.swapaxes(0, 1).copy() if link.batch_first else x
    path = tmp_path / 'model.onnx'
    interop.export_onnx(link, path, x[:2, :2])
    for given, state in (({}, None), ({'h0': h0, 'c0': c0}, (c0, h0))):
        with chainer.using_config('train', False):
            y, c, h = link(x, state)
        expected = [y, h.array.reshape(h0.shape), c.array.reshape(c0.shape)]
        assert_close(run(path, x=x, **given), expected)


@pytest.mark.parametrize('make', [
    lambda: ours.NStepLSTM(2, *SIZES, 0.5, zoneout=(0.4, 0.3)),
    lambda: ours.NStepBiLSTM(2, *SIZES, 0.5, recurrent_dropout=0.5),
], ids=['zoneout', 'recurrent dropout'])  # fmt: skip
def test_ragged_sequences(tmp_path, make):
    link, lengths = cases.randomize(make()), [4, 0, 6]
    x, h0, c0 = cases.arguments(2, link.direction)
    xs = [x[:length, k] for k, length in enumerate(lengths)]
    with chainer.using_config('train', False):
        hy, cy, ys = link(h0, c0, xs)
    expected = numpy.zeros((*x.shape[:2], link.direction * cases.UNITS), 'f')
    for k, y in enumerate(ys):
        expected[: len(y), k] = y.array
    interop.export_onnx(link, tmp_path / 'model.onnx', xs)
    lens = numpy.array(lengths, 'i')
    found = run(tmp_path / 'model.onnx', x=x, sequence_lens=lens, h0=h0, c0=c0)
    assert_close(found, [expected, hy, cy])


def test_zoneout_of_one_cell(tmp_path):
    link = cases.randomize(ours.StatefulZoneoutLSTM(*SIZES))
    x, h0, c0 = cases.arguments(1, 1)
    interop.export_onnx(link, tmp_path / 'model.onnx', x)
    with chainer.using_config('train', False):
        expected = cases.run(link, x, h0, c0)
    assert_close(run(tmp_path / 'model.onnx', x=x, h0=h0, c0=c0), expected)


class Cells(chainer.Chain):
    """Asks for c of all steps."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.l = ours.LSTM(*SIZES)

    def forward(self, x):
        return self.l.forward_sequence(x, return_cells=True)[1]


ARRAY = uniform((2, 3, cases.INPUT), 'f')


@pytest.mark.parametrize('model, example, message', [
    (ours.SequenceLSTM(*SIZES, proj_size=3), ARRAY, 'proj_size: expected None for an ONNX'),
    (ours.NStepLSTM(1, *SIZES, 0.0, proj_size=3), list(ARRAY), 'proj_size: expected None for an'),
    (ours.SequenceLSTM(*SIZES, peephole='diagonal', coupled=True, cell_clip=1), ARRAY,
     'cell_clip: expected None .* got a SequenceLSTM with 1'),
    (ours.NStepLSTM(1, *SIZES, 0.0, cell_clip=1), list(ARRAY), 'cell_clip: expected None'),
    (ours.SequenceLSTM(*SIZES, zoneout=(0.5, 0), zoneout_expectation=True), ARRAY,
     'zoneout_expectation: expected False'),
    (ours.SequenceLSTM(*SIZES, return_cells=True), ARRAY,
     'SequenceLSTM: expected a call without return_cells'),
    (ours.NStepLSTM(1, *SIZES, 0.0, return_cells=True), list(ARRAY),
     'NStepLSTM: expected a call without return_cells'),
    (Cells(), ARRAY, 'LSTM: expected a call without return_cells'),
])  # fmt: skip
def test_what_a_file_has_not(tmp_path, model, example, message):
    each_step = False if isinstance(model, Cells) else None
    with pytest.raises(ValueError, match=message):
        interop.export_onnx(model, tmp_path / 'model.onnx', example, each_step=each_step)
    assert not list(tmp_path.iterdir())
