"""Whole models as ONNX files, run by onnxruntime and compared with themselves."""

import io

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from chainer_lstm.cells import peephole
from chainer_lstm.interop.onnx_file import graph
from chainer_lstm.models import RNNForLM
from tests.interop import cases
from tests.support.arrays import assert_close, uniform

onnx = pytest.importorskip('onnx', reason='onnx is not installed')
onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

WORDS, T, B, IN, H = 11, 6, 3, cases.INPUT, cases.UNITS


def session_of(model):
    """Of bytes or a path."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every optional input
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def exported(model, example, **kwargs):
    """Check the file and return a function that runs it."""
    file = io.BytesIO()
    interop.export_onnx(model, file, example, **kwargs)
    onnx.checker.check_model(onnx.load_from_string(file.getvalue()), full_check=True)
    session = session_of(file.getvalue())
    return lambda **inputs: dict(
        zip([y.name for y in session.get_outputs()], session.run(None, inputs))
    )


def ids(*shape):
    return numpy.random.RandomState(3).randint(0, WORDS, shape).astype('i')


def padded(xs, time):
    x = numpy.zeros((time, len(xs), *xs[0].shape[1:]), xs[0].dtype)
    for k, sequence in enumerate(xs):
        x[: len(sequence), k] = sequence
    return x


def call(model, x):
    with chainer.using_config('train', False), chainer.no_backprop_mode():
        return model(x)


class Model(chainer.Chain):
    """Links of any names, and a forward of its own: ``forward(self, x)``."""

    def __init__(self, forward, **children):
        super().__init__(**children)
        self.run = forward
        cases.randomize(self)

    def forward(self, x):
        return self.run(self, x)


def of_steps(*middle):
    return cases.randomize(
        chainer.Sequential(L.EmbedID(WORDS, IN), *middle, F.dropout, L.Linear(H, 4))
    )


# models that are called with a step (B,) of word ids
STEP_MODELS = {
    'Sequential': lambda: of_steps(ours.LSTM(IN, H)),
    'stacked': lambda: of_steps(ours.LSTM(IN, 8), F.dropout, ours.LSTM(8, 8), ours.LSTM(8, H)),
    "Chainer's LSTM": lambda: of_steps(chainer.links.rnn.lstm.LSTM(IN, H)),
    'Classifier': lambda: L.Classifier(of_steps(ours.LSTM(IN, H))),
    'nested': lambda: chainer.Sequential(of_steps(ours.LSTM(IN, H)), F.relu, F.softmax),
    'ignored words': lambda: cases.randomize(
        chainer.Sequential(L.EmbedID(WORDS, IN, ignore_label=1), ours.LSTM(IN, H), L.Linear(H, 4))
    ),
    'functions': lambda: Model(
        lambda m, x: functions(m, m.words(x)),
        words=L.EmbedID(WORDS, H), rnn=ours.LSTM(H, H), last=L.Linear(2 * H, 4, nobias=True),
    ),
}  # fmt: skip


def functions(m, e):
    y = m.rnn(e)
    left, right = F.split_axis(y * 2 + 1 - e / 3, [2], axis=1)
    y = F.concat((F.tanh(1 - right), F.leaky_relu(left, 0.1)), axis=-1)
    y = F.reshape(y, (len(y), 1, H))
    y = F.elu(F.transpose(y, (0, 2, 1))[:, ::-1, 0] * F.sigmoid(e))
    return F.log_softmax(m.last(F.concat((y, abs(-e) + F.exp(e)))), axis=1)


@pytest.mark.parametrize('name', STEP_MODELS)
def test_step_by_step_and_all_steps(name):
    model = STEP_MODELS[name]()
    predictor = model.predictor if name == 'Classifier' else model
    x = ids(T, B)
    for link in predictor.links():
        if hasattr(link, 'reset_state') and not isinstance(link, chainer.Sequential):
            link.reset_state()
    expected = numpy.stack([call(predictor, step).array for step in x])
    lstms = [link for link in predictor.links() if hasattr(link, 'lateral')]
    before = [(link.c, link.h) for link in lstms]
    found = exported(model, ids(2, 1))(x=x)
    assert_close([found['y']], [expected])
    assert all((link.c, link.h) == state for link, state in zip(lstms, before))
    assert all('forward' not in vars(link) for link in predictor.links())
    step, states = exported(model, ids(4)), {}
    for ids_t, y in zip(x, expected):
        found = step(x=ids_t, **states)
        states = {k.replace('n', '0', 1): v for k, v in found.items() if k != 'y'}
        assert_close([found['y']], [y])


def sequence(units, **options):
    return ours.SequenceLSTM(IN, units, **{'return_sequences': True, **options})


@pytest.mark.parametrize('batch_first', [True, False])
@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('bidirectional', [False, True])
def test_sequence_lstm_between_other_links(batch_first, last, bidirectional):
    """Residual connections, Linear over all steps, h0 and c0 of two links with other sizes."""
    width = H * (1 + bidirectional)

    def forward(m, x):
        e = m.words(x)
        y = m.first(e)
        y = m.residual(y, n_batch_axes=2) + e
        return m.out(F.dropout(m.second(y)), n_batch_axes=1 if last else 2)

    options = {'batch_first': batch_first, 'bidirectional': bidirectional}
    model = Model(
        forward,
        words=L.EmbedID(WORDS, IN),
        first=sequence(H, n_layers=2, dropout=0.5, **options),
        residual=L.Linear(width, IN),
        second=sequence(4, return_sequences=not last, learn_initial_state=True, **options),
        out=L.Linear(4 * (1 + bidirectional), 2),
    )
    run = exported(model, ids(2, 2))
    for shape in ((T, B), (1, 1), (2, 5)):
        x = ids(*shape)
        found = run(x=x)
        assert_close([found['y']], [call(model, x)])
        assert set(found) == {'y', 'hn_first', 'cn_first', 'hn_second', 'cn_second'}


class TextClassifier(chainer.Chain):
    """As Chainer's example: one embedding of all words, an NStep link, h of the last layer."""

    def __init__(self, bidirectional):
        super().__init__()
        directions = 1 + bidirectional
        kind = ours.NStepBiLSTM if bidirectional else ours.NStepLSTM
        with self.init_scope():
            self.embed = L.EmbedID(WORDS, IN)
            self.encoder = kind(2, IN, H, 0.4)
            self.output = L.Linear(directions * H, 4)
        cases.randomize(self)

    def forward(self, xs):
        ends = numpy.cumsum([len(x) for x in xs[:-1]])
        words = F.dropout(self.embed(F.concat(xs, axis=0)), 0.4)
        h, _, _ = self.encoder(None, None, F.split_axis(words, ends, 0))
        h = F.concat([h[k] for k in range(-self.encoder.direction, 0)], axis=1)
        return self.output(F.dropout(h))


