"""ONNX files, run by onnxruntime and compared with the model they were made of."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from chainer_lstm.models import RNNForLM
from tests.interop import cases
from tests.support.arrays import assert_close, uniform

onnx = pytest.importorskip('onnx', reason='onnx is not installed')
onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')


@pytest.fixture
def export(tmp_path):
    """Exports a model and -> what runs the file: inputs by their names to y, hn, cn."""

    def export(model, example, **kwargs):
        path = tmp_path / 'model.onnx'
        interop.export_onnx(model, path, example, **kwargs)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns of every optional input
        providers = ['CPUExecutionProvider']
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        return lambda **inputs: session.run(['y', 'hn', 'cn'], inputs)

    return export


def zeros(layers):
    return {name: numpy.zeros((layers, cases.BATCH, cases.UNITS), 'f') for name in ('h0', 'c0')}


@pytest.mark.parametrize('name', ['LSTM', 'StatelessLSTM'])
def test_cell_over_a_sequence_and_step_by_step(export, name):
    link, (x, h0, c0) = cases.make(name), cases.arguments(1, 1)
    expected = cases.run(link, x, h0, c0)
    assert_close(export(link, x)(x=x, h0=h0, c0=c0), expected)
    step = export(link, x[0])
    ys = []
    for x_t in x:
        y, h0, c0 = step(x=x_t, h0=h0, c0=c0)
        ys.append(y)
    assert_close([numpy.stack(ys), h0, c0], expected)


@pytest.mark.parametrize(
    'name, layers', [(name, layers) for name, layers in cases.LINKS if 'NStep' in name]
)
def test_n_step_with_sequences_of_any_length(export, name, layers):
    """A sequence of no steps keeps its state; y is 0 after the end of each."""
    link, (x, h0, c0) = cases.make(name, layers), cases.arguments_of(name, layers)
    lengths = [4, 0, 6]
    xs = [x[:length, k] for k, length in enumerate(lengths)]
    hy, cy, ys = link(h0, c0, xs)
    expected = numpy.zeros((cases.TIME, cases.BATCH, cases.FAMILY[name][1] * cases.UNITS), 'f')
    for k, y in enumerate(ys):
        expected[: len(y), k] = y.array
    found = export(link, xs)(x=x, sequence_lens=numpy.array(lengths, 'i'), h0=h0, c0=c0)
    assert_close(found, [expected, hy, cy])


@pytest.mark.parametrize(
    'name, layers', [(name, layers) for name, layers in cases.LINKS if 'Sequence' in name]
)
@pytest.mark.parametrize('batch_first', [True, False], ids=['batch first', 'time first'])
@pytest.mark.parametrize('return_sequences', [True, False], ids=['all steps', 'last step'])
def test_sequence_lstm(export, name, layers, batch_first, return_sequences):
    link, (x, h0, c0) = cases.make(name, layers), cases.arguments_of(name, layers)
    link.batch_first, link.return_sequences, link.return_state = batch_first, return_sequences, True
    x = x.transpose(1, 0, 2).copy() if batch_first else x
    y, c, h = link(x, (c0, h0))
    assert_close(
        export(link, x)(x=x, h0=h0, c0=c0),
        [y, h.array.reshape(h0.shape), c.array.reshape(c0.shape)],
    )


def learning(layers, bidirectional, **options):
    link = ours.SequenceLSTM(
        cases.INPUT,
        cases.UNITS,
        n_layers=layers,
        bidirectional=bidirectional,
        learn_initial_state=True,
        return_state=True,
        **options,
    )
    return cases.randomize(link)


@pytest.mark.parametrize('layers, bidirectional', [(1, False), (1, True), (3, False), (2, True)])
@pytest.mark.parametrize('batch_first', [True, False], ids=['batch first', 'time first'])
@pytest.mark.parametrize('return_sequences', [True, False], ids=['all steps', 'last step'])
def test_learned_initial_state(export, layers, bidirectional, batch_first, return_sequences):
    """The file computes ``link(x)`` for any batch and length, and takes other states too."""
    link = learning(
        layers, bidirectional, batch_first=batch_first, return_sequences=return_sequences
    )
    run = export(link, uniform((2, 3, cases.INPUT), 'f'))
    groups = len(link.c0)
    for batch, time in ((1, 1), (2, 3), (3, 1), (5, 4)):
        x = uniform((batch, time, cases.INPUT) if batch_first else (time, batch, cases.INPUT), 'f')
        c0, h0 = (uniform((groups, batch, cases.UNITS), 'f', seed=seed) for seed in (1, 2))
        learned = numpy.repeat(link.c0.array[:, None], batch, axis=1)
        for given, state in (
            ({}, None),
            ({'c0': c0, 'h0': h0}, (c0, h0)),
            ({'h0': h0}, (learned, h0)),
        ):
            y, c, h = link(x, state)
            hn, cn = h.array.reshape(h0.shape), c.array.reshape(c0.shape)
            assert_close(run(x=x, **given), [y, hn, cn])


def test_learned_initial_state_of_zeros_is_optional_too(export):
    link = learning(1, False)
    link.c0.array[...] = link.h0.array[...] = 0
    x = uniform((2, 3, cases.INPUT), 'f')
    y, c, h = link(x)
    assert_close(export(link, x)(x=x), [y, h.array[None], c.array[None]])


def test_learned_initial_state_in_float64_and_in_another_runtime(tmp_path):
    from onnx.reference import ReferenceEvaluator

    link, x = learning(2, True), uniform((2, 3, cases.INPUT), 'f')
    interop.export_onnx(link, tmp_path / 'model.onnx', x, dtype=numpy.float64)
    y, hn, cn = ReferenceEvaluator(str(tmp_path / 'model.onnx')).run(None, {'x': x.astype('d')})
    assert_close([z.astype('f') for z in (y, hn, cn)], [link(x)[k] for k in (0, 2, 1)])


@pytest.mark.parametrize(
    'name, layers', [('LSTM', 1), ('NStepBiLSTM', 2), ('bidirectional SequenceLSTM', 2)]
)
def test_without_states_a_file_begins_with_zeros(export, name, layers):
    link, (x, h0, c0) = cases.make(name, layers), cases.arguments_of(name, layers)
    lengths = {'sequence_lens': numpy.full(cases.BATCH, cases.TIME, 'i')} if 'NStep' in name else {}
    expected = cases.run(link, x, h0 * 0, c0 * 0)  # sets batch_first, too
    example = list(x.swapaxes(0, 1)) if lengths else x
    assert_close(export(link, example)(x=x, **lengths), expected)


def test_other_batches_and_lengths_than_the_example(export):
    link = cases.make('NStepBiLSTM', 2)
    run = export(link, [uniform((2, cases.INPUT), 'f')])
    x = uniform((9, 4, cases.INPUT), 'f')
    state = numpy.zeros((4, 4, cases.UNITS), 'f')
    found = run(x=x, sequence_lens=numpy.full(4, 9, 'i'), h0=state, c0=state)
    assert_close(found, cases.run(link, x, state, state))


def make_diagonal(link):
    for peep in (link.peep_i, link.peep_f, link.peep_o):
        peep.W.array[...] = numpy.diag(numpy.diag(peep.W.array))
    return link


def test_diagonal_peepholes(export):
    link, (x, h0, c0) = make_diagonal(cases.make('StatefulPeepholeLSTM')), cases.arguments(1, 1)
    assert abs(link.peep_o.W.array).max() > 0.1
    assert_close(export(link, x)(x=x, h0=h0, c0=c0), cases.run(link, x, h0, c0))


@pytest.mark.parametrize('peephole', 'ifo')
def test_full_peepholes(tmp_path, peephole):
    link = make_diagonal(cases.make('StatefulPeepholeLSTM'))
    getattr(link, f'peep_{peephole}').W.array[0, 1] = 1e-3
    with pytest.raises(
        ValueError, match=f'peep_{peephole}/W: expected a diagonal matrix.*got a full one'
    ):
        interop.export_onnx(link, tmp_path / 'model.onnx', cases.arguments(1, 1)[0])
    assert not list(tmp_path.iterdir())


class Example(chainer.Chain):
    """The language model of Chainer's PTB example, with Chainer's own links."""

    def __init__(self, n_vocab, n_units, nobias=False):
        super().__init__()
        with self.init_scope():
            self.embed = L.EmbedID(n_vocab, n_units)
            self.l1 = L.LSTM(n_units, n_units)
            self.l2 = L.LSTM(n_units, n_units)
            self.l3 = L.Linear(n_units, n_vocab, nobias=nobias)

    def reset_state(self):
        self.l1.reset_state()
        self.l2.reset_state()

    def forward(self, x):
        return self.l3(F.dropout(self.l2(F.dropout(self.l1(F.dropout(self.embed(x)))))))


@pytest.mark.parametrize(
    'make, layers',
    [
        (lambda: RNNForLM(11, cases.UNITS, n_layers=1), 1),
        (lambda: RNNForLM(11, cases.UNITS), 2),
        (lambda: RNNForLM(11, cases.UNITS, n_layers=3), 3),
        (lambda: Example(11, cases.UNITS), 2),
        (lambda: Example(11, cases.UNITS, nobias=True), 2),
    ],
    ids=['RNNForLM of 1', 'of 2', 'of 3', "Chainer's", 'without bias'],
)
@pytest.mark.parametrize('dtype', [numpy.int32, numpy.int64])
def test_language_model(export, make, layers, dtype):
    model = cases.randomize(make())
    ids = numpy.random.randint(0, 11, (cases.TIME, cases.BATCH)).astype(dtype)
    model.reset_state()
    with chainer.using_config('train', False):
        expected = numpy.stack([model(i.astype('i')).array for i in ids])
    y, hn, cn = export(model, ids)(x=ids, **zeros(layers))
    assert_close([y], [expected])
    assert_close([hn[-1], cn[-1]], [model[f'l{layers}'].h, model[f'l{layers}'].c])
    step, states = export(model, ids[0]), zeros(layers)
    for i, y in zip(ids, expected):
        found, *states = step(
            x=i, **(states if isinstance(states, dict) else dict(zip(('h0', 'c0'), states)))
        )
        assert_close([found], [y])


def test_float64_file(tmp_path):
    """Computed by ONNX's own reference, as onnxruntime has LSTM in float32 only."""
    from onnx.reference import ReferenceEvaluator

    link, (x, h0, c0) = cases.make('LSTM', dtype='d'), cases.arguments(1, 1, 'd')
    interop.export_onnx(link, tmp_path / 'model.onnx', x, dtype=numpy.float64)
    found = ReferenceEvaluator(str(tmp_path / 'model.onnx')).run(None, {'x': x, 'h0': h0, 'c0': c0})
    assert_close(found, cases.run(link, x, h0, c0))


