"""What layers.py measures: one task, done by our links, by Chainer's and by torch,
on the same numbers.

The task: LSTM layers of H units over H inputs, from a state of zeros, in
float32.  ``train`` is a forward pass and the gradients of the sum of all
outputs by the weights and the input; ``infer`` a forward pass without a graph.
``train_last`` is the first with the sum of the last step's outputs alone, from
which gradients vanish; forget gates are open then (bias 1), as they are
initialized in Chainer.
Weights and their gradients are exchanged under torch's names and in torch's
order of the gates, i, f, a, o, one below the other.
"""

from __future__ import annotations

import chainer_lstm  # isort: skip  (lets Chainer be imported in a clone that is not installed)
import importlib
from typing import Any, NamedTuple

import chainer
import chainer.functions as F
import chainer.links
import numpy

import chainer_lstm.links
from chainer_lstm.kernels import layout

ENGINES = ('numpy', 'native')


class Shape(NamedTuple):
    """B sequences of T steps through layers of H units."""

    batch: int
    time: int
    units: int
    layers: int

    def __str__(self) -> str:
        return '/'.join(map(str, self))


def inputs(shape: Shape) -> numpy.ndarray:
    """-> (T, B, H), the same numbers in every process."""
    return numpy.random.RandomState(0).randn(shape.time, shape.batch, shape.units).astype('f')


def weights(shape: Shape) -> dict[str, numpy.ndarray]:
    """-> (4H, H) and (4H,) of every layer, the same numbers in every process."""
    random, n = numpy.random.RandomState(1), shape.units
    sizes = {
        'weight_ih': (4 * n, n),
        'weight_hh': (4 * n, n),
        'bias_ih': (4 * n,),
        'bias_hh': (4 * n,),
    }
    return {
        f'{name}_l{layer}': random.uniform(-(n**-0.5), n**-0.5, size).astype('f')
        for layer in range(shape.layers)
        for name, size in sizes.items()
    }


class Links:
    """What the contestants on Chainer's variables share."""

    link: chainer.Link
    xs: list[chainer.Variable]

    @staticmethod
    def versions() -> dict[str, str]:
        return {'chainer': chainer.__version__, 'chainer_lstm': chainer_lstm.__version__}

    def clear(self) -> None:
        self.link.cleargrads()
        for x in self.xs:
            x.cleargrad()

    def train(self) -> list[chainer.Variable]:
        self.clear()
        ys = self.forward()
        F.sum(ys[0] if len(ys) == 1 else F.concat(ys, axis=0)).backward()
        return ys

    def infer(self) -> list[chainer.Variable]:
        with chainer.no_backprop_mode(), chainer.using_config('train', False):
            return self.forward()

    def results(self) -> dict[str, numpy.ndarray]:
        """What has to be the same for all contestants."""
        inferred, trained = ([y.array for y in ys] for ys in (self.infer(), self.train()))
        return {
            'inferred y': self.join(inferred),
            'y': self.join(trained),
            'gradient of x': self.join([x.grad for x in self.xs]),
            **self.gradients(),
        }

    def forward(self) -> list[chainer.Variable]:
        raise NotImplementedError

    @staticmethod
    def join(arrays: list[numpy.ndarray]) -> numpy.ndarray:
        """-> (T, B, H)"""
        raise NotImplementedError

    def gradients(self) -> dict[str, numpy.ndarray]:
        raise NotImplementedError


class NStep(Links):
    """A list of B sequences (T, H)."""

    links: Any

    def __init__(self, shape: Shape) -> None:
        self.link = self.links.NStepLSTM(shape.layers, shape.units, shape.units, 0)
        self.xs = [
            chainer.Variable(x) for x in numpy.ascontiguousarray(inputs(shape).swapaxes(0, 1))
        ]
        for name, value in weights(shape).items():
            for param, gate in zip(self._gates(name), numpy.split(value, 4)):
                param.array[...] = gate

    def _gates(self, name: str) -> list[chainer.Parameter]:
        kind, layer = name.split('_l')
        params = (self.link.ws if kind.startswith('weight') else self.link.bs)[int(layer)]
        return params[:4] if kind.endswith('ih') else params[4:]

    def forward(self) -> list[chainer.Variable]:
        return self.link(None, None, self.xs)[2]

    @staticmethod
    def join(arrays: list[numpy.ndarray]) -> numpy.ndarray:
        return numpy.stack(arrays, axis=1)

    def gradients(self) -> dict[str, numpy.ndarray]:
        return {
            f'{kind}_l{layer}': numpy.concatenate(
                [param.grad for param in self._gates(f'{kind}_l{layer}')]
            )
            for layer in range(self.link.n_layers)
            for kind in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')
        }

    def cut(self, lengths: numpy.ndarray) -> NStep:
        """Leaves the first steps of each sequence."""
        self.xs = [chainer.Variable(x.array[:length]) for x, length in zip(self.xs, lengths)]
        return self


