"""CUDA source compiled for GPUs by NVRTC, which needs none."""

import functools
import re
from typing import NamedTuple

import pytest

# what CuPy adds to the options of a RawKernel
_CUPY_OPTIONS = ('-ftz=true', '--device-as-default-execution-space')
_USAGE = re.compile(
    r"Compiling entry function '(\w+)'.*?"
    r'(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads'
    r'.*?Used (\d+) registers([^\n]*)',
    re.DOTALL,
)


class Usage(NamedTuple):
    """What a kernel takes: bytes, bytes, bytes, a number, and the rest of the compiler's line."""

    stack: int
    spill_stores: int
    spill_loads: int
    registers: int
    rest: str


class Program(NamedTuple):
    """What NVRTC made of a source text."""

    log: str
    ptx: str
    cubin: bytes

    def usage(self):
        """By the name of the kernel."""
        return {
            name: Usage(*map(int, numbers), rest)
            for name, *numbers, rest in _USAGE.findall(self.log)
        }

    def check_kernels(self, names, registers):
        """All these kernels, and no others, are there and keep everything in so many registers."""
        assert self.cubin.startswith(b'\x7fELF')
        for name in names:
            assert b'\0.text.' + name.encode() + b'\0' in self.cubin
        usage = self.usage()
        assert usage.keys() == {*names}, self.log
        for name, used in usage.items():
            assert used.stack == used.spill_stores == used.spill_loads == 0, (name, used)
            assert used.registers <= registers, (name, used)
            assert 'lmem' not in used.rest, (name, used)


def kernels(source):
    """Names of the kernels of a source text."""
    pattern = r'__global__ void (?:__launch_bounds__\([^)]*\)\s+)?(\w+)\('
    return re.findall(pattern, source)


@functools.cache
def program(source, options, architecture):
    nvrtc = load()
    if architecture not in nvrtc.getSupportedArchs():
        pytest.skip(f'NVRTC {nvrtc.getVersion()} does not know sm_{architecture}')
    handle = nvrtc.createProgram(source, 'kernels.cu', (), ())
    try:
        nvrtc.compileProgram(
            handle, (*options, *_CUPY_OPTIONS, f'-arch=sm_{architecture}', '--ptxas-options=-v')
        )
        return Program(
            nvrtc.getProgramLog(handle), nvrtc.getPTX(handle).decode(), nvrtc.getCUBIN(handle)
        )
    except nvrtc.NVRTCError as error:
        pytest.fail(f'{error}\n{nvrtc.getProgramLog(handle)}')
    finally:
        nvrtc.destroyProgram(handle)


def load():
    """CuPy's module for NVRTC; skips the test where one of them is missing."""
    pytest.importorskip(
        'cupy',
        reason='NVRTC is called through CuPy, which cannot be imported',
        exc_type=ImportError,
    )
    from cupy_backends.cuda.libs import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:  # whatever the search for a library reports
        pytest.skip(f'no NVRTC: {error}')
    return nvrtc
