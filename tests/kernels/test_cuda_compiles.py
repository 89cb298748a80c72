"""The CUDA source, compiled for GPUs by NVRTC, which needs none."""
import functools
import re
from typing import NamedTuple

import pytest

from chainer_lstm.kernels import cuda

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
KERNELS = set(re.findall(r'__global__ void (\w+)\(', cuda.source('cells.cu')))
# what CuPy adds to the options of a RawKernel
CUPY_OPTIONS = ('-ftz=true', '--device-as-default-execution-space')
MAX_REGISTERS = 64  # leaves room for four blocks of 256 threads on a multiprocessor
# four neighbouring words in one load, or two where that is more than 16 bytes
VECTOR = {'e': r'\.v4\.[bu]16', 'f': r'\.v4\.f32', 'd': r'\.v2\.f64'}
_USAGE = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r'.*?Used (\d+) registers([^\n]*)', re.DOTALL)


class Program(NamedTuple):
    """What NVRTC made of ``cells.cu``."""

    log: str
    ptx: str
    cubin: bytes


@functools.cache
def program(dtype, architecture):
    nvrtc = load_nvrtc()
    if architecture not in nvrtc.getSupportedArchs():
        pytest.skip(f'NVRTC {nvrtc.getVersion()} does not know sm_{architecture}')
    options = (*cuda.options(dtype), *CUPY_OPTIONS, f'-arch=sm_{architecture}', '--ptxas-options=-v')
    handle = nvrtc.createProgram(cuda.source('cells.cu'), 'cells.cu', (), ())
    try:
        nvrtc.compileProgram(handle, options)
        return Program(nvrtc.getProgramLog(handle), nvrtc.getPTX(handle).decode(), nvrtc.getCUBIN(handle))
    except nvrtc.NVRTCError as error:
        pytest.fail(f'{error}\n{nvrtc.getProgramLog(handle)}')
    finally:
        nvrtc.destroyProgram(handle)


def load_nvrtc():
    pytest.importorskip('cupy', reason='NVRTC is called through CuPy, which cannot be imported', exc_type=ImportError)
    from cupy_backends.cuda.libs import nvrtc
    try:
        nvrtc.getVersion()
    except Exception as error:  # whatever the search for a library reports
        pytest.skip(f'no NVRTC: {error}')
    return nvrtc


def usage(log):
    """Kernel -> its stack frame, spill stores and spill loads in bytes, its registers, the rest of the line."""
    found = {name: (*map(int, numbers), rest) for name, *numbers, rest in _USAGE.findall(log)}
    assert found.keys() == KERNELS, log
    return found


@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('dtype', 'efd')
def test_compiles_without_warnings(dtype, architecture):
    log = program(dtype, architecture).log
    assert not re.search('warning|error', log, re.IGNORECASE), log


@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('dtype', 'efd')
def test_no_spills(dtype, architecture):
    for name, (stack, stores, loads, registers, rest) in usage(program(dtype, architecture).log).items():
        assert stack == stores == loads == 0, name
        assert registers <= MAX_REGISTERS, name
        assert 'lmem' not in rest, name


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
