"""Tree LSTMs, whose cell state is a sum over children: Tai et al. 2015, and S-LSTM.

They read the states of all children, so they are not a ``Cell``.  Sizes: n nodes, H units, K
children per node, E edges between nodes and their children.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainer_lstm.arrays import Array
from chainer_lstm.cells.cell import sigmoid

Linear = Callable[[Any, Any], Any]  # (x, W) -> x Wᵀ
Pointwise = Callable[[Any], Any]
Factors = Sequence[tuple[Any, Any]]


class Gates(NamedTuple):
    """The gates of n nodes.

    Attributes:
        a, i: (n, H) each; one of each, but in S-LSTM one for each child.
        o: (n, H).
        f: for the k-th children (m, H), of the first m nodes, which have a k-th child.
    """

    a: Sequence[Any]
    i: Sequence[Any]
    o: Any
    f: Sequence[Any]


def forward(xp: Any, gates: Gates, cs: Sequence[Any]) -> tuple[Any, Any]:
    """Compute c = Σ σ(i) tanh(a) + Σ σ(f) c_child and h = σ(o) tanh(c).

    Args:
        xp: the module of array functions; Chainer's, or one of arrays.
        gates: before activation, with f of all nodes for each child.
        cs: the cell states of the children, (n, H) each.
    """
    summands = [sigmoid(xp, i) * xp.tanh(a) for a, i in zip(gates.a, gates.i)]
    summands += [sigmoid(xp, f) * c for f, c in zip(gates.f, cs)]
    c = sum(summands[1:], summands[0])
    return c, sigmoid(xp, gates.o) * xp.tanh(c)


def activate(xp: Any, tanhs: Array, sigmoids: Sequence[Array]) -> None:
    """Activate arrays of gates in place, as ``forward`` does."""
    xp.tanh(tanhs, out=tanhs)
    for x in sigmoids:
        x *= 0.5
        xp.tanh(x, out=x)
        x *= 0.5
        x += 0.5


def combine(xp: Any, gates: Gates, cs: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Return c, tanh(c) and h as in ``forward``, from arrays of activated gates."""
    c = gates.a[0] * gates.i[0]
    summand = xp.empty_like(c)
    for x, y in (*zip(gates.a[1:], gates.i[1:]), *zip(gates.f, cs)):
        count = len(x)
        xp.multiply(x, y, out=summand[:count])
        c[:count] += summand[:count]
    t = xp.tanh(c)
    return c, t, gates.o * t


def backward(
    xp: Any,
    gates: Gates,
    cs: Sequence[Array],
    t: Array,
    gc: Any,
    gh: Any,
    room: Gates,
    gcs: Sequence[Array],
) -> None:
    """Compute the gradients.

    Args:
        xp, gates, cs, t: the arguments and the tanh(c) of ``combine``.
        gc, gh: the gradients with respect to c and h, arrays or the number 0.
        room: receives the gradients with respect to the gates before activation.
        gcs: receives the gradients with respect to cs.
    """
    one = t.dtype.type(1)
    gc_all = t * t
    xp.subtract(one, gc_all, out=gc_all)
    gc_all *= gates.o
    gc_all *= gh
    gc_all += gc
    _of_sigmoid(xp, gates.o, t, gh, room.o)
    for a, i, ga, gi in zip(gates.a, gates.i, room.a, room.i):
        xp.multiply(a, a, out=ga)
        xp.subtract(one, ga, out=ga)
        ga *= i
        ga *= gc_all
        _of_sigmoid(xp, i, a, gc_all, gi)
    for f, c, gf, gc_child in zip(gates.f, cs, room.f, gcs):
        of_rows = gc_all[: len(f)]
        _of_sigmoid(xp, f, c, of_rows, gf)
        xp.multiply(f, of_rows, out=gc_child)


def _of_sigmoid(xp: Any, y: Array, factor: Array, gradient: Any, out: Array) -> None:
    """Write (y - y²) * factor * gradient, the gradient through y = σ(…)."""
    xp.multiply(y, y, out=out)
    xp.subtract(y, out, out=out)
    out *= factor
    out *= gradient


