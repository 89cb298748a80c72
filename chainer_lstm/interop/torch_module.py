"""``torch.nn.LSTM``; torch is imported when it is asked for."""

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
    """A ``torch.nn.LSTM`` with the weights of a link, on the CPU, of its dtype, layers,
    directions and dropout.

    It takes (T, B, I), and (B, T, I) where the link is a ``SequenceLSTM``
    that does; ragged sequences as ``torch.nn.utils.rnn`` packs them.  hx and
    cx of NStep links are torch's h0 and c0.

    Args:
        link: of the LSTM family, Chainer's own among them.

    Raises:
        TypeError: no link of the LSTM family.
        ValueError: weights that torch has not, or the size of the input is not known yet.
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
        dropout=found.dropout if layers > 1 else 0.0,  # torch warns of one of a single layer
        bidirectional=found.directions == 2,
        proj_size=found.outputs or 0,
        dtype=torch.from_numpy(found.layers[0].W).dtype,
    )


def from_torch(module: torch.nn.LSTM, into: weights.Into) -> chainer.Link:
    """A link with the weights of a ``torch.nn.LSTM``.

    Args:
        module: the LSTM.
        into: a class for a new link, or a link, whose weights are set.
            ``LSTM`` and ``SequenceLSTM`` have one bias: the sum of torch's two.

    Raises:
        TypeError: no torch.nn.LSTM, or of a dtype that NumPy has not.
        ValueError: projections, or weights that do not fit into; nothing was changed.
    """
    import torch

    if not isinstance(module, torch.nn.LSTM):
        raise TypeError(f'expected a torch.nn.LSTM, got {type(module).__name__}')
    return loading.load(module, into, strict=False)


def state_to_torch(link: chainer.Link) -> Optional[tuple[torch.Tensor, torch.Tensor]]:
    """The state that a stateful link keeps, for ``torch.nn.LSTM``.

    Args:
        link: of one cell that keeps its state, such as ``LSTM``, or a stateful ``SequenceLSTM``.

    Returns:
        (h0, c0), tensors (S * D, B, H) on the CPU; None where there is no state.

    Raises:
        TypeError: a link that keeps no state.
    """
    import torch

    _check_stateful(link)
    state = link.save_state()
    if len(state) < 2:
        return None
    h, c = state['h'], state['c']
    return tuple(torch.from_numpy(s.reshape(-1, *s.shape[-2:])) for s in (h, c))


def state_from_torch(state: Any, link: chainer.Link) -> None:
    """Gives a stateful link the state that ``torch.nn.LSTM`` returned.

    Args:
        state: (h, c), each (S * D, B, H), or None, which resets the link.
        link: of one cell that keeps its state, such as ``LSTM``, or a stateful ``SequenceLSTM``.

    Raises:
        TypeError: a link that keeps no state, or a state that is not of floats.
        ValueError: no pair, or another shape; the state is as before.
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
