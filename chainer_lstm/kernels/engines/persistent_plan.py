"""The layout of a recurrence on a GPU: which blocks compute what, and whether they fit.
Pure arithmetic, no CuPy.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple, Optional

PRECISIONS = ('highest', 'high', 'medium')
MIN_CAPABILITY = 80  # asynchronous copies, tf32 and bf16
THREADS = 256
TILE = 16  # units of a block
GROUP = 8  # rows of a product
MOST_JOBS = 2  # of a launch
_WARPS = THREADS // 32
_OWNERS = TILE * GROUP
_GATES = TILE * 4  # of a block
_MAX_GROUPS = 16  # of a block; beyond that a large product a step is as fast
# Of a thread's 255: for weights, by the parts of backward's sum, and for weights and what they are
# multiplied with.  As many as no NVRTC that the tests compile with spills.
_WEIGHT_REGISTERS, _OPERAND_REGISTERS = {1: 160, 2: 144, 4: 160}, 204
_EXCHANGE_BYTES = 16 * 2**20  # of a launch: the exchange should stay in L2
# Microseconds of a time step on an H100, measured: of all groups together, and of each.
_LATENCY, _WORK = 0.3, 1.2
# Up to so many units backward's sum stays whole:
# measured, it is faster so, and fits into registers.
_WHOLE_UNITS = {'highest': 512, 'high': 512, 'medium': 1024}


class Device(NamedTuple):
    """The properties of a GPU that decide.

    Attributes:
        capability: 10 * major + minor.
        multiprocessors: number of them.
        shared_memory: bytes that one block can have.
    """

    capability: int
    multiprocessors: int
    shared_memory: int


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel compiled for a number of units.

    Attributes:
        direction: 'fwd' or 'bwd'.
        units: H.
        precision: one of ``PRECISIONS``.
        split: into how many parts backward cuts its sum over 4H; 1 in forward.
    """

    direction: str
    units: int
    precision: str
    split: int = 1

    @functools.cached_property
    def blocks(self) -> int:
        """Blocks that a group of rows needs."""
        return _parts(self.units, TILE * self.split) * self.split

    @functools.cached_property
    def weights(self) -> int:
        """Packed weights of all blocks, in 16 bytes."""
        return self.blocks * self._chunks * self._chunk

    @functools.cached_property
    def shared_bytes(self) -> int:
        """The fixed part of a block's shared memory; ``sizeof(Shared)`` in the source."""
        operands = 16 * (_OWNERS + TILE) if self.direction == 'fwd' else 44 * _OWNERS
        partial = 2 * _WARPS * self._tiles * _OWNERS * 4
        spilled = max(0, self._chunks - self._register_chunks * _WARPS) * self._chunk
        return operands + partial + 16 * (spilled + 1)

    def shared_bytes_of(self, groups: int) -> int:
        """Shared memory of a block that has so many groups of rows:
        a cell for each owner besides.
        """
        return self.shared_bytes + groups * _OWNERS * 4

    def exchange(self, groups: int, steps: int) -> int:
        """The exchange buffer for so many groups and steps, in 16 bytes."""
        slots = steps * groups * self._slot
        if self.direction == 'fwd':
            return slots
        gradients_of_b = groups * self.blocks * _GATES // 2
        boxes = groups * self.blocks * self.split * _OWNERS if self.split > 1 else 0
        return boxes + gradients_of_b + slots

    def steps(self, groups: int) -> int:
        """Time steps of one launch."""
        return max(1, _EXCHANGE_BYTES // (16 * groups * self._slot))

    @functools.cached_property
    def constants(self) -> dict[str, int]:
        """The constants that the source is compiled with."""
        return {
            'UNITS': self.units,
            'PRECISION': PRECISIONS.index(self.precision),
            'SPLIT': self.split,
            'REGISTER_CHUNKS': self._register_chunks,
            'SHARED_BYTES': self.shared_bytes,
        }

    @functools.cached_property
    def _planes(self) -> int:
        return 1 if self.precision == 'medium' else 2

    @functools.cached_property
    def _tiles(self) -> int:
        return 4 if self.direction == 'fwd' else self.split

    @functools.cached_property
    def _chunks(self) -> int:
        """Of 16 numbers, in the sum of a block."""
        return (
            _parts(self.units, TILE)
            if self.direction == 'fwd'
            else _parts(_parts(self.units, 4), self.split)
        )

    @functools.cached_property
    def _chunk(self) -> int:
        """Weights of a chunk, in 16 bytes."""
        return self._planes * self._tiles * 32

    @functools.cached_property
    def _register_chunks(self) -> int:
        chunks = _parts(self._chunks, _WARPS)
        beside_operands = _OPERAND_REGISTERS - 2 * self._planes * chunks
        registers = min(_WEIGHT_REGISTERS[self.split], beside_operands)
        return min(chunks, registers // (4 * self._planes * self._tiles))

    @functools.cached_property
    def _slot(self) -> int:
        """The size of the exchange of a group in a time step, in 16 bytes."""
        chunks = self.blocks * (1 if self.direction == 'fwd' else 4)
        return chunks * GROUP * 4 * self._planes // 2


class Grid(NamedTuple):
    """A launch: ``kernel.blocks`` times ``rows`` times ``jobs`` blocks.

    Attributes:
        kernel: the kernel.
        rows: blocks that share the groups of rows.
        jobs: sequences side by side.
        groups: of rows, in a block.
    """

    kernel: Kernel
    rows: int
    jobs: int
    groups: int

    @property
    def shared_bytes(self) -> int:
        return self.kernel.shared_bytes_of(self.groups)


def kernels(direction: str, units: int, precision: str) -> list[Kernel]:
    """Return the candidates, the best first: they spill no registers and read least."""
    whole = direction == 'fwd' or units <= _WHOLE_UNITS[precision]
    splits = (1,) if whole else (4, 2) if units <= 800 else (4,)
    return [Kernel(direction, units, precision, split) for split in splits]


def plan(direction: str, units: int, precision: str, batch: int, jobs: int, device: Device) -> Grid:
    """Return the grid that is expected to be fastest for so many independent sequences.

    Raises:
        ValueError: none fits; the message says why.
    """
    if device.capability < MIN_CAPABILITY:
        raise ValueError(
            f'it needs compute capability {MIN_CAPABILITY / 10}, this device has '
            f'{device.capability / 10}'
        )
    found = [
        candidate
        for kernel in kernels(direction, units, precision)
        for together in range(1, min(jobs, MOST_JOBS) + 1)
        if (candidate := grid(kernel, batch, together, device)) is not None
    ]
    if not found:
        raise ValueError(
            f'{units} units and a batch of {batch} at precision {precision!r} do not fit into the '
            f'{device.multiprocessors} multiprocessors of this device'
        )
    return min(
        found,
        key=lambda candidate: _parts(jobs, candidate.jobs) * (_LATENCY + _WORK * candidate.groups),
    )


def grid(kernel: Kernel, batch: int, jobs: int, device: Device) -> Optional[Grid]:
    """Return the grid of a kernel if it fits: all blocks run at the same time, one on each
    multiprocessor.
    """
    groups = _parts(batch, GROUP)
    rows = min(groups, device.multiprocessors // (kernel.blocks * jobs))
    if rows == 0:
        return None
    found = Grid(kernel, _parts(groups, _parts(groups, rows)), jobs, _parts(groups, rows))
    return (
        found
        if found.groups <= _MAX_GROUPS and found.shared_bytes <= device.shared_memory
        else None
    )


def _parts(n: int, size: int) -> int:
    return -(-n // size)