class Steps(Links):
    """One call of each layer a step; T steps (B, H)."""

    links: Any

    def __init__(self, shape: Shape) -> None:
        self.link = chainer.ChainList(
            *(self.links.LSTM(shape.units, shape.units) for _ in range(shape.layers))
        )
        self.xs = [chainer.Variable(x) for x in self.split(inputs(shape))]
        values = weights(shape)
        for layer, lstm in enumerate(self.link):
            b = values[f'bias_ih_l{layer}'] + values[f'bias_hh_l{layer}']
            for param, value in (
                (lstm.upward.W, values[f'weight_ih_l{layer}']),
                (lstm.upward.b, b),
                (lstm.lateral.W, values[f'weight_hh_l{layer}']),
            ):
                param.array[...] = layout.convert(
                    numpy, numpy.split(value, 4), layout.N_STEP, layout.INTERLEAVED
                )

    def forward(self) -> list[chainer.Variable]:
        for lstm in self.link:
            lstm.reset_state()
        return [self._step(x) for x in self.xs]

    def _step(self, h: chainer.Variable) -> chainer.Variable:
        for lstm in self.link:
            h = lstm(h)
        return h

    @staticmethod
    def split(x: numpy.ndarray) -> list[numpy.ndarray]:
        return list(x)

    @staticmethod
    def join(arrays: list[numpy.ndarray]) -> numpy.ndarray:
        return numpy.stack(arrays)

    def gradients(self) -> dict[str, numpy.ndarray]:
        found = {}
        for layer, lstm in enumerate(self.link):
            for kind, param in (
                ('weight_ih', lstm.upward.W),
                ('bias_ih', lstm.upward.b),
                ('bias_hh', lstm.upward.b),
                ('weight_hh', lstm.lateral.W),
            ):
                # after a single step from a state of zeros Chainer leaves None
                gradient = numpy.zeros_like(param.array) if param.grad is None else param.grad
                found[f'{kind}_l{layer}'] = numpy.concatenate(
                    layout.convert(numpy, gradient, layout.INTERLEAVED, layout.N_STEP)
                )
        return found


class OurNStep(NStep):
    name = 'ours NStepLSTM'
    links = chainer_lstm.links


class OurSteps(Steps):
    name = 'ours LSTM steps'
    links = chainer_lstm.links


class OurSequence(OurSteps):
    """All steps of a layer in one call; one array (T, B, H)."""

    name = 'ours forward_sequence'

    def forward(self) -> list[chainer.Variable]:
        (h,) = self.xs
        for lstm in self.link:
            lstm.reset_state()
            h = lstm.forward_sequence(h)
        return [h]

    def open_forget_gates(self) -> None:
        for lstm in self.link:
            lstm.upward.b.array[2::4] += 1

    def train_last(self) -> None:
        self.clear()
        (y,) = self.forward()
        F.sum(y[-1]).backward()

    def last_results(self) -> dict[str, numpy.ndarray]:
        self.train_last()
        return {'gradient of x': self.join([x.grad for x in self.xs]), **self.gradients()}

    @staticmethod
    def split(x: numpy.ndarray) -> list[numpy.ndarray]:
        return [x]

    @staticmethod
    def join(arrays: list[numpy.ndarray]) -> numpy.ndarray:
        return arrays[0]


class ChainerNStep(NStep):
    name = 'chainer NStepLSTM'
    links = chainer.links


class ChainerSteps(Steps):
    name = 'chainer LSTM steps'
    links = chainer.links


class TorchLSTM:
    """``torch.nn.LSTM`` over one tensor (T, B, H)."""

    name = 'torch LSTM'

    def __init__(self, shape: Shape) -> None:
        self._torch = torch = importlib.import_module('torch')
        self._lstm = torch.nn.LSTM(shape.units, shape.units, shape.layers)
        self._lstm.load_state_dict(
            {name: torch.from_numpy(value) for name, value in weights(shape).items()}
        )
        self._x = torch.from_numpy(inputs(shape)).requires_grad_()

    @staticmethod
    def versions() -> dict[str, str]:
        torch = importlib.import_module('torch')
        return {'torch': torch.__version__, 'threads of torch': torch.get_num_threads()}

    def train(self) -> Any:
        y = self._forward()
        y.sum().backward()
        return y

    def open_forget_gates(self) -> None:
        with self._torch.no_grad():
            for name, param in self._lstm.named_parameters():
                if name.startswith('bias_ih'):
                    param[len(param) // 4 : len(param) // 2] += 1

    def train_last(self) -> None:
        self._forward()[-1].sum().backward()

    def last_results(self) -> dict[str, numpy.ndarray]:
        self.train_last()
        return self._gradients()

    def _forward(self) -> Any:
        self._lstm.zero_grad(set_to_none=True)
        self._x.grad = None
        return self._lstm(self._x)[0]

    def _gradients(self) -> dict[str, numpy.ndarray]:
        return {
            'gradient of x': self._x.grad.numpy(),
            **{name: param.grad.numpy() for name, param in self._lstm.named_parameters()},
        }

    def infer(self) -> Any:
        with self._torch.inference_mode():
            return self._lstm(self._x)[0]

    def results(self) -> dict[str, numpy.ndarray]:
        inferred, trained = self.infer(), self.train()
        return {'inferred y': inferred.numpy(), 'y': trained.detach().numpy(), **self._gradients()}


FAMILIES = {
    'ours': (OurNStep, OurSequence, OurSteps),
    'chainer': (ChainerNStep, ChainerSteps),
    'torch': (TorchLSTM,),
}
