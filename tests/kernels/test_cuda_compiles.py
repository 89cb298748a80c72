"""The CUDA source of single steps and of functions, compiled for GPUs."""

import re

import pytest

from chainer_lstm.cells import COMPILED
from chainer_lstm.kernels import boundary, cuda
from tests.kernels import nvrtc
from tests.kernels.stages import KERNELS

pytestmark = pytest.mark.pairwise

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
MAX_REGISTERS = 64  # leaves room for four blocks of 256 threads on a multiprocessor
# four neighbouring words in one load, or two where that is more than 16 bytes
VECTOR = {'e': r'\.v4\.[bu]16', 'f': r'\.v4\.f32', 'd': r'\.v2\.f64'}


def compiled(name, dtype, architecture):
    """-> the program of a stage's kernel"""
    return nvrtc.program(*cuda.stage(name, dtype), architecture)


@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('name', KERNELS)
def test_no_warnings_and_no_spills(name, dtype, architecture):
    program = compiled(name, dtype, architecture)
    assert not re.search('warning|error', program.log, re.IGNORECASE), program.log
    cell, _, number = name.rsplit('_', 2)
    names = [f'{cell}_{direction}_{number}' for direction in ('forward', 'backward')]
    program.check_kernels(names, MAX_REGISTERS)


@pytest.mark.parametrize('dtype', 'ef')
@pytest.mark.parametrize('name', KERNELS)
def test_no_float64(name, dtype):
    assert '.f64' not in compiled(name, dtype, 80).ptx


@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('name', KERNELS)
def test_all_gates_are_one_load_and_one_store(name, dtype):
    """Gates that a stage owns not all of are read and written one by one."""
    ptx = compiled(name, dtype, 80).ptx
    entry = re.search(rf'\.entry {name}\(.*?(?=\.entry|\Z)', ptx, re.DOTALL).group()
    cell, direction, number = name.rsplit('_', 2)
    stage = COMPILED[cell].stages[int(number)]
    if len(COMPILED[cell].gates) == 3:
        return  # no vector has three numbers
    whole = set(stage.gates) == set(COMPILED[cell].gates)
    loads = whole or number == '0'
    stores = whole or (direction == 'forward' and number == '0')
    for access, wanted in (('ld', loads), ('st', stores)):
        found = re.search(rf'{access}\.global(\.nc)?{VECTOR[dtype]}', entry)
        assert bool(found) == wanted, access


# file -> its kernels
FUNCTIONS = {
    file: [name for name in boundary.CUDA if cuda.FUNCTIONS[name] == file]
    for file in sorted({*cuda.FUNCTIONS.values()})
}
MAX_REGISTERS_OF_FUNCTIONS = 128  # two blocks of 256 threads


@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('index_bytes', [4, 8])
@pytest.mark.parametrize('dtype', 'efd')
@pytest.mark.parametrize('file', FUNCTIONS)
def test_functions(file, dtype, index_bytes, architecture):
    names = FUNCTIONS[file]
    source, options = cuda.function(names[0], dtype, index_bytes)
    assert source.isascii()  # CuPy writes it into files in the encoding of the locale
    program = nvrtc.program(source, options, architecture)
    assert not re.search('warning|error', program.log, re.IGNORECASE), program.log
    program.check_kernels(names, MAX_REGISTERS_OF_FUNCTIONS)
    if dtype != 'd' and 'dropout' not in names:  # which may read its key as one
        assert '.f64' not in program.ptx