RAGGED = [4, 1, T, 2]


@pytest.mark.parametrize('bidirectional', [False, True])
def test_text_classifier(bidirectional):
    model = TextClassifier(bidirectional)
    run = exported(model, [ids(2), ids(3)])
    xs = [ids(T, 4)[:length, k] for k, length in enumerate(RAGGED)]
    found = run(x=padded(xs, T), sequence_lens=numpy.array(RAGGED, 'i'))
    assert_close([found['y']], [call(model, xs)])


@pytest.mark.parametrize('joined', [True, False])
@pytest.mark.parametrize('bidirectional', [True, False])
def test_tagger_of_ragged_sequences(joined, bidirectional):
    """An output for each word: of all sequences joined, or sequence by sequence; the second link
    goes on from the states of the first.
    """

    def forward(m, xs):
        h, c, ys = m.one(None, None, [m.embed(x) for x in xs])
        _, _, ys = m.two(h, c, ys)
        return m.tag(F.concat(ys, axis=0)) if joined else [m.tag(y) for y in ys]

    kind, width = (ours.NStepBiLSTM, 2 * H) if bidirectional else (ours.NStepLSTM, H)
    model = Model(forward, embed=L.EmbedID(WORDS, IN), one=kind(1, IN, H, 0.0),
                  two=kind(1, width, H, 0.0), tag=L.Linear(width, 4))  # fmt: skip
    run = exported(model, [ids(2), ids(3), ids(1)])
    xs = [ids(T, 4)[:length, k] for k, length in enumerate(RAGGED)]
    ys = call(model, xs)
    ys = F.split_axis(ys, numpy.cumsum(RAGGED)[:-1], 0) if joined else ys
    found = run(x=padded(xs, T), sequence_lens=numpy.array(RAGGED, 'i'))['y']
    for k, y in enumerate(ys):
        assert_close([found[: len(y), k]], [y])


