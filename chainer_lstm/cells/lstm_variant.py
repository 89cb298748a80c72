"""LSTM variants: coupled gates, clipping, zoneout, diagonal peepholes, layer normalization."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells.cell import Cell, sigmoid
from chainer_lstm.cells.normalization import Norm, normalized, normalized_gradient
from chainer_lstm.cells.stages import Product

_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class LSTMVariant(Cell):
    """An LSTM with options, which can be combined; without options it is the LSTM.

    σ is the recurrent activation; the terms with P exist only with peepholes; kept_c and kept_h
    (B, H) are 0 and 1 in training and 0 in evaluation; ``x_a``, … are the sums of the products of x
    and h::

        a = tanh(x_a)
        i = σ(x_i + P_i ⊙ c)          coupled: i = 1 - f, without x_i and P_i
        f = σ(x_f + P_f ⊙ c)
        s = clip(f c + i a)
        c' = kept_c c + (1 - kept_c) s
        o = σ(x_o + P_o ⊙ c')
        h' = kept_h h + (1 - kept_h) o tanh(s)

    With layer normalization, LN(v; γ) = γ ⊙ (v - mean(v)) / sqrt(var(v) + ε) over a row::

        x_a, x_i, x_f, x_o = LN(x Wᵀ; γ_x) + LN(h Uᵀ; γ_h) + b, over the values of all gates
        h' = … o tanh(LN(s; γ_c) + β_c)

    Args:
        coupled: whether i = 1 - f, with three gates (CIFG, Greff et al. 2015).
        cell_clip: the bound of the new cell's absolute value, as ``cell_clip`` in TensorFlow and
            clipping in cuDNN; the gradient is 0 beyond it.  None for no bound.  (``clip`` in ONNX
            bounds the arguments of activations instead.)
        zoneout: the probabilities with which a unit keeps its c and its h in training (Krueger et
            al. 2017).  Evaluation is that of an LSTM, as in ``chainer.links.StatefulZoneoutLSTM``.
        zoneout_expectation: whether evaluation uses the probabilities for kept_c and kept_h instead
            of 0, as in Krueger et al.
        peephole: 'diagonal' for weights ``P_i``, ``P_f``, ``P_o`` (H,) (Gers et al. 2000), without
            ``P_i`` if coupled; or None.
        recurrent_dropout: the probability with which a unit of h is dropped, at all steps of a
            sequence (Gal and Ghahramani 2016), or at a single step; other units are scaled by
            1 / (1 - recurrent_dropout).
        recurrent_activation: 'sigmoid', or 'hard_sigmoid' for clip(slope x + 0.5, 0, 1).
        hard_sigmoid_slope: 0.2 as in Keras 2 and ONNX; 1 / 6 is used by Keras 3 and torch.
        layer_norm: whether to normalize the products and the cell (Ba et al. 2016, as in haste),
            with weights ``gamma_x`` and ``gamma_h`` of the shape of ``b``, ``gamma_c`` and
            ``beta_c`` (H,).
        layer_norm_epsilon: ε; the default is torch's.

    Raises:
        TypeError: an option has another type.
        ValueError: an option is out of range.
    """

    coupled: bool = False
    cell_clip: Optional[float] = None
    zoneout: tuple[float, float] = (0.0, 0.0)
    zoneout_expectation: bool = False
    peephole: Optional[str] = None
    recurrent_dropout: float = 0.0
    recurrent_activation: str = 'sigmoid'
    hard_sigmoid_slope: float = 0.2
    layer_norm: bool = False
    layer_norm_epsilon: float = _EPSILON

    name = 'lstm_variant'
    gates = ('a', 'i', 'f', 'o')
    needs = ()
    forget = 'f'

    def __post_init__(self) -> None:
        self._check()
        gates = ('a', 'f', 'o') if self.coupled else ('a', 'i', 'f', 'o')
        mask = 'mask_h' if self.recurrent_dropout else None
        of_x, of_h = [
            Norm(gain, self.layer_norm_epsilon) if self.layer_norm else None
            for gain in ('gamma_x', 'gamma_h')
        ]
        products = [Product('U', 'h', gates, mask=mask, norm=of_h)]
        if self.peephole:
            products += [
                Product(f'P_{gate}', 'c', (gate,), diagonal=True, new=gate == 'o')
                for gate in gates[1:]
            ]
        prefix = 'layer_norm_' * self.layer_norm + 'coupled_' * self.coupled
        zoneout = dict(zip(('kept_c', 'kept_h'), self.zoneout))
        self.declare(
            name=f'{prefix}lstm_variant',
            gates=gates,
            products=tuple(products),
            reads=('c', 'h') if zoneout['kept_h'] else ('c',),
            noise=tuple([name for name, ratio in zoneout.items() if ratio]),
            sequence_noise=() if mask is None else (mask,),
            input_norm=of_x,
            replays=self.cell_clip is None and self.recurrent_activation == 'sigmoid',
            vectors={'gamma_c': 1.0, 'beta_c': 0.0} if self.layer_norm else {},
            numbers=self._numbers(),
        )
        super().__post_init__()

    def _numbers(self) -> dict[str, float]:
        """Return the numbers of the compiled form, which has no options."""
        is_hard = self.recurrent_activation != 'sigmoid'
        numbers = {
            'kept_c': self.zoneout[0] if self.zoneout_expectation else 0.0,
            'kept_h': self.zoneout[1] if self.zoneout_expectation else 0.0,
            'clip': float('inf') if self.cell_clip is None else self.cell_clip,
            'slope': self.hard_sigmoid_slope if is_hard else 0.0,
        }
        if self.layer_norm:
            numbers['epsilon'] = self.layer_norm_epsilon
        return numbers

    def _check(self) -> None:
        """Check the options, and make them hashable and comparable."""
        if not isinstance(self.zoneout, Sequence) or len(self.zoneout) != 2:
            raise TypeError(f'expected zoneout to be a pair of numbers, got {self.zoneout!r}')
        zoneout = tuple([_number('zoneout', ratio, 0, 1) for ratio in self.zoneout])
        dropout = _number('recurrent_dropout', self.recurrent_dropout, 0, 1)
        if dropout == 1:
            raise ValueError('expected recurrent_dropout to be less than 1, got 1')
        slope, clip = _number('hard_sigmoid_slope', self.hard_sigmoid_slope, 0), self.cell_clip
        epsilon = _number('layer_norm_epsilon', self.layer_norm_epsilon, 0)
        if epsilon != _EPSILON and not self.layer_norm:
            raise ValueError(f'expected layer_norm with layer_norm_epsilon, got {epsilon} alone')
        if clip is not None:
            clip = _number('cell_clip', clip, 0)
        for name, bound in (
            ('cell_clip', clip),
            ('hard_sigmoid_slope', slope),
            ('layer_norm_epsilon', epsilon),
        ):
            if bound == 0:
                raise ValueError(f'expected {name} to be a positive number, got 0')
        for name, value, allowed in (
            ('coupled', self.coupled, (False, True)),
            ('zoneout_expectation', self.zoneout_expectation, (False, True)),
            ('layer_norm', self.layer_norm, (False, True)),
            ('peephole', self.peephole, (None, 'diagonal')),
            ('recurrent_activation', self.recurrent_activation, ('sigmoid', 'hard_sigmoid')),
        ):
            if value not in allowed:
                raise ValueError(f'expected {name} to be one of {allowed}, got {value!r}')
        vars(self).update(
            zoneout=zoneout,
            recurrent_dropout=dropout,
            hard_sigmoid_slope=slope,
            cell_clip=clip,
            layer_norm_epsilon=epsilon,
        )

    def draw(self, xp: Any, shape: tuple[int, int], dtype: Any) -> Sequence[Array]:
        """Return kept_c and kept_h: 1 for a unit that keeps its state."""
        return [(xp.random.rand(*shape) < ratio).astype(dtype) for ratio in self.zoneout if ratio]

    def draw_sequence(self, xp: Any, shape: tuple[int, int], dtype: Any) -> Sequence[Array]:
        """Return the mask of h."""
        kept = xp.random.rand(*shape) >= self.recurrent_dropout
        return [kept.astype(dtype) / (1 - self.recurrent_dropout)]

    def forward(
        self,
        xp: Any,
        gates: Any,
        before: Any,
        *,
        P_o: Any = None,
        kept_c: Any = None,
        kept_h: Any = None,
        gamma_c: Any = None,
        beta_c: Any = None,
        **more: Array,
    ) -> tuple[Any, Any]:
        """Compute one time step."""
        a, f = xp.tanh(gates.a), self._sigmoid(xp, gates.f)
        i = 1 - f if self.coupled else self._sigmoid(xp, gates.i)
        s = self._clipped(xp, f * before.c + i * a)
        c = self._kept(0, kept_c, before.c, s)
        o = self._sigmoid(xp, gates.o if P_o is None else gates.o + P_o * c)
        if self.layer_norm:
            y, _ = normalized(xp, s, self.layer_norm_epsilon)
            s = y * gamma_c + beta_c
        h = self._kept(1, kept_h, before.h, o * xp.tanh(s))
        return ((a, f, o) if self.coupled else (a, i, f, o)), self.State(c, h)

    def backward(
        self,
        xp: Any,
        gates: Any,
        before: Any,
        new: Any,
        gradients: Any,
        *,
        P_o: Any = None,
        kept_c: Any = None,
        kept_h: Any = None,
        gamma_c: Any = None,
        beta_c: Any = None,
        **more: Array,
    ) -> tuple[Any, ...]:
        """Compute the gradients of one time step."""
        a, f, o = gates.a, gates.f, gates.o
        i = 1 - f if self.coupled else gates.i
        unclipped = f * before.c + i * a
        s = self._clipped(xp, unclipped)
        y: Any = s
        scale: Any = None
        if self.layer_norm:
            y, scale = normalized(xp, s, self.layer_norm_epsilon)
        t = xp.tanh(y * gamma_c + beta_c if self.layer_norm else y)
        gh_prev, gh = self._kept_gradients(1, kept_h, gradients.h)
        go = self._sigmoid_gradient(o, gh * t)
        gc_prev, gs = self._kept_gradients(
            0, kept_c, gradients.c if P_o is None else gradients.c + go * P_o
        )
        through_tanh = gh * o * (1 - t * t)
        vectors: tuple[Any, ...] = ()
        if self.layer_norm:
            vectors = (through_tanh * y, through_tanh)
            through_tanh = normalized_gradient(xp, y, scale, through_tanh * gamma_c)
        gs = gs + through_tanh
        if self.cell_clip is not None:
            gs = gs * (abs(unclipped) <= self.cell_clip)
        ga = gs * i * (1 - a * a)
        states = self.State(gc_prev + gs * f, gh_prev)
        if self.coupled:
            return (ga, self._sigmoid_gradient(f, gs * (before.c - a)), go), states, vectors
        gi, gf = self._sigmoid_gradient(i, gs * a), self._sigmoid_gradient(f, gs * before.c)
        return (ga, gi, gf, go), states, vectors

    def _sigmoid(self, xp: Any, x: Any) -> Any:
        if self.recurrent_activation == 'sigmoid':
            return sigmoid(xp, x)
        return xp.clip(x * self.hard_sigmoid_slope + 0.5, 0.0, 1.0)

    def _sigmoid_gradient(self, y: Any, gradient: Any) -> Any:
        """Return the gradient with respect to the argument of σ from that with respect to y."""
        if self.recurrent_activation == 'sigmoid':
            return gradient * (y - y * y)
        return gradient * ((y > 0) & (y < 1)) * self.hard_sigmoid_slope

    def _clipped(self, xp: Any, s: Any) -> Any:
        return s if self.cell_clip is None else xp.clip(s, -self.cell_clip, self.cell_clip)

    def _kept_ratio(self, which: int, kept: Any) -> Any:
        """Return kept_c or kept_h: in training the noise, in evaluation a number."""
        if kept is None and self.zoneout_expectation:
            return self.zoneout[which]
        return kept

    def _kept(self, which: int, kept: Any, old: Any, new: Any) -> Any:
        kept = self._kept_ratio(which, kept)
        return new if kept is None else kept * old + (1 - kept) * new

    def _kept_gradients(self, which: int, kept: Any, gradient: Any) -> tuple[Any, Any]:
        """Return the gradients with respect to the old and the new state."""
        kept = self._kept_ratio(which, kept)
        return (0, gradient) if kept is None else (gradient * kept, gradient * (1 - kept))


def _number(name: str, value: Any, low: float, high: float = float('inf')) -> float:
    """Return a number in [low, high] as a float.

    Raises:
        TypeError: not a number.
        ValueError: out of this range, or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f'expected {name} to be a number, got {value!r}')
    number = float(value)
    if not low <= number <= high:
        raise ValueError(f'expected {name} to be from {low} to {high}, got {number}')
    return number
