"""The grid of a persistent kernel: which block computes which units and rows, and whether all
blocks fit.  Pure arithmetic, without CuPy.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple, Optional

PRECISIONS = ('highest', 'high', 'medium')
MIN_CAPABILITY = 80  # has asynchronous copies, tf32 and bf16
THREADS = 256
TILE = 16  # units per block
GROUP = 8  # rows per product
MOST_JOBS = 2  # per launch
_WARPS = THREADS // 32
_OWNERS = TILE * GROUP
_GATES = TILE * 4  # of a block
_MAX_GROUPS = 16  # per block; with more rows one cuBLAS product per step is as fast
# Of the 255 registers of a thread: for weights, by the parts of backward's sum, and for weights and
# the other operand together.  With so many, no NVRTC that the tests compile with spills registers.
_WEIGHT_REGISTERS, _OPERAND_REGISTERS = {1: 160, 2: 144, 4: 160}, 204
_EXCHANGE_BYTES = 16 * 2**20  # per launch, so that the exchange buffer stays in L2
# Microseconds per time step, measured on an H100: a constant, and per group of rows.
_LATENCY, _WORK = 0.3, 1.2
# Up to so many units backward does not split its sum over 4H: measured faster, and the weights fit
# into registers.
_WHOLE_UNITS = {'highest': 512, 'high': 512, 'medium': 1024}


class Device(NamedTuple):
    """The properties of a GPU on which the grid depends.

    Attributes:
        capability: compute capability, 10 * major + minor.
        multiprocessors: the number of multiprocessors.
        shared_memory: the largest shared memory of a block, in bytes.
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
        split: the number of parts of backward's sum over 4H; 1 in forward.
    """

    direction: str
    units: int
    precision: str
    split: int = 1

    @functools.cached_property
    def blocks(self) -> int:
        """Blocks per group of rows."""
        return _parts(self.units, TILE * self.split) * self.split

    @functools.cached_property
    def weights(self) -> int:
        """Size of the packed weights of all blocks, in 16 bytes."""
        return self.blocks * self._chunks * self._chunk

    @functools.cached_property
    def shared_bytes(self) -> int:
        """The fixed part of a block's shared memory; ``sizeof(Shared)`` in the source."""
        operands = 16 * (_OWNERS + TILE) if self.direction == 'fwd' else 44 * _OWNERS
        partial = 2 * _WARPS * self._tiles * _OWNERS * 4
        spilled = max(0, self._chunks - self._register_chunks * _WARPS) * self._chunk
        return operands + partial + 16 * (spilled + 1)

    def shared_bytes_of(self, groups: int) -> int:
        """Return the shared memory of a block with so many groups of rows: the fixed part, and c of
        each unit and row.
        """
        return self.shared_bytes + groups * _OWNERS * 4

    def exchange(self, groups: int, steps: int) -> int:
        """Return the size of the exchange buffer for so many groups and steps, in 16 bytes."""
        slots = steps * groups * self._slot
        if self.direction == 'fwd':
            return slots
        gradients_of_b = groups * self.blocks * _GATES // 2
        boxes = groups * self.blocks * self.split * _OWNERS if self.split > 1 else 0
        return boxes + gradients_of_b + slots

    def steps(self, groups: int) -> int:
        """Return the number of time steps per launch."""
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
        """Chunks of 16 numbers in the sum of a block."""
        return (
            _parts(self.units, TILE)
            if self.direction == 'fwd'
            else _parts(_parts(self.units, 4), self.split)
        )

    @functools.cached_property
    def _chunk(self) -> int:
        """Size of the weights of a chunk, in 16 bytes."""
        return self._planes * self._tiles * 32

    @functools.cached_property
    def _register_chunks(self) -> int:
        chunks = _parts(self._chunks, _WARPS)
        beside_operands = _OPERAND_REGISTERS - 2 * self._planes * chunks
        registers = min(_WEIGHT_REGISTERS[self.split], beside_operands)
        return min(chunks, registers // (4 * self._planes * self._tiles))

    @functools.cached_property
    def _slot(self) -> int:
        """Size of the exchange of a group in a time step, in 16 bytes."""
        chunks = self.blocks * (1 if self.direction == 'fwd' else 4)
        return chunks * GROUP * 4 * self._planes // 2


class Grid(NamedTuple):
    """A launch: ``kernel.blocks`` times ``rows`` times ``jobs`` blocks.

    Attributes:
        kernel: the kernel.
        rows: the number of blocks among which the groups of rows are divided.
        jobs: independent sequences per launch.
        groups: groups of rows per block.
    """

    kernel: Kernel
    rows: int
    jobs: int
    groups: int

    @property
    def shared_bytes(self) -> int:
        return self.kernel.shared_bytes_of(self.groups)


def kernels(direction: str, units: int, precision: str) -> list[Kernel]:
    """Return the candidates that spill no registers; the one that reads least is first."""
    whole = direction == 'fwd' or units <= _WHOLE_UNITS[precision]
    splits = (1,) if whole else (4, 2) if units <= 800 else (4,)
    return [Kernel(direction, units, precision, split) for split in splits]


def plan(direction: str, units: int, precision: str, batch: int, jobs: int, device: Device) -> Grid:
    """Return the grid with the lowest estimated time for so many independent sequences.

    Raises:
        ValueError: no grid fits; the message gives the reason.
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
    """Return the grid of a kernel if it fits: all blocks must be resident, one on each
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
