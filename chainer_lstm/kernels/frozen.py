"""Arrays that do not change for a time: they are read-only, and engines may keep them packed."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

from chainer_lstm.arrays import Array

Pack = Callable[[Array], Optional[Array]]


@dataclasses.dataclass
class _Frozen:
    """An array that is frozen, and how often."""

    array: Array
    writeable: bool
    pack: Optional[Pack] = None
    packed: Optional[Array] = None
    times: int = 0


_lock = threading.Lock()
_frozen: dict[int, _Frozen] = {}  # by id: an array lives while it is here


@contextmanager
def frozen(arrays: Sequence[tuple[Array, Optional[Pack]]]) -> Iterator[None]:
    """Make arrays of NumPy read-only in the block, in which ``packed`` packs them once.

    Blocks may be nested and overlap, in any threads: an array is writable again after the last one.
    An array that is a view is not packed: what it is a view of may change.

    Args:
        arrays: of different arrays, each with what packs it, or None.
    """
    held: list[Array] = []
    try:
        with _lock:
            for array, pack in arrays:
                entry = _frozen.setdefault(id(array), _Frozen(array, array.flags.writeable))
                entry.times += 1
                held.append(array)
                array.flags.writeable = False
                if pack is not None and array.flags.owndata:
                    entry.pack = pack
        yield
    finally:
        with _lock:
            for array in held:
                _release(array)


def _release(array: Array) -> None:
    entry = _frozen[id(array)]
    entry.times -= 1
    if not entry.times:
        del _frozen[id(array)]
        array.flags.writeable = entry.writeable


def packed(array: Any) -> Optional[Array]:
    """Return what is packed of an array, at the first call; None where it is not frozen."""
    entry = _frozen.get(id(array))
    if entry is None or entry.pack is None:
        return None
    if entry.packed is None:
        with _lock:
            if entry.packed is None:
                entry.packed = entry.pack(array)
    return entry.packed


def any_frozen() -> bool:
    """Return whether any array is frozen."""
    return bool(_frozen)
