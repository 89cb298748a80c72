"""The products of a cell with its weights, and the gradients through them, on any engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from chainer_lstm.arrays import Array
from chainer_lstm.cells import Cell, Product, Stage
from chainer_lstm.kernels import normalization
from chainer_lstm.kernels.engines.engine import Engine
from chainer_lstm.kernels.engines.types import NOTHING, Kept, Noise, Part, Weights

Rows = Mapping[str, Array]


def gates_of(cell: Cell, parts: Sequence[Part]) -> Any:
    """Return the sums of parts as ``cell.Gates``, (n, H) each: arrays, or variables of Chainer.

    Raises:
        ValueError: parts of the same gates have different widths, or a gate has no part.
    """
    sums: dict[tuple[str, ...], Array] = {}
    for value, names in parts:
        key = tuple(names)
        if key not in sums:
            sums[key] = value
        elif sums[key].shape[-1:] == value.shape[-1:]:
            sums[key] = sums[key] + value
        else:
            raise ValueError(
                f'expected pre-activations of one width, got arrays of shapes {sums[key].shape} '
                f'and {value.shape}'
            )
    found: dict[str, Array] = {}
    for names, value in sums.items():
        for g, name in enumerate(names):
            gate = value if len(names) == 1 else value[:, g :: len(names)]
            found[name] = found[name] + gate if name in found else gate
    missing = set(cell.gates) - found.keys()
    if missing:
        raise ValueError(f'expected parts of all gates of {cell.name}, got none of {missing}')
    return cell.Gates(**found)


def columns(x: Array, gates: Sequence[str], wanted: Sequence[str]) -> Array:
    """Return the columns of some gates of an array (n, G H) of ``gates``; a view for one gate and
    for all gates.
    """
    if tuple(wanted) == tuple(gates):
        return x
    if len(wanted) == 1:
        return x[:, gates.index(wanted[0]) :: len(gates)]
    indexes = [gates.index(name) for name in wanted]
    units = x.shape[1] // len(gates)
    parts = x.reshape(len(x), units, len(gates))[:, :, indexes]
    return parts.reshape(len(x), units * len(wanted))


def parts_of(
    e: Engine,
    stage: Stage,
    state: Any,
    weights: Weights,
    noise: Noise = NOTHING,
    kept: Optional[Kept] = None,
) -> list[Part]:
    """Return the products of the given states, except diagonal ones.

    Args:
        e: the engine.
        stage: the stage.
        state: the ``State`` before it.
        weights: by name.
        noise: by name, of these rows.
        kept: receives the rows of normalized products for ``add_gradients``, in its existing
            arrays if there are any.
    """
    kept = {} if kept is None else kept
    found = []
    for product in stage.products:
        value = getattr(state, product.state)
        if value is not None and not product.diagonal:
            value = masked(product, value, noise)
            b = None if product.bias is None else weights[product.bias]
            value = _linear(e, product, value, b, weights, kept)
            found.append(Part(value, product.gates))
    return found


def of_input(
    e: Engine,
    cell: Cell,
    x: Array,
    weights: Weights,
    kept: Optional[Kept] = None,
    b: Optional[Array] = None,
) -> Array:
    """Return x Wᵀ + b of any number of rows, normalized or not; ``kept`` as in ``parts_of``."""
    y = _linear(e, of_x(cell), x, b, weights, {} if kept is None else kept)
    return y.astype(x.dtype, copy=False)


def _linear(
    e: Engine,
    product: Product,
    x: Array,
    b: Optional[Array],
    weights: Weights,
    kept: Kept,
) -> Array:
    """Return the product of rows with its weight, normalized or not, plus a bias."""
    weight, norm = product.weight, product.norm
    if norm is None:
        return e.linear(x, weights[weight], b)
    # normalization amplifies the rounding of float16
    made = e.linear(normalization.wide(x), normalization.wide(weights[weight]))
    return normalization.forward(e, made, weight, norm, weights[norm.gain], b, kept)


@functools.lru_cache(maxsize=256)
def of_x(cell: Cell) -> Product:
    """Return the product of x, as if x were a state."""
    return Product('W', 'x', cell.inputs, 'b', norm=cell.input_norm)


def masked(product: Product, value: Any, noise: Noise) -> Any:
    """Return the rows that a product multiplies: its state, masked in training."""
    mask = None if product.mask is None else noise.get(product.mask)
    return value if mask is None else value * mask


def diagonal(stage: Stage) -> list[Product]:
    """Return the diagonal products that are computed before the array code of a stage."""
    return [product for product in stage.products if product.diagonal and not product.new]


def before_of(stage: Stage) -> list[str]:
    """Return the states with respect to which ``Engine.stage_backward`` returns gradients."""
    return list(dict.fromkeys([*stage.reads, *(product.state for product in diagonal(stage))]))


def diagonal_parts(stage: Stage, state: Any, weights: Weights) -> list[Part]:
    """Return the results of ``diagonal`` products of arrays or Chainer's variables."""
    return [
        Part(getattr(state, product.state) * weights[product.weight], product.gates)
        for product in diagonal(stage)
        if getattr(state, product.state) is not None
    ]


def arguments(cell: Cell, stage: Stage, more: Noise) -> dict[str, Array]:
    """Return the keyword arguments of the array code of a stage.

    Args:
        cell, stage: the stage of the cell.
        more: noise and weights, or more arrays.
    """
    names = [*cell.noise, *cell.sequence_noise]
    names += [product.weight for product in stage.products if product.new]
    names += stage.vectors
    return {name: more[name] for name in names if name in more}


