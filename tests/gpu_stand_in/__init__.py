"""The GPU paths through the real CuPy and Chainer on a machine without a GPU.

CuPy's extension modules contain the CUDA runtime and look for the driver, cuBLAS and others as
shared libraries.  Here the runtime's functions are replaced, in the memory of a process of its own,
by those of ``cuda.c``, and the libraries by ones that record calls.  All of Python and Cython runs
as on a GPU, and NVRTC compiles every kernel; no number is computed, so that results mean nothing.
"""
