"""The contestants with torch and onnxruntime, on the same numbers as in contestants.py."""

from __future__ import annotations

import os
from typing import Any

import numpy
from contestants import Shape, inputs, weights


class Torch:
    """The base class of torch's contestants."""

    family = 'torch'

    def __init__(self, shape: Shape) -> None:
        import torch

        self.torch = torch
        self.shape = shape
        self.x = self.torch.from_numpy(inputs(shape))

    @staticmethod
    def versions() -> dict[str, Any]:
        import torch

        return {'torch': torch.__version__, 'threads of torch': torch.get_num_threads()}

    def weights(self) -> dict[str, Any]:
        return {name: self.torch.from_numpy(x) for name, x in weights(self.shape).items()}

    def infer(self) -> Any:
        with self.torch.inference_mode():
            return self.forward()

    def forward(self) -> Any:
        """Return the outputs (T, B, H)."""
        raise NotImplementedError


class TorchLSTM(Torch):
    """``torch.nn.LSTM`` over one tensor (T, B, H), packed and padded again where it is ragged."""

    name = 'torch LSTM'

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._lstm = self.torch.nn.LSTM(
            shape.units,
            shape.units,
            shape.layers,
            bidirectional=shape.directions == 2,
            dtype=getattr(self.torch, shape.dtype),
        )
        self._lstm.load_state_dict(self.weights())
        self._lengths = self.torch.from_numpy(shape.lengths)

    def train(self) -> Any:
        return self._train(slice(None))

    def train_last(self) -> Any:
        return self._train(-1)

    def _train(self, steps: Any) -> Any:
        self._lstm.zero_grad(set_to_none=True)
        self.x.requires_grad_()
        self.x.grad = None
        y = self.forward()
        y[steps].sum().backward()
        return y

    def forward(self) -> Any:
        if not self.shape.ragged:
            return self._lstm(self.x)[0]
        rnn = self.torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(self.x, self._lengths, enforce_sorted=False)
        y, _ = rnn.pad_packed_sequence(self._lstm(packed)[0], total_length=self.shape.time)
        return y

    def results(self, mode: str) -> dict[str, numpy.ndarray]:
        found = {'y': getattr(self, mode)().detach().numpy()}
        if mode != 'infer':
            found['gradient of x'] = self.x.grad.numpy()
            found.update(
                (name, param.grad.numpy()) for name, param in self._lstm.named_parameters()
            )
        return found


class TorchSteps(Torch):
    """One call of ``torch.nn.LSTMCell`` a step, in inference."""

    name = 'torch LSTMCell'

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._cell = self.torch.nn.LSTMCell(shape.units, shape.units)
        self._cell.load_state_dict(
            {name.removesuffix('_l0'): value for name, value in self.weights().items()}
        )
        self._xs = list(self.x)

    def forward(self) -> Any:
        state, hs = None, []
        for x in self._xs:
            state = self._cell(x, state)
            hs.append(state[0])
        return hs

    def results(self, mode: str) -> dict[str, numpy.ndarray]:
        return {'y': numpy.stack([h.numpy() for h in getattr(self, mode)()])}


class Onnx:
    """A session of onnxruntime over one ``LSTM`` node, in inference.

    Attributes:
        outputs: the requested outputs of the node.
        steps: time steps of a run; None for all.
    """

    family = 'onnxruntime'
    outputs: tuple[str, ...]
    steps: Any = None

    def __init__(self, shape: Shape) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get('OMP_NUM_THREADS', '0'))
        self.session = onnxruntime.InferenceSession(
            self._model(shape), options, providers=['CPUExecutionProvider']
        )
        self.shape = shape
        self.x = inputs(shape)

    @staticmethod
    def versions() -> dict[str, Any]:
        import onnx
        import onnxruntime

        return {'onnx': onnx.__version__, 'onnxruntime': onnxruntime.__version__}

    def _model(self, shape: Shape) -> bytes:
        import onnx
        from onnx import helper

        def value(name: str, size: tuple[int, ...]) -> Any:
            return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, size)

        state = 1, shape.batch, shape.units
        time = self.steps or shape.time
        sizes = {
            'X': (time, shape.batch, shape.units),
            'Y': (time, *state),
            **dict.fromkeys(('h', 'c', 'Y_h', 'Y_c'), state),
        }
        given = {name: _onnx_order(x) for name, x in weights(shape).items()}
        bias = numpy.concatenate([given['bias_ih_l0'], given['bias_hh_l0']])
        constants = {'W': given['weight_ih_l0'], 'R': given['weight_hh_l0'], 'B': bias}
        states = [] if self.steps is None else ['h', 'c']
        outputs = [name if name in self.outputs else '' for name in ('Y', 'Y_h', 'Y_c')]
        node = helper.make_node(
            'LSTM', ['X', 'W', 'R', 'B', '', *states], outputs, hidden_size=shape.units
        )
        graph = helper.make_graph(
            [node],
            'lstm',
            [value(name, sizes[name]) for name in ('X', *states)],
            [value(name, sizes[name]) for name in self.outputs],
            [onnx.numpy_helper.from_array(x[None], name) for name, x in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
        return model.SerializeToString()

    def infer(self) -> Any:
        raise NotImplementedError

    def results(self, mode: str) -> dict[str, numpy.ndarray]:
        y = numpy.concatenate(getattr(self, mode)())
        return {'y': y.reshape(self.shape.time, self.shape.batch, self.shape.units)}


def _onnx_order(x: numpy.ndarray) -> numpy.ndarray:
    """Return weights in ONNX's order of the gates: i, o, f, a."""
    i, f, a, o = numpy.split(x, 4)
    return numpy.concatenate([i, o, f, a])


class OnnxLSTM(Onnx):
    """One run for the whole sequences."""

    name = 'onnxruntime'
    outputs = ('Y',)

    def infer(self) -> Any:
        return self.session.run(None, {'X': self.x})


class OnnxSteps(Onnx):
    """One run a step, with the states as inputs and outputs."""

    name = 'onnxruntime steps'
    outputs = ('Y_h', 'Y_c')
    steps = 1

    def infer(self) -> Any:
        h = c = numpy.zeros((1, self.shape.batch, self.shape.units), 'f')
        hs = []
        for t in range(self.shape.time):
            h, c = self.session.run(None, {'X': self.x[t : t + 1], 'h': h, 'c': c})
            hs.append(h)
        return hs
