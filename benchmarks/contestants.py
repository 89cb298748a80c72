"""The task that is measured, and the contestants with Chainer's variables: the links of this
package and of Chainer.

The task: LSTM layers of H units over H inputs, from a state of zeros.  ``train`` is a forward pass
and the gradients of the sum of all outputs with respect to the weights and the input, ``infer`` a
forward pass without a graph.  ``train_last`` is ``train`` with the sum of the last step's outputs
alone, from which gradients vanish.  Weights and their gradients are exchanged under torch's names
and in torch's order of the gates, i, f, a, o, one below the other.
"""

from __future__ import annotations

import chainer_lstm  # isort: skip  (lets Chainer be imported in a clone that is not installed)
from typing import Any, NamedTuple

import chainer
import chainer.functions as F
import chainer.links
import numpy

import chainer_lstm.links
from chainer_lstm.kernels import layout


class Shape(NamedTuple):
    """The sizes of a task: B sequences of T steps through layers of H units.

    Attributes:
        dtype: the dtype of all arrays.
        ragged: whether the lengths of the sequences are drawn from 1 to T.
        directions: 2 for layers that read the sequences from both ends.
    """

    batch: int
    time: int
    units: int
    layers: int = 1
    dtype: str = 'float32'
    ragged: bool = False
    directions: int = 1

    def __str__(self) -> str:
        return '/'.join(map(str, self[:4]))

    @property
    def lengths(self) -> numpy.ndarray:
        """Return the lengths (B,), the same in every process."""
        if not self.ragged:
            return numpy.full(self.batch, self.time)
        return numpy.random.RandomState(0).randint(1, self.time + 1, self.batch)

    def tiny(self) -> Shape:
        """Return a small shape of the same kind, for a quick test."""
        return self._replace(batch=min(self.batch, 3), time=min(self.time, 4), units=8)


def inputs(shape: Shape) -> numpy.ndarray:
    """Return inputs (T, B, H), the same numbers in every process."""
    x = numpy.random.RandomState(0).randn(shape.time, shape.batch, shape.units)
    return x.astype(shape.dtype)


def weights(shape: Shape) -> dict[str, numpy.ndarray]:
    """Return the weights of every layer, the same numbers in every process.

    Forget gates are open (bias 1), as Chainer initializes them.
    """
    random, n = numpy.random.RandomState(1), shape.units
    found = {}
    for name in weight_names(shape):
        kind, _, layer = name.partition('_l')
        width = n if kind == 'weight_hh' or layer[0] == '0' else n * shape.directions
        size = (4 * n, width) if kind.startswith('weight') else (4 * n,)
        found[name] = random.uniform(-(n**-0.5), n**-0.5, size).astype(shape.dtype)
        if kind == 'bias_ih':
            found[name][n : 2 * n] += 1
    return found


def weight_names(shape: Shape) -> list[str]:
    """Return the names that torch gives to the weights."""
    return [
        f'{kind}_l{layer}{direction}'
        for layer in range(shape.layers)
        for direction in ('', '_reverse')[: shape.directions]
        for kind in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')
    ]


class Links:
    """The base class of the contestants with Chainer's variables.

    Attributes:
        links: the module of the links.
        link: the layers.
        arrays: the inputs as ``forward`` takes them.
        xs: variables of the inputs.
    """

    links: Any
    link: chainer.Link

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        with chainer.using_config('dtype', numpy.dtype(shape.dtype)):
            self.link = self.make()
        for name, value in weights(shape).items():
            self.set_weight(name, value)
        self.arrays = self.split(inputs(shape))
        self.xs = [chainer.Variable(x) for x in self.arrays]

    @staticmethod
    def versions() -> dict[str, str]:
        return {'chainer': chainer.__version__, 'chainer_lstm': chainer_lstm.__version__}

    def train(self) -> list[chainer.Variable]:
        self._clear()
        ys = self.forward(self.xs)
        F.sum(ys[0] if len(ys) == 1 else F.concat(ys, axis=0)).backward()
        return ys

    def train_last(self) -> list[chainer.Variable]:
        self._clear()
        ys = self.forward(self.xs)
        F.sum(self.last(ys)).backward()
        return ys

    def infer(self) -> list[chainer.Variable]:
        with chainer.no_backprop_mode(), chainer.using_config('train', False):
            return self.forward(self.arrays)

    def results(self, mode: str) -> dict[str, numpy.ndarray]:
        """Return the arrays that are the same for all contestants."""
        found = {'y': self.join([y.array for y in getattr(self, mode)()])}
        if mode != 'infer':
            found['gradient of x'] = self.join([x.grad for x in self.xs])
            found.update((name, self.gradient(name)) for name in weight_names(self.shape))
        return found

    def _clear(self) -> None:
        self.link.cleargrads()
        for x in self.xs:
            x.cleargrad()

    def make(self) -> chainer.Link:
        raise NotImplementedError

    def set_weight(self, name: str, value: numpy.ndarray) -> None:
        """Set a weight by torch's name."""
        raise NotImplementedError

    def gradient(self, name: str) -> numpy.ndarray:
        """Return the gradient with respect to a weight by torch's name."""
        raise NotImplementedError

    def forward(self, xs: list[Any]) -> list[chainer.Variable]:
        raise NotImplementedError

    def last(self, ys: list[chainer.Variable]) -> chainer.Variable:
        """Return the outputs of the last step (B, H)."""
        raise NotImplementedError

    def split(self, x: numpy.ndarray) -> list[numpy.ndarray]:
        """Return inputs (T, B, H) as ``forward`` takes them."""
        raise NotImplementedError

    def join(self, arrays: list[numpy.ndarray]) -> numpy.ndarray:
        """Return arrays as ``forward`` takes them, or returns them, as one (T, B, H)."""
        raise NotImplementedError


