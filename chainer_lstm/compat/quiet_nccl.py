"""Imports NCCL from CuPy without its advice to install it:
Chainer asks at every import, few need it.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings('ignore', r'\s*nccl library could not be loaded', UserWarning)
    from cupy.cuda import nccl

__all__ = ['nccl']