def test_a_loop_over_the_steps_of_the_example():
    """A model that runs over the time axis itself: the file has the T of the example."""

    def forward(m, x):
        m.rnn.reset_state()
        for t in range(x.shape[1]):
            h = m.rnn(x[:, t])
        return m.out(h)

    model = Model(forward, rnn=ours.LSTM(IN, H), out=L.Linear(H, 1))
    run = exported(model, uniform((2, T, IN), 'f'), each_step=False)
    x = uniform((5, T, IN), 'f')
    found = run(x=x)
    assert_close([found['y']], [call(model, x)])
    assert_close([found['hn'][0], found['cn'][0]], [model.rnn.h, model.rnn.c])


@pytest.mark.parametrize('swap', [True, False])
def test_forward_sequence_and_its_last_step(swap):
    def forward(m, x):
        m.rnn.reset_state()
        y = m.rnn.forward_sequence(F.swapaxes(x, 0, 1) if swap else x)
        return m.out(y[-1])

    model = Model(forward, rnn=ours.LSTM(IN, H), out=L.Linear(H, 2))
    x = uniform((T, B, IN), 'f')
    if swap:  # x is taken for what the link takes
        with pytest.raises(ValueError, match=r'LSTM: expected x \(T, B, …\), .*got \(B, T, …\)'):
            exported(model, x, each_step=False)
    else:
        assert_close([exported(model, x, each_step=False)(x=x)['y']], [call(model, x)])


def test_without_lstm():
    model = cases.randomize(chainer.Sequential(L.Linear(IN, H), F.relu, L.Linear(H, 2)))
    x = uniform((B, IN), 'f')
    found = exported(model, uniform((1, IN), 'f'))(x=x)
    assert set(found) == {'y'}
    assert_close([found['y']], [model(x)])


@pytest.mark.parametrize('opset', [13, 14, 17, 18, 22, None])
def test_opset(tmp_path, opset):
    if opset is not None and opset > onnx.defs.onnx_opset_version():
        pytest.skip(f'onnx {onnx.__version__} has no opset {opset}')
    model, x = TextClassifier(True), [ids(4), ids(2)]
    found = exported(model, x, opset=opset)(x=padded(x, 4), sequence_lens=numpy.array([4, 2], 'i'))
    assert_close([found['y']], [call(model, x)])
    interop.export_onnx(model, tmp_path / 'model.onnx', x, opset=opset)
    assert onnx.load(tmp_path / 'model.onnx').opset_import[0].version == (opset or 14)


def test_float16():
    """onnxruntime computes it in float32."""
    model, x = of_steps(ours.LSTM(IN, H)), ids(T, B)
    y = exported(model, x, dtype=numpy.float16)(x=x)['y']
    assert y.dtype == numpy.float16
    expected = numpy.stack([call(model, step).array for step in x])
    numpy.testing.assert_allclose(y, expected, rtol=0.02, atol=0.02)


def test_float64():
    """By ONNX's own reference, as onnxruntime has no LSTM in float64."""
    from onnx.reference import ReferenceEvaluator

    with chainer.using_config('dtype', numpy.dtype('d')):
        model = of_steps(ours.LSTM(IN, H))
    x, file = ids(T, B), io.BytesIO()
    interop.export_onnx(model, file, x, dtype=numpy.float64)
    y = ReferenceEvaluator(onnx.load_from_string(file.getvalue())).run(None, {'x': x})[0]
    expected = numpy.stack([call(model, step).array for step in x])
    numpy.testing.assert_allclose(y, expected, rtol=1e-12)


