"""Describe which part of CuPy, CUDA's libraries and GPUs is missing."""

from __future__ import annotations

import importlib.util
import re
from typing import Optional

# CuPy's words for a library that it does not find, and for a failed import
_FAILURE = re.compile('Failure finding "([^"]+)"')
_ORIGINAL = re.compile(r'Original error:\s+(.+)')


def missing() -> Optional[str]:
    """Return in one line what Chainer lacks for computing on a GPU; None if it can."""
    if importlib.util.find_spec('cupy') is None:
        return 'CuPy is not installed'
    try:
        number()
    except RuntimeError as error:  # of CUDA: there is no driver, or no GPU
        return f'no GPU found: {_line(error)}'
    except Exception as error:  # an ImportError, or whatever a NumPy that does not fit leads to
        return f'CuPy cannot be imported: {_cause(error)}'
    from chainer.backends import cuda

    if cuda.available:
        return None
    from chainer_lstm.chainer_private import cupy_error

    failure = cupy_error()
    library = _FAILURE.search(str(failure))
    if library is not None:
        return f"CUDA's libraries are missing: {library[1]}"
    return f'Chainer cannot use CuPy: {_cause(failure)}'


def number() -> int:
    """Return the number of GPUs.

    Raises:
        ImportError: CuPy cannot be imported.
        RuntimeError: CUDA finds none.
    """
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    if not count:
        raise RuntimeError('CUDA counts 0')
    return count


def _cause(error: Exception) -> str:
    """Return the cause of an error, without the advice that CuPy puts around it."""
    found = _ORIGINAL.search(str(error))
    return _line(error) if found is None else found[1]


def _line(error: Exception) -> str:
    return ' '.join(str(error).split())
