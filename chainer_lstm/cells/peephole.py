"""The LSTM with peepholes of Gers and Schmidhuber, 2000, with full matrices as in Chainer."""

from __future__ import annotations

import functools
from typing import Any

from chainer_lstm.arrays import Array
from chainer_lstm.cells.cell import Cell, sigmoid
from chainer_lstm.cells.lstm import new_cell, new_cell_gradients, output_gradients
from chainer_lstm.cells.stages import Product, Stage


class Peephole(Cell):
    """An LSTM with P_i c and P_f c added to i and f, and P_o c', of the new c, added to o."""

    name = 'peephole'
    gates = ('a', 'i', 'f', 'o')
    products = (
        Product('U', 'h', gates),
        Product('P_i', 'c', ('i',)),
        Product('P_f', 'c', ('f',)),
    )

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        output = (Product('P_o', 'c', ('o',)),)
        return (
            Stage(self.products, ('a', 'i', 'f'), ('c',), ('c',), (), self.forward, self.backward),
            Stage(output, ('o',), ('c',), ('h',), (), self.output, self.output_backward),
        )

    def forward(self, xp: Any, gates: Any, before: Any, **more: Array) -> tuple[Any, Any]:
        """Compute a, i, f and the new c."""
        activated, c = new_cell(xp, gates, before.c)
        return activated, self.State(c)

    def backward(
        self, xp: Any, gates: Any, before: Any, new: Any, gradients: Any, **more: Array
    ) -> tuple[Any, Any]:
        """Compute the gradients with respect to a, i, f before activation and to c."""
        found, gc_prev = new_cell_gradients(gates, before.c, gradients.c)
        return found, self.State(gc_prev)

    def output(self, xp: Any, gates: Any, state: Any, **more: Array) -> tuple[Any, Any]:
        """Compute o and h from the new c."""
        o = sigmoid(xp, gates.o)
        return (o,), self.State(state.c, o * xp.tanh(state.c))

    def output_backward(
        self, xp: Any, gates: Any, state: Any, new: Any, gradients: Any, **more: Array
    ) -> tuple[Any, Any]:
        """Compute the gradients with respect to o before activation and to the new c."""
        go, gc = output_gradients(xp, gates.o, state.c, gradients)
        return (go,), self.State(gc)