def vectors(stage: Stage, weights: Weights) -> dict[str, Array]:
    """Return the given vectors of a stage and the given weights of its diagonal products."""
    names = [product.weight for product in stage.products if product.diagonal]
    names += stage.vectors
    return {name: weights[name] for name in names if name in weights}


def rows_of(stage: Stage, before: Any, new: Any, noise: Noise) -> dict[str, Array]:
    """Return the rows that the products of a stage multiply, as ``weight_gradients`` takes them.

    Args:
        stage: the stage.
        before, new: the ``State`` before and after it; a state that is None is skipped.
        noise: by name, of these rows.
    """
    found = {}
    for product in stage.products:
        value = getattr(new if product.new else before, product.state)
        if value is not None and _source(product) not in found:
            found[_source(product)] = masked(product, value, noise)
    return found


def _source(product: Product) -> str:
    """Return the name of the rows that a product multiplies."""
    name = f'new {product.state}' if product.new else product.state
    return name if product.mask is None else f'{product.mask} {name}'


def add_gradients(
    e: Engine,
    cell: Cell,
    stage: Stage,
    gpre: Array,
    gradients: Any,
    weights: Weights,
    noise: Noise = NOTHING,
    room: Optional[Any] = None,
    kept: Optional[Kept] = None,
) -> Any:
    """Add the gradients through the products of a stage, except diagonal ones.

    Args:
        e: the engine.
        cell, stage: the stage of the cell.
        gpre: (n, G H), the gradients with respect to the gates before activation.
        gradients: a ``State`` of gradients with respect to the states before the stage, None for
            zeros; changed in place.
        weights: the weights of the products to include, and gains.
        noise: by name, of these rows.
        room: a ``State`` of output arrays for gradients that are None, or None for new arrays.
        kept: from ``parts_of``, of these rows; receives the gradients with respect to normalized
            products before normalization.

    Returns:
        The sums.
    """
    kept = {} if kept is None else kept
    for product in stage.products:
        if product.diagonal or (product.norm is None and product.weight not in weights):
            continue
        part = columns(gpre, cell.gates, product.gates)
        part = _through(e, product, part, weights, kept)
        if product.weight not in weights:
            continue
        W, before = weights[product.weight], getattr(gradients, product.state)
        if before is None:
            out = None if room is None else getattr(room, product.state)
            found = e.matmul(part, W, out)
            if product.mask is not None and product.mask in noise:
                found *= noise[product.mask]
            gradients = gradients._replace(**{product.state: found})
        else:
            before += masked(product, e.matmul(part, W), noise)
    return gradients


def add_input_gradient(e: Engine, cell: Cell, gpre: Array, weights: Weights, kept: Kept) -> None:
    """Save the gradient with respect to x Wᵀ before its normalization, if it is normalized."""
    product = of_x(cell)
    if product.norm is not None:
        _through(e, product, columns(gpre, cell.gates, product.gates), weights, kept)


def input_gradient(cell: Cell, gpre: Array, kept: Mapping[str, Array]) -> Array:
    """Return the gradient with respect to x Wᵀ."""
    if cell.input_norm is None:
        return columns(gpre, cell.gates, cell.inputs)
    return kept[normalization.gradient_of('W')]


def _through(e: Engine, product: Product, part: Array, weights: Weights, kept: Kept) -> Array:
    """Return the gradient with respect to a product before its normalization, and save it."""
    norm, weight = product.norm, product.weight
    if norm is None or norm.gain not in weights:  # at a first step h has no product
        return part
    return normalization.backward(e, part, weight, weights[norm.gain], kept)


@functools.lru_cache(maxsize=256)
def weight_gradients(
    cell: Cell, stage: Stage, gates: tuple[str, ...]
) -> dict[str, Callable[[Engine, Rows], Array]]:
    """Return, by the name of each weight of a stage, the function that computes its gradient.

    The functions take the engine and rows by name, of one step or of many: ``gpre`` (P, G H), the
    gradients with respect to ``gates`` before activation; ``x`` in the first stage; the rows of
    ``rows_of`` and of ``normalization``; and in the last stage of a projected cell ``gh`` (P, O),
    the gradients with respect to h, and ``m`` (P, H).
    """

    def part(product: Product, rows: Rows) -> Array:
        return columns(rows['gpre'], gates, product.gates)

    def matrix(product: Product) -> Callable[[Engine, Rows], Array]:
        of, key = _source(product), normalization.gradient_of(product.weight)
        if product.norm is not None:
            return lambda e, rows: e.matmul(rows[key].T, rows[of])
        return lambda e, rows: e.matmul(part(product, rows).T, rows[of])

    def gain(product: Product) -> Callable[[Engine, Rows], Array]:
        key = normalization.normalized_of(product.weight)
        return lambda e, rows: e.column_sums(part(product, rows) * rows[key])

    def numbers(product: Product) -> Callable[[Engine, Rows], Array]:
        of = _source(product)
        return lambda e, rows: e.column_sums(part(product, rows) * rows[of])

    def bias(product: Product) -> Callable[[Engine, Rows], Array]:
        return lambda e, rows: e.column_sums(part(product, rows))

    def vector(name: str) -> Callable[[Engine, Rows], Array]:
        return lambda e, rows: e.column_sums(rows[normalization.rows_of(name)])

    found = {name: vector(name) for name in stage.vectors}
    first = [of_x(cell)] if stage is cell.stages[0] else []
    for product in (*first, *stage.products):
        found[product.weight] = numbers(product) if product.diagonal else matrix(product)
        if product.norm is not None:
            found[product.norm.gain] = gain(product)
        if product.bias is not None:
            found[product.bias] = bias(product)
    if cell.projection is not None and stage is cell.stages[-1]:
        found[cell.projection] = lambda e, rows: e.matmul(rows['gh'].T, rows['m'])
    return found
