"""Lists of weights for ``get_weights()`` and ``set_weights()`` of Keras's LSTM layers, without
importing Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import chainer
import numpy

from chainer_lstm import links
from chainer_lstm.interop import weights
from chainer_lstm.kernels import layout


def to_keras(link: chainer.Link) -> list[numpy.ndarray]:
    """Return the weights of a link for ``set_weights()`` of Keras's ``LSTM``.

    Args:
        link: a link of the LSTM family, this package's or Chainer's.  If it has a hard sigmoid,
            Keras's layer must have the same, see ``recurrent_activation`` of ``SequenceLSTM``.

    Returns:
        kernel (I, 4H), recurrent_kernel (H, 4H) and bias (4H,), gates one
        after the other in the order i, f, c, o.  For ``Bidirectional`` three
        arrays of the forward layer, then three of the backward layer; for
        several layers the arrays of each in order, as ``get_weights()`` of a
        model of stacked layers returns them.

    Raises:
        TypeError: link is not of the LSTM family.
        ValueError: Keras lacks some of the weights, or the input size is not known yet.

    Example:
        >>> from chainer_lstm.links import LSTM
        >>> kernel, recurrent_kernel, bias = to_keras(LSTM(10, 20))  # layer.set_weights(…)
        >>> kernel.shape, recurrent_kernel.shape, bias.shape
        ((10, 80), (20, 80), (80,))
    """
    arrays = []
    layers = weights.read(link, hard_sigmoid=True).layers
    weights.check_others(layers, "Keras's LSTM")
    for layer in layers:
        W, U, b = (
            layout.convert(numpy, x, layout.INTERLEAVED, layout.TORCH)
            for x in (layer.W, layer.U, layer.bias)
        )
        arrays += [W.T.copy(), U.T.copy(), b]
    return arrays


def from_keras(arrays: Sequence[Any], into: weights.Into) -> chainer.Link:
    """Return a link with weights from ``get_weights()`` of Keras's LSTM layers, in the order of
    ``to_keras``.

    Args:
        arrays: three for every layer and direction; two with ``use_bias=False``.
        into: a class for a new link, or a link whose weights are set.  A new ``SequenceLSTM`` has
            one direction and a sigmoid; for anything else pass a link.

    Raises:
        TypeError, ValueError: the number of arrays or a shape does not fit; nothing was changed.

    Example:
        >>> import numpy
        >>> from chainer_lstm.links import SequenceLSTM
        >>> arrays = [numpy.ones(shape, 'f') for shape in ((10, 80), (20, 80), 80)]  # get_weights()
        >>> from_keras(arrays, SequenceLSTM)(numpy.ones((3, 7, 10), 'f')).shape
        (3, 20)
    """
    arrays = list(arrays)
    step = 2 if all(numpy.ndim(x) == 2 for x in arrays) else 3
    if not arrays or len(arrays) % step:
        raise ValueError(
            'arrays: expected kernel, recurrent_kernel and bias of every layer, '
            f'got {len(arrays)} arrays'
        )
    directions = _directions(into)
    in_size = weights.checked('arrays[0] (kernel)', arrays[0], (None, None)).shape[0]
    units = weights.checked('arrays[1] (recurrent_kernel)', arrays[1], (None, None)).shape[0]
    layers = []
    for k in range(0, len(arrays), step):
        width = in_size if k < step * directions else directions * units
        shapes = {
            'kernel': (width, 4 * units),
            'recurrent_kernel': (units, 4 * units),
            'bias': (4 * units,),
        }
        converted = []
        for j, name in zip(range(k, k + step), shapes):
            array = weights.checked(f'arrays[{j}] ({name})', arrays[j], shapes[name]).T
            converted.append(layout.convert(numpy, array, layout.TORCH, layout.INTERLEAVED))
        if len(converted) == 2:  # the layer has no bias
            converted.append(numpy.zeros(4 * units, converted[0].dtype))
        layers.append(weights.Layer(*converted))
    if len(layers) % directions:
        raise ValueError(f'arrays: expected {directions * step} for every layer, got {len(arrays)}')
    slope = weights.slope_of(into)
    found = weights.Weights(layers, directions, hard_sigmoid_slope=slope)
    return weights.write(found, into)


def _directions(into: weights.Into) -> int:
    if isinstance(into, links.SequenceLSTM):
        return into.directions
    cls = into if isinstance(into, type) else type(into)
    return 2 if issubclass(cls, weights.chainers(links.NStepBiLSTM)) else 1