@pytest.mark.parametrize('bidirectional', [False, True])
def test_sequence_lstm_whose_gates_see_the_cell(bidirectional):
    link = cases.randomize(sequence(H, n_layers=2, bidirectional=bidirectional, cell=peephole))
    for name, param in link.namedparams():
        if name.rpartition('/')[2].startswith('P_'):
            param.array[...] = numpy.diag(numpy.diag(param.array))
    x = uniform((B, T, IN), 'f')
    assert_close([exported(link, x)(x=x)['y']], [link(x)])
    link.l0.P_o.array[0, 1] = 1
    with pytest.raises(ValueError, match='P_o, .*: expected a diagonal matrix'):
        exported(link, x)


@pytest.mark.parametrize('tied', [False, True])
def test_weights_above_the_limit_are_in_a_second_file(tmp_path, monkeypatch, tied):
    monkeypatch.setattr(graph, '_LARGEST', 1000)
    model = RNNForLM(WORDS, 40, tie_embeddings=tied)
    path, x = tmp_path / 'model.onnx', ids(T, B)
    interop.export_onnx(model, path, x)
    size = sum(param.size for param in model.params()) * 4
    assert path.stat().st_size < 10_000 < size < (tmp_path / 'model.onnx.data').stat().st_size
    onnx.checker.check_model(str(path), full_check=True)
    y = session_of(str(path)).run(['y'], {'x': x})[0]
    model.reset_state()
    assert_close([y.reshape(-1, WORDS)], [call(model, x)])
    with pytest.raises(ValueError, match='path: expected the path of a file, .*got a BytesIO and'):
        interop.export_onnx(model, io.BytesIO(), x)


def scaled(self, x):
    return ours.LSTM.forward(self, x) * 2


class Counting(chainer.Link):
    """Keeps what it computed."""

    total = 0

    def forward(self, x):
        self.total = self.total + x
        return self.total


def chain(forward, **children):
    return lambda: Model(forward, **children)


@pytest.mark.parametrize('make, example, options, error, message', [
    (lambda: of_steps(type('Scaled', (ours.LSTM,), {'forward': scaled})(IN, H)), ids(3), {},
     TypeError, 'Scaled: expected a link that computes layers of an LSTM .*got other outputs'),
    (lambda: of_steps(ours.LSTM(IN, H), Counting()), ids(3), {}, ValueError,
     'of another source, such as a state'),
    (chain(lambda m, x: F.sum(m.l(x), axis=0), l=L.Linear(2, 2)), uniform((3, 2), 'f'), {},
     TypeError, 'Sum: expected links of the LSTM family and functions that compute each row'),
    (chain(lambda m, x: F.concat((x, m.l(x)), axis=0), l=L.Linear(2, 2)), uniform((3, 2), 'f'), {},
     ValueError, r'Concat: expected a use .*along axis 0 of \(B, …\)'),
    (chain(lambda m, x: F.reshape(m.l(x), (2, 3)), l=L.Linear(2, 2)), uniform((3, 2), 'f'), {},
     ValueError, r'Reshape: .*from \(B, …\) of shape \(3, 2\) to \(2, 3\)'),
    (chain(lambda m, x: m.l(x)[1:], l=L.Linear(2, 2)), uniform((3, 2), 'f'), {},
     ValueError, r'GetItem: .*along axis 0'),
    (chain(lambda m, x: m.l(x) + numpy.ones((3, 2), 'f'), l=L.Linear(2, 2)),
     uniform((3, 2), 'f'), {}, ValueError, r'_ \+ _: expected inputs that Chainer.s functions'),
    (chain(lambda m, x: m.l(x) * x[:, 0], l=L.Linear(3, 3)), uniform((3, 3), 'f'), {},
     ValueError, r'_ \* _: .* on \(B, …\) of \[0, 1\] axes after the rows together'),
    (chain(lambda m, x: (m.l(x), 3), l=L.Linear(2, 2)), uniform((3, 2), 'f'), {},
     TypeError, 'expected a model that returns one variable, or a list'),
    (chain(lambda m, x: m.l(x, lengths=[1, 2]), l=ours.SequenceLSTM(2, 2)),
     uniform((2, 3, 2), 'f'), {}, ValueError, 'SequenceLSTM: expected a call without lengths'),
    (lambda: cases.randomize(sequence(H, return_cells=True)), uniform((2, 3, IN), 'f'), {},
     ValueError, 'SequenceLSTM: expected a call without return_cells'),
    (chain(lambda m, x: m.l(x), l=ours.SequenceLSTM(2, 2)), uniform((3, 2), 'f'), {},
     ValueError, r'x: expected a batch \(B, T, …\) of sequences'),
    (chain(lambda m, xs: m.l(None, None, xs[::-1])[2], l=ours.NStepLSTM(1, 2, 2, 0)),
     [uniform((3, 2), 'f')] * 2, {}, ValueError, 'NStepLSTM: expected x .*all of it'),
    (lambda: ours.NStepLSTM(1, IN, H, 0, return_cells=True), [uniform((3, IN), 'f')], {},
     ValueError, 'NStepLSTM: expected a call without return_cells'),
    (chain(lambda m, x: m.l.forward_sequence(x, resets=numpy.eye(3)), l=ours.LSTM(2, 2)),
     uniform((3, 3, 2), 'f'), {'each_step': False}, ValueError, 'LSTM: .* call without resets'),
    (lambda: ours.NStepLSTM(1, IN, H, 0, proj_size=2), [uniform((3, IN), 'f')], {},
     ValueError, 'proj_size: expected None for an ONNX file, got 2'),
    (lambda: ours.SequenceLSTM(IN, H, proj_size=2), uniform((3, 2, IN), 'f'), {},
     ValueError, 'proj_size: expected None for an ONNX file, got 2'),
    (lambda: of_steps(ours.LSTM(IN, H)), ids(3), {'opset': 12}, ValueError,
     'opset: expected 13 to [0-9]+, .*got 12'),
    (lambda: of_steps(ours.LSTM(IN, H)), ids(3), {'opset': 1000}, ValueError, 'got 1000'),
    (lambda: of_steps(ours.LSTM(IN, H)), ids(3), {'opset': '14'}, TypeError, "integer, got '14'"),
])  # fmt: skip
def test_what_cannot_be_exported(tmp_path, make, example, options, error, message):
    with pytest.raises(error, match=message):
        interop.export_onnx(make(), tmp_path / 'model.onnx', example, **options)
    assert not list(tmp_path.iterdir())