def test_float64_weights_are_written_as_float32(export):
    link, args = cases.make('LSTM', dtype='d'), cases.arguments(1, 1)
    y, _, _ = export(link, args[0])(**dict(zip(('x', 'h0', 'c0'), args)))
    assert_close([y], [cases.run(link, *(x.astype('d') for x in args))[0].astype('f')])


def test_nodes_are_of_the_standard(tmp_path):
    interop.export_onnx(
        cases.make('NStepBiLSTM', 2), tmp_path / 'model.onnx', [uniform((2, cases.INPUT), 'f')]
    )
    model = onnx.load(tmp_path / 'model.onnx')
    lstms = [node for node in model.graph.node if node.op_type == 'LSTM']
    assert {node.domain for node in model.graph.node} == {''}
    assert len(lstms) == 2 and all(len(node.input) == 7 for node in lstms)
    assert [x.name for x in model.graph.input] == ['x', 'sequence_lens', 'h0', 'c0']


@pytest.mark.parametrize('make, example, error, message', [
    (lambda: cases.make('LSTM'), numpy.zeros((2, 3), 'f'), ValueError,
     r'example: expected 2 or 3 axes, the last of 7'),
    (lambda: cases.make('LSTM'), numpy.zeros((0, 3, 7), 'f'), ValueError,
     r'example: expected an array of steps \(T, B, …\), at least one, got none'),
    (lambda: cases.make('SequenceLSTM'), numpy.zeros((2, 7), 'f'), ValueError,
     r'example: expected 3 axes'),
    (lambda: cases.make('NStepLSTM'), [numpy.zeros((2, 2, 7), 'f')], ValueError,
     r'example: expected 2 axes'),
    (lambda: ours.LSTM(5), numpy.zeros((2, 7), 'f'), ValueError,
     'upward/W: expected weights, got none'),
    (lambda: RNNForLM(11, 5), numpy.zeros(2, 'f'), chainer.utils.type_check.InvalidType,
     'Actual: f != i'),
    (lambda: chainer.Chain(embed=L.EmbedID(3, 4), l1=L.Linear(4, 3)), numpy.zeros(2, 'i'),
     TypeError, 'model: expected a chainer.Link with a method forward, got Chain'),
    (lambda: chainer.Sequential(L.EmbedID(3, 4), L.StatefulGRU(4, 4)), numpy.zeros(2, 'i'),
     TypeError, 'LinearInterpolate: expected links of the LSTM family and functions that compute'),
])  # fmt: skip
def test_what_cannot_be_exported(tmp_path, make, example, error, message):
    with pytest.raises(error, match=message):
        interop.export_onnx(make(), tmp_path / 'model.onnx', example)
    assert not list(tmp_path.iterdir())
