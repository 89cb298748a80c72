"""The persistent kernels, compiled for the GPUs that can run them,
at every size that decides something.
"""

import dataclasses
import re

import pytest

from chainer_lstm.kernels import cuda
from chainer_lstm.kernels.engines import persistent_plan as plans
from tests.kernels import nvrtc

# the largest of each architecture: A100, A10, L40, H100, B200, RTX PRO 6000
DEVICES = {
    device.capability: device
    for device in (
        plans.Device(80, 108, 166_912),
        plans.Device(86, 84, 101_376),
        plans.Device(89, 142, 101_376),
        plans.Device(90, 132, 232_448),
        plans.Device(100, 148, 232_448),
        plans.Device(120, 188, 101_376),
    )
}
UNITS = (200, 256, 512, 513, 650, 801, 1024, 1025)
FEW_UNITS = (512, 650)  # for the architectures that differ little


def chosen(units, direction, precision, device):
    """Kernels that a plan can choose."""
    return [
        kernel
        for kernel in plans.kernels(direction, units, precision)
        if plans.grid(kernel, 1, 1, device) is not None
    ]


def compiled():
    """-> architecture and kernel: sizes on both sides of what decides something,
    and the largest that fit.
    """
    for architecture, device in DEVICES.items():
        for precision in plans.PRECISIONS:
            for direction in 'fwd', 'bwd':
                fitting = [
                    units
                    for units in range(16, 4096, 16)
                    if chosen(units, direction, precision, device)
                ]
                for units in (*(UNITS if architecture == 90 else FEW_UNITS), fitting[-1]):
                    yield from (
                        (architecture, kernel)
                        for kernel in chosen(units, direction, precision, device)
                    )


def name_of(value):
    return (
        '-'.join(map(str, dataclasses.astuple(value)))
        if isinstance(value, plans.Kernel)
        else str(value)
    )


@pytest.mark.parametrize('library', nvrtc.LIBRARIES)
@pytest.mark.parametrize(('architecture', 'kernel'), [*dict.fromkeys(compiled())], ids=name_of)
def test_no_warnings_and_no_spills(architecture, kernel, library):
    source = cuda.source(f'persistent_{kernel.direction}.cu')
    program = nvrtc.program(source, cuda.options(kernel.constants), architecture, library)
    assert not re.search('warning|error', program.log, re.IGNORECASE), program.log
    program.check_kernels(nvrtc.kernels(source), 255)


@pytest.mark.parametrize('direction', ['fwd', 'bwd'])
@pytest.mark.parametrize(
    ('precision', 'mma'),
    [
        ('highest', 'm16n8k16.row.col.f32.bf16'),
        ('high', 'm16n8k8.row.col.f32.tf32'),
        ('medium', 'm16n8k16.row.col.f32.bf16'),
    ],
)
def test_instructions(direction, precision, mma):
    """Relaxed 16-byte (or 8-byte) loads that all blocks see, tensor cores,
    and nothing in float64.
    """
    kernel = plans.kernels(direction, 200, precision)[0]
    source = cuda.source(f'persistent_{direction}.cu')
    ptx = nvrtc.program(source, cuda.options(kernel.constants), 90).ptx
    assert mma in ptx
    assert f'ld.relaxed.gpu.global.v{2 if precision == "medium" else 4}.b32' in ptx
    assert '.f64' not in ptx


def test_the_sizes_of_the_benchmark_fit_an_h100():
    for units, batch in ((650, 20), (200, 20), (256, 32), (512, 64), (1024, 64)):
        for direction, precision in ((d, p) for d in ('fwd', 'bwd') for p in plans.PRECISIONS):
            plans.plan(direction, units, precision, batch, 1, DEVICES[90])