VALUES = 'expected a model that computes the same functions, of the same numbers, for all'
STATE = 'expected a link that begins each step with the state after the one before'
# what a model computes of x (B, 2), and the error
OF_ITS_OWN = {
    'a number of x': (lambda m, x: m.l(x) * float(abs(x.array).max()), VALUES),
    'a random number': (lambda m, x: m.l(x) + float(numpy.random.rand()), VALUES),
    'a branch by x': (lambda m, x: m.l(x) if x.array.sum() > 0 else F.tanh(m.l(x)), VALUES),
    'columns by x': (lambda m, x: m.l(x)[:, : 1 + int(x.array[0, 0] > 0)][:, :1] * 1, VALUES),
    'the batch': (lambda m, x: m.l(x) / len(x), VALUES),
    'another weight by x': (lambda m, x: m.l(x) * (m.p if x.array.sum() > 0 else m.q), VALUES),
}
OF_STEPS = {
    'the first step': (lambda m, x: m.l(x) if m.l.h is None else F.tanh(m.l(x)), VALUES),
    'h before': (lambda m, x: (0 if m.l.h is None else m.l.h) + m.l(x), 'such as a state'),
    'a reset before': (lambda m, x: (m.l.reset_state(), m.l(x))[1], STATE),
    'a reset after': (lambda m, x: (m.l(x), m.l.reset_state())[0], STATE),
    'no state': (lambda m, x: m.s(None, None, x)[1], STATE),
    'zeros': (lambda m, x: (m.l.set_state(m.zeros, m.zeros), m.l(x))[1], STATE),
}  # fmt: skip


