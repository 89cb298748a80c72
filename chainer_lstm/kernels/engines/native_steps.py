"""Plans of the single steps of the native engine, made once for each cell: most of the time of a
step of a few units is Python's.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy

from chainer_lstm.arrays import Array
from chainer_lstm.cells import COMPILED, Cell, Stage, is_compiled
from chainer_lstm.kernels import boundary, frozen, native
from chainer_lstm.kernels.engines.types import NOTHING, Noise

_ROWS_TO_PACK = 7  # with fewer, weights are read no faster where they are packed


class Plan:
    """The arrays of a stage's kernels for single steps, in their order, among those of a step.

    Attributes:
        forward: picks from [None, gates, x, weights, states before the stage, states after it,
            packed weights, noise].
        backward: picks from [None, gates, gpre, gx, weights, states after the stage, states before
            it, gradients with respect to these two in turn, noise].
    """

    def __init__(self, cell: Cell, number: int) -> None:
        stage, states = cell.stages[number], cell.states
        self.weights = cell.weights
        self.noise = cell.noise
        self.not_packed = (None,) * len(cell.weights)
        self.reads = [states.index(name) for name in stage.reads]
        self.writes = [states.index(name) for name in stage.writes]
        self.products = [(each.weight, states.index(each.state)) for each in stage.products]
        self.forward_name = f'{cell.name}_step_forward_{number}'
        self.backward_name = f'{cell.name}_step_backward_{number}'
        self.forward = _pick(self.forward_name, [*_forward_names(cell, number), *cell.noise])
        before = [name if number and name not in stage.needs else f'{name}_prev' for name in states]
        gradients = [f'g{name}' for name in states] + [f'g{name}_prev' for name in states]
        of_step = [None, 'gates', 'gpre', 'gx', *cell.weights, *states, *before]
        self.backward = _pick(self.backward_name, [*of_step, *gradients, *cell.noise])


def _forward_names(cell: Cell, number: int) -> list[Optional[str]]:
    """Return the names of the arrays of a step as a stage's kernel has them, packed weights last.

    A state that an earlier stage has written has the same name before and after the stage.
    """
    before = [name if number else f'{name}_prev' for name in cell.states]
    return [
        None,
        'gates',
        'x',
        *cell.weights,
        *before,
        *cell.states,
        *map('packed_{}'.format, cell.weights),
    ]


def _pick(
    kernel: str, names: Sequence[Optional[str]]
) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return a function that picks the arrays of a kernel from arrays of these names: the first
    array for a missing name, the last one for a name that occurs twice.
    """
    places = {name: k for k, name in enumerate(names)}
    wanted = boundary.KERNELS[kernel].names
    return operator.itemgetter(*[places.get(name, 0) for name in wanted])


_PLANS = {
    cell.name: [Plan(cell, number) for number in range(len(cell.stages))]
    for cell in COMPILED.values()
}


class WholeStep:
    """All stages of a step from x, weights and states to new states, in evaluation.

    Args:
        instruction_set: the instruction set of the engine.
        cell: a compiled cell.
        dtype: the dtype of all arrays.
    """

    def __init__(self, instruction_set: str, cell: Cell, dtype: numpy.dtype) -> None:
        self._dtype = dtype
        self._states = len(cell.states)
        self._kept_gates = len(cell.gates) if len(cell.stages) > 1 else 0
        self._not_packed: Sequence[Optional[Array]] = (None,) * len(cell.weights)
        self._numbers = tuple(cell.numbers.values())
        # not the plan's pick: a cell may lack some weights and noise of its compiled form
        self._stages = [
            (
                native.function(instruction_set, plan.forward_name, dtype),
                _pick(plan.forward_name, _forward_names(cell, number)),
            )
            for number, plan in enumerate(_PLANS[cell.name])
        ]

    def __call__(self, given: Sequence[Optional[Array]]) -> Optional[Sequence[Array]]:
        """Return the new states from x (B, I), weights and states, or None if an array is not as
        the kernels expect.
        """
        x: Any = given[0]
        first = given[-self._states]
        if first is None or first.ndim != 2:
            return None
        batch, units = shape = first.shape
        gates = None
        if self._kept_gates:
            gates = numpy.empty((batch, self._kept_gates * units), self._dtype)
        new = [numpy.empty(shape, self._dtype) for _ in range(self._states)]
        packed = self._not_packed
        if batch >= _ROWS_TO_PACK and frozen.any_frozen():
            packed = [*map(frozen.packed, given[1 : 1 + len(packed)])]
        arrays = [None, gates, *given, *new, *packed]
        sizes = (batch, units, x.shape[-1], *self._numbers)
        for function, pick in self._stages:
            if not function(sizes, *pick(arrays)):
                return None
        return new


@functools.lru_cache(maxsize=256)
def whole_step_of(instruction_set: str, cell: Cell, char: str) -> Optional[WholeStep]:
    """Return a cell's step for arrays of a dtype, or None if the library has none.

    Args:
        instruction_set: of the engine.
        cell: the cell.
        char: that of the dtype, which is hashed in less time.
    """
    if not has_step(cell, NOTHING) or char not in 'fd':
        return None
    return WholeStep(instruction_set, cell, numpy.dtype(char))


def has_step(cell: Cell, noise: Noise) -> bool:
    """Return whether the library has kernels of single steps for a cell; there are none with masks
    or projections.
    """
    if not is_compiled(cell) or cell.projection is not None:
        return False
    return not [name for name in cell.sequence_noise if name in noise]


def plan_of(cell: Cell, stage: Stage) -> Plan:
    """Return the plan of a stage of a compiled cell."""
    return _PLANS[cell.name][0 if stage is cell.stages[0] else 1]
