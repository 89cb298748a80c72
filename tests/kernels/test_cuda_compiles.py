"""The CUDA source of single steps, compiled for GPUs."""

import re

import pytest

from chainer_lstm.kernels import cuda
from tests.kernels import nvrtc

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
KERNELS = nvrtc.kernels('cells.cu')
MAX_REGISTERS = 64  # leaves room for four blocks of 256 threads on a multiprocessor
# four neighbouring words in one load, or two where that is more than 16 bytes
VECTOR = {'e': r'\.v4\.[bu]16', 'f': r'\.v4\.f32', 'd': r'\.v2\.f64'}


def program(dtype, architecture):
    return nvrtc.program('cells.cu', cuda.options(dtype), architecture)


@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('dtype', 'efd')
def test_compiles_without_warnings(dtype, architecture):
    log = program(dtype, architecture).log
    assert not re.search('warning|error', log, re.IGNORECASE), log


@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('dtype', 'efd')
def test_no_spills(dtype, architecture):
    program(dtype, architecture).check_no_spills(KERNELS, MAX_REGISTERS)


@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('dtype', 'efd')
def test_cubin_has_all_kernels(dtype, architecture):
    cubin = program(dtype, architecture).cubin
    assert cubin.startswith(b'\x7fELF')
    for name in KERNELS:
        assert b'\0.text.' + name.encode() + b'\0' in cubin


@pytest.mark.parametrize('dtype', 'ef')
def test_no_float64(dtype):
    assert '.f64' not in program(dtype, 80).ptx


@pytest.mark.parametrize('dtype', 'efd')
def test_gates_are_one_load_and_one_store(dtype):
    for entry in program(dtype, 80).ptx.split('.entry ')[1:]:
        name = re.match(r'\w+', entry).group()
        if not name.startswith('peephole_out'):  # which need o alone
            for access in ('ld', 'st'):
                assert re.search(rf'{access}\.global(\.nc)?{VECTOR[dtype]}', entry), (name, access)
