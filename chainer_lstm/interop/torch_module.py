"""Conversion to and from ``torch.nn.LSTM``; torch is imported only when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import chainer
import numpy

from chainer_lstm.interop import loading, weights
from chainer_lstm.kernels import layout
from chainer_lstm.links import SequenceLSTM
from chainer_lstm.links.state import KeepsState

if TYPE_CHECKING:
    import torch


def to_torch(link: chainer.Link) -> torch.nn.LSTM:
    """Return a ``torch.nn.LSTM`` with the weights of a link, on the CPU, with its dtype, layers,
    directions and dropout.

    The module takes (T, B, I); from a ``SequenceLSTM`` with ``batch_first``
    it takes (B, T, I).  Ragged sequences are passed as ``torch.nn.utils.rnn``
    packs them.  hx and cx of NStep links are torch's h0 and c0.

    Args:
        link: a link of the LSTM family, this package's or Chainer's.

    Raises:
        TypeError: link is not of the LSTM family.
        ValueError: torch lacks some of the weights, or the input size is not known yet.
    """
    import torch

    found = weights.read(link)
    weights.check_others(found.layers, 'torch.nn.LSTM', ('V',))
    units, outputs = found.sizes[2], found.outputs
    if outputs is not None and outputs >= units:
        raise ValueError(
            f'proj_size: expected less than {units}, the number of units, for torch.nn.LSTM, '
            f'got {outputs}'
        )
    with torch.random.fork_rng(devices=[]):  # the module draws weights, which are overwritten
        module = _module(found, isinstance(link, SequenceLSTM) and link.batch_first)
    state = {}
    for end, layer in zip(_ends(found.sizes[0], found.directions), found.layers):
        b_h = numpy.zeros_like(layer.b) if layer.b_h is None else layer.b_h
        for name, x in zip(_NAMES, (layer.W, layer.U, layer.b, b_h)):
            state[name + end] = torch.from_numpy(
                layout.convert(numpy, x, layout.INTERLEAVED, layout.TORCH)
            )
        if outputs is not None:
            state[f'weight_hr{end}'] = torch.from_numpy(layer.others['V'])
    module.load_state_dict(state)
    return module


def _module(found: weights.Weights, batch_first: bool) -> torch.nn.LSTM:
    """Return a module of the sizes and the dtype of weights."""
    import torch

    layers, in_size, units = found.sizes
    return torch.nn.LSTM(
        in_size,
        units,
        layers,
        batch_first=batch_first,
        dropout=found.dropout if layers > 1 else 0.0,  # torch warns of dropout with a single layer
        bidirectional=found.directions == 2,
        proj_size=found.outputs or 0,
        dtype=torch.from_numpy(found.layers[0].W).dtype,
    )


def from_torch(module: torch.nn.LSTM, into: weights.Into) -> chainer.Link:
    """Return a link with the weights of a ``torch.nn.LSTM``.

    Args:
        module: the LSTM.
        into: a class for a new link, or a link whose weights are set.
            ``LSTM`` and ``SequenceLSTM`` have one bias: the sum of torch's two.

    Raises:
        TypeError: module is not a torch.nn.LSTM, or has a dtype that NumPy lacks.
        ValueError: the weights do not fit ``into``; nothing was changed.
    """
    import torch

    if not isinstance(module, torch.nn.LSTM):
        raise TypeError(f'expected a torch.nn.LSTM, got {type(module).__name__}')
    return loading.load(module, into, strict=False)


def state_to_torch(link: chainer.Link) -> Optional[tuple[torch.Tensor, torch.Tensor]]:
    """Return the state of a stateful link for ``torch.nn.LSTM``.

    Args:
        link: a stateful link of one cell, such as ``LSTM``, or a stateful ``SequenceLSTM``.

    Returns:
        (h0, c0), tensors (S * D, B, H) on the CPU; None if there is no state.

    Raises:
        TypeError: the link keeps no state.
    """
    import torch

    _check_stateful(link)
    state = link.save_state()
    if len(state) < 2:
        return None
    h, c = state['h'], state['c']
    return tuple(torch.from_numpy(s.reshape(-1, *s.shape[-2:])) for s in (h, c))


def state_from_torch(state: Any, link: chainer.Link) -> None:
    """Set the state of a stateful link to a state that ``torch.nn.LSTM`` returned.

    Args:
        state: (h, c), each (S * D, B, H), or None, which resets the link.
        link: of one cell that keeps its state, such as ``LSTM``, or a stateful ``SequenceLSTM``.

    Raises:
        TypeError: the link keeps no state, or the state is not of floats.
        ValueError: the state is not a pair, or has another shape; nothing was changed.
    """
    _check_stateful(link)
    if state is None:
        link.reset_state()
        return
    if len(state) != 2:
        raise ValueError(f'expected a pair (h, c), got {len(state)} items')
    h, c = (weights.checked(name, s, (None, None, None)) for name, s in zip('hc', state))
    if isinstance(link, SequenceLSTM):
        link.set_state(c, h)
        return
    for name, s in (('h', h), ('c', c)):
        weights.checked(name, s, (1, None, link.state_size))
    link.set_state(c[0], h[0])


def _check_stateful(link: Any) -> None:
    if not isinstance(link, KeepsState):
        raise TypeError(f'expected a link that keeps a state, got {type(link).__name__}')


_NAMES = ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')


def _ends(layers: int, directions: int) -> list[str]:
    return [f'_l{k}{reverse}' for k in range(layers) for reverse in ('', '_reverse')[:directions]]
