"""Replace attributes of modules and classes, and restore them."""

from __future__ import annotations

import types
from typing import Any

_MISSING = object()


class Replacements:
    """The replaced attributes, in order, with the values to restore."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._replaced)

    def set(self, place: Any, name: str, value: Any) -> None:
        """Set an attribute of a module or class, or an entry of a dictionary."""
        if isinstance(place, dict):
            before = place.get(name, _MISSING)
            place[name] = value
        else:
            before = vars(place).get(name, _MISSING)  # not getattr: of a base class, or unwrapped
            setattr(place, name, value)
        self._replaced.append((place, name, before))

    def undo(self) -> None:
        """Restore the old values, the last replacement first."""
        while self._replaced:
            place, name, before = self._replaced.pop()
            if isinstance(place, dict):
                if before is _MISSING:
                    place.pop(name, None)
                else:
                    place[name] = before
            elif before is _MISSING:
                delattr(place, name)
            else:
                setattr(place, name, before)


def original_of(module: types.ModuleType) -> types.ModuleType:
    """Return the module that a ``Module`` stands for; any other module itself."""
    return module._original if isinstance(module, Module) else module


class Module(types.ModuleType):
    """A module with some names replaced.

    Not the module itself, because the functions in it look these names up
    there: ``super(LSTM, self)`` has to find Chainer's.
    """

    def __init__(self, original: types.ModuleType, names: dict[str, Any]) -> None:
        super().__init__(original.__name__, original.__doc__)
        self._original = original
        for name in ('__file__', '__loader__', '__package__', '__spec__'):
            setattr(self, name, getattr(original, name))
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *dir(self._original)})
