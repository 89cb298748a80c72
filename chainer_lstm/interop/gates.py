"""Separate matrices for each gate, as in tutorials such as Dive into Deep Learning:
``x @ W_xi + h @ W_hi + b_i``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import chainer
import numpy

from chainer_lstm.interop import weights
from chainer_lstm.kernels import layout

_GATES = 'cifo'  # the names of a, i, f, o here
_OTHERS = {'P_i': 'W_ci', 'P_f': 'W_cf', 'P_o': 'W_co'}


def from_gates(gates: Mapping[str, Any], into: Optional[weights.Into] = None) -> chainer.Link:
    """Return a link with the weights of separate gates.

    Args:
        gates: ``W_xi, W_xf, W_xo, W_xc`` (I, H), ``W_hi, …`` (H, H) and
            ``b_i, …`` (H,), with c for the cell's input; for gates that see c
            also ``W_ci, W_cf, W_co``, (H, H) for ``c @ W_ci`` or (H,) for
            ``c * W_ci``.  Arrays, torch tensors or variables.
        into: a class for a new link, or a link whose weights are set.
            Default: the stateful link with these weights, such as ``LSTM``.

    Raises:
        KeyError: a key is missing or unknown; nothing was changed.
        TypeError, ValueError: an array has another shape or is not of floats,
            or does not fit ``into``; nothing was changed.

    Example:
        >>> import numpy
        >>> gates = {f'W_x{g}': numpy.ones((10, 20), 'f') for g in 'ifoc'}
        >>> gates |= {f'W_h{g}': numpy.ones((20, 20), 'f') for g in 'ifoc'}
        >>> gates |= {f'b_{g}': numpy.zeros(20, 'f') for g in 'ifoc'}
        >>> type(from_gates(gates)).__name__
        'LSTM'
    """
    if not isinstance(gates, Mapping):
        raise TypeError(f'expected a dictionary of gates, got {type(gates).__name__}')
    others = _OTHERS if any(key in gates for key in _OTHERS.values()) else {}
    expected = [f'{kind}{g}' for kind in ('W_x', 'W_h', 'b_') for g in _GATES]
    expected += others.values()
    for key in sorted(gates.keys() ^ set(expected)):
        problem = f'got only {sorted(gates)}' if key in expected else 'got this one too'
        raise KeyError(f'{key}: expected the keys {", ".join(expected)}, {problem}')
    units = weights.checked('b_i', gates['b_i'], (None,)).shape[0]
    in_size = weights.checked('W_xi', gates['W_xi'], (None, units)).shape[0]
    layer = weights.Layer(
        W=_joined(gates, 'W_x', (in_size, units)),
        U=_joined(gates, 'W_h', (units, units)),
        b=_joined(gates, 'b_', (units,)),
        others={name: _peep(key, gates[key], units) for name, key in others.items()},
    )
    into = weights.link_with(others) if into is None else into
    return weights.write(weights.Weights([layer]), into)


def to_gates(link: chainer.Link) -> dict[str, numpy.ndarray]:
    """Return the weights of a link as separate gates: the inverse of ``from_gates``.

    Args:
        link: a link of the LSTM family, of one layer in one direction.

    Returns:
        The matrices and biases by the names of ``from_gates``; ``W_ci, …`` are (H, H) or (H,), as
        in the link.

    Raises:
        TypeError: link is not of the LSTM family.
        ValueError: it has more layers or directions, or its input size is not known yet.

    Example:
        >>> from chainer_lstm.links import LSTM
        >>> gates = to_gates(LSTM(10, 20))
        >>> gates['W_xi'].shape, gates['W_hc'].shape, gates['b_f'].shape
        ((10, 20), (20, 20), (20,))
    """
    found = weights.read(link)
    if len(found.layers) != 1:
        raise ValueError(
            f'layers: expected 1 in 1 direction, got {found.sizes[0]} in {found.directions}'
        )
    weights.check_others(found.layers, 'separate gates', _OTHERS)
    (layer,) = found.layers
    gates = {}
    for kind, x in (('W_x', layer.W), ('W_h', layer.U), ('b_', layer.bias)):
        for g, part in zip(_GATES, layout.split(x, layout.INTERLEAVED)):
            gates[f'{kind}{g}'] = part.T.copy()
    for name, P in layer.others.items():
        gates[_OTHERS[name]] = P.T.copy()
    return gates


def _joined(gates: Mapping[str, Any], kind: str, shape: tuple[int, ...]) -> numpy.ndarray:
    """Return the transposed arrays of one kind of all gates, interleaved."""
    parts = [weights.checked(f'{kind}{g}', gates[f'{kind}{g}'], shape).T for g in _GATES]
    return layout.join(numpy, parts, layout.INTERLEAVED)


def _peep(key: str, value: Any, units: int) -> numpy.ndarray:
    """Return (H, H) for ``c @ W`` transposed, for W c; (H,) for ``c * W`` unchanged."""
    shape = (units,) if len(numpy.shape(value)) == 1 else (units, units)
    return weights.checked(key, value, shape).T
