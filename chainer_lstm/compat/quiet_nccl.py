"""Import NCCL from CuPy without CuPy's advice to install it.

Chainer imports it at every start, but few programs use it.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings('ignore', r'\s*nccl library could not be loaded', UserWarning)
    from cupy.cuda import nccl

__all__ = ['nccl']
