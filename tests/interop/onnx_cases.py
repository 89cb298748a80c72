"""Models to be exported to ONNX, and what onnxruntime computes of them."""

import io

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases

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


def functions(m, e):
    y = m.rnn(e)
    left, right = F.split_axis(y * 2 + 1 - e / 3, [2], axis=1)
    y = F.concat((F.tanh(1 - right), F.leaky_relu(left, 0.1)), axis=-1)
    y = F.reshape(y, (len(y), 1, H))
    y = F.elu(F.transpose(y, (0, 2, 1))[:, ::-1, 0] * F.sigmoid(e))
    return F.log_softmax(m.last(F.concat((y, abs(-e) + F.exp(e)))), axis=1)


def sequence(units, **options):
    return ours.SequenceLSTM(IN, units, **{'return_sequences': True, **options})


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


def scaled(self, x):
    return ours.LSTM.forward(self, x) * 2
