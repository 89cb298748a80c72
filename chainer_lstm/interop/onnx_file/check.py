"""Checks numerically that a link computes exactly the layers of an LSTM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import chainer
import numpy

from chainer_lstm.cells import sigmoid
from chainer_lstm.interop import weights
from chainer_lstm.interop.onnx_file import lstm
from chainer_lstm.interop.onnx_file.functions import Rows
from chainer_lstm.interop.onnx_file.trace import LinkCall
from chainer_lstm.kernels import layout


def check(call: LinkCall) -> None:
    """Compare the outputs of a call with the equations of an LSTM.

    A subclass or an option of a link may compute something else with the same weights, which the
    file could not represent.

    Raises:
        TypeError: they differ.
    """
    found = lstm.read(call.link)
    backwards, merge_mode = lstm.order_of_outputs(call.link)
    x, lengths = _batch(call)
    x = x[::-1] if backwards else x
    y, h, c = _layers(found, x, lengths, *_initial(call, found, len(lengths)))
    ys = _outputs(call, y, h[-found.directions :])
    expected = [h, c, *(_MERGES[merge_mode](y) for y in ys)]
    got = [_array(v) for v in (*call.last, *call.ys)]
    tolerance = 2e-2 if call.ys[0].dtype == numpy.float16 else 1e-3
    for of_layers, of_link in zip(expected, got):
        if of_layers.size != of_link.size or not numpy.allclose(
            of_layers.reshape(of_link.shape), of_link, rtol=tolerance, atol=tolerance
        ):
            raise TypeError(
                f'{type(call.link).__name__}: expected a link that computes layers of an LSTM by '
                'its weights, got other outputs, which a subclass, a hook or an option may cause'
            )


def _batch(call: LinkCall) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the input of a link as (T, B, I), and the lengths (B,) of its sequences."""
    xs = [_array(x) for x in call.xs]
    if call.rows is Rows.SEQUENCE:
        lengths = numpy.array([len(x) for x in xs])
        x = numpy.zeros((lengths.max(), len(xs), xs[0].shape[1]))
        for k, sequence in enumerate(xs):
            x[: len(sequence), k] = sequence
        return x, lengths
    x = xs[0].reshape(1, len(xs[0]), -1) if call.rows is Rows.BATCH else xs[0]
    x = x.swapaxes(0, 1) if call.rows is Rows.BATCH_MAJOR else x
    return x, numpy.full(x.shape[1], len(x))


def _initial(call: LinkCall, found: weights.Weights, batch: int) -> list[numpy.ndarray]:
    """Return the initial h and c (S * D, B, H) of a link: given, learned or 0."""
    learned = lstm.learned_state(call.link)
    shape = len(found.layers), batch, found.sizes[2]
    states = []
    for name, state in zip(lstm.STATES, call.initial):
        value = learned.get(name, numpy.zeros(shape[::2]))[:, None] if state is None else state
        states.append(numpy.broadcast_to(_array(value), shape))
    return states


def _outputs(call: LinkCall, y: numpy.ndarray, h: numpy.ndarray) -> list[numpy.ndarray]:
    """Return y (T, B, D * H), or h (D, B, H) of the last layer, as a link returns it."""
    if call.rows is Rows.SEQUENCE:
        return [y[: len(own), k] for k, own in enumerate(call.ys)]
    if call.rows is Rows.BATCH:
        return [y[0]]
    if call.ys[0].ndim == 2:
        return [numpy.concatenate(h, axis=1)]
    return [y.swapaxes(0, 1) if call.rows is Rows.BATCH_MAJOR else y]


def _layers(
    found: weights.Weights, x: numpy.ndarray, lengths: numpy.ndarray, h: Any, c: Any
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Compute y, h and c of layers over x (T, B, I), of lengths (B,), from states (S * D, B, H)."""
    hs, cs = h.astype('d'), c.astype('d')
    for k in range(0, len(found.layers), found.directions):
        ys = []
        for d, layer in enumerate(found.layers[k : k + found.directions]):
            y = numpy.zeros((*x.shape[:2], hs.shape[2]))
            for t in range(len(x))[:: -1 if d else 1]:
                valid = t < lengths
                before = x[t, valid], hs[k + d, valid], cs[k + d, valid]
                h_new, c_new = _step(layer, found.hard_sigmoid_slope, *before)
                hs[k + d, valid], cs[k + d, valid], y[t, valid] = h_new, c_new, h_new
            ys.append(y)
        x = numpy.concatenate(ys, axis=2)
    return x, hs, cs


def _step(
    layer: weights.Layer, slope: Optional[float], x: Any, h: Any, c: Any
) -> tuple[numpy.ndarray, numpy.ndarray]:
    def seen(gate: str, c: numpy.ndarray) -> Any:
        P = layer.others.get(f'P_{gate}')
        return 0 if P is None else c * P if P.ndim == 1 else c @ P.T

    def activated(x: Any) -> Any:
        return sigmoid(numpy, x) if slope is None else numpy.clip(slope * x + 0.5, 0, 1)

    a, i, f, o = layout.gates(x @ layer.W.T + layer.bias + h @ layer.U.T, layout.INTERLEAVED)
    c_new = activated(f + seen('f', c)) * c + activated(i + seen('i', c)) * numpy.tanh(a)
    return activated(o + seen('o', c_new)) * numpy.tanh(c_new), c_new


_MERGES: dict[str, Callable[[numpy.ndarray], numpy.ndarray]] = {
    'concat': lambda y: y,
    'sum': lambda y: numpy.sum(numpy.split(y, 2, axis=-1), axis=0),
    'mul': lambda y: numpy.prod(numpy.split(y, 2, axis=-1), axis=0),
    'ave': lambda y: numpy.mean(numpy.split(y, 2, axis=-1), axis=0),
}


def _array(value: Any) -> numpy.ndarray:
    value = chainer.as_array(value)
    return weights.checked('value', value, (None,) * value.ndim)
