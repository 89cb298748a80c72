"""``cupy.ElementwiseKernel`` on the CPU: its source compiled by g++, on arrays of NumPy."""

import ctypes
import hashlib
import os
import pathlib
import subprocess

import numpy

from chainer_lstm.kernels.engines.numpy import NumpyEngine
from tests.kernels.cuda_on_cpu import folder

_SOURCE = """
#include <cmath>
#define __device__
using std::tanh;
struct float16;
typedef {type} T;
{preamble}
extern "C" void run(long size, T** arrays) {{
    for (long i = 0; i < size; ++i) {{
        {references}
        {body}
    }}
}}
"""


class ElementwiseKernel:
    """Takes arrays in the order of the parameters; the last ones are written."""

    def __init__(self, given, written, body, name, preamble=''):
        self._names = [each.split()[1] for each in f'{given}, {written}'.strip(', ').split(', ')]
        self._written = len(written.split(', '))
        self._body, self._preamble = body, preamble

    def __call__(self, *args):
        assert len(args) == len(self._names)
        like = args[-1]
        assert all(getattr(x, 'dtype', like.dtype) == like.dtype for x in args)
        dense = [numpy.broadcast_to(x, like.shape).astype(like.dtype, 'C') for x in args]
        pointers = (ctypes.c_void_p * len(dense))(*(x.ctypes.data for x in dense))
        self._compiled(like.dtype.char)(ctypes.c_long(like.size), pointers)
        for x, y in list(zip(args, dense))[-self._written :]:
            x[...] = y

    def _compiled(self, dtype):
        references = [f'T& {name} = arrays[{k}][i];' for k, name in enumerate(self._names)]
        text = _SOURCE.format(
            type={'f': 'float', 'd': 'double'}[dtype],
            preamble=self._preamble,
            references=' '.join(references),
            body=self._body,
        )
        path = pathlib.Path(folder().name, hashlib.sha256(text.encode()).hexdigest() + '.so')
        if not path.exists():
            command = ['g++', '-x', 'c++', '-O1', '-Wall', '-Werror', '-fPIC', '-shared']
            subprocess.run([*command, '-o', path, '-'], input=text, text=True, check=True)
        return ctypes.CDLL(os.fspath(path)).run


class ElementwiseNumpy:
    """NumPy with ``ElementwiseKernel``, which the package takes for CuPy."""

    ElementwiseKernel = ElementwiseKernel

    def __getattr__(self, name):
        return getattr(numpy, name)


class ElementwiseEngine(NumpyEngine):
    """An engine on it."""

    xp = ElementwiseNumpy()
