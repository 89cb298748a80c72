"""The contestants of gpu.py: sequences and whole updates of this package and of torch on the same
numbers, and this package's recurrence alone.
"""

from __future__ import annotations

import contestants  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import importlib
from typing import Any, NamedTuple

import chainer
import language_model
import numpy
from contestants import Shape

from chainer_lstm import cells, kernels
from chainer_lstm.functions.sequence import apply
from chainer_lstm.functions.sequence_plan import Plan
from chainer_lstm.functions.weights import weights_of
from chainer_lstm.kernels import layout, sequence
from chainer_lstm.kernels.engines.types import Gradients
from chainer_lstm.kernels.packing import Rows, packing_of_steps
from chainer_lstm.training.bptt import unchain_states
from chainer_lstm.training.graphs import CapturedUpdate


class Case(NamedTuple):
    """A case to measure.

    Attributes:
        shape: the sizes of sequences and layers; I is H.
        ragged: whether lengths are drawn from 1 to T.
        target: the speed of training relative to torch that is to be reached.
    """

    shape: Shape
    ragged: bool
    target: float

    def __str__(self) -> str:
        return f'{self.shape}{" ragged" * self.ragged}'

    @property
    def lengths(self) -> list[int]:
        """Return the lengths in descending order; the first is T."""
        batch, time = self.shape.batch, self.shape.time
        if not self.ragged:
            return [time] * batch
        drawn = numpy.random.RandomState(0).randint(1, time + 1, batch - 1).tolist()
        return sorted([time, *drawn], reverse=True)

    @property
    def batches(self) -> tuple[int, ...]:
        """Return the number of sequences at each time step."""
        return tuple(sum(length > t for length in self.lengths) for t in range(self.shape.time))

    @property
    def steps(self) -> int:
        """Return the number of time steps of all layers."""
        return self.shape.time * self.shape.layers

    def packed(self) -> numpy.ndarray:
        """Return the inputs (P, H)."""
        x = contestants.inputs(self.shape)
        return numpy.concatenate([x[t, :n] for t, n in enumerate(self.batches)])


class Ours:
    """The autograd node that ``NStepLSTM`` and ``forward_sequence`` are built on."""

    name = 'ours'

    def __init__(self, device: Any, case: Case, precision: str) -> None:
        self._xp, self._case, self._precision = device.xp, case, precision
        values, self._weights = contestants.weights(case.shape), []
        for layer in range(case.shape.layers):
            bias = values[f'bias_ih_l{layer}'] + values[f'bias_hh_l{layer}']
            self._weights += [
                self._variable(_ours(w))
                for w in (values[f'weight_ih_l{layer}'], bias, values[f'weight_hh_l{layer}'])
            ]
        self._x = self._variable(case.packed())
        self._state = self._xp.zeros((case.shape.layers, case.shape.batch, case.shape.units), 'f')
        self._gy = self._xp.ones(self._x.shape, 'f')
        packing = packing_of_steps(case.batches, case.shape.batch)
        self._plan = Plan(cells.lstm, packing, weights_of(cells.lstm))

    def take_turn(self) -> None:
        """Set the global options of this contestant, before any other call."""
        chainer.config.lstm_matmul_precision = self._precision

    def infer(self) -> Any:
        with chainer.no_backprop_mode():
            return self._forward()

    def train(self) -> Any:
        for variable in (self._x, *self._weights):
            variable.cleargrad()
        y = self._forward()
        y.grad = self._gy
        y.backward()
        return y

    def results(self) -> dict[str, numpy.ndarray]:
        inferred, trained = self.infer(), self.train()
        found = {'inferred y': inferred.array, 'y': trained.array, 'gradient of x': self._x.grad}
        for layer in range(self._case.shape.layers):
            gW, _, gU = (w.grad for w in self._weights[3 * layer : 3 * layer + 3])
            found[f'weight_ih_l{layer}'], found[f'weight_hh_l{layer}'] = gW, gU
        found = {name: chainer.backends.cuda.to_cpu(x) for name, x in found.items()}
        return {name: _torchs(x) if name.startswith('weight') else x for name, x in found.items()}

    def _forward(self) -> Any:
        states = self._state, self._state
        return apply(self._plan, states, [self._x], self._weights)[1][0]

    def _variable(self, x: numpy.ndarray) -> chainer.Variable:
        return chainer.Variable(self._xp.asarray(x))


