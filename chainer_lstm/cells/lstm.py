"""The LSTM of Gers, Schmidhuber and Cummins, 2000, as ``chainer.functions.lstm`` computes it."""

from __future__ import annotations

from typing import Any

from chainer_lstm.arrays import Array
from chainer_lstm.cells.cell import Cell, sigmoid
from chainer_lstm.cells.stages import Product


class LSTM(Cell):
    """c' = f c + i a, h' = o tanh(c'), with a = tanh(…) and i, f, o = σ(…) of x Wᵀ + b + h Uᵀ."""

    name = 'lstm'
    gates = ('a', 'i', 'f', 'o')
    products = (Product('U', 'h', gates),)
    reads = ('c',)
    needs = ('c',)
    forget = 'f'

    def forward(self, xp: Any, gates: Any, before: Any, **more: Array) -> tuple[Any, Any]:
        """Compute one time step."""
        (a, i, f), c = new_cell(xp, gates, before.c)
        o = sigmoid(xp, gates.o)
        return (a, i, f, o), self.State(c, o * xp.tanh(c))

    def backward(
        self, xp: Any, gates: Any, before: Any, new: Any, gradients: Any, **more: Array
    ) -> tuple[Any, Any]:
        """Compute the gradients of one time step."""
        go, gc = output_gradients(xp, gates.o, new.c, gradients)
        (ga, gi, gf), gc_prev = new_cell_gradients(gates, before.c, gc)
        return (ga, gi, gf, go), self.State(gc_prev)


def new_cell(xp: Any, gates: Any, c_prev: Array) -> tuple[Any, Array]:
    """Compute a, i, f and the new c from the gates before activation."""
    a, i, f = xp.tanh(gates.a), sigmoid(xp, gates.i), sigmoid(xp, gates.f)
    return (a, i, f), f * c_prev + a * i


def new_cell_gradients(gates: Any, c_prev: Array, gc: Array) -> tuple[Any, Array]:
    """Compute the gradients with respect to a, i, f before activation and to the previous c."""
    a, i, f = gates.a, gates.i, gates.f
    return (
        gc * i * (1 - a * a),
        gc * a * (i - i * i),
        gc * c_prev * (f - f * f),
    ), gc * f


def output_gradients(xp: Any, o: Array, c: Array, gradients: Any) -> tuple[Array, Array]:
    """Compute the gradients with respect to o before activation and to c."""
    t = xp.tanh(c)
    return gradients.h * t * (o - o * o), gradients.c + gradients.h * o * (1 - t * t)
