"""Conversions of float16 sequences for the persistent kernels, whose arrays are float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.kernels.engines.types import Gradients, Layer

FLOAT16, _FLOAT32 = numpy.dtype(numpy.float16), numpy.dtype(numpy.float32)


def layer_to_float32(xp: Any, layer: Layer) -> Layer:
    """Return a layer for forward, with new arrays for everything that it writes.  The input and W
    keep their dtype: cuBLAS multiplies them into float32.
    """
    weights = {**layer.weights, 'b': _wide(layer.weights['b']), 'U': _wide(layer.weights['U'])}
    if layer.initial is None:
        states = layer.states._make(map(_wide, layer.states))
    else:
        states = _rooms(xp, layer.states)
    return dataclasses.replace(
        layer,
        weights=weights,
        states=states,
        initial=None if layer.initial is None else layer.initial._make(map(_wide, layer.initial)),
        last=None if layer.last is None else _rooms(xp, layer.last),
    )


def write_states(layer: Layer, wide: Layer) -> None:
    """Write the results of forward in float32 into a layer."""
    written = [(layer.states, wide.states)]
    if layer.last is not None:
        written.append((layer.last, wide.last))
    for targets, states in written:
        for target, state in zip(targets, states):
            target[...] = state


def backward_to_float32(
    xp: Any, layers: Sequence[Layer], gates: Sequence[Array], gradients: Sequence[Gradients]
) -> tuple[list[Layer], list[Array], list[Gradients]]:
    """Return the arguments of backward in float32, except the gradients of outputs, which the
    engine converts.
    """
    wide_layers = []
    for layer in layers:
        states = layer.states._replace(c=_wide(layer.states.c))  # h is not read
        weights = {**layer.weights, 'U': _wide(layer.weights['U'])}
        wide_layers.append(dataclasses.replace(layer, states=states, weights=weights))
    begun = []
    for given in gradients:
        if given.from_zeros:
            last = _rooms(xp, given.last)
        else:
            last = given.last._make(map(_wide, given.last))
        begun.append(dataclasses.replace(given, last=last))
    return wide_layers, [_wide(x) for x in gates], begun


def write_gradients(
    gates: Sequence[Array], wide: Sequence[Array], last: Sequence[Any]
) -> list[Any]:
    """Write the gradients of the gates; return the gradients of the initial states in float16."""
    for target, gpre in zip(gates, wide):
        target[...] = gpre
    return [state._make([g.astype(FLOAT16) for g in state]) for state in last]


def _wide(x: Array) -> Array:
    return x.astype(_FLOAT32)


def _rooms(xp: Any, states: Any) -> Any:
    """Return a ``State`` of new float32 arrays."""
    return states._make([xp.empty(state.shape, _FLOAT32) for state in states])