class Torch:
    """``torch.nn.LSTM`` over a tensor, or over a packed sequence if lengths differ."""

    name = 'torch'

    def __init__(self, device: Any, case: Case, precision: str) -> None:
        self._torch = torch = importlib.import_module('torch')
        self._precision = precision
        self._lstm = torch.nn.LSTM(case.shape.units, case.shape.units, case.shape.layers).to(
            device.torch_name
        )
        self._lstm.load_state_dict(
            {
                name: torch.from_numpy(value)
                for name, value in contestants.weights(case.shape).items()
            }
        )
        self._shape = None if case.ragged else (case.shape.time, case.shape.batch, case.shape.units)
        self._batches = torch.tensor(case.batches)
        self._x = torch.from_numpy(case.packed()).to(device.torch_name).requires_grad_()
        self._gy = torch.ones_like(self._x)

    def take_turn(self) -> None:
        _allow_tf32(self._torch, self._precision)

    def infer(self) -> Any:
        with self._torch.inference_mode():
            return self._forward()

    def train(self) -> Any:
        self._lstm.zero_grad(set_to_none=True)
        self._x.grad = None
        y = self._forward()
        y.backward(self._gy)
        return y

    def results(self) -> dict[str, numpy.ndarray]:
        inferred, trained = self.infer(), self.train()
        found = {
            'inferred y': inferred,
            'y': trained.detach(),
            'gradient of x': self._x.grad,
            **{
                name: p.grad
                for name, p in self._lstm.named_parameters()
                if name.startswith('weight')
            },
        }
        return {name: x.cpu().numpy() for name, x in found.items()}

    def _forward(self) -> Any:
        if self._shape:
            return self._lstm(self._x.reshape(self._shape))[0].reshape(self._x.shape)
        return self._lstm(self._torch.nn.utils.rnn.PackedSequence(self._x, self._batches))[0].data


class OurUpdates(language_model.Ours):
    """Whole updates of the PTB example's model; their losses stay on the device."""

    name = 'ours'

    def __init__(self, device: Any, shape: Shape, dropout: float, precision: str) -> None:
        self.device = chainer.backend.get_device_from_array(device.xp.zeros(1))
        self._precision = precision
        self.take_turn()
        super().__init__(shape, dropout)

    def take_turn(self) -> None:
        chainer.config.lstm_matmul_precision = self._precision


class OurReplays(OurUpdates):
    """The same by a CUDA graph, from the first update that is compared or timed."""

    def _make(self, shape: Shape) -> None:
        super()._make(shape)
        self._captured = CapturedUpdate(self._optimizer, self._compute)
        self._dropout = 0.0
        for _ in range(6):
            self.train()
        if not self._captured.replays:
            raise RuntimeError('expected replays of a CUDA graph, got none')
        self._model.predictor.copyparams(language_model.weights(shape))
        for lstm in self._model.predictor.lstms:
            lstm.set_state(*map(self.device.xp.zeros_like, (lstm.c.array, lstm.h.array)))
        self._at = 0

    def _update(self, x: Any, t: Any) -> Any:
        self._model.predictor.dropout = self._dropout
        self._captured(x, t)
        return self._model.loss.array.copy()

    def _compute(self, x: Any, t: Any) -> None:
        loss = self._loss(x, t)
        self._model.cleargrads()
        loss.backward()
        loss.unchain_backward()
        unchain_states(self._model)


class TorchUpdates(language_model.Torchs):
    """Whole updates of the same model in torch."""

    def __init__(self, device: Any, shape: Shape, dropout: float, precision: str) -> None:
        self.device, self._precision = device.torch_name, precision
        super().__init__(shape, dropout)

    def take_turn(self) -> None:
        _allow_tf32(self._torch, self._precision)


class Recurrence:
    """The recurrence of one layer of a case: everything but the product of the input."""

    def __init__(self, device: Any, case: Case, engine: str, precision: str) -> None:
        xp, (batch, _, units) = device.xp, case.shape[:3]
        rows, U = Rows(case.batches, batch), _ours(contestants.weights(case.shape)['weight_hh_l0'])
        random = numpy.random.RandomState(0)

        def draw(*shape):
            return xp.asarray(random.randn(*shape).astype('f'))

        x, weights = draw(rows.total, 1), {'W': draw(4 * units, 1), 'b': draw(4 * units)}
        weights['U'] = xp.asarray(U)
        cell = cells.lstm
        initial = cell.State(draw(batch, units), draw(batch, units))
        self._engine = kernels.engine_of(x, engine, precision)
        self._layers = [sequence.layer_of(xp, cell, weights, rows, x, initial)]
        self._gates = self._engine.sequence_forward(self._layers, keep=True)
        last = cell.State(draw(batch, units), draw(batch, units))
        self._gradients = [Gradients(cell.State(h=draw(rows.total, units)), last)]
        # backward overwrites its arguments
        self._given = [(x, x.copy()) for x in (*self._gates, *last)]
        # the bytes of gates, h, c and their gradients that have to be read and written
        self.bytes = {
            'forward': rows.total * units * 4 * (4 + 4 + 2),
            'backward': rows.total * units * 4 * (4 + 4 + 3),
        }
        self.operations = 2 * rows.total * 4 * units * units

    def restore(self) -> None:
        """Restore the values that its arrays have before ``backward``."""
        for x, values in self._given:
            x[...] = values

    def product(self) -> None:
        layer = self._layers[0]
        self._engine.linear(layer.x, layer.weights['W'], layer.weights['b'])

    def forward(self) -> None:
        self._engine.sequence_forward(self._layers, keep=True)

    def backward(self) -> None:
        self._engine.sequence_backward(self._layers, self._gates, self._gradients)


def _allow_tf32(torch: Any, precision: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != 'highest'


def _ours(x: numpy.ndarray) -> numpy.ndarray:
    """Return torch's four blocks of rows as interleaved rows."""
    return layout.convert(numpy, numpy.split(x, 4), layout.N_STEP, layout.INTERLEAVED)


def _torchs(x: numpy.ndarray) -> numpy.ndarray:
    return numpy.concatenate(layout.convert(numpy, x, layout.INTERLEAVED, layout.N_STEP))
