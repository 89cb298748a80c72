"""The settings of other frameworks' layers, and the values that the links support."""

from __future__ import annotations

from typing import Any, Optional

# setting -> the supported values
_KNOWN: dict[str, tuple] = {
    'activation': ('tanh',),
    'recurrent_activation': ('sigmoid', 'hard_sigmoid'),
    'activation_fn': ('tanh',),
    'gate_fn': ('sigmoid',),
    'go_backwards': (False, True),
    'merge_mode': ('concat', 'sum', 'mul', 'ave'),
}
# settings that are options of ``SequenceLSTM`` of the same name
OPTIONS = ('batch_first', 'return_sequences', 'stateful', 'go_backwards', 'merge_mode')
NAMES = {*_KNOWN, *OPTIONS, 'dropout', 'hard_sigmoid_slope'}


def take(own: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Remove the settings from a layer's arrays, and return them.

    Raises:
        ValueError: a setting is not supported, or differs between the directions.
    """
    found: dict[str, Any] = {}
    for key in [key for key in own if key.removesuffix('_reverse') in NAMES]:
        value, name = own.pop(key), key.removesuffix('_reverse')
        known = _KNOWN.get(name)
        if known and value not in known:
            expected = ', '.join(map(repr, known))
            raise ValueError(f'{prefix}{key}: expected {expected}, got {value!r}')
        if found.setdefault(name, value) != value:
            raise ValueError(
                f'{prefix}{key}: expected {found[name]!r}, as of the other direction, got {value!r}'
            )
    return found


def hard_sigmoid_slope(given: dict[str, Any]) -> Optional[float]:
    """Return the slope of a hard sigmoid among the settings, by default that of Keras 1 and 2."""
    if given.get('recurrent_activation') != 'hard_sigmoid':
        return None
    return given.get('hard_sigmoid_slope', 0.2)