@pytest.mark.parametrize('each_step', [False, True])
@pytest.mark.parametrize('name', [*OF_ITS_OWN, *OF_STEPS])
def test_a_model_that_differs_from_call_to_call(tmp_path, name, each_step):
    """The trace of one call, of one step, would be another model."""
    forward, message = {**OF_ITS_OWN, **OF_STEPS}[name]
    model = Model(forward, l=ours.LSTM(2, 2), s=ours.StatelessLSTM(2, 2))
    model.zeros = numpy.zeros((3, 2), 'f')
    with model.init_scope():
        model.p, model.q = (chainer.Parameter(uniform((2,), 'f', seed=k)) for k in range(2))
    example = uniform((4, 3, 2), 'f') if each_step else uniform((3, 2), 'f')
    if name in OF_STEPS and not each_step:
        exported(model, example, each_step=False)  # one step is what it computes
    else:
        with pytest.raises(ValueError, match=message):
            interop.export_onnx(model, tmp_path / 'model.onnx', example, each_step=each_step)
        assert not list(tmp_path.iterdir())


OF_SIZES = {
    'the length': (lambda m, x: m.s(x) / x.shape[1], VALUES),
    'the last step by its number': (lambda m, x: m.s(x)[:, x.shape[1] - 1], VALUES),
    'a sum of steps': (lambda m, x: sum(m.s(x)[:, t] for t in range(x.shape[1])), VALUES),
    'sorted sequences': (lambda m, xs: m.n(None, None, sorted(xs, key=len))[2], 'all of it'),
    'lengths': (lambda m, xs: [y * len(y) for y in m.n(None, None, xs)[2]], 'all sequences'),
    'one sequence': (lambda m, xs: m.n(None, None, xs)[2][0], 'expected .* all sequences'),
    'no sequence': (lambda m, xs: m.n(None, None, xs)[2][:-1], 'a list of sequences'),
}


@pytest.mark.parametrize('name', OF_SIZES)
def test_a_model_that_differs_with_the_sizes(tmp_path, name):
    forward, message = OF_SIZES[name]
    model = Model(forward, s=sequence(H), n=ours.NStepLSTM(1, IN, H, 0))
    example = uniform((B, B, IN), 'f') if message is VALUES else [uniform((3, IN), 'f')]
    with pytest.raises((TypeError, ValueError), match=message):
        interop.export_onnx(model, tmp_path / 'model.onnx', example)
    assert not list(tmp_path.iterdir())


def test_a_batch_that_the_model_has_itself():
    """It is called with others in vain."""
    model = Model(lambda m, x: F.reshape(m.l(x), (B, H)), l=ours.LSTM(IN, H))
    found, x = exported(model, uniform((1, B, IN), 'f')), uniform((T, B, IN), 'f')
    assert_close([found(x=x)['y']], [numpy.stack([call(model, step).array for step in x])])


@pytest.mark.parametrize('kind', [ours.LSTM, ours.StatefulPeepholeLSTM])
def test_learned_state_of_one_cell(kind):
    model = of_steps(kind(IN, H, learn_initial_state=True))
    for peep in 'ifo' * (kind is not ours.LSTM):
        P = model[1][f'peep_{peep}'].W.array
        P[...] = numpy.diag(numpy.diag(P))
    found, x = exported(model, ids(T, B)), ids(4, 2)
    assert_close([found(x=x)['y']], [numpy.stack([call(model, step).array for step in x])])
    assert_close([found(x=x)['hn']], [model[1].h.array[None]])


def test_learned_state_of_sequences():
    link = cases.randomize(ours.NStepLSTM(2, IN, H, 0.5, learn_initial_state=True))
    xs = [uniform((n, IN), 'f', seed=n) for n in (4, 0, 2)]
    found = exported(link, xs[:1])(x=padded(xs, 4), sequence_lens=numpy.array([4, 0, 2], 'i'))
    with chainer.using_config('train', False):
        hy, cy, ys = link(None, None, xs)
    assert_close([found['hn'], found['cn']], [hy.array, cy.array])
    assert_close([found['y'][:2, 2]], [ys[2].array])


def test_a_model_is_as_before_after_an_error():
    model = of_steps(ours.LSTM(IN, H), F.normalize)
    model[1](uniform((2, IN), 'f'))
    before = [dict(vars(link)) for link in model.links()]
    with pytest.raises(TypeError):
        exported(model, ids(3))
    assert [dict(vars(link)) for link in model.links()] == before
    assert 'forward' not in vars(model[1])
