"""Arrays that are read-only for a time, so that engines may keep packed copies of them."""

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
    """A frozen array, and by how many blocks."""

    array: Array
    writeable: bool
    pack: Optional[Pack] = None
    packed: Optional[Array] = None
    times: int = 0


_lock = threading.Lock()
_frozen: dict[int, _Frozen] = {}  # by id, which stays valid because the entry keeps the array alive


@contextmanager
def frozen(arrays: Sequence[tuple[Array, Optional[Pack]]]) -> Iterator[None]:
    """Make NumPy arrays read-only in a block, in which ``packed`` packs them once.

    Blocks may be nested and overlap, in any threads: an array is writable again after the last one.
    A view is not packed, because its base may change.

    Args:
        arrays: different arrays, each with the function that packs it, or None.
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
    """Return the packed copy of an array, which the first call makes; None if it is not frozen."""
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
