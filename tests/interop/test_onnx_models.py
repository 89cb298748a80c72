"""Whole models as ONNX files, run by onnxruntime and compared with themselves."""

import io

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest
from packaging.version import Version

import chainer_lstm.links as ours
from chainer_lstm import interop
from chainer_lstm.cells import peephole
from chainer_lstm.interop.onnx_file import graph
from chainer_lstm.models import RNNForLM
from tests.interop import cases
from tests.interop.onnx_cases import (
    IN,
    RAGGED,
    WORDS,
    B,
    H,
    Model,
    T,
    TextClassifier,
    call,
    exported,
    functions,
    ids,
    of_steps,
    onnx,
    onnxruntime,
    padded,
    sequence,
    session_of,
)
from tests.support.arrays import assert_close, uniform

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


@pytest.mark.skipif(
    Version(onnxruntime.__version__) < Version('1.24'),
    reason='onnxruntime 1.23, the last one for Python 3.10, ends the process at a model of float16',
)
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