class NStep(Links):
    """A list of B sequences (T, H)."""

    def make(self) -> chainer.Link:
        kind = self.links.NStepLSTM if self.shape.directions == 1 else self.links.NStepBiLSTM
        return kind(self.shape.layers, self.shape.units, self.shape.units, 0)

    def set_weight(self, name: str, value: numpy.ndarray) -> None:
        for param, gate in zip(self._gates(name), numpy.split(value, 4)):
            param.array[...] = gate

    def gradient(self, name: str) -> numpy.ndarray:
        return numpy.concatenate([param.grad for param in self._gates(name)])

    def _gates(self, name: str) -> list[chainer.Parameter]:
        kind, _, place = name.partition('_l')
        layer, _, reverse = place.partition('_')
        params = self.link.ws if kind.startswith('weight') else self.link.bs
        of_layer = params[int(layer) * self.shape.directions + bool(reverse)]
        return of_layer[:4] if kind.endswith('ih') else of_layer[4:]

    def forward(self, xs: list[Any]) -> list[chainer.Variable]:
        return self.link(None, None, xs)[2]

    def split(self, x: numpy.ndarray) -> list[numpy.ndarray]:
        return [x[:length, b].copy() for b, length in enumerate(self.shape.lengths)]

    def join(self, arrays: list[numpy.ndarray]) -> numpy.ndarray:
        found = numpy.zeros((self.shape.time, len(arrays), arrays[0].shape[1]), arrays[0].dtype)
        for b, array in enumerate(arrays):
            found[: len(array), b] = array
        return found


class Steps(Links):
    """One call of each layer a step; T steps (B, H)."""

    def make(self) -> chainer.Link:
        n = self.shape.units
        return chainer.ChainList(*(self.links.LSTM(n, n) for _ in range(self.shape.layers)))

    def set_weight(self, name: str, value: numpy.ndarray) -> None:
        array = self._param(name).array
        value = layout.convert(numpy, numpy.split(value, 4), layout.N_STEP, layout.INTERLEAVED)
        if name.startswith('bias_hh'):  # the link has the sum of both
            array += value
        else:
            array[...] = value

    def gradient(self, name: str) -> numpy.ndarray:
        param = self._param(name)
        # after a single step from a state of zeros Chainer leaves None
        gradient = numpy.zeros_like(param.array) if param.grad is None else param.grad
        return numpy.concatenate(layout.convert(numpy, gradient, layout.INTERLEAVED, layout.N_STEP))

    def _param(self, name: str) -> chainer.Parameter:
        kind, _, layer = name.partition('_l')
        lstm = self.link[int(layer)]
        return {'weight_ih': lstm.upward.W, 'weight_hh': lstm.lateral.W}.get(kind, lstm.upward.b)

    def forward(self, xs: list[Any]) -> list[chainer.Variable]:
        for lstm in self.link:
            lstm.reset_state()
        return [self._step(x) for x in xs]

    def _step(self, h: Any) -> chainer.Variable:
        for lstm in self.link:
            h = lstm(h)
        return h

    def last(self, ys: list[chainer.Variable]) -> chainer.Variable:
        return ys[-1]

    def split(self, x: numpy.ndarray) -> list[numpy.ndarray]:
        return list(x)

    def join(self, arrays: list[numpy.ndarray]) -> numpy.ndarray:
        return numpy.stack(arrays)


class OurNStep(NStep):
    family = 'chainer_lstm'
    name = 'NStepLSTM'
    links = chainer_lstm.links


class OurSteps(Steps):
    family = 'chainer_lstm'
    name = 'LSTM steps'
    links = chainer_lstm.links


class FrozenSteps(OurSteps):
    """Steps with weights that do not change, as in generation and serving."""

    name = 'LSTM steps, frozen'

    def infer(self) -> list[chainer.Variable]:
        with chainer_lstm.links.frozen(self.link):
            return super().infer()


class OurSequence(OurSteps):
    """All steps of a layer in one call; one array (T, B, H)."""

    name = 'forward_sequence'

    def forward(self, xs: list[Any]) -> list[chainer.Variable]:
        (h,) = xs
        for lstm in self.link:
            lstm.reset_state()
            h = lstm.forward_sequence(h)
        return [h]

    def last(self, ys: list[chainer.Variable]) -> chainer.Variable:
        return ys[0][-1]

    def split(self, x: numpy.ndarray) -> list[numpy.ndarray]:
        return [x]

    def join(self, arrays: list[numpy.ndarray]) -> numpy.ndarray:
        return arrays[0]


class ChainerNStep(NStep):
    family = 'chainer'
    name = 'chainer NStepLSTM'
    links = chainer.links


class ChainerSteps(Steps):
    family = 'chainer'
    name = 'chainer LSTM steps'
    links = chainer.links
