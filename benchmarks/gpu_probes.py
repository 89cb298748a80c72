"""Further measurements of gpu.py: the time of a word from one block to another, the resources of
each kernel, and the kernels of a call.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines import persistent, persistent_plan

ROUNDS = 2000
BLOCKS = (2, 13, 41, 82, 132)
CLUSTERS = (2, 8)
_THREADS = 256
_MOST_KERNELS = 40
# Each round, every block writes a word for all and waits for the words of all, as the blocks of the
# persistent kernels do in a time step.  Two slots are enough: a block writes round r + 2 after it
# has read round r + 1 of all blocks, and each of these had read round r before.  A block that times
# out ends the kernel by an error.
_HOPS = r"""
#define LIMIT 20000000
extern "C" __global__ void hops(unsigned* slots, int rounds) {
    const int blocks = gridDim.x;
    for (unsigned round = 1; round <= rounds; ++round) {
        unsigned* slot = slots + (round & 1) * blocks;
        if (threadIdx.x == 0)
            asm volatile("st.relaxed.gpu.global.u32 [%0], %1;"
                         :: "l"(slot + blockIdx.x), "r"(round) : "memory");
        if (threadIdx.x < blocks)
            for (unsigned seen = 0, spins = 0; seen != round;) {
                asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];"
                             : "=r"(seen) : "l"(slot + threadIdx.x) : "memory");
                if (++spins > LIMIT) __trap();
            }
        __syncthreads();
    }
}"""
# The same through distributed shared memory: every block writes into the blocks of its cluster.
_CLUSTER_HOPS = r"""
#define LIMIT 20000000
__device__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
}
extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) hops(unsigned*, int rounds) {
    __shared__ unsigned slots[2][CLUSTER];
    if (threadIdx.x < 2 * CLUSTER) slots[threadIdx.x / CLUSTER][threadIdx.x % CLUSTER] = 0;
    __syncthreads();
    cluster_barrier();
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    for (unsigned round = 1; round <= rounds; ++round) {
        unsigned* slot = slots[round & 1];
        if (threadIdx.x < CLUSTER) {
            const unsigned own = (unsigned)__cvta_generic_to_shared(slot + rank);
            const unsigned waited = (unsigned)__cvta_generic_to_shared(slot + threadIdx.x);
            unsigned other;
            asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                         : "=r"(other) : "r"(own), "r"(threadIdx.x));
            asm volatile("st.relaxed.cluster.shared::cluster.u32 [%0], %1;"
                         :: "r"(other), "r"(round) : "memory");
            for (unsigned seen = 0, spins = 0; seen != round;) {
                asm volatile("ld.relaxed.cluster.shared::cta.u32 %0, [%1];"
                             : "=r"(seen) : "r"(waited) : "memory");
                if (++spins > LIMIT) __trap();
            }
        }
        __syncthreads();
    }
    cluster_barrier();
}"""


def hops(device: Any) -> Iterator[dict[str, Any]]:
    """Yield the microseconds of a round, for several numbers of blocks."""
    xp = device.xp
    most = xp.cuda.Device().attributes['MultiProcessorCount']
    through_l2 = xp.RawKernel(_HOPS, 'hops', enable_cooperative_groups=True)
    kernels = [('global memory', n, through_l2) for n in BLOCKS if n <= most]
    if int(xp.cuda.Device().compute_capability) >= 90:
        for n in CLUSTERS:
            kernel = xp.RawKernel(_CLUSTER_HOPS, 'hops', (f'-DCLUSTER={n}',))
            kernels.append(('distributed shared memory', n, kernel))
    for way, blocks, kernel in kernels:
        slots = xp.zeros((2, blocks), 'I')

        def call(kernel=kernel, blocks=blocks, slots=slots):
            kernel((blocks,), (_THREADS,), (slots, ROUNDS))

        seconds = device.split(call, lambda slots=slots: slots.fill(0))['device']
        yield {'way': way, 'blocks': blocks, 'microseconds': seconds / ROUNDS * 1e6}


class Kernels:
    """The kernels of the persistent engine that are used inside of a ``with`` block."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._patch = mock.patch.object(cuda, 'sequence_kernel', self._kernel)
        self._make = cuda.sequence_kernel

    def __enter__(self) -> Kernels:
        self._patch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.stop()

    def _kernel(self, file: str, name: str, options: tuple[str, ...], **how: Any) -> Any:
        found = self._found[name, options] = self._make(file, name, options, **how)
        return found

    def attributes(self, xp: Any) -> list[dict[str, Any]]:
        """Return for each its registers, bytes, and how many blocks fit a multiprocessor."""
        occupancy = xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
        rows = []
        for (name, options), kernel in self._found.items():
            if name.endswith('_prepare'):
                continue
            shared = kernel.max_dynamic_shared_size_bytes
            rows.append(
                {
                    'kernel': name,
                    'options': ' '.join(each[2:] for each in options if each.startswith('-D')),
                    'registers': kernel.num_regs,
                    'local bytes': kernel.local_size_bytes,
                    'shared bytes': kernel.shared_size_bytes + shared,
                    'blocks': occupancy(kernel.kernel.ptr, _THREADS, shared),
                }
            )
        return rows


def profile(device: Any, call: Callable[[], Any]) -> list[dict[str, Any]]:
    """Return the kernels and copies of a call, by torch's profiler, which records CuPy's too."""
    torch = importlib.import_module('torch')
    call()
    device.synchronize()
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CPU, activity.CUDA]) as found:
        call()
        device.synchronize()
    rows = [
        {'kernel': each.key[:120], 'calls': each.count, 'microseconds': each.self_device_time_total}
        for each in found.key_averages()
        if each.device_type == torch.autograd.DeviceType.CUDA  # not the calls that launch them
    ]
    rows.sort(key=lambda row: -row['microseconds'])
    return rows[:_MOST_KERNELS]


def grids(
    xp: Any, direction: str, units: int, precision: str, batch: int
) -> Iterator[tuple[persistent_plan.Grid, bool]]:
    """Yield every grid of one sequence that fits the device, and whether the engine uses it."""
    attributes = xp.cuda.Device().attributes
    device = persistent_plan.Device(
        int(xp.cuda.Device().compute_capability),
        attributes['MultiProcessorCount'],
        attributes['MaxSharedMemoryPerBlockOptin'],
    )
    try:
        taken = persistent_plan.plan(direction, units, precision, batch, 1, device)
    except ValueError:  # no grid fits
        return
    for split in (1,) if direction == 'fwd' else (1, 2, 4):
        kernel = persistent_plan.Kernel(direction, units, precision, split)
        most = persistent_plan.grid(kernel, batch, 1, device)
        if most is None:
            continue
        groups = -(-batch // persistent_plan.GROUP)
        for rows in range(most.rows, 0, -1):
            grid = most._replace(rows=rows, groups=-(-groups // rows))
            fits = grid.shared_bytes <= device.shared_memory
            if fits and (rows == most.rows or -(-groups // grid.groups) == rows):
                yield grid, grid == taken


def planned(grid: persistent_plan.Grid) -> Any:
    """Return a context in which the persistent engine uses a grid for that direction."""
    plan = persistent._plan

    def chosen(direction: str, *sizes: Any) -> persistent_plan.Grid:
        return grid if direction == grid.kernel.direction else plan(direction, *sizes)

    return mock.patch.object(persistent, '_plan', chosen)
