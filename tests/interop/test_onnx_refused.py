"""Models that ``interop.export_onnx`` refuses, and says why; they are as they were."""

import chainer
import chainer.functions as F
import chainer.links as L
import numpy
import pytest

import chainer_lstm.links as ours
from chainer_lstm import interop
from tests.interop import cases
from tests.interop.onnx_cases import (
    IN,
    B,
    H,
    Model,
    T,
    call,
    exported,
    ids,
    of_steps,
    scaled,
    sequence,
)
from tests.support.arrays import assert_close, uniform


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


def test_a_model_is_as_before_after_an_error():
    model = of_steps(ours.LSTM(IN, H), F.normalize)
    model[1](uniform((2, IN), 'f'))
    before = [dict(vars(link)) for link in model.links()]
    with pytest.raises(TypeError):
        exported(model, ids(3))
    assert [dict(vars(link)) for link in model.links()] == before
    assert 'forward' not in vars(model[1])
