"""A case: the choices that a surface makes while it runs, drawn once, then replayed,
printed and made simpler.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Optional

import numpy

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 65, 130)  # around the widths of vectors and tiles


class Case:
    """Choices by name.  The first request for a choice gives the values to choose from,
    the simplest first.

    Args:
        given: choices that are made already.
        rng: draws the others; without it they are the simplest.
        note: called with each choice as it is made, for a process that may not outlive the case.
    """

    def __init__(
        self,
        given: dict[str, Any],
        rng: Optional[random.Random] = None,
        note: Callable[[tuple], None] = lambda choice: None,
    ) -> None:
        self.choices = dict(given)
        self.options: dict[str, tuple] = {}  # of what was asked for
        self._simplest: dict[str, Any] = {}
        self._rng = rng
        self._note = note

    def one(self, name: str, options: tuple) -> Any:
        """One of the options."""
        if name not in self.options:
            self.options[name], self._simplest[name] = options, options[0]
            if name not in self.choices:
                # every second choice is the simplest:
                # what fails together is rarely more than three things
                rng = self._rng
                self.choices[name] = (
                    rng.choice(options) if rng and rng.random() < 0.5 else options[0]
                )
            self._note((name, options, options[0], self.choices[name]))
        return self.choices[name]

    def size(self, name: str, least: int = 1) -> int:
        return self.one(name, (1, *range(least, 1), *SIZES[1:]))

    def some(self, name: str, options: tuple, longest: int = 6, least: int = 0) -> tuple:
        """A tuple of options."""
        if name not in self.options:
            self.options[name], self._simplest[name] = options, (options[0],) * least
            if name not in self.choices:
                rng = self._rng
                length = rng.randint(least, longest) if rng else least
                self.choices[name] = (
                    tuple(rng.choice(options) for _ in range(length))
                    if rng
                    else self._simplest[name]
                )
            self._note((name, options, self._simplest[name], self.choices[name]))
        return self.choices[name]

    def recall(self, noted: Iterable[tuple]) -> None:
        """Take over what ``note`` was called with in another process."""
        for name, options, simplest, choice in noted:
            self.options[name] = options
            self._simplest[name] = simplest
            self.choices[name] = choice

    def asked(self) -> dict[str, Any]:
        """The choices that were asked for and are not the simplest."""
        return {
            name: self.choices[name]
            for name, simplest in self._simplest.items()
            if self.choices[name] != simplest
        }

    @property
    def seed(self) -> int:
        """Of all numbers of the case."""
        return self.one('seed', tuple(range(1000)))

    def numbers(self, name: str, shape: tuple[int, ...]) -> numpy.ndarray:
        """In [-1, 1), the same for the same name, shape and ``seed``."""
        seed = zlib.crc32(f'{name} {shape} {self.seed}'.encode())
        return numpy.random.RandomState(seed).uniform(-1, 1, shape)


def simplest(case: Case, fails: Callable[[Case], bool], seconds: float = 20) -> Case:
    """The case with each choice as simple as it can be while the case fails; ``case`` has failed,
    so its options are known.
    """
    end = time.monotonic() + seconds
    found = True
    while found and time.monotonic() < end:
        found = False
        for choices in _simpler(case):
            simpler = Case(choices)
            if time.monotonic() < end and fails(simpler):
                case, found = simpler, True
                break
    return case


def _simpler(case: Case) -> Iterator[dict[str, Any]]:
    """Choices with one of them nearer to the simplest, the greatest steps first."""
    choices = case.asked()
    for name in choices:
        yield {key: value for key, value in choices.items() if key != name}
    for name, value in choices.items():
        options = case.options[name]
        if value not in options:  # a tuple of options
            for k in range(len(value)):
                yield {**choices, name: value[:k] + value[k + 1 :]}
            for k, item in enumerate(value):
                for other in options[: options.index(item)]:
                    yield {**choices, name: (*value[:k], other, *value[k + 1 :])}
        else:
            for other in options[1 : options.index(value)]:
                yield {**choices, name: other}