@dataclasses.dataclass(frozen=True)
class ChildSum:
    """Any number of children: a, i, o get the sum of the children's h, each f that of its child.

    Arrays of edges are (K, n, H) if every node has K children, otherwise (E, H).

    Attributes:
        weights: the names of U_aio (3H, H) and U_f (H, H).
        blocks: the number of blocks of H columns of x: a, i, o, f.
    """

    weights = ('U_aio', 'U_f')
    blocks = 4

    def join(
        self,
        linear: Linear,
        weights: Sequence[Any],
        x: Any,
        h_children: Any,
        total: Pointwise,
        spread: Pointwise,
    ) -> tuple[Any, Any]:
        """Return the pre-activations a, i, o (n, 3H) and f, of edges.

        Args:
            linear: the product.
            weights: in the order of the names.
            x: (n, 4H), the product of the input.
            h_children: the outputs of the children, of edges.
            total: sums edges to (n, H).
            spread: repeats (n, H) for the edges.
        """
        U_aio, U_f = weights
        width = x.shape[1] // 4 * 3
        aio = x[:, :width] + linear(total(h_children), U_aio)
        return aio, linear(h_children, U_f) + spread(x[:, width:])

    def room(self, xp: Any, gx: Array, f: Array) -> Array:
        """Return an array for the gradients with respect to f; see ``factors``."""
        return xp.empty_like(f)

    def factors(self, gx: Array, gf: Array, h_children: Any, total: Pointwise) -> Factors:
        """Return for each weight U the gradients of its product, and the rows it has multiplied.

        Args:
            gx: (n, 4H), the gradients with respect to x; the columns of f are written.
            gf: the gradients with respect to f, of edges.
            h_children, total: as in ``join``.
        """
        width = gx.shape[1] // 4 * 3
        gx[:, width:] = total(gf)
        return [(gx[:, :width], total(h_children)), (gf, h_children)]

    def of_children(self, products: Sequence[Any], spread: Pointwise) -> Any:
        """Return the gradients with respect to ``h_children`` from the gradient of each product
        times U.
        """
        of_sum, of_each = products
        of_each += spread(of_sum)
        return of_each


@dataclasses.dataclass(frozen=True)
class Nary:
    """K children with a matrix each: all gates get the h of each child, and each child has an f.

    Arrays of edges are (K, n, H), and the methods are those of ``ChildSum``.

    Attributes:
        n_ary: K.
        weights: the names of U_1, … U_K ((3 + K) H, H).
        blocks: the number of blocks of H columns of x: a, i, o, f_1, … f_K.
    """

    n_ary: int

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple([f'U_{k + 1}' for k in range(self.n_ary)])

    @property
    def blocks(self) -> int:
        return 3 + self.n_ary

    def join(
        self,
        linear: Linear,
        weights: Sequence[Any],
        x: Any,
        h_children: Any,
        total: Pointwise,
        spread: Pointwise,
    ) -> tuple[Any, Any]:
        for k, U in enumerate(weights):
            x = linear(h_children[k], U) + x
        return x[:, : 3 * (x.shape[1] // self.blocks)], self._of_edges(x)

    def room(self, xp: Any, gx: Array, f: Array) -> Array:
        return self._of_edges(gx)

    def factors(self, gx: Array, gf: Array, h_children: Any, total: Pointwise) -> Factors:
        return [(gx, h_children[k]) for k in range(self.n_ary)]

    def of_children(self, products: Sequence[Any], spread: Pointwise) -> Any:
        return products  # one array for each child

    def _of_edges(self, x: Any) -> Any:
        """Return the columns of f, (n, (3 + K) H) -> (K, n, H), a view."""
        n, units = x.shape[0], x.shape[1] // self.blocks
        columns = x[:, 3 * units :].reshape((n, self.n_ary, units))
        return columns.transpose((1, 0, 2))
